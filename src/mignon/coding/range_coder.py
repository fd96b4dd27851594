"""Adaptive arithmetic coding of all streams in one run (Witten, Neal, Cleary 1987, with mixed contexts)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mignon.coding import Layout, Stream, check_streams
from mignon.errors import FormatError
from mignon.registry import CODERS


@CODERS.register("range")
@dataclass(frozen=True)
class Range:
    """One arithmetic coder over all streams; its models learn from stream to stream."""

    summary: ClassVar[str] = "adaptive arithmetic coding with mixed contexts"

    def encode(self, streams: list[Stream]) -> bytes:
        """The settled bytes, then the shortest ending that the decoder (which reads 255 beyond the end) needs."""
        from mignon.coding.integers import Model

        arrays = check_streams(streams)
        if not any(a.size for a in arrays):
            return b""
        room = sum(a.size for a in arrays) * 9 + 16
        while True:
            model = Model(np.zeros(room, np.uint8), decoding=False)
            for values, stream in zip(arrays, streams):
                model.run(_grid(values), stream.kind, values.ndim > 2)
            if model.position < room:
                break
            room = model.position + 1  # rare: large numbers that nothing before them lets foresee
        end = model.position
        model.data[end] = model.registers[0] >> 24  # x1 rounded up to 255s lies inside [x1, x2]: their top bytes differ
        return model.data[: end + 1].tobytes()

    def cost(self, stream: Stream) -> np.ndarray:
        """Bits of each number, as the model stands when it comes to it."""
        from mignon.coding.integers import Model

        (values,) = check_streams([stream])
        grid = _grid(values)
        model, costs = Model(np.zeros(0, np.uint8), decoding=False), np.zeros(grid.shape, np.int64)
        model.run(grid, stream.kind, values.ndim > 2, costs)
        return costs.reshape(values.shape) / 65536

    def decode(self, data: bytes, layouts: list[Layout]) -> tuple[list[np.ndarray], list[int]]:
        """Inverse of `encode`; the end of a stream inside the run is known to a byte."""
        from mignon.coding.integers import Model

        model = Model(np.frombuffer(bytearray(data), np.uint8), decoding=True)
        arrays, ends = [], []
        for layout in layouts:
            values = np.zeros(layout.shape, np.int64)
            if not model.run(_grid(values), layout.kind, values.ndim > 2):
                raise FormatError("the coded data are damaged")
            arrays.append(values.astype(np.int32))
            ends.append(max(0, min(len(data), model.position)))
        if ends and any(layout.count for layout in layouts):
            needed = model.position + 1
            if needed > len(data):
                raise FormatError("the coded data end too early")
            ends[-1] = needed
        return arrays, ends


def _grid(values: np.ndarray) -> np.ndarray:
    """Rows x columns of the same memory as int64: the first axis against all others; one row when there is one axis."""
    if values.ndim < 2 or values.size == 0:
        return values.astype(np.int64, copy=False).reshape(1, -1)
    return values.astype(np.int64, copy=False).reshape(values.shape[0], -1)
