"""Which channels of a network are read: a channel whose every following weight is zero has no effect on the logits."""

from typing import Any

import torch
from torch import Tensor, fx

from mignon.models.graph import shapes
from mignon.models.ops import groups, is_weighted, operation


def read_channels(network: fx.GraphModule, size: tuple[int, int, int]) -> dict[str, Tensor]:
    """Which channels (bool) of each node's value reach the output through weights that are not zero, by node name.

    `size`: channels, height, width of the input. From the output back: what only unread channels read is unread too.
    """
    known = shapes(network, *size)
    read = {node: torch.zeros(known[node.name][0], dtype=torch.bool) for node in network.graph.nodes}
    for node in reversed(network.graph.nodes):
        sources = [source for source in node.args if isinstance(source, fx.Node)]
        if node.op == "output":
            wanted = [torch.ones_like(read[source]) for source in sources]
        elif node.op == "call_module":
            counts = [len(read[source]) for source in sources]
            wanted = _wanted(network.get_submodule(str(node.target)), read[node], counts)
        else:
            continue
        for source, channels in zip(sources, wanted):
            read[source] |= channels
    return {node.name: channels for node, channels in read.items() if node.op != "output"}


def _wanted(module: Any, read: Tensor, counts: list[int]) -> list[Tensor]:
    """Which channels of each input (so many) the module needs for the output channels that are read."""
    if is_weighted(module):
        used = (module.weight.detach().flatten(2) != 0).any(2) if module.weight.dim() > 2 else module.weight != 0
        used = used.cpu() & read[:, None]  # out x in / groups
        return [used.reshape(groups(module), -1, used.shape[1]).any(1).flatten()]
    row = operation(module)
    assert row is not None, "trace refuses what has no row"
    if row.ties == "stack":
        return list(read.split(counts))
    if row.ties == "pad":
        return [read[module.before : module.before + counts[0]]]
    return [read.reshape(count, -1).any(1) for count in counts]  # a flattened channel is several numbers
