"""Learned references: weighted k-means of the directions of kernels, whose sign does not count."""

from typing import NamedTuple

import torch
from torch import Tensor

from mignon.errors import RecipeError
from mignon.steps.share.matching import CHUNK, centered

ITERATIONS = 25
RESTARTS = 2
SAMPLE = 1 << 17  # kernels that the shapes are learned from


class Shapes(NamedTuple):
    """Unit rows of mean zero (count x L), and the share of the kernels' centered squares that they leave over."""

    rows: Tensor
    error: float


def learn_shapes(kernels: Tensor, count: int, seed: int) -> Shapes:
    """The best of some k-means with k-means++ starts (Arthur, Vassilvitskii 2007), each kernel (n x L) weighted by its
    centered squares: that is the squared error of a fit with scale and offset. Raises RecipeError for too few kernels.
    """
    rows = centered(kernels.double().cpu())
    weights = rows.square().sum(1)
    rows, weights = rows[weights > 0], weights[weights > 0]
    if len(rows) < count:
        raise RecipeError(
            f"{len(rows)} kernels that are not constant cannot teach {count} shapes",
            f"use fewer shapes, for example shapes={max(1, 2 ** (len(rows) // 8).bit_length() // 2)}",
        )
    generator = torch.Generator().manual_seed(seed % (1 << 63))
    if len(rows) > SAMPLE:
        chosen = torch.randperm(len(rows), generator=generator)[:SAMPLE].sort().values
        rows, weights = rows[chosen], weights[chosen]
    units = rows / weights.sqrt()[:, None]
    return min((_k_means(units, weights, count, generator) for _ in range(RESTARTS)), key=lambda s: s.error)


def _k_means(units: Tensor, weights: Tensor, count: int, generator: torch.Generator) -> Shapes:
    shapes = _spread(units, weights, count, generator)
    for _ in range(ITERATIONS):
        index, likeness = nearest(units, shapes)
        sums = torch.zeros_like(shapes).index_add_(0, index, units * (weights * likeness)[:, None])
        length = sums.norm(dim=1, keepdim=True)
        shapes = torch.where(length > 0, sums / length.clamp_min(1e-300), shapes)
    _, likeness = nearest(units, shapes)
    return Shapes(shapes, 1 - float((weights * likeness.square()).sum() / weights.sum()))


def _spread(units: Tensor, weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Starts drawn one after the other, in proportion to the error that the ones before leave."""
    chosen: list[int] = []
    left = weights.clone()
    closest = torch.zeros_like(weights)
    for _ in range(count):
        pick = int(torch.multinomial(left if float(left.sum()) > 0 else weights, 1, generator=generator))
        chosen.append(pick)
        closest = torch.maximum(closest, (units @ units[pick]).square())
        left = weights * (1 - closest).clamp_min(0)
    return units[chosen].clone()


def nearest(units: Tensor, shapes: Tensor) -> tuple[Tensor, Tensor]:
    """The shape with the largest absolute product, and that product with its sign."""
    indices, products = [], []
    for part in units.split(max(1, CHUNK // len(shapes))):
        product = part @ shapes.T
        index = product.abs().argmax(1)
        indices.append(index)
        products.append(product.gather(1, index[:, None])[:, 0])
    return torch.cat(indices), torch.cat(products)
