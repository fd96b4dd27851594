"""The linear scheme of system 001 (MESS, mlvc-lab/ILKP, option -Q), as published and repaired, to compare with.

One step a tensor, s = (max - min)/(2^b - 1). As published there is no zero point: the longer tail is cut and one-sided
tensors collapse (`source`). Repaired: `affine` (the minimum is stored too), `symmetric`, or `best` (the affine range
narrowed to the smallest squared error). BatchNorm and activations stay float, as there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.models.kernels import kernel_families
from mignon.models.weights import put_rules
from mignon.registry import STEPS
from mignon.rules import Rule
from mignon.rules.linear import GRIDS
from mignon.rules.reference import Reference
from mignon.steps import FLOAT_WEIGHTS, Context, Step


@STEPS.register("quant-linear")
@dataclass(frozen=True)
class QuantizeLinear(Step):
    """`quant-linear=8`: the convolutions that MESS would share, at so many bits; `grid=affine` and others repair it.

    `all=true` takes every convolution and linear layer.
    """

    bits: int
    grid: str = "source"
    all: bool = False

    summary: ClassVar[str] = "one linear range a tensor, as MESS has it, to compare with: quant-linear=8,grid=affine"
    version: ClassVar[int] = 1
    examples: ClassVar[tuple[str, ...]] = ("quant-linear=4", "quant-linear=8,grid=affine,all=true")
    leaves: ClassVar[tuple[str, ...]] = ("whole weights",)
    cannot_follow: ClassVar[Mapping[str, str]] = FLOAT_WEIGHTS | {
        "zeros": "its grid would move pruned weights away from zero"
    }

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise RecipeError(f"quant-linear={self.bits} is not possible", "use 2 to 16 bits: quant-linear=8")
        if self.grid not in GRIDS:
            raise RecipeError(f"there is no grid {self.grid!r}", f"use one of: {', '.join(GRIDS)}")

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """Low and step in float32 and signed whole numbers for each tensor."""
        result = classifier.copy()
        weights = result.weights()
        chosen: dict[str, tuple[Rule, Tensor]] = {}
        shared = [name for family in kernel_families(result.network) for name in family.layers]
        for name in weights if self.all else shared:
            spec = {"rule": "reference", "bits": self.bits, "grid": self.grid}
            rule = Reference(spec, tuple(weights[name].shape)).to(weights[name].device)
            rule.fit(weights[name])
            chosen[f"{name}.weight"] = (rule, weights[name])
        put_rules(result.network, chosen)
        return result
