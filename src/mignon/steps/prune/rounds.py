"""Iterative magnitude pruning (Han et al. 2015; the loop of system 002): prune a little, tune, look, repeat."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import ClassVar

import torch

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.registry import STEPS
from mignon.settings import check_ranges, ranged, same
from mignon.steps import FLOAT_WEIGHTS, Context, Step
from mignon.steps.prune.masks import kept_masks, lowest_removed, put_masks
from mignon.training.loop import fit, validate
from mignon.training.settings import Settings


def remaining(start: int, share: float, rounds: int) -> list[int]:
    """Weights left after each round that removes int(share x what is left); ends early when nothing more would go."""
    left: list[int] = []
    while len(left) < rounds and int(share * start):
        start -= int(share * start)
        left.append(start)
    return left


@STEPS.register("prune-rounds")
@dataclass(frozen=True)
class PruneRounds(Step):
    """`prune-rounds=0.2,rounds=14,epochs=10`: in each round this share of the weights that are left, the smallest of
    the whole network, becomes zero, and the rest is tuned.

    It ends after `rounds`, or as soon as the best state of a round (before its first epoch or after any) is more than
    `drop` points below the start on the validation images; then the round before is the result. Each round has its own
    optimizer and learning rate (from `lr` down to 0), so that no momentum of removed weights lives on.
    """

    share: float = ranged(MISSING, 0, 0.9999, "of the weights that are left, each round", above=True)
    rounds: int = ranged(10, 1, 1000, "at most")
    epochs: int = same(Settings, "epochs", 10)
    lr: float = same(Settings, "lr", 0.01)
    drop: float = ranged(1.0, 0, 100, "most points below the start on validation")

    summary: ClassVar[str] = "prune and tune in rounds until accuracy falls: prune-rounds=0.2,rounds=14,drop=0.5"
    version: ClassVar[int] = 2
    examples: ClassVar[tuple[str, ...]] = ("prune-rounds=0.3,rounds=2,epochs=1,drop=100",)
    leaves: ClassVar[tuple[str, ...]] = ("zeros",)
    cannot_follow: ClassVar[Mapping[str, str]] = FLOAT_WEIGHTS

    def __post_init__(self) -> None:
        check_ranges(self, RecipeError, where="prune-rounds: ")

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """The last good round. A round that is done, or was interrupted, is found in its sub-folder and continued."""
        good = classifier.copy()
        masks = {name: mask & (good.weights()[name] != 0) for name, mask in kept_masks(good).items()}
        total = sum(mask.numel() for mask in masks.values())
        counts = remaining(sum(int(mask.sum()) for mask in masks.values()), self.share, self.rounds)
        start, _ = validate(good, context.validation, "cpu")
        settings = Settings(epochs=self.epochs, lr=self.lr, warmup=0.05, clip=2.0)
        for number, left in enumerate(counts, 1):
            scores = {name: weight.abs() for name, weight in good.weights().items()}
            kept = lowest_removed(scores, masks, total - left)
            threshold = float(torch.cat([scores[name][masks[name] & ~kept[name]] for name in scores]).max())
            tried = good.copy()
            put_masks(tried, kept)
            fitted = fit(
                tried,
                context.train,
                context.validation,
                settings,
                seed=context.seed + number,
                device=context.device,
                folder=context.folder / f"round-{number}",
                screen=context.screen,
            )
            top1 = fitted.best_top1
            context.screen.say(
                f"round {number}/{len(counts)}: {100 * (1 - left / total):.2f} % zero, threshold {threshold:.3g}, "
                f"validation {100 * top1:.2f} % ({100 * (top1 - start):+.2f} points)"
            )
            if 100 * (start - top1) > self.drop + 1e-9:
                kept_one = f"round {number - 1} is kept" if number > 1 else "nothing is pruned"
                context.screen.warn(f"prune-rounds: round {number} loses more than {self.drop:g} points; {kept_one}")
                break
            good, masks = fitted.classifier, kept
        return good
