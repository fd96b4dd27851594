"""Cross-layer equalization (DFQ, Nagel et al. 2019): channels between two layers get the same range on both sides.

What lets a positive scale through (ReLU, pooling; `models/ops.py` knows) may stand between: dividing a channel of one
layer and multiplying the inputs of the next by the same number then changes nothing but the ranges.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, fx

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.models.graph import Block, blocks, module_of
from mignon.models.ops import groups, operation
from mignon.models.weights import latent_weight, norm_gain, weight_rule
from mignon.registry import STEPS
from mignon.rules.float32 import Float32
from mignon.steps import FLOAT_WEIGHTS, Context, Step

LARGEST = 2.0**8  # a channel is scaled by at most so much, either way


@STEPS.register("equalize")
@dataclass(frozen=True)
class Equalize(Step):
    """`equalize=3`: so many passes over all pairs of layers with only BatchNorm and what lets a scale pass between
    them.

    Useful before `quant=w8a8,per=tensor`; with a scale for each channel there is little to gain.
    """

    passes: int = 2

    summary: ClassVar[str] = "give channels between layers equal ranges before quantizing per tensor: equalize=2"
    version: ClassVar[int] = 1
    examples: ClassVar[tuple[str, ...]] = ("equalize=2",)
    leaves: ClassVar[tuple[str, ...]] = ()
    cannot_follow: ClassVar[Mapping[str, str]] = FLOAT_WEIGHTS | {"grids": "it changes the ranges of maps"}

    def __post_init__(self) -> None:
        if not 1 <= self.passes <= 100:
            raise RecipeError(f"equalize={self.passes} is not possible", "use 1 to 100 passes: equalize=2")

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """The same function; the screen says how many pairs there were."""
        result = classifier.copy()
        found = pairs(result.network)
        with torch.no_grad():
            for _ in range(self.passes):
                for first, second in found:
                    _equalize(result.network, first, second)
        context.screen.say(f"equalized {len(found)} pairs of layers")
        return result


def pairs(network: fx.GraphModule) -> list[tuple[Block, Block]]:
    """Layers whose output, through what lets a positive scale pass, is read by one other layer only."""
    found = blocks(network)
    readers = {block.nodes[0]: block for block in found if block.weighted}
    result = []
    for first in readers.values():
        if not _floats(first) or (first.activation is not None and not _scales_through(first.activation)):
            continue
        node = first.end
        while len(node.users) == 1 and _scales_through(module_of(network, user := next(iter(node.users)))):
            node = user
        if len(node.users) != 1:
            continue
        second = readers.get(next(iter(node.users)))
        if second is not None and _floats(second) and _inputs(second) == first.module.weight.shape[0]:
            result.append((first, second))
    return result


def _floats(block: Block) -> bool:
    rule = weight_rule(block.module)
    return rule is None or isinstance(rule, Float32)


def _scales_through(module: Any) -> bool:
    """Whether a positive factor of a channel passes through and stays with it."""
    row = operation(module)
    return row is not None and row.scales and row.one_to_one and row.role != "grid"


def _inputs(block: Block) -> int:
    return block.module.weight.shape[1] * groups(block.module)


def _equalize(network: fx.GraphModule, first: Block, second: Block) -> None:
    gain = norm_gain(network, first)
    own = latent_weight(first.module).double().flatten(1).abs().amax(1)
    own = own if gain is None else own * gain.abs()
    parts = groups(second.module)
    weight = latent_weight(second.module).double()
    grouped = weight.reshape(parts, -1, *weight.shape[1:]).abs()
    theirs = grouped.amax(dim=(1, *range(3, grouped.dim()))).flatten()  # largest weight on each input channel
    scale = torch.where((own > 0) & (theirs > 0), torch.sqrt(theirs / own.clamp_min(1e-30)), 1.0)
    scale = scale.clamp(1 / LARGEST, LARGEST).float()
    if first.norm is None:
        _multiply(first.module, scale.reshape(-1, *[1] * (first.module.weight.dim() - 1)))
        if first.module.bias is not None:
            first.module.bias.mul_(scale)
    else:
        norm: Any = network.get_submodule(first.norm)
        norm.weight.mul_(scale)
        norm.bias.mul_(scale)
    outputs = weight.shape[0] // parts
    inverse = (1 / scale).reshape(parts, 1, -1).expand(parts, outputs, -1).reshape(weight.shape[0], -1)
    _multiply(second.module, inverse.reshape(*inverse.shape, *[1] * (weight.dim() - 2)))


def _multiply(module: Any, factor: Tensor) -> None:
    """The latent weight times a factor; numbers under a mask follow."""
    rule = weight_rule(module)
    latent = module.weight if rule is None else module.parametrizations["weight"].original
    latent.mul_(factor)
    if rule is not None:
        rule.fit(latent)
