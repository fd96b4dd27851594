"""Which channels of a network are read: a channel whose every following weight is zero has no effect on the logits."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from mignon.models.activations import ActivationGrid
from mignon.models.graph import ACTIVATIONS, shapes
from mignon.models.layers import Add, Concat, GlobalAverage, PadShortcut

CHANNEL_BY_CHANNEL = (
    *ACTIVATIONS, ActivationGrid, Add, GlobalAverage, nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.BatchNorm2d, nn.Dropout,
    nn.Identity, nn.MaxPool2d,
)  # fmt: skip


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
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        groups = getattr(module, "groups", 1)
        used = (module.weight.detach().flatten(2) != 0).any(2) if module.weight.dim() > 2 else module.weight != 0
        used = used.cpu() & read[:, None]  # out x in / groups
        return [used.reshape(groups, -1, used.shape[1]).any(1).flatten()]
    if isinstance(module, CHANNEL_BY_CHANNEL):
        return [read] * len(counts)
    if isinstance(module, Concat):
        return list(read.split(counts))
    if isinstance(module, PadShortcut):
        return [read[module.before : module.before + counts[0]]]
    if isinstance(module, nn.Flatten):
        return [read.reshape(counts[0], -1).any(1)]
    return [torch.ones(count, dtype=torch.bool) for count in counts]  # unknown: it may read everything
