"""Symmetric integer grids: weight = 2^(k/n) q, one k an output channel, |q| <= 2^(bits-1) - 1.

With BatchNorm behind it the grid lies on the *absorbed* weight: q = round(w g / 2^(k/n)) with the BatchNorm gain g, and
the live network sees 2^(k/n) q / g. So nothing is rounded a second time when BatchNorm is absorbed.
"""

from typing import Any

import torch
from torch import Tensor

from mignon.coding import Layout
from mignon.errors import FormatError
from mignon.registry import RULES
from mignon.rules import Rule, per_channel
from mignon.rules.scales import FINEST, LARGEST_OCTAVE, nearest_step, scale

STEPS = 16  # an octave: a scale is at most 2.2 % from the one wanted; the integers are chosen after it


@RULES.register("grid")
class Grid(Rule):
    """spec: {"rule": "grid", "bits": 2..16, "n": steps an octave, "masked": zeros are pruned and stay zero}."""

    k: Tensor
    q: Tensor
    mask: Tensor
    live_gain: Tensor

    @classmethod
    def layouts(cls, spec: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Layout]:
        """`k` (one an output channel) and `q` (the shape of the weight)."""
        bits, steps = spec.get("bits"), spec.get("n", STEPS)
        if type(bits) is not int or not 2 <= bits <= 16:
            raise FormatError(f"a grid of {bits!r} bits is not possible")
        if type(steps) is not int or steps < 1 or FINEST % steps:
            raise FormatError(f"a grid of {steps!r} scale steps an octave is not possible")
        if "gain" in spec:
            raise FormatError("a grid has its gain in its scale")
        return {"k": Layout((shape[0],), "side"), "q": Layout(shape, "weights")}

    def __init__(self, spec: dict[str, Any], shape: tuple[int, ...]):
        super().__init__(spec, shape)
        self.steps = spec.get("n", STEPS)
        self.top = 2 ** (spec["bits"] - 1) - 1
        self.register_buffer("live_gain", torch.ones(shape[0], dtype=torch.float64))
        if spec.get("masked"):
            self.register_buffer("mask", torch.ones(shape, dtype=torch.bool))

    @classmethod
    def from_streams(cls, spec: dict[str, Any], shape: tuple[int, ...], streams: Any) -> "Grid":
        """As the base; zeros of a pruned weight become its mask."""
        rule = super().from_streams(spec, shape, streams)
        assert isinstance(rule, Grid)
        if spec.get("masked"):
            rule.mask.copy_(rule.q != 0)
        return rule

    def check(self) -> None:
        """Integers and scales within their ranges."""
        if self.q.numel() and int(self.q.abs().max()) > self.top:
            raise FormatError(f"an integer does not fit into {self.spec['bits']} bits")
        if self.k.numel() and int(self.k.abs().max()) > LARGEST_OCTAVE * self.steps:
            raise FormatError("a scale is out of range")

    def choose_scales(self, latent: Tensor, gain: Tensor | None) -> None:
        """The scale of each channel that minimizes the squared error, from the largest magnitude down one octave."""
        if gain is not None:
            self.live_gain.copy_(gain.abs())
        rows = self._absorbed(latent).reshape(self.shape[0], -1)
        largest = rows.abs().amax(1)
        first = torch.ceil(self.steps * torch.log2((largest / self.top).clamp_min(1e-15))).to(torch.int32)
        best, best_error = first.clone(), torch.full_like(largest, torch.inf)
        for down in range(self.steps + 1):
            k = first - down
            step = scale(k, self.steps).double()[:, None]
            q = torch.round(rows / step).clamp(-self.top, self.top)
            error = (rows - q * step).square().sum(1)
            better = error < best_error * (1 - 1e-9)
            best[better], best_error[better] = k[better], error[better]
        bound = LARGEST_OCTAVE * self.steps
        self.k.copy_(best.clamp(-bound, bound))

    def _absorbed(self, latent: Tensor) -> Tensor:
        rows = latent.detach().double() * per_channel(self.live_gain, len(self.shape))
        return rows * self.mask if self.spec.get("masked") else rows

    def fit(self, latent: Tensor) -> None:
        """Round to the nearest integer of the grid."""
        step = per_channel(scale(self.k, self.steps), len(self.shape)).double()
        self.q.copy_(torch.round(self._absorbed(latent) / step).clamp(-self.top, self.top))

    def align(self, gain: Tensor | None) -> None:
        """Move the grid with the BatchNorm gain, so that the live weights stay where they are to half a scale step."""
        if gain is None:
            return
        ratio = gain.abs() / self.live_gain.clamp_min(1e-30)
        bound = LARGEST_OCTAVE * self.steps
        self.k.copy_((self.k + nearest_step(ratio, self.steps)).clamp(-bound, bound))
        self.live_gain.copy_(gain.abs())

    def value(self) -> Tensor:
        """2^(k/n) q, divided by the gain of a live BatchNorm."""
        value = per_channel(scale(self.k, self.steps), len(self.shape)) * self.q
        if bool((self.live_gain == 1).all()):
            return value
        safe = torch.where(self.live_gain == 0, torch.ones_like(self.live_gain), self.live_gain)
        return (value / per_channel(safe, len(self.shape))).float()

    def forward(self, latent: Tensor) -> Tensor:
        """Straight through, zeros of a pruned weight without gradient."""
        if self.training and self.spec.get("masked"):
            latent = latent * self.mask
        return super().forward(latent)

    def absorb(self, latent: Tensor, gain: Tensor) -> "Grid":
        """The same integers (their sign follows the gain's) and scales."""
        self.align(gain)
        rule = Grid(self.spec, self.shape).to(self.device)
        rule.k.copy_(self.k)
        rule.q.copy_(self.q * per_channel(torch.sign(gain), len(self.shape)).int())
        if self.spec.get("masked"):
            rule.mask.copy_(self.mask)
        return rule

    def channel_steps(self) -> tuple[Tensor, int]:
        """The scales of the output channels."""
        return self.k, self.steps
