"""What few bits would cost in each layer: for `mignon show --layers`, and for a `build` that misses its limit."""

from typing import Any

import numpy as np

from mignon.classifier import Classifier
from mignon.data.imageset import Split
from mignon.steps.quantize.sensitivity import IMAGES, layer_divergences

NAMED = 3


def layer_table(classifier: Classifier, validation: Split) -> list[dict[str, Any]]:
    """By layer: KL (nats) on validation images with it alone at 8 and at 4 bits, and the bytes of one more bit."""
    chosen = np.linspace(0, len(validation) - 1, min(IMAGES, len(validation))).astype(int)
    pixels = validation.take(chosen)
    eight, four = (layer_divergences(classifier, bits, pixels) for bits in (8, 4))
    return [
        {
            "layer": name,
            "weights": weight.numel(),
            "kl_8_bits": eight[name],
            "kl_4_bits": four[name],
            "bytes_a_bit": -(-weight.numel() // 8),
        }
        for name, weight in classifier.weights().items()
    ]


def worst_layers(table: list[dict[str, Any]]) -> str:
    """A sentence on the layers that suffer most, and what keeping them wider would cost."""
    worst = sorted(table, key=lambda row: -row["kl_4_bits"])[:NAMED]
    named = ", ".join(
        f"{r['layer']} (KL {r['kl_4_bits']:.4f} alone, {r['bytes_a_bit']:,} bytes for each bit more)" for r in worst
    )
    return f"the layers that suffer most at 4 bits: {named}; quant=w4a8,bits=auto gives them more bits"
