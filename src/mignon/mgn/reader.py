"""The bytes of a `.mgn` to a Classifier; trusts nothing."""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mignon.checkpoint import check_weight, furnish, rebuild
from mignon.classifier import Classifier, Settled
from mignon.coding import MAX_PER_BYTE, Layout, decode_streams
from mignon.coding.bits import Reader
from mignon.errors import FormatError, MignonError
from mignon.files import parse_untrusted
from mignon.mgn.layout import CHECKS, DICTIONARY, MAGIC, MAX_HEADER, VERSION, fingerprint
from mignon.mgn.settle import accumulator_scales, stored_tensors
from mignon.models.activations import STEPS, ActivationGrid, grids_of
from mignon.models.graph import Block, blocks, shapes
from mignon.models.weights import set_rule
from mignon.registry import CODERS
from mignon.rules import Rule, build_rule, current_spec
from mignon.rules.accumulator import Accumulator
from mignon.rules.scales import LARGEST_OCTAVE

HEADER_KEYS = {
    "family", "options", "input", "classes", "coder", "activation_bits", "recipe", "rules", "tensors",
}  # fmt: skip
OPTIONAL_KEYS = {"widths", "other_activation_bits"}


def decode(data: bytes) -> Settled:
    """The Classifier that the file holds. Raises FormatError with one line for anything else."""
    return _decode(data)[0]


def parts(data: bytes) -> list[tuple[str, int]]:
    """Every byte of the file by what it is for; the sizes add up to the file's."""
    return _decode(data)[1]


def _decode(data: bytes) -> tuple[Settled, list[tuple[str, int]]]:
    try:
        header, payload, checks, sizes = _open(data)
        return _rebuild(header, payload, checks, sizes)
    except FormatError as error:
        raise FormatError(
            f"not a valid .mgn file: {error.what}", "get the file again from where it came from"
        ) from None
    except MignonError as error:
        raise FormatError(
            f"not a valid .mgn file: {error.what}",
            "update mignon if the file is from a newer version, or get it again from where it came from",
        ) from None


def _open(data: bytes) -> tuple[dict[str, Any], bytes, bytes, list[tuple[str, int]]]:
    if len(data) < len(MAGIC) + 2 + CHECKS:
        raise FormatError(f"only {len(data)} bytes")
    if data[: len(MAGIC)] != MAGIC:
        raise FormatError("it does not begin like one")
    if data[len(MAGIC)] != VERSION:
        raise FormatError(f"format version {data[len(MAGIC)]}, this mignon reads {VERSION}")
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise FormatError("its checksum is wrong (cut short or changed)")
    reader = Reader(data[:-CHECKS])
    reader.take(len(MAGIC) + 1)
    packed = reader.take(reader.varint())
    start = reader.position
    unpacker = zlib.decompressobj(-15, zdict=DICTIONARY)
    try:
        text = unpacker.decompress(packed, MAX_HEADER)
        if not unpacker.eof or unpacker.unused_data:
            raise FormatError("its header is too long or not whole")
        header = parse_untrusted(text, MAX_HEADER)
    except (zlib.error, ValueError) as error:
        raise FormatError(f"its header cannot be read ({error})") from None
    if not isinstance(header, dict) or set(header) - OPTIONAL_KEYS != HEADER_KEYS:
        raise FormatError("its header has not the fields that it must have")
    sizes = [("magic, version", len(MAGIC) + 1), ("header", start - len(MAGIC) - 1)]
    return header, reader.rest(), data[-CHECKS:-4], sizes


@dataclass(frozen=True)
class _Tensor:
    """A tensor that the file stores: where it belongs, by which rule, and its streams."""

    block: Block
    tensor: str
    rule: type[Rule]
    spec: dict[str, Any]
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.block.name}.{self.tensor}"

    @property
    def streams(self) -> dict[str, Layout]:
        return self.rule.all_layouts(self.spec, self.shape)


