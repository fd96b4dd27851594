"""Whole numbers to bytes and back. Knows nothing of networks; usable alone:

>>> from mignon.coding import Stream, decode, encode
>>> data = encode([Stream(values)], coder="range")
>>> decode(data)[0].values
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mignon.coding.bits import Reader, write_varint
from mignon.errors import FormatError
from mignon.registry import CODERS

KINDS = ("weights", "side", "bits", "bytes")
MAX_AXES = 8
MAX_PLACES = 1 << 59  # numpy refuses longer axes even where another one is 0
MAX_PER_BYTE = 1024  # a coder writes at least one byte for so many numbers, so a small file cannot ask for much memory


@dataclass(frozen=True)
class Layout:
    """Shape of a stream and a hint what its numbers are: weights (any integers, rows = first axis), side values,
    bits (0 or 1) or bytes (0 to 255). Every coder codes any int32 content under `weights` and `side`.
    """

    shape: tuple[int, ...]
    kind: str = "weights"

    @property
    def count(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Stream:
    """An integer array (int8 to int32, any shape, also empty) and the hint of its layout."""

    values: np.ndarray
    kind: str = "weights"

    @property
    def layout(self) -> Layout:
        """What the decoder must know beforehand."""
        return Layout(tuple(self.values.shape), self.kind)


class Coder(Protocol):
    """A frozen dataclass of settings. `encode` and `decode` are inverse for any content, the same bytes everywhere.

    `decode` gets untrusted bytes: it raises FormatError and takes no memory that the layouts do not justify. It also
    gives the byte position at which each stream ends; the last one is the length of the data.
    """

    name: str
    summary: str

    def encode(self, streams: list[Stream]) -> bytes:
        """All streams as one run of bytes."""

    def cost(self, stream: Stream) -> np.ndarray:
        """Bits of each number (float64, the shape of the stream) without headers, for whoever chooses numbers."""

    def decode(self, data: bytes, layouts: list[Layout]) -> tuple[list[np.ndarray], list[int]]:
        """The int32 arrays, and where each ends."""


def check_streams(streams: list[Stream]) -> list[np.ndarray]:
    """Contiguous int32 copies; ValueError when a stream breaks its own hint."""
    arrays = []
    for stream in streams:
        values = np.asarray(stream.values)
        if values.dtype.kind not in "iub" or stream.kind not in KINDS:
            raise ValueError(f"a stream of {values.dtype} as {stream.kind!r} is not possible")
        if values.dtype == np.uint64 and values.size and values.max() >= 2**63:
            raise ValueError(f"{stream.kind} must lie in int32")
        wide = values.astype(np.int64)
        top = {"bits": (0, 1), "bytes": (0, 255)}.get(stream.kind, (-(2**31), 2**31 - 1))
        if wide.size and not (top[0] <= wide.min() and wide.max() <= top[1]):
            raise ValueError(f"{stream.kind} must lie in {top[0]} to {top[1]}")
        arrays.append(np.ascontiguousarray(wide.astype(np.int32)))
    return arrays


def encode_streams(streams: list[Stream], coder: str) -> bytes:
    """The coded bytes without layouts, never fewer than one byte for `MAX_PER_BYTE` numbers (zeros fill up)."""
    data = CODERS[coder]().encode(streams)
    total = sum(s.layout.count for s in streams)
    padding = max(0, -(-total // MAX_PER_BYTE) - len(data))
    return data + bytes(padding)


def decode_streams(data: bytes, layouts: list[Layout], coder: str) -> tuple[list[np.ndarray], list[int]]:
    """The int32 arrays, and where each ends in `data`. Raises FormatError for anything that `encode` never wrote."""
    total = sum(layout.count for layout in layouts)
    if total > MAX_PER_BYTE * len(data):
        raise FormatError(f"{len(data)} bytes cannot hold {total} numbers")
    arrays, ends = CODERS[coder]().decode(data, layouts)
    end = ends[-1] if ends else 0
    if any(data[end:]) or len(data) != max(end, -(-total // MAX_PER_BYTE)):
        raise FormatError("the coded data are longer than their streams")
    if ends:
        ends[-1] = len(data)
    return arrays, ends


_TYPES = (np.int8, np.int16, np.int32)


def encode(streams: list[Stream], coder: str = "range") -> bytes:
    """Streams with their layouts as one self-contained run of bytes."""
    out = bytearray()
    name = coder.encode()
    write_varint(out, len(name))
    out += name
    write_varint(out, len(streams))
    for stream in streams:
        item = np.asarray(stream.values).dtype
        if item not in _TYPES:
            raise ValueError(f"a stream of {item} is not possible: use int8, int16 or int32")
        if stream.values.ndim > MAX_AXES:
            raise ValueError(f"a stream of {stream.values.ndim} axes is not possible: at most {MAX_AXES} axes")
        write_varint(out, _TYPES.index(item.type) * len(KINDS) + KINDS.index(stream.kind))
        write_varint(out, stream.values.ndim)
        for size in stream.values.shape:
            write_varint(out, size)
    return bytes(out) + encode_streams(streams, coder)


def decode(data: bytes) -> list[Stream]:
    """The streams of `encode`, with shape and integer type. Raises FormatError."""
    reader = Reader(data)
    try:
        coder = reader.take(reader.varint()).decode()
    except UnicodeDecodeError:
        raise FormatError("the name of the coder is not text") from None
    if coder not in CODERS:
        raise FormatError(f"coded with {coder[:40]!r}, which is not known here")
    layouts, types = [], []
    count = reader.varint()
    if count > len(data):
        raise FormatError("more streams than bytes")
    for _ in range(count):
        code = reader.varint()
        if code >= len(_TYPES) * len(KINDS):
            raise FormatError("unknown kind of stream")
        types.append(_TYPES[code // len(KINDS)])
        axes = reader.varint()
        if axes > MAX_AXES:
            raise FormatError(f"a stream has more than {MAX_AXES} axes")
        shape = tuple(reader.varint() for _ in range(axes))
        if math.prod(max(1, size) for size in shape) > MAX_PLACES:
            raise FormatError("a stream has axes that are not possible")
        layouts.append(Layout(shape, KINDS[code % len(KINDS)]))
    arrays, _ = decode_streams(reader.rest(), layouts, coder)
    return [Stream(a.astype(t), layout.kind) for a, t, layout in zip(arrays, types, layouts)]
