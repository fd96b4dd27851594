"""Global magnitude pruning (Han et al. 2015): the smallest weights of the whole network become zero."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.models.graph import set_rule
from mignon.registry import STEPS
from mignon.rules.float32 import Float32
from mignon.steps import Context, refuse_after_settled


@STEPS.register("prune")
@dataclass(frozen=True)
class MagnitudePrune:
    """`prune=0.8`: zero this share of all convolution and linear weights, kept zero from here on.

    Exactly round(share x n) weights go; ties at the threshold are broken by position.
    """

    share: float

    summary: ClassVar[str] = "zero the smallest weights of the whole network: prune=0.8"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise RecipeError(f"prune={self.share:g} is not possible", "use a share from 0 up to below 1: prune=0.8")

    def check(self, earlier: list[Any]) -> None:
        """Magnitudes mean nothing once weights are integers."""
        refuse_after_settled(self, earlier)

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """Masks on every convolution and linear weight (O x I x kh x kw or O x I)."""
        result = classifier.copy()
        weights = result.weights()
        flat = torch.cat([w.abs().flatten() for w in weights.values()])
        keep = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
        keep[torch.argsort(flat, stable=True)[: round(self.share * len(flat))]] = False
        masks = keep.split([w.numel() for w in weights.values()])
        modules = result.weighted()
        for (name, weight), mask in zip(weights.items(), masks):
            mask = mask.reshape(weight.shape)
            rule = Float32.masked(mask)
            rule.fit(weight)
            set_rule(modules[name], rule, weight * mask)
        return result