def _frame(header: dict[str, Any], size: int) -> tuple[Classifier, list[_Tensor], dict[str, Layout]]:
    """The empty network of a header, its tensors, and the layout of every stream by name, in file order.

    Nothing that costs memory is made for a payload of so many bytes that cannot hold it.
    """
    coder, specs, numbers = header["coder"], header["rules"], header["tensors"]
    if not isinstance(coder, str) or coder not in CODERS:
        raise FormatError("its coder is not known here")
    if not isinstance(specs, list) or not isinstance(numbers, list):
        raise FormatError("its list of tensors is not one")
    classifier = rebuild({**header, "absorbed": True}, "its header")
    network = classifier.network
    shapes(network, *classifier.size)  # refuses an input that is too small
    count = sum(parameter.numel() for parameter in network.parameters())
    if count > MAX_PER_BYTE * (size + 1) * 2:
        raise FormatError(f"{size} bytes cannot hold a network of {count:,} numbers")
    stored = list(stored_tensors(blocks(network)))
    if len(stored) != len(numbers):
        raise FormatError(f"it stores {len(numbers)} tensors, its network has {len(stored)}")
    tensors = []
    for (block, module, tensor), number in zip(stored, numbers):
        if type(number) is not int or not 0 <= number < len(specs):
            raise FormatError("a tensor names a rule that is not there")
        spec = current_spec(specs[number])
        tensors.append(_Tensor(block, tensor, build_rule(spec), spec, tuple(getattr(module, tensor).shape)))
    grids = len(grids_of(network))
    layouts = dict.fromkeys(("activation scales", "activation zero points"), Layout((grids,), "side")) if grids else {}
    for item in tensors:
        layouts |= {f"{item.name} {stream}": layout for stream, layout in item.streams.items()}
    return classifier, tensors, layouts


def layouts_of(data: bytes) -> list[Layout]:
    """What `decode_streams` must be told of the streams of a whole, valid file."""
    header, payload, _, _ = _open(data)
    return list(_frame(header, len(payload))[2].values())


def _rebuild(
    header: dict[str, Any], payload: bytes, checks: bytes, sizes: list[tuple[str, int]]
) -> tuple[Settled, list[tuple[str, int]]]:
    classifier, tensors, layouts = _frame(header, len(payload))
    arrays, ends = decode_streams(payload, list(layouts.values()), header["coder"])
    if fingerprint(header, arrays) != checks:
        raise FormatError("its content is not what its writer stored")
    sizes += [(name, end - start) for name, start, end in zip(layouts, [0, *ends], ends)]
    sizes.append(("fingerprint, checksum", CHECKS))
    rest = iter(arrays)
    grids = list(grids_of(classifier.network).values())
    if grids:
        _set_grids(grids, next(rest), next(rest))
    with torch.no_grad():
        rules = {t.name: t.rule.from_streams(t.spec, t.shape, {n: next(rest) for n in t.streams}) for t in tensors}
        for item, rule in zip(tensors, rules.values()):
            rule.connect(rules)
            if isinstance(rule, Accumulator):
                _set_scales(rule, classifier, item.block)
            check_weight(item.name, rule)
            set_rule(item.block.module, rule, rule.weight(), item.tensor)
    furnish(classifier.network).eval()
    return classifier.settled(), sizes


def _set_grids(grids: list[ActivationGrid], k: np.ndarray, zero: np.ndarray) -> None:
    for grid, step, point in zip(grids, k.tolist(), zero.tolist()):
        if abs(step) > LARGEST_OCTAVE * STEPS or not 0 <= point < 2**grid.bits:
            raise FormatError("an activation grid is out of range")
        grid.k.fill_(step)
        grid.zero.fill_(point)


def _set_scales(rule: Accumulator, classifier: Classifier, block: Block) -> None:
    scales = accumulator_scales(classifier.network, block, block.module)
    if scales is None:
        raise FormatError(f"{block.name} has a bias in accumulator units without grids")
    rule.set_scales(scales)
