"""How much each layer suffers from few bits, and how bits are spread over layers by it (HAWQ's idea, measured).

Each layer is quantized alone and the answers are compared with the float network's: KL in nats, no labels. An error of
rounding shrinks fourfold with each bit, and so does the KL, which says what other widths would cost.
"""

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from mignon.classifier import Classifier
from mignon.measure.statistics import kl_divergence
from mignon.models.graph import blocks, clone
from mignon.models.weights import latent_weight, norm_gain, put_rules
from mignon.rules.grid import Grid

IMAGES = 256
FEWEST, MOST = 2, 8  # bits of a layer when they are spread


def layer_divergences(classifier: Classifier, bits: int, pixels: np.ndarray) -> dict[str, float]:
    """KL(float || network with only this layer's weights on a grid of so many bits), by layer.

    `pixels`: uint8 N x H x W x C. Layers are quantized to the nearest integers, channel by channel.
    """
    network = clone(classifier.network)
    plain = Classifier(classifier.family, classifier.options, classifier.input, classifier.classes, network)
    for module in plain.weighted().values():
        latent = latent_weight(module)
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
        module.weight = nn.Parameter(latent)
    reference = _logits(plain, pixels)
    found = {}
    for block in blocks(network):
        if block.name not in plain.weighted():
            continue
        module = block.module
        weight = module.weight.detach()
        rule = Grid({"rule": "grid", "bits": bits}, tuple(weight.shape)).to(weight.device)
        with torch.no_grad():
            rule.choose_scales(weight, norm_gain(network, block))
            rule.fit(weight)
        put_rules(network, {f"{block.name}.weight": (rule, weight)})
        found[block.name] = kl_divergence(reference, _logits(plain, pixels))
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
        module.weight = nn.Parameter(weight)
    return found


def _logits(classifier: Classifier, pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([classifier.logits(pixels[i : i + 128]) for i in range(0, len(pixels), 128)])


def spread_bits(divergences: dict[str, float], sizes: dict[str, int], bits: int) -> dict[str, int]:
    """Bits of each layer with the least summed KL, when all weights together may take `bits` a weight.

    `divergences` were measured at `bits`. Greedy: the next bit goes where it lowers the KL most for its size.
    """
    widths = dict.fromkeys(divergences, FEWEST)
    left = (bits - FEWEST) * sum(sizes.values())
    while True:
        gains = {
            name: divergences[name] * 4.0 ** (bits - width) * 0.75 / sizes[name]
            for name, width in widths.items()
            if width < MOST and sizes[name] <= left
        }
        if not gains:
            return widths
        best = max(gains, key=lambda name: (gains[name], name))
        widths[best] += 1
        left -= sizes[best]
