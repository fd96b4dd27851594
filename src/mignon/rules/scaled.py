"""Integers under one float32 scale for the whole tensor, kept exactly: the form that systems 001 and 002 store.

BatchNorm behind the weight becomes the channel gain of the base class, so the integers stay what they are.
"""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from mignon.coding import Layout
from mignon.errors import FormatError
from mignon.registry import RULES
from mignon.rules import Rule, example_weight

SMALLEST = 2.0**-126  # float32 below it have fewer digits


@RULES.register("scaled")
class Scaled(Rule):
    """spec: {"rule": "scaled", "bits": 2..16, "masked": zeros are pruned and stay zero}; weight = scale q.

    q in -2^(bits-1) .. 2^(bits-1) - 1; `scale` holds the bits of a float32 above zero.
    """

    shows_zeros: ClassVar[bool] = True
    scale: Tensor
    q: Tensor

    @classmethod
    def examples(cls) -> list[Rule]:
        """Free, and pruned."""
        weight = example_weight(6, 3, 3, 3)
        free, pruned = cls.covering(weight, 8), cls.covering(weight, 16)
        pruned.hold_mask(weight > 0.2)
        for rule in (free, pruned):
            rule.fit(weight)
        return [free, pruned]

    @classmethod
    def layouts(cls, spec: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Layout]:
        """`scale` (one float32 as an int32) and `q` (the shape of the tensor)."""
        bits = spec.get("bits")
        if type(bits) is not int or not 2 <= bits <= 16:
            raise FormatError(f"integers of {bits!r} bits are not possible")
        return {"scale": Layout((1,), "side"), "q": Layout(shape, "weights" if len(shape) > 1 else "side")}

    def __init__(self, spec: dict[str, Any], shape: tuple[int, ...]):
        super().__init__(spec, shape)
        self.low, self.top = -(2 ** (spec["bits"] - 1)), 2 ** (spec["bits"] - 1) - 1
        self.set_scale(1.0)

    @classmethod
    def covering(cls, latent: Tensor, bits: int) -> "Scaled":
        """A rule for this tensor with the scale that makes its largest magnitude the largest integer."""
        rule = cls({"rule": "scaled", "bits": bits}, tuple(latent.shape))
        rule.set_scale(max(float(latent.detach().abs().max()) / rule.top, SMALLEST))
        return rule

    def check(self) -> None:
        """Integers within their range, a finite scale above zero."""
        if self.q.numel() and not self.low <= int(self.q.min()) <= int(self.q.max()) <= self.top:
            raise FormatError(f"an integer does not fit into {self.spec['bits']} bits")
        step = float(self.step)
        if not math.isfinite(step) or step <= 0:
            raise FormatError("the scale of a tensor must be finite and above zero")

    @property
    def step(self) -> Tensor:
        """The scale as float32, one number."""
        return self.scale.view(torch.float32)

    def nonzero(self) -> Tensor:
        """Where q is not zero."""
        return self.q != 0

    def set_scale(self, step: float) -> None:
        """Take this scale, rounded to float32, as it is. Raises FormatError when it is not finite and above zero."""
        self.scale.copy_(torch.tensor([step], dtype=torch.float32).view(torch.int32))
        self.check()

    def fit(self, latent: Tensor) -> None:
        """The nearest integers, ties to even, cut to the range; in float32, as the two systems compute."""
        q = torch.round(latent.detach().float() / self.step).clamp(self.low, self.top)
        self.q.copy_(self.latent(q))

    def value(self) -> Tensor:
        """scale q."""
        return self.step * self.q
