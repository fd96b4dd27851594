"""Scales on a logarithmic grid: a whole number k stands for 2^(k/n), n steps an octave, n a power of two up to 256.

The mantissas are a table of 24-bit whole numbers, m[j] = round(2^(23 + j/256)), so every machine has the same float32.
"""

import functools
from decimal import Decimal, localcontext
from typing import Any

import torch
from torch import Tensor

FINEST = 256
LARGEST_OCTAVE = 60  # of 2: |k| <= 60 n


@functools.cache
def mantissas() -> Tensor:
    """m[j] / 2^23 as float32, j = 0..255: 1 up to just below 2, exact."""
    with localcontext() as context:
        context.prec = 30
        table = [int((Decimal(2) ** (23 + Decimal(j) / FINEST)).to_integral_value()) for j in range(FINEST)]
    return torch.tensor(table, dtype=torch.float64).mul(2.0**-23).float()


def scale(k: Tensor, steps: int) -> Tensor:
    """2^(k/steps) as float32, from the table."""
    octave = torch.div(k, steps, rounding_mode="floor")
    index = (k - octave * steps).long() * (FINEST // steps)
    return torch.ldexp(mantissas().to(k.device)[index], octave.to(torch.int32))


class _Scaled(torch.autograd.Function):
    """The same number, with its gradient times `factor`: a factor of millions leaves no digit of it in a sum."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: Tensor) -> Tensor:
        ctx.factor = factor
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient * ctx.factor, None


def learned_scale(octave: Tensor, steps: int, weight: float, size: Tensor) -> Tensor:
    """2^octave on the grid of scales, for training: the gradient passes straight through to `octave`.

    It is scaled by 1 / (size^2 sqrt(weight)), size = the step where it acts, weight = numbers that share it times their
    largest integer: the relative change of a step is then LSQ's (Esser et al. 2020, section 2.2), which moves the step
    itself.
    """
    moving = _Scaled.apply(octave, max(1.0, weight) ** -0.5 / size.detach().square().clamp_min(1e-12))
    return torch.exp2(moving + (torch.round(moving * steps) / steps - moving).detach())


def nearest_step(values: Tensor, steps: int) -> Tensor:
    """The k (int32) whose scale is nearest to the positive values in the logarithm; the smallest k for 0."""
    bound = LARGEST_OCTAVE * steps
    k = torch.round(steps * torch.log2(values.double().clamp_min(1e-30)))
    return k.clamp(-bound, bound).to(torch.int32)
