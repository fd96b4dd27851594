"""A Classifier to the bytes of a `.mgn`."""

import zlib
from typing import Any

import numpy as np

from mignon.classifier import Classifier
from mignon.coding import Stream, encode_streams
from mignon.coding.bits import write_varint
from mignon.mgn.layout import MAGIC, VERSION, deflate, fingerprint
from mignon.mgn.settle import settle, stored_tensors
from mignon.models.activations import grids_of
from mignon.models.graph import blocks
from mignon.models.weights import weight_rule


def encode(classifier: Classifier) -> bytes:
    """Header, coded streams, fingerprint, CRC-32. Two calls, and two machines, give the same bytes."""
    settled = settle(classifier)
    specs: list[dict[str, Any]] = []
    tensors: list[int] = []
    streams: list[Stream] = []
    grids = grids_of(settled.network)
    if grids:
        streams.append(Stream(np.array([int(g.k) for g in grids.values()], np.int32), "side"))
        streams.append(Stream(np.array([int(g.zero) for g in grids.values()], np.int32), "side"))
    for _, module, tensor in stored_tensors(blocks(settled.network)):
        rule = weight_rule(module, tensor)
        assert rule is not None, "settle puts every tensor under a rule"
        if rule.spec not in specs:
            specs.append(rule.spec)
        tensors.append(specs.index(rule.spec))
        streams += rule.streams().values()
    header: dict[str, Any] = {
        "family": settled.family,
        "options": settled.options,
        "input": settled.input.to_dict(),
        "classes": list(settled.classes),
        "coder": settled.coder,
        "activation_bits": settled.activation_bits,
        "recipe": list(settled.recipe),
        "rules": specs,
        "tensors": tensors,
    }
    if settled.widths:
        header["widths"] = settled.widths
    if settled.other_activation_bits:
        header["other_activation_bits"] = settled.other_activation_bits
    packed = deflate(header)
    out = bytearray(MAGIC)
    out.append(VERSION)
    write_varint(out, len(packed))
    out += packed
    out += encode_streams(streams, settled.coder)
    out += fingerprint(header, [np.asarray(s.values) for s in streams])
    out += zlib.crc32(bytes(out)).to_bytes(4, "little")
    return bytes(out)
