"""Trained weight sharing of Deep Compression (Han, Mao, Dally 2016): k-means on the weights, in one dimension.

On sorted numbers a cluster is an interval, so with prefix sums a pass of Lloyd's algorithm is k binary searches and k
subtractions, however many weights there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.models.ops import is_convolution
from mignon.models.weights import mask_of, put_rules
from mignon.registry import STEPS
from mignon.rules import Rule
from mignon.rules.codebook import LARGEST, Codebook
from mignon.steps import FLOAT_WEIGHTS, Context, Step

PASSES = 1000  # Lloyd's algorithm ends by itself long before


@STEPS.register("cluster")
@dataclass(frozen=True)
class Cluster(Step):
    """`cluster=16`: each weight tensor becomes indices of 16 shared values; a `tune` behind it trains these values.

    `linear` is their number in linear layers when it differs, `shared` makes one codebook for the whole network,
    `start` is linear, density, kmeans++ or random. Pruned weights keep index 0, which counts as one of the values.
    """

    values: int
    linear: int | None = None
    shared: bool = False
    start: str = "linear"

    summary: ClassVar[str] = "weights to a few shared values by k-means: cluster=16 or cluster=256,linear=16"
    version: ClassVar[int] = 1
    examples: ClassVar[tuple[str, ...]] = ("cluster=4", "cluster=16,shared=true", "cluster=8,linear=3,start=density")
    leaves: ClassVar[tuple[str, ...]] = ("whole weights",)
    cannot_follow: ClassVar[Mapping[str, str]] = FLOAT_WEIGHTS

    def __post_init__(self) -> None:
        for number in (self.values, self.linear):
            if number is not None and not 2 <= number <= LARGEST:
                raise RecipeError(f"{number} shared values are not possible", f"use 2 to {LARGEST}: cluster=16")
        if self.start not in STARTS:
            raise RecipeError(f"there is no start {self.start!r}", f"use one of: {', '.join(STARTS)}")
        if self.shared and self.linear is not None:
            raise RecipeError("one codebook for the network has one number of values", "leave out linear= or shared=")

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """Codebooks on every convolution and linear weight."""
        result = classifier.copy()
        modules, weights = result.weighted(), result.weights()
        chosen: dict[str, tuple[Rule, Tensor]] = {}
        groups = [list(modules)] if self.shared else [[name] for name in modules]
        for number, names in enumerate(groups):
            linear = not is_convolution(modules[names[0]])
            size = self.linear if linear and self.linear is not None else self.values
            masks = [mask_of(modules[name]) for name in names]
            rules = codebooks(
                {f"{name}.weight": weights[name] for name in names},
                masks,
                size,
                self.start,
                [context.seed, number],
            )
            chosen |= {f"{name}.weight": (rule, weights[name]) for name, rule in zip(names, rules)}
        put_rules(result.network, chosen)
        return result


def codebooks(
    weights: dict[str, Tensor], masks: list[Tensor | None], size: int, start: str, seed: list[int]
) -> list[Codebook]:
    """One rule a weight, all with the centroids of the first, for at most `size` indices.

    Where there is a mask, one of them is its zero.
    """
    masked = any(mask is not None for mask in masks)
    kept = [torch.ones_like(w, dtype=torch.bool) if m is None else m.bool() for w, m in zip(weights.values(), masks)]
    numbers = [w[keep].double().cpu().numpy() for w, keep in zip(weights.values(), kept)]
    centers = kmeans(np.concatenate(numbers), size - masked, start, seed)
    low = -int((centers < 0).sum()) if masked else -int(np.abs(centers).argmin())
    spec: dict[str, Any] = {"rule": "codebook", "indices": len(centers) + masked} | ({"masked": True} if masked else {})
    rules: list[Codebook] = []
    for weight, keep, values in zip(weights.values(), kept, numbers):
        rule = Codebook(spec, tuple(weight.shape)).to(weight.device)
        index = torch.from_numpy(nearest(values, centers) + low).to(weight.device, torch.int32)
        shifted = index + masked * (index >= 0).int()  # 0 is free for what is pruned
        rule.set_index(torch.zeros_like(keep, dtype=torch.int32).masked_scatter(keep, shifted))
        if not rules:
            rule.assign(torch.from_numpy(centers).float(), low)
            spec = {**spec, "from": next(iter(weights))}
        rules.append(rule)
    return rules


def nearest(values: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """For each value the number of the nearest of the ascending centers."""
    return np.searchsorted((centers[1:] + centers[:-1]) / 2, values)


def kmeans(values: np.ndarray, k: int, start: str, seed: list[int]) -> np.ndarray:
    """At most k ascending centers with a (local) minimum of the summed squared distance to their values.

    Fewer distinct values than k are their own centers. No cluster stays empty: it begins again at the outermost value
    of the one with the largest error.
    """
    ordered = np.sort(values)
    distinct = np.unique(ordered)
    if len(distinct) <= k:
        return distinct
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    squares = np.concatenate([[0.0], np.cumsum(ordered**2)])
    centers = np.sort(STARTS[start](ordered, k, np.random.default_rng(seed)))
    for _ in range(PASSES):
        edges = np.concatenate(
            [[0], np.searchsorted(ordered, (centers[1:] + centers[:-1]) / 2, "right"), [len(ordered)]]
        )
        first, last = edges[:-1], edges[1:]
        filled = last > first
        first, last = first[filled], last[filled]
        means = ((sums[last] - sums[first]) / (last - first)).clip(ordered[first], ordered[last - 1])
        missing = k - len(means)
        if missing:
            error = squares[last] - squares[first] - (sums[last] - sums[first]) ** 2 / (last - first)
            worst = np.argsort(-error, kind="stable")[:missing]
            low, high = ordered[first[worst]], ordered[last[worst] - 1]
            added = np.where(means[worst] - low > high - means[worst], low, high)
            means = np.unique(np.concatenate([means, added]))
        if np.array_equal(means, centers):
            break
        centers = means
    return centers


def _linear(ordered: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    return np.linspace(ordered[0], ordered[-1], k)


def _density(ordered: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    return ordered[(2 * np.arange(k) + 1) * len(ordered) // (2 * k)]


def _random(ordered: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    return generator.choice(np.unique(ordered), k, replace=False)


def _plus_plus(ordered: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    """Arthur, Vassilvitskii 2007: each next center with a probability that grows with the squared distance."""
    centers = [ordered[generator.integers(len(ordered))]]
    distance = (ordered - centers[0]) ** 2
    for _ in range(k - 1):
        total = np.cumsum(distance)
        if total[-1] == 0:
            break
        centers.append(ordered[min(np.searchsorted(total, generator.random() * total[-1], "right"), len(ordered) - 1)])
        distance = np.minimum(distance, (ordered - centers[-1]) ** 2)
    return np.array(centers)


STARTS = {"linear": _linear, "density": _density, "kmeans++": _plus_plus, "random": _random}
