"""From a live Classifier to the one that a file holds: BatchNorm absorbed, every number under a rule."""

from collections.abc import Iterator
from typing import Any

import torch

from mignon.classifier import Classifier, Settled
from mignon.models.activations import STEPS, input_grid
from mignon.models.graph import Block, blocks
from mignon.models.reads import read_channels
from mignon.models.weights import absorb, connect, set_rule, weight_rule
from mignon.rules import Rule
from mignon.rules.accumulator import Accumulator
from mignon.rules.float32 import Float32
from mignon.rules.scaled import Scaled

BIAS_BITS = 16  # of biases beside whole-number weights: steps of 1/32767 of the largest one


def settle(classifier: Classifier) -> Settled:
    """A copy whose numbers are exactly those that its file will hold; what is settled comes back as it is.

    Numbers that nothing reads (bias and gain of a channel whose every following weight is zero) become neutral.
    """
    if isinstance(classifier, Settled):
        return classifier
    network = absorb(classifier.network).eval()
    with torch.no_grad():
        stored = list(stored_tensors(blocks(network)))
        for _, module, tensor in stored:
            rule = weight_rule(module, tensor)
            if rule is None and tensor == "weight":
                weight = module.weight.detach()
                _put_under(Float32({"rule": "float"}, tuple(weight.shape)), module, tensor, weight)
        connect(network)
        read = read_channels(network, classifier.size)
        for block, module, tensor in stored:
            rule, value = weight_rule(module, tensor), getattr(module, tensor).detach()
            channels = read[block.end.name].to(value.device)
            if tensor == "weight" and rule is not None:
                rule.release(~channels)
                continue
            latent = torch.where(channels, value, 0.0)
            if rule is None:
                _put_under(bias_rule(network, block, module, latent), module, tensor, latent)
            elif not torch.equal(latent, value):
                rule.fit(latent)
    return classifier.settled(network=network)


def bias_rule(network: torch.fx.GraphModule, block: Block, module: Any, bias: torch.Tensor) -> Rule:
    """How a bias is stored: in accumulator units between grids; under a scale beside whole numbers; else as float32."""
    shape = tuple(bias.shape)
    scales = accumulator_scales(network, block, module)
    if scales is not None:
        rule = Accumulator({"rule": "accumulator", "n": STEPS}, shape)
        rule.set_scales(scales)
        return rule
    if isinstance(weight_rule(module), Float32):
        return Float32({"rule": "float"}, shape)
    return Scaled.covering(bias, BIAS_BITS)


def _put_under(rule: Rule, module: Any, tensor: str, latent: torch.Tensor) -> None:
    rule.to(latent.device).fit(latent)
    set_rule(module, rule, latent, tensor)


def stored_tensors(found: list[Block]) -> Iterator[tuple[Block, Any, str]]:
    """The tensors of a settled network in the order of the file: weight, then bias, block by block."""
    for block in found:
        if block.weighted and block.module is not None:
            yield block, block.module, "weight"
            if block.module.bias is not None:
                yield block, block.module, "bias"


def accumulator_scales(network: torch.fx.GraphModule, block: Block, module: Any) -> torch.Tensor | None:
    """k_input + k_weight for each output channel, when both the input and the weight lie on grids; else None."""
    grid = input_grid(network, block.sources[0])
    rule = weight_rule(module)
    form = rule.integers() if rule is not None else None
    if grid is None or form is None or form[2] != STEPS:
        return None
    return grid.k + form[1]
