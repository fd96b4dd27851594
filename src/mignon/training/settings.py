"""How a network is trained: every setting once, with its default, its range and what it means."""

from dataclasses import dataclass, fields
from typing import Any, Self

from mignon.errors import ModelError
from mignon.registry import AUGMENTATIONS, OPTIMIZERS, SCHEDULES
from mignon.settings import check_ranges, named, ranged, same

BALANCES = ("none", "weights", "sampling")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user may say of a training: every field is a flag of `mignon train`, a setting of its Python function and
    of the `[train]` table of a recipe, and stands in the record of the run.

    None is what suits the weights at the start (`Settings.of`). Steps that train take fields from here
    (`mignon.settings.same`), with defaults of their own. Raises MignonError for what is out of range.
    """

    epochs: int = ranged(30, 1, 10_000, "passes over the training images")
    layers: str = named("all", "which layers train: all, head, last:K (units) or none; the rest is frozen")
    optimizer: str | None = named(None, "sgd (Nesterov), adam, adamw or muon (usual: sgd; adamw for given weights)")
    lr: float | None = ranged(None, 0, 10, "highest learning rate (usual: by the optimizer and the start)", True, 0.2)
    trunk: float | None = ranged(
        None, 0, 1, "rate of all before the head as a share of lr (usual: 0.1 for given ones)", usual=0.1
    )
    augment: str = named("auto", "how images change: auto, none, crop-flip, random-resized-crop and others")
    mixup: float = ranged(0.0, 0, 10, "two images in one, mixed by a draw from Beta(mixup, mixup) (0: none)")
    cutmix: float = ranged(0.0, 0, 10, "a part of another image in each, its area from Beta(cutmix, cutmix) (0: none)")
    smoothing: float = ranged(0.0, 0, 0.9, "share of a label that is spread over all classes")
    balance: str = named("none", "unequal classes: none, weights (in the loss) or sampling (equally often)")
    batch: int = ranged(128, 1, 65_536, "images a step, fewer where an epoch would have less than 16 steps")
    momentum: float = ranged(0.9, 0, 0.999, "share of a step that goes on in the next")
    weight_decay: float | None = ranged(
        None, 0, 1, "pull of weights to zero (biases and BatchNorm are free of it)", usual=5e-4
    )
    accumulate: int = ranged(1, 1, 1024, "parts that a step's images are computed in, for less memory")
    ema: float = ranged(0.0, 0, 0.99999, "share of the running mean of all weights that stays at a step (0: no mean)")
    clip: float = ranged(0.0, 0, 1e6, "longest gradient of a step, a longer one is shortened to it (0: any)")
    warmup: float = ranged(0.15, 0, 1, "share of all steps in which the rate rises to lr")
    patience: int = ranged(0, 0, 10_000, "epochs without a better validation after which it ends (0: never)")
    schedule: str = named("cosine", "how the rate goes from lr to its end")
    share: float = ranged(1.0, 0, 1, "of the batches of an epoch, where a whole one is too long", above=True)
    freeze: float | None = ranged(None, 0, 1, "BatchNorm keeps its statistics for the last so many of 1 of all steps")

    def __post_init__(self) -> None:
        check_ranges(self, ModelError, "--{name} {value}")
        SCHEDULES[self.schedule]
        AUGMENTATIONS[self.augment]
        check_layers(self.layers)
        if self.balance not in BALANCES:
            raise ModelError(f"--balance {self.balance} is not possible", f"use --balance {', '.join(BALANCES)}")
        if self.optimizer is not None:
            OPTIMIZERS[self.optimizer]


@dataclass(frozen=True, kw_only=True)
class Settings(Options):
    """The options, each decided, and what the verb or step decides."""

    optimizer: str = "sgd"
    lr: float = same(Options, "lr", 0.2)
    trunk: float = same(Options, "trunk", 1.0)
    weight_decay: float = same(Options, "weight_decay", 5e-4)
    freeze: float = same(Options, "freeze", 0.0)
    scales: bool = False  # train the scales of integer grids too
    precision: str = "32-true"

    @classmethod
    def of(cls, options: Options, precision: str = "32-true", given: str = "") -> Self:
        """The options with a precision; what was not said is as suits the weights at the start.

        `given`: nothing (a fresh network), `trunk` (a fresh head on given weights) or `all`. Weights that are given are
        never trained at a rate for fresh ones, and keep the statistics of their BatchNorm: a few hundred pictures know
        less about them than what they were trained on.
        """
        asked = {field.name: getattr(options, field.name) for field in fields(Options)}
        if isinstance(asked["lr"], str):  # where several rates, or a search for one, may be asked for
            asked["lr"] = None if asked["lr"] == "auto" else float(asked["lr"])
        name = asked["optimizer"] or ("adamw" if given else "sgd")
        kind = OPTIMIZERS[name]
        usual: dict[str, Any] = {"optimizer": name, "lr": kind.fresh, "trunk": 1.0, "weight_decay": kind.decay}
        if given:
            usual |= {"lr": kind.given, "trunk": 0.1, "freeze": 1.0}
        if given == "all":
            usual |= {"lr": 0.1 * kind.given, "trunk": 1.0}
        return cls(**{**usual, **{n: v for n, v in asked.items() if v is not None}}, precision=precision)

    def line(self) -> str:
        """What was decided, for the screen."""
        rates = f"rate {self.lr:g}" + (f" (before the head {self.trunk * self.lr:g})" if self.trunk != 1 else "")
        norm = ", BatchNorm keeps its statistics" if self.freeze == 1 else ""
        return (
            f"{self.optimizer}, {rates}, warm-up {100 * self.warmup:g} %, {self.schedule}, "
            f"weight decay {self.weight_decay:g}{norm}"
        )


def check_layers(text: str) -> int | None:
    """How many units `last:K` names; None for all, head and none. Raises ModelError for anything else."""
    if text in ("all", "head", "none"):
        return None
    name, _, count = text.partition(":")
    if name != "last" or not count.isdecimal() or not 1 <= int(count) <= 1000:
        raise ModelError(f"there are no layers {text!r}", "use all, head, last:K (for example last:2) or none")
    return int(count)
