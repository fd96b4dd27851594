"""What the layers' inputs look like on training images, and choosing references so that the layers' outputs stay.

As GPTQ (Frantar 2022) and GPTVQ (van Baalen 2024) do for scalars and vectors: pieces are chosen from left to right,
each in the metric of what the pieces behind it cannot mend, and its error is passed on to them.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mignon.classifier import Classifier
from mignon.data.inputs import to_network
from mignon.rules.linear import Scale, integers, numbers
from mignon.rules.pieces import cut, unit
from mignon.steps import Context
from mignon.steps.calibration import IMAGES, draw

Grid = tuple[Scale, int]  # a scale and its bits; 32 bits are not rounded

BATCH = 16
DAMPING = 0.05  # of the mean of the diagonal, added to it


class Chosen(NamedTuple):
    """Index, a and m of each piece, rows x pieces."""

    reference: Tensor
    a: Tensor
    m: Tensor


def second_moments(classifier: Classifier, names: list[str], context: Context) -> dict[str, Tensor]:
    """For each layer groups x M x M (float32): mean x x^T of the M inputs that one output of a group reads.

    Zero, which stands for no preference, where inputs are too large for float32.
    """
    modules: dict[str, Any] = classifier.weighted()
    found: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def hook(module: nn.Conv2d, inputs: tuple[Tensor, ...]) -> None:
            patches = F.unfold(inputs[0], module.kernel_size, module.dilation, module.padding, module.stride)  # type: ignore[arg-type]
            patches = patches.reshape(len(patches), module.groups, -1, patches.shape[-1])
            patches = patches.permute(1, 2, 0, 3).flatten(2)  # groups x M x positions
            moment = patches @ patches.transpose(1, 2)
            found[name] = found[name].add_(moment) if name in found else moment

        return hook

    hooks = [modules[name].register_forward_pre_hook(watch(name)) for name in names]
    pixels = context.train.take(draw(context.train, context.seed, IMAGES))
    device = next(classifier.network.parameters()).device
    try:
        with torch.no_grad():
            for first in range(0, len(pixels), BATCH):
                batch = torch.from_numpy(pixels[first : first + BATCH]).to(device)
                classifier.network(to_network(batch, classifier.input))
    finally:
        for handle in hooks:
            handle.remove()
    return {n: m / len(pixels) if bool(torch.isfinite(m).all()) else torch.zeros_like(m) for n, m in found.items()}


def choose(weight: Tensor, moment: Tensor, table: Tensor, a_grid: Grid, m_grid: Grid) -> Chosen:
    """References (rows of `table`, K x L, unit) for each piece of a weight, one group of outputs after the other."""
    groups = len(moment)
    rows = weight.double().reshape(groups, len(weight) // groups, -1)
    done = [_choose_group(rows[g], moment[g].double(), table, a_grid, m_grid) for g in range(groups)]
    parts = cut(tuple(weight.shape), table.shape[1])
    return Chosen(*(torch.cat(x).reshape(parts.rows, parts.pieces) for x in zip(*done)))


def _choose_group(rows: Tensor, moment: Tensor, table: Tensor, a_grid: Grid, m_grid: Grid) -> Chosen:
    size, length = len(moment), table.shape[1]
    damping = DAMPING * float(moment.diagonal().mean()) or 1.0
    damped = moment + damping * torch.eye(size, dtype=moment.dtype, device=moment.device)
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    rows = rows.clone()
    found = []
    for start in range(0, size, length):
        here = slice(start, min(start + length, size))
        metric = torch.linalg.inv(factor[here, here])
        short = table[:, : here.stop - here.start]
        references = short if short.shape[1] == length else unit(short)
        chosen = _nearest(rows[:, here] @ metric, references @ metric, metric.sum(0), a_grid, m_grid)
        fitted = chosen.a[:, None] * references[chosen.reference] + chosen.m[:, None]
        rows[:, here.stop :] -= (rows[:, here] - fitted) @ metric @ factor[here, here.stop :]
        found.append(chosen)
    return Chosen(*(torch.stack(x, 1) for x in zip(*found)))


def _nearest(rows: Tensor, references: Tensor, ones: Tensor, a_grid: Grid, m_grid: Grid) -> Chosen:
    """The reference whose rounded fit a r + m 1 is nearest; rows, references and ones are in the metric already."""
    size = ones @ ones
    row_means, means = rows @ ones / size, references @ ones / size
    rows, references = rows - row_means[:, None] * ones, references - means[:, None] * ones
    product, power = rows @ references.T, references.square().sum(1)
    a = _rounded(product / power.clamp_min(1e-300), a_grid)
    m = _rounded(row_means[:, None] - a * means, m_grid)
    error = a.square() * power - 2 * a * product + size * (row_means[:, None] - a * means - m).square()
    index = error.argmin(1, keepdim=True)
    return Chosen(index[:, 0], a.gather(1, index)[:, 0], m.gather(1, index)[:, 0])


def _rounded(values: Tensor, grid: Grid) -> Tensor:
    scale, bits = grid
    return values if bits == 32 else numbers(integers(values, scale, bits), scale)
