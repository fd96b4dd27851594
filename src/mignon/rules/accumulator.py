"""Biases of integer hardware: int32 in units of (input scale x weight scale), where both lie on grids."""

from typing import Any

import torch
from torch import Tensor

from mignon.coding import Layout
from mignon.errors import FormatError
from mignon.registry import RULES
from mignon.rules import Rule, example_weight
from mignon.rules.scales import FINEST, LARGEST_OCTAVE, scale

LIMIT = 2**31 - 1


@RULES.register("accumulator")
class Accumulator(Rule):
    """spec: {"rule": "accumulator", "n": steps}; bias = 2^(k/n) q, k = k_input + k_weight known from those grids.

    `k` is set by whoever builds the network (`set_scales`), since it is stored with the grids and not a second time.
    """

    k: Tensor
    q: Tensor

    @classmethod
    def examples(cls) -> list[Rule]:
        """A bias."""
        rule = cls({"rule": "accumulator", "n": 16}, (6,))
        rule.set_scales(torch.arange(-90, -60, 5))
        rule.fit(example_weight(6))
        return [rule]

    @classmethod
    def layouts(cls, spec: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Layout]:
        """`q`: one int32 an output channel."""
        steps = spec.get("n")
        if type(steps) is not int or steps < 1 or FINEST % steps or len(shape) != 1:
            raise FormatError("a bias in accumulator units needs a scale grid and one axis")
        return {"q": Layout(shape, "side")}

    def __init__(self, spec: dict[str, Any], shape: tuple[int, ...]):
        super().__init__(spec, shape)
        self.register_buffer("k", torch.zeros(shape, dtype=torch.int32))

    def set_scales(self, k: Tensor) -> None:
        """The sum of the input's and the weights' scale numbers, one an output channel."""
        if int(k.abs().max()) > 2 * LARGEST_OCTAVE * self.spec["n"]:
            raise FormatError("the scale of a bias is out of range")
        self.k.copy_(k)

    def integers(self) -> tuple[Tensor, Tensor, int] | None:
        """q and its scale numbers."""
        return self.q, self.k, self.spec["n"]

    def fit(self, latent: Tensor) -> None:
        """Round to accumulator units."""
        step = scale(self.k, self.spec["n"]).double()
        self.q.copy_(torch.round(latent.detach().double() / step).clamp(-LIMIT, LIMIT))

    def value(self) -> Tensor:
        """2^(k/n) q."""
        return scale(self.k, self.spec["n"]) * self.q
