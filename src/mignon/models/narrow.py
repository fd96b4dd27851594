"""Networks with fewer channels: which channels hang together, and the network that is built narrower.

Two channels hang together when an addition or a depthwise convolution ties them: they can only be removed as one
(dependency groups, Fang et al. 2023). Padding shortcuts shift channels, concatenations stack them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from mignon.errors import ModelError
from mignon.models.graph import clone
from mignon.models.ops import is_depthwise, is_grouped, is_weighted, operation, resized, role


@dataclass(frozen=True)
class Coupling:
    """Channels that are removed together have one number.

    outputs: the numbers of the channels that leave a convolution, linear layer, BatchNorm or padding shortcut, by name.
    inputs: those of the columns of a weight (a linear layer may read C x H x W; none for depthwise and grouped layers).
    groups: the numbers that may be removed; those of one group run through the same layers.
    """

    outputs: dict[str, Tensor]
    inputs: dict[str, Tensor]
    groups: list[Tensor]


def couple(network: fx.GraphModule, channels: int) -> Coupling:
    """Follow every channel through a network with so many input channels; inputs and logits cannot be removed."""
    parent: list[int] = []
    fixed: list[int] = []
    of: dict[fx.Node, list[int]] = {}
    columns: dict[str, list[int]] = {}

    def new(count: int) -> list[int]:
        parent.extend(range(len(parent), len(parent) + count))
        return list(range(len(parent) - count, len(parent)))

    def find(channel: int) -> int:
        while parent[channel] != channel:
            parent[channel] = parent[parent[channel]]
            channel = parent[channel]
        return channel

    def numbers(channels: list[int]) -> Tensor:
        return torch.tensor([find(channel) for channel in channels], dtype=torch.long)

    for node, module in _modules(network):
        sources = [of[source] for source in _sources(node)]
        if node.op == "placeholder":
            of[node] = new(channels)
            fixed += of[node]
        elif node.op == "output":
            fixed += sources[0]
        elif is_grouped(module):
            of[node] = new(module.out_channels)
            fixed += sources[0] + of[node]
        elif is_weighted(module) and not is_depthwise(module):
            of[node] = new(len(module.weight))
            repeats = module.weight.shape[1] // len(sources[0])
            columns[str(node.target)] = [channel for channel in sources[0] for _ in range(repeats)]
        elif _ties(module) == "stack":
            of[node] = [channel for source in sources for channel in source]
        elif _ties(module) == "pad":
            of[node] = new(module.before) + sources[0] + new(module.after)
        else:
            for other in sources[1:]:
                for a, b in zip(sources[0], other):
                    parent[find(b)] = find(a)
            of[node] = sources[0]
    places: dict[int, list[str]] = {}
    for node, members in of.items():
        for channel in dict.fromkeys(map(find, members)):
            places.setdefault(channel, []).append(node.name)
    groups: dict[tuple[str, ...], list[int]] = {}
    kept = set(map(find, fixed))
    for channel, names in places.items():
        if channel not in kept:
            groups.setdefault(tuple(names), []).append(channel)
    return Coupling(
        {
            str(node.target): numbers(of[node])
            for node, module in _modules(network)
            if role(module) in ("weights", "norm") or _ties(module) == "pad"
        },
        {name: numbers(members) for name, members in columns.items()},
        [torch.tensor(group) for group in groups.values()],
    )


def widths_of(network: fx.GraphModule) -> dict[str, int]:
    """All that can be narrower: outputs of convolutions (not depthwise) and linear layers by name, and the zero
    channels of padding shortcuts as `NAME.before` and `NAME.after`."""
    widths: dict[str, int] = {}
    for node, module in _modules(network):
        if is_weighted(module) and not is_depthwise(module):
            widths[str(node.target)] = len(module.weight)
        elif _ties(module) == "pad":
            widths |= {f"{node.target}.before": module.before, f"{node.target}.after": module.after}
    return widths


def narrow(network: fx.GraphModule, widths: Mapping[str, Any], channels: int) -> fx.GraphModule:
    """A copy with these widths (names and meaning of `widths_of`); layers that change have new numbers.

    Raises ModelError for names that are not there, widths that are not possible or do not fit each other.
    """
    network = clone(network)
    full = widths_of(network)
    for name, width in widths.items():
        if name not in full:
            raise ModelError(f"{name[:80]!r} is no layer that can be narrower")
        least = 0 if name.endswith((".before", ".after")) else 1
        if type(width) is not int or not least <= width <= full[name]:
            raise ModelError(f"{name} cannot be {str(width)[:40]} channels wide, only {least} to {full[name]}")
    wide: dict[fx.Node, int] = {}  # channels before and after
    thin: dict[fx.Node, int] = {}
    for node, module in _modules(network):
        name = str(node.target)
        old, inputs = [wide[source] for source in _sources(node)], [thin[source] for source in _sources(node)]
        if node.op == "placeholder":
            wide[node] = thin[node] = channels
        elif node.op == "output":
            if inputs != old:
                raise ModelError(f"only {inputs[0]} of {old[0]} logits are left")
        elif is_weighted(module):
            wide[node], thin[node] = len(module.weight), widths.get(name, len(module.weight))
            if is_depthwise(module):
                thin[node] = inputs[0]
            if is_grouped(module) and (inputs != old or thin[node] != wide[node]):
                raise ModelError(f"{name} has groups and cannot be narrower")
            if inputs != old or thin[node] != wide[node]:
                network.set_submodule(name, resized(module, old[0], inputs[0], thin[node]))
        elif _ties(module) == "pad":
            wide[node] = module.before + old[0] + module.after
            module.before = widths.get(f"{name}.before", module.before)
            module.after = widths.get(f"{name}.after", module.after)
            thin[node] = module.before + inputs[0] + module.after
        elif _ties(module) == "stack":
            wide[node], thin[node] = sum(old), sum(inputs)
        else:
            if len(set(inputs)) > 1:
                raise ModelError(f"{name} cannot join {' and '.join(map(str, inputs))} channels")
            wide[node], thin[node] = old[0], inputs[0]
            if role(module) == "norm" and inputs != old:
                network.set_submodule(name, resized(module, old[0], inputs[0], inputs[0]))
    return network.eval()


def _modules(network: fx.GraphModule) -> list[tuple[fx.Node, Any]]:
    modules = dict(network.named_modules())
    return [(n, modules[str(n.target)] if n.op == "call_module" else None) for n in network.graph.nodes]


def _sources(node: fx.Node) -> list[fx.Node]:
    return [source for source in node.args if isinstance(source, fx.Node)]


def _ties(module: Any) -> str:
    row = operation(module)
    return row.ties if row else "same"
