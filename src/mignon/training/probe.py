"""What a linear head reaches on the frozen features of a network, at every place where the network can be cut.

Logistic regression of scikit-learn on standardized features: mean and maximum of the map behind each unit, which is
what the head of a cut network reads (models/cut.py), and what enters the head of the whole one. Its strength and the
cut are chosen on validation, or by stratified cross-validation of train and validation together where a class has fewer
than 30 images in both. The test images are not seen here.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx

from mignon.classifier import Classifier, fresh, parameter_count
from mignon.data.imageset import Split
from mignon.errors import ModelError
from mignon.measure.statistics import wilson
from mignon.models import units
from mignon.models.cut import end_of
from mignon.models.graph import between, shapes
from mignon.models.layers import Concat, GlobalAverage, GlobalMaximum
from mignon.models.ops import is_convolution
from mignon.progress import Screen
from mignon.training.features import Copy, features_of, mirrored, plain

FEW = 30  # images of a class, below which a tenth of them judges nothing
FOLDS = 5
STRENGTHS = (0.001, 0.01, 0.1)  # C: the first is the strongest regularization
MOST = 5000  # images of a split that are looked at
CURVE = (10, 30, 100)  # images a class of the learning curve
DRAWS = 3
SMALLEST = 1e-6  # standard deviation of a feature


@dataclass(frozen=True)
class Cut:
    """A linear head behind unit `cut` (None: the whole network before its own head), and what it reaches.

    parameters: of the network that ends there. top1, low, high: share of right answers and its Wilson interval on the
    images that judge. loss: their mean cross-entropy. strength: C of the logistic regression.
    """

    cut: int | None
    parameters: int
    top1: float
    low: float
    high: float
    loss: float
    strength: float


class Probe:
    """The features of train and validation images behind every unit of a network, and linear heads on them.

    `mirror`: every image counts mirrored too when a head is fitted. At most 5,000 images of a split are looked at.
    """

    def __init__(
        self, classifier: Classifier, train: Split, validation: Split, mirror: bool, seed: int, device: str,
        screen: Screen,
    ):  # fmt: skip
        self.classifier, self.seed, self.screen = classifier, seed, screen
        network, self.columns = probing(classifier)
        splits = [_sample(split, seed) for split in (train, validation)]
        self.labels = np.concatenate([split.labels for split in splits])
        ways = (plain, mirrored) if mirror else (plain,)
        self.copies = [
            np.concatenate([_held(network, classifier, split, way, device, screen) for split in splits]) for way in ways
        ]
        self.few = int(np.bincount(self.labels, minlength=len(classifier.classes)).min()) < FEW
        own = np.arange(len(self.labels))
        size = len(splits[0])
        self.folds = _stratified(self.labels, seed) if self.few else [(own[:size], own[size:])]

    @property
    def judged(self) -> str:
        """On which images heads are judged, in words."""
        total = sum(len(held) for _, held in self.folds)
        return (
            f"{len(self.folds)}-fold cross-validation of {total:,} images"
            if self.few
            else f"{total:,} validation images"
        )

    def cuts(self) -> list[Cut]:
        """Every cut with the strength that is best for it, from the first unit to the whole network."""
        return list(self.screen.track(map(self._cut, self.columns), len(self.columns), "linear heads"))

    def curve(self, cut: Cut) -> list[dict[str, Any]]:
        """Mean and range of the share of right answers with 10, 30, 100 images a class, over three draws."""
        generator, rows = np.random.default_rng(self.seed), []
        pool = np.arange(len(self.labels)) if self.few else self.folds[0][0]
        counts = np.bincount(self.labels[pool])
        for images in [n for n in CURVE if n < counts.min()]:
            found = []
            for _ in range(DRAWS):
                drawn = np.concatenate(
                    [generator.permutation(pool[self.labels[pool] == c])[:images] for c in range(len(counts))]
                )
                held = np.setdiff1d(pool, drawn) if self.few else self.folds[0][1]
                found.append(self._judge(cut.cut, cut.strength, [(drawn, held)])[0] / len(held))
            rows.append({"images": images, "top1": float(np.mean(found)), "least": min(found), "most": max(found)})
        return rows

    def head(self, cut: Cut, validation: bool) -> Classifier:
        """The network that ends there, its last layer that of the logistic regression.

        It is fitted on the training images; on those of validation too where that is asked for (nothing will be chosen
        by them any more) and where images are few.
        """
        options = dict(self.classifier.options)
        if cut.cut is not None:
            options["cut"] = cut.cut
        given = self.classifier
        made = fresh(given.family, options, given.input, given.classes, self.seed)
        last = list(made.weighted())[-1]
        trunk = {n: t for n, t in given.network.state_dict().items() if not n.startswith(f"{last}.")}
        made.network.load_state_dict(trunk, strict=False)
        every = np.arange(len(self.labels)) if self.few or validation else self.folds[0][0]
        weight, bias = self._fit(cut.cut, cut.strength, every)
        layer = made.network.get_submodule(last)
        made.network.load_state_dict(
            {f"{last}.weight": torch.from_numpy(weight).float(), f"{last}.bias": torch.from_numpy(bias).float()},
            strict=False,
        )
        assert layer.weight.shape == weight.shape
        return made

    def _cut(self, cut: int | None) -> Cut:
        given = self.classifier
        options = {**given.options, **({} if cut is None else {"cut": cut})}
        parameters = parameter_count(given.family, options, len(given.classes), given.input.channels)
        scores = [(*self._judge(cut, strength, self.folds), strength) for strength in STRENGTHS]
        right, loss, strength = min(scores, key=lambda score: score[1])  # of so few images the loss tells more
        total = sum(len(held) for _, held in self.folds)
        return Cut(cut, parameters, right / total, *wilson(right, total), loss, strength)

    def _judge(self, cut: int | None, strength: float, folds: list[tuple[np.ndarray, np.ndarray]]) -> tuple[int, float]:
        """Right answers and mean cross-entropy over the held images of the folds."""
        right, loss, total = 0, 0.0, 0
        for own, held in folds:
            weight, bias = self._fit(cut, strength, own)
            logits = self.copies[0][held, self.columns[cut]] @ weight.T + bias
            target = torch.from_numpy(self.labels[held])
            right += int((logits.argmax(1) == self.labels[held]).sum())
            loss += float(torch.nn.functional.cross_entropy(torch.from_numpy(logits), target, reduction="sum"))
            total += len(held)
        return right, loss / total

    def _fit(self, cut: int | None, strength: float, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features = np.concatenate([copy[own, self.columns[cut]] for copy in self.copies])
        return logistic(features, np.tile(self.labels[own], len(self.copies)), strength, len(self.classifier.classes))


def logistic(features: np.ndarray, labels: np.ndarray, strength: float, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight (classes x D) and bias of the logits of a logistic regression on the standardized features (N x D); what
    standardizes them is folded in. Classes that have no image here get the lowest logit.
    """
    from sklearn.linear_model import LogisticRegression

    mean, scale = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64) + SMALLEST
    known = np.unique(labels)
    weight, bias = np.zeros((classes, features.shape[1])), np.full(classes, -1e3)
    if len(known) == 1:
        bias[known] = 0.0
        return weight, bias
    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 200 steps are enough to rank and to use it
        model.fit((features - mean) / scale, labels)
    slope, start = model.coef_, model.intercept_
    if len(known) == 2:  # one logit for both
        slope, start = np.concatenate([-slope, slope]) / 2, np.concatenate([-start, start]) / 2
    weight[known], bias[known] = slope / scale, start - (slope / scale) @ mean
    return weight, bias


