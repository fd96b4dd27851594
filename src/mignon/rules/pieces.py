"""How a weight is cut into pieces of equal length, and how references are cut and turned, for fitting and decoding.

A weight of kernels (3 x 3 and the like) is cut along the kernels of each filter, a depthwise one along its channels, a
pointwise or linear one along the inputs of each row. A row whose length is no multiple ends in a shorter piece.
"""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

TRANSFORMS = ("none", "square", "shifts", "all")
TINY = 1e-8  # length below which a piece has no direction


class Cut(NamedTuple):
    """`rows` x `pieces` pieces of a weight; all are `length` long but the last of each row, which is `last` long."""

    rows: int
    pieces: int
    length: int
    last: int

    @property
    def total(self) -> int:
        """Pieces in all."""
        return self.rows * self.pieces

    @property
    def whole(self) -> int:
        """Pieces of full length in a row."""
        return self.pieces - (self.last < self.length)


def kernel_size(shape: tuple[int, ...]) -> int:
    """Numbers of one kernel: 9 for 3 x 3, 1 for pointwise and linear layers."""
    return math.prod(shape[2:])


def cut(shape: tuple[int, ...], length: int) -> Cut:
    """The pieces of a weight of this shape (O x I x kh x kw or O x I)."""
    depthwise = shape[1] == 1 and kernel_size(shape) > 1
    rows = 1 if depthwise else shape[0]
    numbers = math.prod(shape) // rows
    pieces = -(-numbers // length)
    return Cut(rows, pieces, length, numbers - (pieces - 1) * length)


def split(weight: Tensor, length: int) -> tuple[Tensor, Tensor | None]:
    """Whole pieces (rows x whole x length) and, where they do not fill the rows, the last ones (rows x last)."""
    parts = cut(tuple(weight.shape), length)
    flat = weight.reshape(parts.rows, -1)
    body = flat[:, : parts.whole * length].reshape(parts.rows, parts.whole, length)
    return body, flat[:, parts.whole * length :] if parts.last < length else None


def windows(weight: Tensor, length: int, stride: int = 1) -> Tensor:
    """References (K x length) of a reference weight.

    Kernels in the order out x C_in + in, `length` numbers a group, a rest that fills no group left out; of a pointwise
    weight the windows of each row at 0, stride, 2 stride, ... and one more at its end where they do not reach it.
    """
    if kernel_size(tuple(weight.shape)) > 1:
        flat = weight.reshape(-1)
        return flat[: len(flat) // length * length].reshape(-1, length)
    rows = weight.reshape(len(weight), -1)
    starts = list(range(0, rows.shape[1] - length + 1, stride))
    if (rows.shape[1] - length) % stride:
        starts.append(rows.shape[1] - length)
    return torch.stack([rows[:, s : s + length] for s in starts], 1).reshape(-1, length)


def count_windows(shape: tuple[int, ...], length: int, stride: int = 1) -> int:
    """How many references `windows` gives for a weight of this shape."""
    if kernel_size(shape) > 1:
        return math.prod(shape) // length
    room = math.prod(shape[1:]) - length
    return 0 if room < 0 else shape[0] * (room // stride + 1 + (room % stride > 0))


def unit(pieces: Tensor) -> Tensor:
    """Centered and of length 1 along the last axis; zero, without a gradient, where constant.

    The sums run one number after the other, so every machine rounds them alike.
    """
    pieces = pieces - total(pieces) / pieces.shape[-1]
    power = total(pieces * pieces)
    flat = power <= TINY * TINY
    return torch.where(flat, 0.0, pieces / torch.where(flat, 1.0, power).sqrt())


def total(pieces: Tensor) -> Tensor:
    """The sum along the last axis, which stays with size 1, added from first to last."""
    result = pieces[..., :1]
    for i in range(1, pieces.shape[-1]):
        result = result + pieces[..., i : i + 1]
    return result


@functools.cache
def permutations(kind: str, length: int, kernel: int) -> Tensor:
    """T x length: transform t of a reference r is r[permutations[t]]; t = 0 leaves it as it is.

    Square kernels: `square` is the 8 rotations and flips, `shifts` the circular shifts by (dy, dx), `all` both, with
    t = turn x shifts + shift. Windows (`kernel` 1): reversal and circular shifts. Bound kernels are turned one by one.
    """
    if kernel == 1:
        base = torch.arange(length)
        turned = [base, base.flip(0)]
        moves: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((s,), (0,)) for s in range(length)]
    else:
        side = math.isqrt(kernel)
        base = torch.arange(kernel).reshape(side, kernel // side)
        quarter = 1 if side * side == kernel else 2
        turned = [torch.rot90(x, q) for x in (base, base.flip(1)) for q in range(0, 4, quarter)]
        height, width = base.shape
        moves = [((y, x), (0, 1)) for y in range(height) for x in range(width)]
    table = {
        "none": [base],
        "square": turned,
        "shifts": [torch.roll(base, *move) for move in moves],
        "all": [torch.roll(x, *move) for x in turned for move in moves],
    }[kind]
    one = torch.stack([x.reshape(-1) for x in table])
    copies = length // one.shape[1]
    return torch.cat([one + i * one.shape[1] for i in range(copies)], 1)
