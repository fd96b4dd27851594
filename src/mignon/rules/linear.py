"""Linear quantizers of one tensor: value = low + step q, q a signed whole number of so many bits.

`source` is the one of MESS (mlvc-lab/ILKP) as published: its step comes from an affine range but it has no zero point,
so the longer tail is cut and one-sided values collapse. `affine` and `symmetric` are the repaired ones; `best` narrows
the affine range to the smallest squared error.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

SHARES = 41  # ranges that `best` tries, from the whole one down to a fifth


class Scale(NamedTuple):
    """value = low + step q."""

    low: float
    step: float


def limits(bits: int) -> tuple[int, int]:
    """Smallest and largest q."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def source(values: Tensor, bits: int) -> Scale:
    """step = (max - min)/(2^bits - 1), no zero point; a constant tensor (0/0 in the source) keeps its value."""
    low, high = float(values.min()), float(values.max())
    return Scale(0.0, (high - low) / (2**bits - 1)) if high > low else Scale(low, 0.0)


def affine(values: Tensor, bits: int) -> Scale:
    """The smallest value at the smallest q, the largest at the largest."""
    return _between(float(values.min()), float(values.max()), bits)


def symmetric(values: Tensor, bits: int) -> Scale:
    """step = max|v| / (2^(bits-1) - 1); the smallest q of all is never used."""
    return Scale(0.0, float(values.abs().max()) / limits(bits)[1])


def best(values: Tensor, bits: int) -> Scale:
    """The affine range, narrowed evenly from both ends, with the smallest squared error."""
    low, high = float(values.min()), float(values.max())
    found = [_between(low * share, high * share, bits) for share in torch.linspace(1.0, 0.2, SHARES).tolist()]
    errors = [float((numbers(integers(values, s, bits), s) - values).square().sum()) for s in found]
    return found[min(range(SHARES), key=errors.__getitem__)]


def _between(low: float, high: float, bits: int) -> Scale:
    step = (high - low) / (2**bits - 1)
    return Scale(low + step * 2 ** (bits - 1), step)


GRIDS: dict[str, Callable[[Tensor, int], Scale]] = {
    "source": source,
    "affine": affine,
    "symmetric": symmetric,
    "best": best,
}


def integers(values: Tensor, scale: Scale, bits: int) -> Tensor:
    """The nearest q (int32), halves to even."""
    if scale.step == 0:
        return torch.zeros(values.shape, dtype=torch.int32, device=values.device)
    return torch.round((values - scale.low) / scale.step).clamp(*limits(bits)).to(torch.int32)


def numbers(q: Tensor, scale: Scale) -> Tensor:
    """low + step q in double precision."""
    return scale.low + scale.step * q.double()
