"""Uniform quantization: integer weights, per-tensor affine activations (Jacob et al. 2018).

Post-training as it stands: integers, biases and ranges are fitted layer by layer on training images without labels or
gradients; a `tune` behind it trains straight through.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.models.activations import ActivationGrid, insert_grids
from mignon.models.graph import Block, blocks
from mignon.models.weights import latent_weight, mask_of, norm_gain, put_rules, weight_rule
from mignon.registry import STEPS
from mignon.rules.float32 import Float32
from mignon.rules.grid import Grid
from mignon.steps import FLOAT_WEIGHTS, FREE_MAPS, Context, Step
from mignon.steps.calibration import calibration_pixels
from mignon.steps.quantize.layerwise import to_images, walk
from mignon.steps.quantize.ranges import cover_answers, cover_of
from mignon.steps.quantize.rounding import best_integers, gram
from mignon.steps.quantize.sensitivity import IMAGES, layer_divergences, spread_bits
from mignon.training.device import one_thread


@STEPS.register("quant")
@dataclass(frozen=True)
class Quantize(Step):
    """`quant=w4a8`: weights of 4 bits, activations of 8; `w4`: activations stay float; `a8`: weights stay as they are.

    2 to 16 bits each. `first`, `last`: other bits for the first layer's weights and the input, and for the last layer's
    weights and its output. `per`: a scale for each `channel`, `tensor`, or so many inputs of a channel. `affine`:
    weights with a zero point. `range`: of activations (and of weights rounded to the nearest): `mse` (of logits: by
    KL), `minmax`, or a percentile (`p99.9`). `round`: `layerwise` (see rounding.py) or `nearest`. `correct`: put the
    means of channels right. `bits=auto`: so many bits on average, more where the answers suffer more (sensitivity.py).
    """

    widths: str
    first: int | None = None
    last: int | None = None
    per: str = "channel"
    affine: bool = False
    range: str = "mse"
    round: str = "layerwise"
    correct: bool = True
    bits: str = "same"

    summary: ClassVar[str] = "weights (and activations) to integers: quant=w8a8, quant=w4"
    version: ClassVar[int] = 3
    examples: ClassVar[tuple[str, ...]] = (
        "quant=w4a8",
        "quant=w8",
        "quant=w2a4",
        "quant=a6",
        "quant=w4a8,bits=auto",
        "quant=w3a8,per=7,affine=true",
    )

    def __post_init__(self) -> None:
        self.widths_of()
        cover_of(self.range)
        if self.per not in ("channel", "tensor") and not re.fullmatch(r"[1-9]\d{0,5}", self.per):
            raise RecipeError(f"per={self.per} is not possible", "use per=channel, per=tensor or per=32")
        if self.round not in ("layerwise", "nearest"):
            raise RecipeError(f"round={self.round} is not possible", "use round=layerwise or round=nearest")
        if self.bits not in ("same", "auto") or (self.bits == "auto" and not 3 <= (self.widths_of()[0] or 0) <= 8):
            raise RecipeError(
                f"quant={self.widths},bits={self.bits} is not possible",
                "use bits=auto with weights of 3 to 8 bits on average: quant=w4a8,bits=auto",
            )
        if any(b is not None and not 2 <= b <= 16 for b in (self.first, self.last)):
            raise RecipeError("first and last must be 2 to 16 bits", "for example: quant=w4a8,first=8,last=8")

    @property
    def leaves(self) -> tuple[str, ...]:
        """Whole weights and grids, as its widths say."""
        weight, activation = self.widths_of()
        return ("whole weights",) * (weight is not None) + ("grids",) * (activation is not None)

    @property
    def cannot_follow(self) -> Mapping[str, str]:
        """What it would quantize a second time."""
        return {trait: reason for trait, reason in (FLOAT_WEIGHTS | FREE_MAPS).items() if trait in self.leaves}

    def widths_of(self) -> tuple[int | None, int | None]:
        """(weight bits or None, activation bits or None). Raises RecipeError."""
        match = re.fullmatch(r"(?:w(\d{1,2}))?(?:a(\d{1,2}))?", self.widths)
        weight, activation = (int(x) if x else None for x in match.groups()) if match else (None, None)
        if (weight, activation) == (None, None) or not all(2 <= b <= 16 for b in (weight, activation) if b is not None):
            raise RecipeError(
                f"quant={self.widths} is not possible",
                "use quant=w8a8, quant=w4, quant=a8 or any widths from 2 to 16 bits",
            )
        return weight, activation

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """Grids on every convolution and linear weight, and behind the input and every fused block."""
        activation_bits = self.widths_of()[1]
        result = classifier.copy()
        weighted = [b for b in blocks(result.network) if b.weighted]
        widths = self.widths_by_layer(classifier, [block.name for block in weighted], context)
        grids: list[ActivationGrid] = []
        if activation_bits is not None:
            grids = list(insert_grids(result.network, activation_bits).values())
            grids[0].bits = self.first or activation_bits
            grids[-1].bits = self.last or activation_bits

        def choose(block: Block, before: Tensor, now: Tensor) -> None:
            bits = widths[block.name]
            if bits is not None:
                self.quantize(result, block, bits, before, now)

        def cover(grid: ActivationGrid, values: Tensor) -> None:
            if not grids:
                return  # they stay as an earlier step has chosen them
            answers = self.range == "mse" and grid is grids[-1] and values.dim() == 2
            (cover_answers if answers else cover_of(self.range))(grid, values)

        with one_thread(), torch.no_grad():
            pixels = calibration_pixels(classifier, context.train, context.seed)
            images = to_images(result, pixels, context.device)
            walk(result.network, classifier.network, images, choose, cover, self.correct)
        return result

    def widths_by_layer(self, classifier: Classifier, names: list[str], context: Context) -> dict[str, int | None]:
        """Bits of each layer's weights, None where they stay as they are."""
        bits = self.widths_of()[0]
        widths: dict[str, int | None] = dict.fromkeys(names, bits)
        if self.bits == "auto" and bits is not None:
            with one_thread():
                pixels = calibration_pixels(classifier, context.train, context.seed)[:IMAGES]
                divergences = layer_divergences(classifier, bits, pixels)
            sizes = {name: weight.numel() for name, weight in classifier.weights().items()}
            widths.update(spread_bits(divergences, sizes, bits))
            context.screen.say("bits by layer: " + ", ".join(f"{name} {width}" for name, width in widths.items()))
        for name, own in ((names[0], self.first), (names[-1], self.last)):
            widths[name] = widths[name] if own is None else own
        return widths

    def quantize(self, result: Classifier, block: Block, bits: int, before: Tensor, now: Tensor) -> None:
        """Put one weight on a grid."""
        module: Any = block.module
        present = weight_rule(module)
        if present is not None and not isinstance(present, Float32):
            raise RecipeError(
                f"the weights of {block.name} are whole numbers already (rule {present.name})",
                "quantize its activations only: quant=a8",
            )
        mask = mask_of(module)
        latent = latent_weight(module)
        spec: dict[str, Any] = {"rule": "grid", "bits": bits}
        spec |= {"per": int(self.per) if self.per.isdigit() else self.per} if self.per != "channel" else {}
        spec |= {"affine": True} if self.affine else {}
        rule = Grid(spec, tuple(latent.shape)).to(latent.device)
        if mask is not None:
            rule.hold_mask(mask)
        gain = norm_gain(result.network, block)
        if self.round == "layerwise":
            centered = self.correct and (block.norm is not None or module.bias is not None)
            best_integers(rule, rule.absorbed(latent, gain), gram(module, before, now, centered))
        else:
            (rule.cover_extremes if self.range == "minmax" else rule.choose_scales)(latent, gain)
            rule.fit(latent)
        latent = rule.value()  # a tune starts from the weights as they are now
        put_rules(result.network, {f"{block.name}.weight": (rule, latent)})
