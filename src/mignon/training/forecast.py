"""What a training will take, before its first epoch: time, memory, disk."""

import math

from mignon.classifier import Classifier
from mignon.data.batches import batch_size, steps_per_epoch
from mignon.models.graph import shapes
from mignon.registry import OPTIMIZERS
from mignon.training.device import ANSWER, step_seconds
from mignon.training.settings import Settings

TRIED = 8  # images of the step that is timed


def forecast(classifier: Classifier, train: int, validation: int, settings: Settings, device: str) -> str:
    """A line for the screen; all layers are taken to train. From a step of eight images, timed here."""
    batch, steps = batch_size(train, settings.batch), steps_per_epoch(train, settings.batch)
    each = step_seconds(classifier, min(TRIED, batch), device, settings.precision != "32-true") / min(TRIED, batch)
    seen = settings.share * steps * batch + ANSWER * validation
    maps = sum(math.prod(shape) for shape in shapes(classifier.network, *classifier.size).values())
    numbers, states = sum(p.numel() for p in classifier.network.parameters()), OPTIMIZERS[settings.optimizer].states
    memory = 4 * (numbers * (3 + states) + maps * -(-batch // settings.accumulate))
    return (
        f"forecast: {settings.epochs} epochs of {steps} steps in about {_time(settings.epochs * seen * each)}, "
        f"{memory / 2**20:,.0f} MiB of memory for them, {4 * numbers * (2 + states) / 2**20:,.1f} MiB of disk"
    )


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
