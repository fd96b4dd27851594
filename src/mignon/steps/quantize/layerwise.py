"""One walk through a network beside its float original: each layer is quantized for the inputs that it really gets.

Layer by layer on training images: the weights' integers are chosen, the mean of every output channel is put right again
(bias correction, Nagel et al. 2019), the range behind the block is chosen. Nothing else than means, ranges and second
moments of maps is used: no label, no gradient, no statistics of BatchNorm.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from mignon.classifier import Classifier
from mignon.data.inputs import to_network
from mignon.models.activations import ActivationGrid
from mignon.models.graph import Block, blocks

Choose = Callable[[Block, Tensor, Tensor], None]


def walk(
    network: fx.GraphModule,
    original: fx.GraphModule,
    images: Tensor,
    choose_weight: Choose,
    choose_range: Callable[[ActivationGrid, Tensor], None],
    correct: bool,
) -> None:
    """Quantize `network` (in place; its grids are in the graph already, its weights still float) beside `original`.

    `images`: network input N x C x H x W. `choose_weight(block, float input, present input)` puts a rule on the block.
    """
    found = blocks(network)
    mains = {block.nodes[0]: block for block in found if block.weighted}
    corrected = {block.nodes[1 if block.norm else 0]: block for block in mains.values()} if correct else {}
    users = {node: len(node.users) for node in network.graph.nodes}
    before: dict[fx.Node, Tensor] = {}
    now: dict[fx.Node, Tensor] = {}
    for node in network.graph.nodes:
        if node.op == "output":
            break
        if node.op == "placeholder":
            before[node] = now[node] = images
            continue
        module: Any = network.get_submodule(str(node.target))
        inputs = [n for n in node.args if isinstance(n, fx.Node)]
        if isinstance(module, ActivationGrid):
            choose_range(module, now[inputs[0]])
            before[node], now[node] = before[inputs[0]], module(now[inputs[0]])
        else:
            if node in mains:
                choose_weight(mains[node], before[inputs[0]], now[inputs[0]])
            before[node] = original.get_submodule(str(node.target))(*(before[n] for n in inputs))
            now[node] = module(*(now[n] for n in inputs))
            if node in corrected:
                now[node] = _put_mean_right(network, corrected[node], before[node], now[node])
        for source in set(inputs):
            users[source] -= 1
            if not users[source]:
                del before[source], now[source]


def _put_mean_right(network: fx.GraphModule, block: Block, before: Tensor, now: Tensor) -> Tensor:
    """Shift the bias behind a layer so that each channel's mean is the float network's; the shifted map."""
    owner: Any = network.get_submodule(block.norm) if block.norm else block.module
    bias = owner.bias
    if bias is None:
        return now
    axes = [axis for axis in range(now.dim()) if axis != 1]
    shift = (before.double().mean(axes) - now.double().mean(axes)).float()
    bias.data.add_(shift)
    return now + shift.reshape(-1, *[1] * (now.dim() - 2))


def to_images(classifier: Classifier, pixels: np.ndarray, device: str) -> Tensor:
    """uint8 pixels to what the network takes."""
    return to_network(torch.from_numpy(pixels), classifier.input).to(device)
