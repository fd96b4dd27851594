"""From a live Classifier to the one that a file holds: BatchNorm absorbed, every number under a rule."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn
from torch.nn.utils import parametrize

from mignon.classifier import Classifier
from mignon.models.activations import STEPS, input_grid
from mignon.models.graph import Block, absorb, blocks, set_rule, weight_rule
from mignon.rules.accumulator import Accumulator
from mignon.rules.float32 import Float32


def settle(classifier: Classifier) -> Classifier:
    """A copy whose numbers are exactly those that its file will hold. Settling twice changes nothing."""
    network = absorb(classifier.network)
    with torch.no_grad():
        for block, module, tensor in stored_tensors(blocks(network)):
            if parametrize.is_parametrized(module, tensor):
                continue
            latent = getattr(module, tensor).detach()
            scales = accumulator_scales(network, block, module) if tensor == "bias" else None
            if scales is None:
                rule: Float32 | Accumulator = Float32({"rule": "float"}, tuple(latent.shape))
            else:
                rule = Accumulator({"rule": "accumulator", "n": STEPS}, tuple(latent.shape))
                rule.set_scales(scales)
            rule.fit(latent)
            set_rule(module, rule, latent, tensor)
    network.eval()
    return replace(classifier, network=network)


def stored_tensors(found: list[Block]) -> Iterator[tuple[Block, nn.Module, str]]:
    """The tensors of a settled network in the order of the file: weight, then bias, block by block."""
    for block in found:
        if block.kind in ("conv", "linear") and block.module is not None:
            yield block, block.module, "weight"
            if block.module.bias is not None:
                yield block, block.module, "bias"


def accumulator_scales(network: torch.fx.GraphModule, block: Block, module: nn.Module) -> torch.Tensor | None:
    """k_input + k_weight for each output channel, when both the input and the weight lie on grids; else None."""
    grid = input_grid(network, block.sources[0])
    rule = weight_rule(module)
    steps = rule.channel_steps() if rule is not None else None
    if grid is None or steps is None or steps[1] != STEPS:
        return None
    return grid.k + steps[0]
