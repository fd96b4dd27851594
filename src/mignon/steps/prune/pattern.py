"""N:M sparsity (Mishra et al. 2021, arXiv 2104.08378): of M consecutive inputs the N largest weights stay."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.registry import STEPS
from mignon.steps import FLOAT_WEIGHTS, Context, Step
from mignon.steps.prune.masks import kept_masks, put_masks


@STEPS.register("prune-nm")
@dataclass(frozen=True)
class PrunePattern(Step):
    """`prune-nm=2:4`: in every group of 4 consecutive inputs (at one kernel position of one output) 2 weights stay.

    The largest stay, ties by position; of a last group of r < M inputs ceil(r N / M) stay. Layers with fewer than M
    inputs for each output (depthwise convolutions, most first layers) are left alone. Weights that were pruned before
    stay pruned.
    """

    pattern: str

    summary: ClassVar[str] = "keep N of every M consecutive inputs: prune-nm=2:4"
    version: ClassVar[int] = 1
    examples: ClassVar[tuple[str, ...]] = ("prune-nm=2:4", "prune-nm=1:3")
    leaves: ClassVar[tuple[str, ...]] = ("zeros",)
    cannot_follow: ClassVar[Mapping[str, str]] = FLOAT_WEIGHTS

    def __post_init__(self) -> None:
        self.numbers()

    def numbers(self) -> tuple[int, int]:
        """(N, M). Raises RecipeError."""
        match = re.fullmatch(r"(\d{1,3}):(\d{1,3})", self.pattern)
        if not match or not 1 <= int(match[1]) < int(match[2]):
            raise RecipeError(f"prune-nm={self.pattern} is not possible", "use N:M with N below M: prune-nm=2:4")
        return int(match[1]), int(match[2])

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """Masks on the layers with at least M inputs."""
        keep, group = self.numbers()
        weights, masks = classifier.weights(), kept_masks(classifier)
        wide = [name for name, weight in weights.items() if weight.shape[1] >= group]
        alone = [name for name in weights if name not in wide]
        if alone:
            context.screen.say(f"prune-nm: left alone for fewer than {group} inputs: {', '.join(alone)}")
        result = classifier.copy()
        put_masks(result, {name: pattern_mask(weights[name].abs(), masks[name], keep, group) for name in wide})
        return result


def pattern_mask(scores: Tensor, mask: Tensor, keep: int, group: int) -> Tensor:
    """Of every `group` consecutive inputs (axis 1) the `keep` highest scores among those that `mask` keeps."""
    inputs = scores.shape[1]
    rows = scores.where(mask, -1).movedim(1, -1)
    padded = F.pad(rows, (0, -inputs % group), value=-2)
    groups = padded.reshape(*rows.shape[:-1], -1, group)
    rank = groups.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    quota = torch.full((groups.shape[-2], 1), keep)
    if inputs % group:
        quota[-1] = -(-(inputs % group) * keep // group)
    chosen = (rank < quota).reshape(padded.shape)[..., :inputs].movedim(-1, 1)
    return chosen & mask
