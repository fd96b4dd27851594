"""A weight that others read their kernels from: it keeps the BatchNorm gain beside it, so that its kernels stay."""

from typing import Any

import torch
from torch import Tensor

from mignon.coding import Layout
from mignon.errors import FormatError
from mignon.registry import RULES
from mignon.rules import Rule, example_weight
from mignon.rules.linear import GRIDS, integers, limits
from mignon.rules.planes import from_planes, to_planes


@RULES.register("reference")
class Reference(Rule):
    """spec: {"rule": "reference"} is the float32 itself; with "bits" (2..16) low + step x q, two float32 a tensor.

    "grid" (see rules/linear.py, `source` when left out) says how training fits them again.
    """

    planes: Tensor
    step: Tensor
    q: Tensor
    _latent: tuple[Tensor, ...] = ()

    @classmethod
    def examples(cls) -> list[Rule]:
        """Floats, and whole numbers."""
        weight = example_weight(6, 3, 3, 3)
        rules: list[Rule] = [cls({"rule": "reference", **bits}, tuple(weight.shape)) for bits in ({}, {"bits": 8})]
        for rule in rules:
            rule.fit(weight)
        return rules

    @classmethod
    def layouts(cls, spec: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Layout]:
        """`planes` (4 x n), or `step` (low and step as 4 x 2) and `q` (the shape of the weight)."""
        bits = spec.get("bits", 32)
        if type(bits) is not int or not (2 <= bits <= 16 or bits == 32):
            raise FormatError(f"a reference of {bits!r} bits is not possible")
        if not isinstance(spec.get("grid", "source"), str) or spec.get("grid", "source") not in GRIDS:
            raise FormatError("a reference has a grid that is not known here")
        if bits == 32:
            return {"planes": Layout((4, torch.Size(shape).numel()), "bytes")}
        return {"step": Layout((4, 2), "bytes"), "q": Layout(shape, "weights")}

    def __init__(self, spec: dict[str, Any], shape: tuple[int, ...]):
        super().__init__(spec, shape)
        self.bits = spec.get("bits", 32)

    def check(self) -> None:
        """Finite numbers, integers within their width."""
        floats = self.planes if self.bits == 32 else self.step
        if not bool(torch.isfinite(from_planes(floats)).all()):
            raise FormatError("a reference kernel is not a finite number")
        if self.bits < 32 and self.q.numel():
            low, high = limits(self.bits)
            if int(self.q.min()) < low or int(self.q.max()) > high:
                raise FormatError(f"an integer of a reference does not fit into {self.bits} bits")

    def fit(self, latent: Tensor) -> None:
        """The bytes, or the nearest whole numbers of the quantizer of MESS."""
        latent = self._without_gain(latent.detach())
        if self.bits == 32:
            self.planes.copy_(to_planes(latent))
            return
        scale = GRIDS[self.spec.get("grid", "source")](latent.double(), self.bits)
        self.step.copy_(to_planes(torch.tensor([scale.low, scale.step])))
        self.q.copy_(integers(latent.double(), scale, self.bits))

    def _without_gain(self, latent: Tensor) -> Tensor:
        return latent / self.channel_gain() if self.spec.get("gain") else latent

    def value(self) -> Tensor:
        """float32 of the shape of the weight."""
        return self.kernels().float()

    def kernels(self) -> Tensor:
        """The same before it is rounded to float32: multiples of each other stay that, so that their ties are seen."""
        if self.bits == 32:
            return from_planes(self.planes).reshape(self.shape).double()
        low, step = from_planes(self.step).double()
        return low + step * self.q

    def forward(self, latent: Tensor) -> Tensor:
        """While training straight through; those who read from here send their gradient to this latent weight."""
        if self.training:
            self._latent = (latent,)
        return super().forward(latent)

    def live(self) -> Tensor:
        """The kernels with a gradient to the latent weight, once a training step has seen it."""
        value = self.value()
        if not self._latent:
            return value
        latent = self._without_gain(self._latent[0])
        return latent + (value - latent).detach()
