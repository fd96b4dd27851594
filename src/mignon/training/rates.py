"""Which learning rate: a short training whose rate grows evenly by factors (Smith 2017, the range test)."""

from dataclasses import replace
from pathlib import Path

from mignon.classifier import Classifier
from mignon.data.imageset import Split
from mignon.errors import MignonError
from mignon.models.graph import place
from mignon.progress import Screen
from mignon.registry import OPTIMIZERS
from mignon.training.course import course_for
from mignon.training.layers import Layers
from mignon.training.loop import Training
from mignon.training.objective import Objective
from mignon.training.settings import Settings

STEPS = 100
HIGHEST = 20.0  # times the usual rate
FAR = 2.0  # times the lowest loss: from there on it only grows
BEFORE = 0.1  # of the rate at which the loss is lowest


def range_test(
    classifier: Classifier, train: Split, validation: Split, settings: Settings, objective: Objective, seed: int,
    device: str, screen: Screen,
) -> list[tuple[float, float]]:  # fmt: skip
    """(rate, running loss) at every step, until the loss runs away; the classifier given stays as it is."""
    trial = classifier.copy()
    layers, network = Layers.of(trial, settings.layers), place(trial.network, device)
    course = course_for(layers, trial, train, validation, objective.teacher, settings, seed, device, screen)
    highest = min(10.0, HIGHEST * OPTIMIZERS[settings.optimizer].fresh)
    grown = replace(
        settings, lr=highest, warmup=0.0, schedule="range", epochs=-(-STEPS // course.steps), ema=0.0, share=1.0
    )
    points: list[tuple[float, float]] = []
    with layers.held(), objective.bind(network, device) as loss_of:
        training = Training(course, layers, grown, seed, device, Path("none"), "")
        for epoch in range(grown.epochs):
            training.state.epoch, training.state.step = epoch, 0
            for _ in screen.track(training.epoch(loss_of), training.steps, "range of rates"):
                points.append((training.rate(training.state.step - 1), training.state.running))
                if not training.state.running <= FAR * min(loss for _, loss in points):
                    return points
    return points


def best_rate(points: list[tuple[float, float]]) -> float:
    """A tenth of the rate at which the loss is lowest, to two digits. Raises MignonError when it never falls."""
    rate, lowest = min(points, key=lambda point: point[1])
    if not lowest < 0.99 * points[0][1]:
        raise MignonError("no rate makes the loss fall", "look at the images (mignon data), or give --lr yourself")
    return float(f"{BEFORE * rate:.2g}")