def probing(classifier: Classifier) -> tuple[fx.GraphModule, dict[int | None, slice]]:
    """A network that gives mean and maximum behind every unit and what enters the head, N x all of them together, and
    which columns belong to which cut (None: the whole network). It shares the modules of the classifier.
    """
    network = classifier.network
    nodes = list(network.graph.nodes)
    head = next(node for node in nodes if str(node.target) == list(classifier.weighted())[-1])
    names = [] if "cut" in classifier.options else units(classifier.family, classifier.options)
    places: dict[int | None, fx.Node] = {i: end_of(network, name) for i, name in enumerate(names)}
    if not is_convolution(network.get_submodule(str(head.target))):
        places[None] = head.all_input_nodes[0]
    known, start = shapes(network, *classifier.size), next(node for node in nodes if node.op == "placeholder")
    part = between(network, [start], list(places.values()))
    (output,) = (node for node in part.graph.nodes if node.op == "output")
    for name, module in {"mean": GlobalAverage(), "maximum": GlobalMaximum(), "together": Concat()}.items():
        part.add_submodule(f"probe.{name}", module)
    values: list[fx.Node] = []
    columns: dict[int | None, slice] = {}
    first = 0
    with part.graph.inserting_before(output):
        given: Any = output.args[0]
        for (cut, place), value in zip(places.items(), given if isinstance(given, tuple) else (given,)):
            channels, *sides = known[place.name]
            names = ["mean", "maximum"] if sides else []
            values += [part.graph.call_module(f"probe.{name}", (value,)) for name in names] or [value]
            columns[cut] = slice(first, first + channels * max(1, len(names)))
            first = columns[cut].stop
        output.args = (part.graph.call_module("probe.together", tuple(values)),)
    part.recompile()
    return part.eval(), columns


def _held(
    network: fx.GraphModule, classifier: Classifier, split: Split, copy: Copy, device: str, screen: Screen
) -> np.ndarray:
    features = features_of(network, classifier.input, split, copy, device, screen)
    if features is None:
        raise ModelError("the disk has no room for the features of these images", "set MIGNON_CACHE to a larger one")
    return features.take(slice(None))


def _sample(split: Split, seed: int) -> Split:
    if len(split) <= MOST:
        return split
    chosen = np.sort(np.random.default_rng(seed).permutation(len(split))[:MOST])
    return Split(split.name, split.take(chosen), split.labels[chosen], [split.names[i] for i in chosen])


def _stratified(labels: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds of which each holds its share of every class: (all others, held)."""
    generator, fold = np.random.default_rng(seed), np.zeros(len(labels), int)
    for label in np.unique(labels):
        own = generator.permutation(np.flatnonzero(labels == label))
        fold[own] = (np.arange(len(own)) + generator.integers(FOLDS)) % FOLDS
    held = [np.flatnonzero(fold == number) for number in range(FOLDS)]
    return [(np.setdiff1d(np.arange(len(labels)), part), part) for part in held if len(part)]


def best(cuts: list[Cut]) -> Cut:
    """The most accurate one; of equal ones that with the lowest loss."""
    return max(cuts, key=lambda cut: (cut.top1, -cut.loss))
