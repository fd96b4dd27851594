"""Static Huffman coding (Huffman 1952), canonical, one table a stream.

Numbers become a class (the bit length of the zigzag value, as in JPEG) and the bits below its leading one when a
stream has many different values; streams of up to 1,024 neighboring values get a code for each value.
"""

import heapq
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mignon.coding import Layout, Stream, check_streams
from mignon.coding.bits import Reader, unzigzag, write_varint, zigzag
from mignon.errors import FormatError
from mignon.registry import CODERS

DIRECT_SPAN = 1024
LONGEST = 15


@CODERS.register("huffman")
@dataclass(frozen=True)
class Huffman:
    """Per stream: smallest value, span (0: classes), code lengths of 4 bits each, codes."""

    summary: ClassVar[str] = "static canonical Huffman code for each stream, tables included"

    def encode(self, streams: list[Stream]) -> bytes:
        """Tables and codes, each stream starting at a byte."""
        out = bytearray()
        for values in check_streams(streams):
            flat = values.ravel().astype(np.int64)
            if not flat.size:
                continue
            out += min((data for data, _ in _forms(flat)), key=len)
        return bytes(out)

    def cost(self, stream: Stream) -> np.ndarray:
        """Bits of each number: its code and the bits below its leading one; the table is not counted."""
        (values,) = check_streams([stream])
        if not values.size:
            return np.zeros(values.shape)
        _, lengths = min(_forms(values.ravel().astype(np.int64)), key=lambda form: len(form[0]))
        return lengths.reshape(values.shape).astype(np.float64)

    def decode(self, data: bytes, layouts: list[Layout]) -> tuple[list[np.ndarray], list[int]]:
        """Inverse of `encode`."""
        reader = Reader(data)
        arrays, ends = [], []
        for layout in layouts:
            values = np.zeros(layout.count, np.int64)
            if layout.count:
                _read_stream(reader, values)
            if values.size and not (values.min() >= -(2**31) and values.max() < 2**31):
                raise FormatError("a Huffman-coded number does not fit into 32 bits")
            arrays.append(values.astype(np.int32).reshape(layout.shape))
            ends.append(reader.position)
        return arrays, ends


def _forms(flat: np.ndarray) -> list[tuple[bytes, np.ndarray]]:
    """The stream written in each way that suits it, with the bits of each number."""
    direct = int(flat.max() - flat.min()) < DIRECT_SPAN
    return [_write_stream(flat, False), *([_write_stream(flat, True)] if direct else [])]


def _write_stream(flat: np.ndarray, direct: bool) -> tuple[bytes, np.ndarray]:
    """A table of all values (`direct`) or of bit lengths, and the codes; the bits of each number."""
    low, span = int(flat.min()), int(flat.max() - flat.min()) + 1
    unsigned = np.where(flat >= 0, 2 * flat, -2 * flat - 1)
    symbols = flat - low if direct else _bit_lengths(unsigned)
    extra = np.zeros_like(flat) if direct else np.maximum(symbols - 1, 0)
    size = span if direct else 33
    lengths = code_lengths(np.bincount(symbols, minlength=size))
    if not lengths.any() and not (direct and span == 1):  # all numbers of one class: its code needs a bit
        lengths[symbols[0]] = 1
    out = bytearray()
    write_varint(out, zigzag(low))
    write_varint(out, span if direct else 0)
    nibbles = np.append(lengths, 0)[: size + size % 2].astype(np.uint8)
    out += (nibbles[0::2] << 4 | nibbles[1::2]).tobytes()
    if direct and span == 1:
        return bytes(out), np.zeros(flat.size, np.int64)
    low_bits = unsigned & ((1 << extra) - 1)
    bits = lengths[symbols] + extra
    return bytes(out) + _write_bits(canonical_codes(lengths)[symbols] << extra | low_bits, bits), bits


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """Optimal code length of each symbol, at most 15 bits (longer ones: the counts are flattened and tried again)."""
    counts = counts.astype(np.int64)
    while True:
        heap: list[tuple[int, int, tuple[int, ...]]] = [(int(c), i, (i,)) for i, c in enumerate(counts) if c]
        lengths = np.zeros(len(counts), np.int64)
        heapq.heapify(heap)
        number = len(counts)
        while len(heap) > 1:
            a, b = heapq.heappop(heap), heapq.heappop(heap)
            members = a[2] + b[2]
            lengths[list(members)] += 1
            heapq.heappush(heap, (a[0] + b[0], number, members))
            number += 1
        if lengths.max() <= LONGEST:
            return lengths
        counts = np.where(counts > 0, (counts + 1) // 2, 0)


def canonical_codes(lengths: np.ndarray) -> np.ndarray:
    """Codes in order of length, then of symbol."""
    codes = np.zeros(len(lengths), np.int64)
    code = 0
    for length in range(1, LONGEST + 1):
        for symbol in np.flatnonzero(lengths == length):
            codes[symbol] = code
            code += 1
        code <<= 1
    return codes


def _bit_lengths(unsigned: np.ndarray) -> np.ndarray:
    return np.where(unsigned > 0, np.frexp(np.maximum(unsigned, 1).astype(np.float64))[1], 0).astype(np.int64)


def _write_bits(codes: np.ndarray, lengths: np.ndarray) -> bytes:
    """Most significant bit first, zero bits up to the next byte."""
    ends = np.cumsum(lengths)
    bits = np.zeros(int(ends[-1]), np.uint8)
    for bit in range(int(lengths.max())):
        has = lengths > bit
        bits[ends[has] - 1 - bit] = codes[has] >> bit & 1
    return np.packbits(bits).tobytes()


def _read_stream(reader: Reader, values: np.ndarray) -> None:
    low, span = unzigzag(reader.varint()), reader.varint()
    if span > DIRECT_SPAN:
        raise FormatError("a Huffman table is too long")
    size = span or 33
    packed = np.frombuffer(reader.take((size + 1) // 2), np.uint8)
    lengths = np.stack([packed >> 4, packed & 15], 1).ravel()[:size].astype(np.int64)
    if span == 1:
        values[:] = low
        return
    used = lengths[lengths > 0]
    if not used.size or int((1 << (LONGEST - used)).sum()) > 1 << LONGEST:
        raise FormatError("a Huffman table is not a prefix code")
    from mignon.coding.bitreader import read_codes

    table = np.full(1 << LONGEST, -1, np.int64)  # the next 15 bits -> symbol
    codes = canonical_codes(lengths)
    for symbol in np.flatnonzero(lengths):
        first = codes[symbol] << (LONGEST - lengths[symbol])
        table[first : first + (1 << (LONGEST - lengths[symbol]))] = symbol
    data = np.frombuffer(bytearray(reader.data[reader.position :]), np.uint8)
    used_bytes = read_codes(data, table, lengths, span == 0, low, values)
    if used_bytes < 0:
        raise FormatError("the Huffman-coded data are damaged or end too early")
    reader.take(used_bytes)
