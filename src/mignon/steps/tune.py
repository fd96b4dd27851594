"""Fine-tuning with everything so far held: pruned weights stay zero, integers stay integers (straight-through)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.registry import STEPS
from mignon.steps import Context
from mignon.training.loop import Settings, fit


@STEPS.register("tune")
@dataclass(frozen=True)
class Tune:
    """`tune=5,lr=0.02`: so many epochs over the training images, learning rate from `lr` down to 0 by a cosine.

    `share` below 1 ends every epoch after that share of its batches: a quarter of an epoch is `tune=1,share=0.25`.
    """

    epochs: int
    lr: float = 0.02
    batch: int = 128
    share: float = 1.0

    summary: ClassVar[str] = "train on with everything so far held: tune=5"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if (
            not 1 <= self.epochs <= 10_000
            or not 0 < self.lr <= 10
            or not 1 <= self.batch <= 65_536
            or not 0 < self.share <= 1
        ):
            raise RecipeError(
                f"tune={self.epochs},lr={self.lr:g},batch={self.batch},share={self.share:g} is not possible",
                "use at least one epoch, a positive rate and batch: tune=5,lr=0.02",
            )

    def check(self, earlier: list[Any]) -> None:
        """It can follow anything."""

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """The epoch that is best on validation."""
        settings = Settings(epochs=self.epochs, lr=self.lr, batch=self.batch, warmup=0.05, share=self.share)
        return fit(
            classifier.copy(),
            context.train,
            context.validation,
            settings,
            seed=context.seed,
            device=context.device,
            folder=context.folder,
            screen=context.screen,
        ).classifier
