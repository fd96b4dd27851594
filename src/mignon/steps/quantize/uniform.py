"""Uniform quantization: per-channel symmetric weights, per-tensor affine activations (Jacob et al. 2018).

Weight scales minimize the squared error of each channel; activation ranges minimize the squared error on training
images. No gradient, no labels, no BatchNorm statistics are touched; a `tune` behind it trains straight through.
"""

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, fx

from mignon.classifier import Classifier
from mignon.data.batches import Augment, gather
from mignon.data.inputs import to_network
from mignon.errors import RecipeError
from mignon.models.activations import ActivationGrid, insert_grids
from mignon.models.graph import blocks, norm_gain, set_rule, weight_rule
from mignon.registry import STEPS
from mignon.rules.grid import Grid
from mignon.steps import Context

CALIBRATION = 512  # training images
SAMPLES = 200_000  # values a map that the range search looks at


@STEPS.register("quant")
@dataclass(frozen=True)
class Quantize:
    """`quant=w4a8`: weights of 4 bits, activations of 8; `quant=w4`: activations stay float. 2 to 16 bits each."""

    widths: str

    summary: ClassVar[str] = "weights (and activations) to integers: quant=w8a8, quant=w4"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        self.bits()

    def bits(self) -> tuple[int, int | None]:
        """(weight bits, activation bits or None). Raises RecipeError."""
        match = re.fullmatch(r"w(\d{1,2})(?:a(\d{1,2}))?", self.widths)
        widths = [int(x) for x in match.groups() if x] if match else []
        if not widths or not all(2 <= b <= 16 for b in widths):
            raise RecipeError(
                f"quant={self.widths} is not possible",
                "use quant=w8a8, quant=w4 or any widths from 2 to 16 bits",
            )
        return widths[0], widths[1] if len(widths) > 1 else None

    def check(self, earlier: list[Any]) -> None:
        """Quantizing integers again would round twice."""
        if any(step.name == "quant" for step in earlier):
            raise RecipeError(
                "quant cannot follow quant: the weights are integers already", "start from the float file"
            )

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """Grids on every convolution and linear weight, and behind the input and every fused block."""
        weight_bits, activation_bits = self.bits()
        result = classifier.copy()
        for block in blocks(result.network):
            if block.kind not in ("conv", "linear") or block.module is None:
                continue
            before = weight_rule(block.module)
            mask = getattr(before, "mask", None)
            latent = result.weights()[block.name]
            spec: dict[str, Any] = {"rule": "grid", "bits": weight_bits}
            if mask is not None:
                spec["masked"] = True
            rule = Grid(spec, tuple(latent.shape)).to(latent.device)
            if mask is not None:
                rule.mask.copy_(mask.bool())
            rule.choose_scales(latent, norm_gain(result.network, block))
            rule.fit(latent)
            set_rule(block.module, rule, latent)
        if activation_bits is not None:
            calibrate(result, activation_bits, context)
        return result


def calibrate(classifier: Classifier, bits: int, context: Context) -> None:
    """Insert activation grids, in place, with ranges from training images that the float-activation network sees."""
    generator = np.random.default_rng(context.seed)
    count = min(CALIBRATION, len(context.train))
    chosen = np.sort(generator.choice(len(context.train), count, replace=False))
    pixels = gather(context.train.images, chosen, Augment(), generator)
    recorder = _Ranges(classifier.network, {b.end.name: b.name for b in blocks(classifier.network)})
    with torch.no_grad():
        for first in range(0, count, 128):
            recorder.run(to_network(pixels[first : first + 128], classifier.input).to(context.device))
    for name, grid in insert_grids(classifier.network, bits).items():
        cover_best(grid, torch.cat(recorder.samples[name]), recorder.lows[name], recorder.highs[name])


class _Ranges(fx.Interpreter):
    """Runs a network and keeps, for each block, the extremes and an even sample of what leaves it."""

    def __init__(self, network: fx.GraphModule, names: dict[str, str]):
        super().__init__(network)
        self.names = names
        self.lows: dict[str, float] = {}
        self.highs: dict[str, float] = {}
        self.samples: dict[str, list[Tensor]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        name = self.names.get(n.name)
        if name is not None:
            self.lows[name] = min(self.lows.get(name, 0.0), float(result.min()))
            self.highs[name] = max(self.highs.get(name, 0.0), float(result.max()))
            flat = result.flatten()
            self.samples.setdefault(name, []).append(flat[:: max(1, 4 * flat.numel() // SAMPLES)].clone())
        return result


def cover_best(grid: ActivationGrid, sample: Tensor, low: float, high: float) -> None:
    """The range, from the extremes inward, with the smallest squared error on the sample."""
    best, best_error = 1.0, float("inf")
    with torch.no_grad():
        for share in torch.linspace(1.0, 0.2, 33).tolist():
            grid.cover(low * share, high * share)
            error = float((grid(sample) - sample).double().square().mean())
            if error < best_error * (1 - 1e-6):
                best, best_error = share, error
    grid.cover(low * best, high * best)
