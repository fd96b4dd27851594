"""Which reference each kernel resembles most, with which scale and offset: one matrix product a layer, in float64."""

from typing import NamedTuple

import torch
from torch import Tensor

from mignon.errors import RecipeError
from mignon.rules.pieces import unit

CRITERIA = ("l1", "l2", "pcc", "distance")
EPSILON_RULES = ("none", "add", "zero", "nan1", "clamp")
EPSILON = 1e-8
TIE = 1e-12  # of the size of a row: scores that differ by less are equal, whatever order the products are summed in
CHUNK = 1 << 18  # kernel-reference pairs looked at together


class Match(NamedTuple):
    """For each row the number of its reference (int64), and alpha and beta (float64)."""

    reference: Tensor
    alpha: Tensor
    beta: Tensor


def match(
    rows: Tensor,
    references: Tensor,
    criterion: str = "l2",
    scale: bool = True,
    offset: bool = True,
    epsilon: str = "clamp",
) -> Match:
    """rows (n x L) as alpha x reference (K x L) + beta, by least squares; ties go to the lowest index.

    `l1` and `l2` compare the fit with the row, `pcc` takes the largest absolute correlation (undefined ones count as 0;
    signed without a free scale), `distance` the L1 distance before any fit. `epsilon` says what happens to a reference
    that divides by zero. Raises RecipeError for such a reference under `none`.
    """
    rows, references = rows.double(), references.double()
    means = references.mean(1) if offset else references.new_zeros(len(references))
    basis = centered(references) if offset else references
    power = basis.square().sum(1)
    if scale and epsilon == "none" and bool((power == 0).any()):
        raise RecipeError(
            f"{int((power == 0).sum())} of {len(power)} reference kernels are constant, so the scale of a kernel that "
            "is compared with them is 0/0",
            "choose what happens then, for example eps=clamp",
        )
    denominator = _denominator(power, epsilon)
    if criterion == "pcc":
        directions = unit(references)
    chosen, scales = [], []
    for part in rows.split(max(1, CHUNK // len(references))):
        target = centered(part) if offset else part
        if scale:
            product = target @ basis.T
            alpha = product / denominator
            if epsilon == "nan1":
                alpha[:, power == 0] = 1.0
        else:
            product = target @ basis.T if criterion == "l2" else None
            alpha = target.new_ones(len(part), len(references))
        if criterion == "pcc":
            likeness = unit(part) @ directions.T
            score, size = -(likeness.abs() if scale else likeness), part.new_ones(len(part))
        elif criterion == "l2":
            size = part.square().sum(1)
            score = target.square().sum(1, keepdim=True) - 2 * alpha * product + alpha.square() * power
        elif criterion == "l1":
            size = part.abs().sum(1)
            score = _distances(target, basis, alpha)
        else:
            size = part.abs().sum(1)
            score = _distances(part, references, None)
        index = _first_smallest(score, size)
        chosen.append(index)
        scales.append(alpha.gather(1, index[:, None])[:, 0])
    index, alpha = torch.cat(chosen), torch.cat(scales)
    beta = rows.mean(1) - alpha * means[index] if offset else torch.zeros_like(alpha)
    return Match(index, alpha, beta)


def centered(rows: Tensor) -> Tensor:
    """Each row minus its mean; exactly zero for a constant row."""
    constant = rows.amax(1, keepdim=True) == rows.amin(1, keepdim=True)
    return torch.where(constant, 0.0, rows - rows.mean(1, keepdim=True))


def _denominator(power: Tensor, epsilon: str) -> Tensor:
    if epsilon == "add":
        return power + EPSILON
    if epsilon == "clamp":
        return power.clamp_min(EPSILON)
    return torch.where(power == 0, EPSILON, power)


def _distances(rows: Tensor, references: Tensor, alpha: Tensor | None) -> Tensor:
    """n x K sums of |alpha reference - row|, one column of the rows after the other (no n x K x L is ever held)."""
    total = rows.new_zeros(len(rows), len(references))
    for i in range(rows.shape[1]):
        fitted = references[:, i] if alpha is None else alpha * references[:, i]
        total += (fitted - rows[:, i : i + 1]).abs_()
    return total


def _first_smallest(score: Tensor, size: Tensor) -> Tensor:
    bound = score.amin(1) + TIE * size
    return (score <= bound[:, None]).to(torch.uint8).argmax(1)
