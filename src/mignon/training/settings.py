"""How a network is trained: every setting once, with its default, its range and what it means."""

from dataclasses import dataclass, fields

from mignon.errors import ModelError
from mignon.registry import SCHEDULES
from mignon.settings import check_ranges, named, ranged


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user may say of a training: every field is a flag of `mignon train`, a setting of its Python function and
    of the `[train]` table of a recipe, and stands in the record of the run.

    Stochastic gradient descent with Nesterov momentum. Steps that train take fields from here (`mignon.settings.same`),
    with defaults of their own. Raises MignonError for what is out of range.
    """

    epochs: int = ranged(30, 1, 10_000, "passes over the training images")
    lr: float = ranged(0.2, 0, 10, "highest learning rate", above=True)
    batch: int = ranged(128, 1, 65_536, "images a step, fewer where an epoch would have less than 16 steps")
    momentum: float = ranged(0.9, 0, 0.999, "share of a step that goes on in the next")
    weight_decay: float = ranged(5e-4, 0, 1, "pull of weights to zero (biases and BatchNorm are free of it)")
    clip: float = ranged(0.0, 0, 1e6, "longest gradient of a step, a longer one is shortened to it (0: any)")
    warmup: float = ranged(0.15, 0, 1, "share of all steps in which the rate rises to lr")
    schedule: str = named("cosine", "how the rate goes from lr to its end")
    share: float = ranged(1.0, 0, 1, "of the batches of an epoch, where a whole one is too long", above=True)
    freeze: float = ranged(0.0, 0, 0.999, "BatchNorm keeps its statistics for the last so many of 1 of all steps")

    def __post_init__(self) -> None:
        check_ranges(self, ModelError, "--{name} {value}")
        SCHEDULES[self.schedule]


@dataclass(frozen=True, kw_only=True)
class Settings(Options):
    """The options, and what the verb or step decides."""

    scales: bool = False  # train the scales of integer grids too
    precision: str = "32-true"

    @classmethod
    def of(cls, options: Options, precision: str) -> "Settings":
        """The options of a request or of a recipe, with a precision."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(Options)}, precision=precision)
