"""Fine-tuning with everything so far held: pruned weights stay zero, integers stay integers (straight-through)."""

from dataclasses import dataclass
from typing import ClassVar

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.registry import STEPS
from mignon.steps import Context, Step, parse_step
from mignon.training.loop import Settings, fit
from mignon.training.objective import Objective, Teacher
from mignon.training.terms import parse_terms


@STEPS.register("tune")
@dataclass(frozen=True)
class Tune(Step):
    """`tune=5,lr=0.02`: so many epochs over the training images, learning rate from `lr` down to 0 by a cosine.

    `share` below 1 ends every epoch after that share of its batches: a quarter of an epoch is `tune=1,share=0.25`.
    `freeze`: BatchNorm keeps its statistics for the last so many of 1. `teacher`: distil from a run, a file, or
    `parent`, the network that the recipe started from; `temperature`, `weight`, `features`: see training/objective.py.
    `scales`: the scales of integer grids are trained too (LSQ). `terms`: further terms of the loss, see
    training/terms.py: `terms=cor:1e-5+nuclear:1`.
    """

    epochs: int
    lr: float = 0.02
    batch: int = 128
    share: float = 1.0
    freeze: float = 0.25
    teacher: str = ""
    temperature: float = 4.0
    weight: float = 0.9
    features: float = 0.0
    scales: bool = True
    terms: str = ""

    summary: ClassVar[str] = "train on with everything so far held: tune=5"
    version: ClassVar[int] = 2
    examples: ClassVar[tuple[str, ...]] = (
        "tune=1,share=0.05",
        "tune=2,share=0.05,lr=0.2",
        "tune=2,share=0.05,teacher=parent",
    )
    leaves: ClassVar[tuple[str, ...]] = ()

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
        if not 0 <= self.freeze < 1 or not 0 <= self.weight <= 1 or not 0.1 <= self.temperature <= 100:
            raise RecipeError(
                f"freeze={self.freeze:g},weight={self.weight:g},temperature={self.temperature:g} is not possible",
                "freeze from 0 up to below 1, weight from 0 to 1, temperature from 0.1 to 100",
            )
        if not 0 <= self.features <= 1000:
            raise RecipeError(f"features={self.features:g} is not possible", "use 0 to 1000")
        parse_terms(self.terms)

    @property
    def models(self) -> tuple[str, ...]:
        """The teacher, where there is one."""
        return (self.teacher,) if self.teacher else ()

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """The epoch that is best on validation."""
        settings = Settings(
            epochs=self.epochs,
            lr=self.lr,
            batch=self.batch,
            warmup=0.05,
            share=self.share,
            freeze=1 - self.freeze,
            scales=self.scales,
        )
        teacher = None
        if self.teacher:
            master = context.load(self.teacher)
            if master.classes != classifier.classes or master.size != classifier.size:
                raise RecipeError(
                    f"the teacher {self.teacher} has other classes or another picture size",
                    "give one that was trained on the same images",
                )
            teacher = Teacher(master.copy(), self.weight, self.temperature, self.features)
        earlier = [parse_step(text) for text in classifier.recipe]

        def after_epoch(tuned: Classifier, epoch: int) -> None:
            for step in earlier:
                step.after_epoch(tuned, epoch)

        return fit(
            classifier.copy(),
            context.train,
            context.validation,
            settings,
            seed=context.seed,
            device=context.device,
            folder=context.folder,
            screen=context.screen,
            objective=Objective(teacher, parse_terms(self.terms)),
            after_epoch=after_epoch,
        ).classifier
