"""Fixed width: every number of a stream takes as many bits as the widest needs. No modelling at all."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mignon.coding import Layout, Stream, check_streams
from mignon.coding.bits import Reader, unzigzag, write_varint, zigzag
from mignon.errors import FormatError
from mignon.registry import CODERS


@CODERS.register("packed")
@dataclass(frozen=True)
class Packed:
    """For each stream its smallest value, a width in bits, and the differences to the smallest value, packed."""

    summary: ClassVar[str] = "fixed number of bits a weight, nothing gained by coding (the default before a code step)"

    def encode(self, streams: list[Stream]) -> bytes:
        """Smallest value (zigzag varint), width (one byte), numbers most significant bit first."""
        out = bytearray()
        for values in check_streams(streams):
            flat = values.ravel().astype(np.int64)
            low = int(flat.min(initial=0) if flat.size == 0 else flat.min())
            width = int(flat.max() - low).bit_length() if flat.size else 0
            write_varint(out, zigzag(low))
            out.append(width)
            if width:
                shifts = np.arange(width - 1, -1, -1)
                out += np.packbits(((flat - low)[:, None] >> shifts & 1).astype(np.uint8)).tobytes()
        return bytes(out)

    def cost(self, stream: Stream) -> np.ndarray:
        """Bits of each number: the width of the stream."""
        (values,) = check_streams([stream])
        flat = values.astype(np.int64)
        width = int(flat.max() - flat.min()).bit_length() if flat.size else 0
        return np.full(values.shape, float(width))

    def decode(self, data: bytes, layouts: list[Layout]) -> tuple[list[np.ndarray], list[int]]:
        """Inverse of `encode`."""
        reader = Reader(data)
        arrays, ends = [], []
        for layout in layouts:
            low, width = unzigzag(reader.varint()), reader.take(1)[0]
            if width > 32:
                raise FormatError("a width of more than 32 bits")
            raw = np.frombuffer(reader.take(-(-layout.count * width // 8)), np.uint8)
            values = np.full(layout.count, low, np.int64)
            for bit in range(width):  # one bit plane at a time: memory stays a few bytes a number
                at = np.arange(layout.count) * width + bit
                values += (raw[at >> 3] >> (7 - (at & 7)) & 1).astype(np.int64) << (width - 1 - bit)
            if values.size and not (values.min() >= -(2**31) and values.max() < 2**31):
                raise FormatError("a packed number does not fit into 32 bits")
            arrays.append(values.astype(np.int32).reshape(layout.shape))
            ends.append(reader.position)
        return arrays, ends
