"""Structured pruning: whole channels go, and the network is really narrower (dependency groups, Fang et al. 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.measure.cost import layers
from mignon.models.graph import place
from mignon.models.narrow import Coupling, couple, narrow, widths_of
from mignon.models.ops import is_weighted, role
from mignon.models.weights import latent_weight, mask_of, set_rule, weight_rule
from mignon.registry import STEPS
from mignon.rules.float32 import Float32
from mignon.steps import FLOAT_WEIGHTS, FREE_MAPS, Context, Step
from mignon.steps.prune.masks import check_share, kept_masks

MEASURES = ("l2", "l1", "bn-gamma")


@STEPS.register("prune-channels")
@dataclass(frozen=True)
class PruneChannels(Step):
    """`prune-channels=0.5`: remove this share of the channels of every group, so that the network is built narrower.

    A group is all channels that run through the same layers; round(share x n) of its n go, at least one stays; the
    logits and layers with groups of several channels stay as they are. by: `l2` or `l1`, the sum of the squared or
    absolute weights of all layers that make or read the channel; `bn-gamma`, of the BatchNorm gammas behind it (Liu et
    al. 2017). Ties go by position.
    """

    share: float
    by: str = "l2"

    summary: ClassVar[str] = "remove whole channels, the network gets narrower: prune-channels=0.5"
    version: ClassVar[int] = 1
    examples: ClassVar[tuple[str, ...]] = ("prune-channels=0.5", "prune-channels=0.3")
    leaves: ClassVar[tuple[str, ...]] = ("other widths",)
    cannot_follow: ClassVar[Mapping[str, str]] = FLOAT_WEIGHTS | FREE_MAPS

    def __post_init__(self) -> None:
        check_share("prune-channels", self.share)
        if self.by not in MEASURES:
            raise RecipeError(f"prune-channels cannot go by {self.by!r}", f"use {', '.join(MEASURES)}")

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """A narrower network with the numbers of the channels that stay."""
        kept_masks(classifier)
        coupling = couple(classifier.network, classifier.input.channels)
        scores = importance(classifier.network, coupling, self.by)
        keep = torch.ones(len(scores), dtype=torch.bool)
        for group in coupling.groups:
            going = min(len(group) - 1, round(self.share * len(group)))
            keep[group[torch.argsort(scores[group], stable=True)[:going]]] = False
        result = without_channels(classifier, coupling, keep)
        before, after = (layers(c.network, c.size) for c in (classifier, result))
        context.screen.say(
            f"prune-channels: {classifier.parameters:,} -> {result.parameters:,} parameters, "
            f"{sum(row.macs for row in before):,} -> {sum(row.macs for row in after):,} MACs"
        )
        return result


def importance(network: fx.GraphModule, coupling: Coupling, by: str) -> Tensor:
    """One score (float64) for each number of the coupling. Raises RecipeError when `bn-gamma` finds no BatchNorm."""
    scores = torch.zeros(1 + max(int(numbers.max()) for numbers in coupling.outputs.values()), dtype=torch.float64)
    if by == "bn-gamma":
        scores -= 1
    for name, rows in coupling.outputs.items():
        module: Any = network.get_submodule(name)
        if by == "bn-gamma" and role(module) == "norm":
            scores[rows] = scores[rows].clamp_min(0)
            scores.index_add_(0, rows, module.weight.detach().double().abs())
        elif by != "bn-gamma" and is_weighted(module):
            weight = latent_weight(module).double().reshape(*module.weight.shape[:2], -1)
            sizes = weight.square() if by == "l2" else weight.abs()
            scores.index_add_(0, rows, sizes.sum((1, 2)))
            if name in coupling.inputs:
                scores.index_add_(0, coupling.inputs[name], sizes.sum((0, 2)))
    if any(bool((scores[group] < 0).any()) for group in coupling.groups):
        raise RecipeError(
            "prune-channels by=bn-gamma needs a BatchNorm behind every layer",
            "use by=l2, or a network whose BatchNorm is live (a training run or its .safetensors, not a .mgn)",
        )
    return scores


def without_channels(classifier: Classifier, coupling: Coupling, keep: Tensor) -> Classifier:
    """The narrower Classifier of the channels whose number `keep` (bool) keeps, with their numbers and masks."""
    old = classifier.network
    widths = widths_of(old)
    stays = {name: keep[numbers] for name, numbers in coupling.outputs.items()}
    for name, rows in stays.items():
        module: Any = old.get_submodule(name)
        if role(module) == "pad":
            ends = {"before": rows[: module.before], "after": rows[len(rows) - module.after :]}
            widths |= {f"{name}.{end}": int(part.sum()) for end, part in ends.items()}
        elif name in widths:
            widths[name] = int(rows.sum())
    changed = {name: width for name, width in widths.items() if width != widths_of(old)[name]}
    network = narrow(old, changed, classifier.input.channels)
    with torch.no_grad():
        for name, rows in stays.items():
            module, smaller = old.get_submodule(name), network.get_submodule(name)
            if role(module) == "norm":
                state = smaller.state_dict()
                for key, value in module.state_dict().items():
                    state[key].copy_(value[rows] if value.dim() else value)
            elif is_weighted(module):
                columns = keep[coupling.inputs[name]] if name in coupling.inputs else slice(None)
                _cut(module, smaller, "weight", rows, columns)
                if module.bias is not None:
                    _cut(module, smaller, "bias", rows)
    return replace(classifier, network=place(network), widths={**classifier.widths, **changed})


def _cut(module: nn.Module, smaller: nn.Module, tensor: str, *axes: Tensor | slice) -> None:
    """Give the smaller layer these rows (and columns) of a tensor, under the same rule."""

    def part(values: Tensor) -> Tensor:
        return values[axes[0]] if len(axes) == 1 else values[axes[0]][:, axes[1]]

    rule, latent = weight_rule(module, tensor), part(latent_weight(module, tensor))
    if rule is None:
        getattr(smaller, tensor).copy_(latent)
        return
    mask = mask_of(module, tensor)
    cut = Float32({"rule": "float"}, tuple(latent.shape)) if mask is None else Float32.masked(part(mask))
    cut.fit(latent)
    set_rule(smaller, cut, latent, tensor)
