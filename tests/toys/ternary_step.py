"""A step: `ternary` puts every convolution but the first under the rule beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from toy_mignon.ternary_rule import Ternary

from mignon.models.weights import put_rules
from mignon.registry import STEPS
from mignon.steps import FLOAT_WEIGHTS, Step


@STEPS.register("ternary")
@dataclass(frozen=True)
class ToTernary(Step):
    """`ternary`, or `ternary=all` with the first one too."""

    which: str = "inner"

    summary: ClassVar[str] = "convolutions to -1, 0 and 1 times a size: ternary"
    version: ClassVar[int] = 1
    examples: ClassVar[tuple[str, ...]] = ("ternary", "ternary=all")
    leaves: ClassVar[tuple[str, ...]] = ("whole weights",)
    cannot_follow: ClassVar[Mapping[str, str]] = FLOAT_WEIGHTS

    def apply(self, classifier, context):
        """The rule on the weights."""
        result, chosen = classifier.copy(), {}
        for name, latent in list(result.weights().items())[self.which != "all" :]:
            if latent.dim() == 4:
                rule = Ternary({"rule": "ternary"}, tuple(latent.shape))
                rule.fit(latent)
                chosen[f"{name}.weight"] = (rule, latent)
        put_rules(result.network, chosen)
        return result
