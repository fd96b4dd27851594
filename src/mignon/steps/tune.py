"""Fine-tuning with everything so far held: pruned weights stay zero, integers stay integers (straight-through)."""

from dataclasses import MISSING, dataclass
from typing import ClassVar

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.registry import SCHEDULES, STEPS
from mignon.settings import check_ranges, ranged, same
from mignon.steps import Context, Step, steps_done
from mignon.training.loop import fit
from mignon.training.objective import Objective, Teacher
from mignon.training.settings import Settings, check_layers
from mignon.training.terms import parse_terms


@STEPS.register("tune")
@dataclass(frozen=True)
class Tune(Step):
    """`tune=5,lr=0.02`: so many epochs over the training images, learning rate from `lr` down by `schedule`.

    `layers=last:2`: only the last two units of the network and its head train (`head`: that alone).

    The result is what is best on validation of all epochs and the state before them: never worse than it began.
    `share` below 1 ends every epoch after that share of its batches: a quarter of an epoch is `tune=1,share=0.25`.
    `clip`: a gradient longer than this is shortened to it. Gradients of a network that begins far from where it was
    (just pruned or quantized) and is sure of its answers are 10 to 4,000 long, those of one that is settling below 1:
    with `clip` one rate serves both (digits, head times 1, 10, 100: 92.6, 94.4, 92.2 %; without: 93.7, 22.3 %, start).
    `freeze`: BatchNorm keeps its statistics for the last so many of 1. `teacher`: distil from a run, a file, or
    `parent`, the network that the recipe started from; `temperature`, `weight`, `features`, `copies`: see
    training/objective.py.
    `scales`: the scales of integer grids are trained too (LSQ). `terms`: further terms of the loss, see
    training/terms.py: `terms=cor:1e-5+nuclear:1`.
    """

    epochs: int = same(Settings, "epochs", MISSING)
    layers: str = same(Settings, "layers")
    lr: float = same(Settings, "lr", 0.02)
    batch: int = same(Settings, "batch")
    share: float = same(Settings, "share")
    clip: float = same(Settings, "clip", 2.0)
    freeze: float = same(Settings, "freeze", 0.25)
    teacher: str = ""
    temperature: float = ranged(4.0, 0.1, 100, "softens the teacher's answers")
    weight: float = ranged(0.9, 0, 1, "of the teacher's answers; the rest is that of the labels")
    features: float = ranged(0.0, 0, 1000, "of the distance to the teacher's features")
    copies: int = ranged(0, 0, 64, "fixed changes of every image that the teacher answers once (0: at every step)")
    scales: bool = True
    terms: str = ""
    schedule: str = "cosine"

    summary: ClassVar[str] = "train on with everything so far held: tune=5"
    version: ClassVar[int] = 3
    examples: ClassVar[tuple[str, ...]] = (
        "tune=1,share=0.05",
        "tune=2,share=0.05,lr=0.2",
        "tune=2,share=0.05,teacher=parent",
        "tune=1,share=0.05,teacher=parent,copies=1",
        "tune=1,share=0.05,layers=head",
    )
    leaves: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_ranges(self, RecipeError, where="tune: ")
        SCHEDULES[self.schedule]
        check_layers(self.layers)
        parse_terms(self.terms)

    @property
    def models(self) -> tuple[str, ...]:
        """The teacher, where there is one."""
        return (self.teacher,) if self.teacher else ()

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """The epoch that is best on validation, or what was given."""
        settings = Settings(
            epochs=self.epochs,
            layers=self.layers,
            lr=self.lr,
            batch=self.batch,
            warmup=0.05,
            share=self.share,
            clip=self.clip,
            freeze=self.freeze,
            scales=self.scales,
            schedule=self.schedule,
        )
        teacher = None
        if self.teacher:
            master = context.load(self.teacher).copy()
            teacher = Teacher(master, self.weight, self.temperature, self.features, self.copies)
            teacher.check(classifier, self.teacher)
        earlier = steps_done(classifier.recipe)

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
