"""What a training goes through: which images in which order, and how they are changed at every step.

All of it is a pure function of seed, epoch and step, so that an interrupted training goes on with the same batches.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from mignon.classifier import Classifier
from mignon.data.batches import batch_size, steps_per_epoch
from mignon.data.imageset import Split
from mignon.data.inputs import InputSpec
from mignon.models.graph import between
from mignon.progress import Screen
from mignon.registry import AUGMENTATIONS
from mignon.training.features import Copy, features_of, mirrored, plain
from mignon.training.layers import Layers
from mignon.training.objective import Teacher
from mignon.training.settings import Settings

Pixels = Callable[[int, int, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Course:
    """Images for a classifier to learn from, and those that judge it.

    pixels: (epoch, step, indices) -> what is seen of these images then: uint8 B x H x W x C, or features of a frozen
    trunk, where the classifier is the part behind it. answers: the logits (N x classes) of a teacher for each of the
    fixed copies that epochs take in turn; none where it answers at every step.
    """

    classifier: Classifier
    labels: np.ndarray
    validation: Split
    pixels: Pixels
    batch: int
    steps: int
    seed: int
    sampled: bool = False
    answers: list[np.ndarray] = field(default_factory=list)

    def order(self, epoch: int) -> np.ndarray:
        """The images of an epoch: each once, or, `sampled`, drawn so that every class is there equally often."""
        generator = np.random.default_rng([self.seed, epoch])
        if not self.sampled:
            return generator.permutation(len(self.labels))
        share = 1 / np.bincount(self.labels)[self.labels]
        return generator.choice(len(self.labels), len(self.labels), p=share / share.sum())

    def batches(self, epoch: int, steps: range) -> Any:
        """(indices, pixels, the teacher's answers or None) of these steps of an epoch."""
        order = self.order(epoch)
        for step in steps:
            chosen = order[step * self.batch : (step + 1) * self.batch]
            answers = self.answers[epoch % len(self.answers)][chosen] if self.answers else None
            yield chosen, self.pixels(epoch, step, chosen), answers


def course_for(
    layers: Layers, classifier: Classifier, train: Split, validation: Split, teacher: Teacher | None,
    settings: Settings, seed: int, device: str, screen: Screen,
) -> Course:  # fmt: skip
    """Changed images at every step; features where the layers before those that train are frozen; fixed copies where
    the teacher's answers are computed once.
    """
    size = batch_size(len(train), settings.batch)
    steps = max(1, round(settings.share * steps_per_epoch(len(train), settings.batch)))
    change = AUGMENTATIONS[settings.augment].change(classifier.input)

    def seen(epoch: int, step: int, chosen: np.ndarray) -> np.ndarray:
        return change(train.take(chosen), np.random.default_rng([seed, epoch, step]))

    course = Course(classifier, train.labels, validation, seen, size, steps, seed, settings.balance == "sampling")
    if settings.mixup or settings.cutmix:
        return course
    if teacher is None:
        return _on_features(course, layers, train, settings, device, screen)
    if not teacher.copies or teacher.features:
        return course
    copies = [fixed(settings.augment, classifier.input, seed, number) for number in range(teacher.copies)]
    master = teacher.classifier
    held = [features_of(master.network, master.input, train, copy, device, screen) for copy in copies]
    answers = [split.take(slice(None)) for split in held if split is not None]
    if len(answers) < len(copies):
        return course
    return replace(course, pixels=partial(_of_copies, copies, train), answers=answers)


def fixed(augment: str, spec: InputSpec, seed: int, number: int) -> Copy:
    """Every image changed once and for all, by a draw of its own."""
    change = AUGMENTATIONS[augment].change(spec)

    def take(split: Split, chosen: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [change(split.take(np.array([i])), np.random.default_rng([seed, number, i])) for i in chosen]
        )

    return Copy(f"{augment} {number + 1}, seed {seed}", take)


def _of_copies(copies: list[Copy], train: Split, epoch: int, step: int, chosen: np.ndarray) -> np.ndarray:
    return copies[epoch % len(copies)].take(train, chosen)


def _of_features(copies: list[Split], epoch: int, step: int, chosen: np.ndarray) -> np.ndarray:
    return copies[epoch % len(copies)].take(chosen)


def _on_features(
    course: Course, layers: Layers, train: Split, settings: Settings, device: str, screen: Screen
) -> Course:
    """The layers that train, on what the frozen ones make of the images (mirrored in every second epoch where that is
    usual); the course as it is where no single map lies between them, it would be too large for the disk, or the images
    are to be changed in another way.
    """
    border = layers.border
    if not layers.frozen or len(border) != 1 or border[0].op == "placeholder":
        return course
    if settings.augment not in ("auto", "none"):
        return course
    start = [node for node in layers.network.graph.nodes if node.op == "placeholder"]
    trunk, spec = between(layers.network, start, border), course.classifier.input
    ways = [plain, mirrored] if settings.augment == "auto" and spec.channels == 3 else [plain]
    copies = [features_of(trunk, spec, train, way, device, screen) for way in ways]
    judge = features_of(trunk, spec, course.validation, plain, device, screen)
    whole = [copy for copy in copies if copy is not None]
    if judge is None or len(whole) < len(copies):
        return course
    rest = replace(course.classifier, network=layers.trained)
    return replace(course, classifier=rest, validation=judge, pixels=partial(_of_features, whole))
