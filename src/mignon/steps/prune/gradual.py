"""Gradual pruning (Zhu and Gupta 2017, arXiv 1710.01878): the share of zeros grows while the network is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.models.weights import weight_rule
from mignon.registry import STEPS
from mignon.settings import check_ranges, same
from mignon.steps import FLOAT_WEIGHTS, Context, Step
from mignon.steps.prune.masks import check_share, kept_masks, lowest_removed, put_masks
from mignon.training.loop import fit
from mignon.training.settings import Settings

RAMP = 0.6  # of the epochs, in which the share grows; the rest tunes what is left


def sparsity(start: float, target: float, progress: float) -> float:
    """The share of zeros at a progress from 0 to 1 of the ramp: fast first, slower to the end (a cubic)."""
    return target + (start - target) * (1 - progress) ** 3


@STEPS.register("prune-gradually")
@dataclass(frozen=True)
class PruneGradually(Step):
    """`prune-gradually=0.9,epochs=10`: train, and after each of the first 60 % of the epochs zero more of the smallest
    weights of the whole network, until exactly round(share x n) are zero.

    The learning rate goes from `lr` down to 0 over all epochs. The result is the epoch that is best on validation among
    those that have the whole share. Weights that are zero stay zero.
    """

    share: float
    epochs: int = same(Settings, "epochs", 10)
    lr: float = same(Settings, "lr", 0.02)

    summary: ClassVar[str] = "zero more and more of the smallest weights while training: prune-gradually=0.9,epochs=10"
    version: ClassVar[int] = 2
    examples: ClassVar[tuple[str, ...]] = ("prune-gradually=0.5,epochs=2",)
    leaves: ClassVar[tuple[str, ...]] = ("zeros",)
    cannot_follow: ClassVar[Mapping[str, str]] = FLOAT_WEIGHTS

    def __post_init__(self) -> None:
        check_share("prune-gradually", self.share)
        check_ranges(self, RecipeError, where="prune-gradually: ")

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """Masks on every convolution and linear weight, renewed after each epoch of the ramp."""
        result = classifier.copy()
        masks = kept_masks(result)
        put_masks(result, masks)
        total = sum(mask.numel() for mask in masks.values())
        start = 1 - sum(int(mask.sum()) for mask in masks.values()) / total
        ramp = max(1, round(RAMP * self.epochs))

        def renew(training: Classifier, epoch: int) -> None:
            if epoch > ramp:
                return
            share = sparsity(start, self.share, epoch / ramp)
            scores = {name: weight.abs() for name, weight in training.weights().items()}
            kept = lowest_removed(scores, kept_masks(training), round(share * total))
            for name, module in training.weighted().items():
                rule = weight_rule(module)
                assert rule is not None, "every weight got a mask before training"
                rule.hold_mask(kept[name])
            zeros = total - sum(int(mask.sum()) for mask in kept.values())
            context.screen.say(f"after epoch {epoch}: {100 * zeros / total:.2f} % zero")

        return fit(
            result,
            context.train,
            context.validation,
            Settings(epochs=self.epochs, lr=self.lr, warmup=0.05, clip=2.0),
            seed=context.seed,
            device=context.device,
            folder=context.folder,
            screen=context.screen,
            after_epoch=renew,
            choose_from=ramp,
        ).classifier
