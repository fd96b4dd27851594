"""The symmetric scheme of system 002 (MobileNetV2 pipeline), so that its tables can be set beside ours.

Weights: one float32 scale a tensor, s = largest magnitude / (2^(b-1) - 1), q = round(w / s). Activations: a signed grid
over the largest magnitude, also behind ReLU. The original takes that magnitude from each batch anew, test images
included; here it is fixed on training images.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.models.activations import STEPS as GRID_STEPS
from mignon.models.activations import ActivationGrid, insert_grids
from mignon.models.graph import Block
from mignon.models.weights import latent_weight, mask_of, put_rules
from mignon.registry import STEPS
from mignon.rules.scaled import Scaled
from mignon.rules.scales import nearest_step, scale
from mignon.steps import FLOAT_WEIGHTS, FREE_MAPS, Context, Step
from mignon.steps.calibration import calibration_pixels
from mignon.steps.quantize.layerwise import to_images, walk
from mignon.training.device import one_thread


@STEPS.register("quant-symmetric")
@dataclass(frozen=True)
class QuantizeSymmetric(Step):
    """`quant-symmetric=w8a8`: activations get their ranges from training images; with `w8` they stay float."""

    widths: str

    summary: ClassVar[str] = "one symmetric float32 scale a tensor, to compare with: quant-symmetric=w8a8"
    version: ClassVar[int] = 1
    examples: ClassVar[tuple[str, ...]] = ("quant-symmetric=w8a8", "quant-symmetric=w4")

    def __post_init__(self) -> None:
        self.bits()

    def bits(self) -> tuple[int, int | None]:
        """(weight bits, activation bits or None). Raises RecipeError."""
        match = re.fullmatch(r"w(\d{1,2})(?:a(\d{1,2}))?", self.widths)
        found = [int(x) for x in match.groups() if x] if match else []
        if not found or not all(2 <= b <= 16 for b in found):
            raise RecipeError(
                f"quant-symmetric={self.widths} is not possible",
                "use quant-symmetric=w8a8 or quant-symmetric=w8, 2 to 16",
            )
        return found[0], found[1] if len(found) > 1 else None

    @property
    def leaves(self) -> tuple[str, ...]:
        """Whole weights, and grids where it has a width for activations."""
        return ("whole weights",) if self.bits()[1] is None else ("whole weights", "grids")

    @property
    def cannot_follow(self) -> Mapping[str, str]:
        """What it would quantize a second time."""
        return {trait: reason for trait, reason in (FLOAT_WEIGHTS | FREE_MAPS).items() if trait in self.leaves}

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """Every convolution and linear weight under one scale, and a signed grid behind the input and every block."""
        bits, activation_bits = self.bits()
        result = classifier.copy()
        if activation_bits is not None:
            insert_grids(result.network, activation_bits)

        def choose(block: Block, before: Tensor, now: Tensor) -> None:
            assert block.weighted
            latent, mask = latent_weight(block.module), mask_of(block.module)
            rule = Scaled.covering(latent, bits)
            if mask is not None:
                rule.hold_mask(mask)
            rule.fit(latent)
            put_rules(result.network, {f"{block.name}.weight": (rule.to(latent.device), latent)})

        with one_thread(), torch.no_grad():
            pixels = calibration_pixels(classifier, context.train, context.seed)
            images = to_images(result, pixels, context.device)
            walk(result.network, classifier.network, images, choose, _signed, correct=False)
        return result


def _signed(grid: ActivationGrid, sample: Tensor) -> None:
    middle = 2 ** (grid.bits - 1)
    step = float(sample.abs().max()) / (middle - 1)
    k = nearest_step(torch.tensor(max(step, 1e-12), dtype=torch.float64), GRID_STEPS)
    grid.k.copy_(k + int(float(scale(k, GRID_STEPS)) < step))
    grid.zero.fill_(middle)
