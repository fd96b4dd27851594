"""Which range a grid covers: the extremes, a percentile, or the smallest squared error."""

import re
from collections.abc import Callable

import torch
from torch import Tensor

from mignon.errors import RecipeError
from mignon.models.activations import ActivationGrid

SHARES = torch.linspace(1.0, 0.15, 52).tolist()
SAMPLES = 400_000  # values of a map that are looked at
BINS = 1 << 14  # of a histogram of them: eight and more to a step of the narrowest grid of 8 bits

Cover = Callable[[ActivationGrid, Tensor], None]


def cover_of(name: str) -> Cover:
    """A function that sets the range of an activation grid from a sample. Raises RecipeError."""
    if name == "mse":
        return cover_mse
    if name == "minmax":
        return lambda grid, sample: grid.cover(float(sample.min()), float(sample.max()))
    match = re.fullmatch(r"p(\d{2}(?:\.\d+)?)", name)
    if match and 50 < float(match[1]) < 100:
        tail = 1 - float(match[1]) / 100
        return lambda grid, sample: grid.cover(_quantile(sample, tail), _quantile(sample, 1 - tail))
    raise RecipeError(f"there is no range {name!r}", "use range=mse, range=minmax or a percentile: range=p99.9")


def thin(values: Tensor) -> Tensor:
    """An even sample of a map, flat."""
    flat = values.flatten()
    return flat[:: max(1, flat.numel() // SAMPLES)]


def _quantile(sample: Tensor, share: float) -> float:
    ordered = torch.sort(thin(sample)).values
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])


def cover_mse(grid: ActivationGrid, sample: Tensor) -> None:
    """The range, from the extremes inward, with the smallest squared error, which a histogram of the sample tells."""
    low, high = float(sample.min()), float(sample.max())
    counts = torch.histc(thin(sample), BINS, low, high) if low < high else torch.ones(1, device=sample.device)
    values = low + (high - low) * (torch.arange(len(counts), device=sample.device) + 0.5) / len(counts)
    best, best_error = 1.0, float("inf")
    for share in SHARES:
        grid.cover(low * share, high * share)
        error = float((counts * (grid(values) - values).double().square()).sum())
        if error < best_error * (1 - 1e-6):
            best, best_error = share, error
    grid.cover(low * best, high * best)


def cover_answers(grid: ActivationGrid, logits: Tensor) -> None:
    """The range behind the last layer (N x classes): the one that changes the probabilities least (KL).

    Logits far below the largest are answers that nobody gives: their errors do not count, steps among the largest do.
    """
    low, high = min(float(logits.min()), 0.0), max(float(logits.max()), 0.0)
    exact = torch.log_softmax(logits.double(), 1)
    best, best_error = (1.0, 1.0), float("inf")
    for below in torch.linspace(1.0, 0.0, 21).tolist():
        for above in torch.linspace(1.0, 0.5, 11).tolist():
            grid.cover(low * below, high * above)
            error = float((exact.exp() * (exact - torch.log_softmax(grid(logits).double(), 1))).sum())
            if error < best_error * (1 - 1e-6):
                best, best_error = (below, above), error
    grid.cover(low * best[0], high * best[1])
