"""Which whole numbers: not the nearest ones, but those that change the layer's output least.

For a layer with weights w (rows), float inputs x and the inputs x' that the quantized network feeds it, this minimizes
E |w x - v x'|^2 over the v of a grid: AdaRound's objective (Nagel et al. 2020) with the inputs of GPTQ (Frantar et al.
2022), solved by coordinate descent instead of by gradient: no labels, no gradient, no epochs, and the same bits each
time. It starts from the unrounded least-squares solution and from GPTQ's answer; the better end is taken, row by row.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mignon.models.ops import is_convolution
from mignon.rules.grid import Grid

DAMPING = 0.01  # of the mean of the diagonal: holds weights near their old values where inputs say little
SWEEPS = 6
ROWS_PER_INPUT, FEWEST, MOST = 48, 2_048, 32_768  # positions of the maps that are looked at


@dataclass
class Gram:
    """Second moments of a layer's inputs, float64, groups x d x d: of x' with itself, and of x with x'."""

    own: Tensor
    cross: Tensor

    def linear(self, rows: Tensor) -> Tensor:
        """E (w x) x' for weights as rows (out x d): out x d."""
        return self._by_group(rows, self.cross)

    def pull(self, rows: Tensor) -> Tensor:
        """rows times E x' x'."""
        return self._by_group(rows, self.own)

    def solve(self, rows: Tensor) -> Tensor:
        """The unrounded least-squares weights that stand for these rows when the inputs are x'."""
        linear = self.linear(rows).reshape(len(self.own), -1, self.own.shape[1])
        return torch.linalg.solve(self.own, linear.transpose(1, 2)).transpose(1, 2).reshape(rows.shape)

    def _by_group(self, rows: Tensor, matrix: Tensor) -> Tensor:
        return (rows.reshape(len(matrix), -1, matrix.shape[1]) @ matrix).reshape(rows.shape)


def gram(module: Any, before: Tensor, now: Tensor, centered: bool) -> Gram:
    """From the float inputs of a layer and those of the quantized network (N x C x H x W or N x features).

    `centered`: means are taken out, since a bias behind the layer makes up for them.
    """
    x, own_x = (_patches(module, values) for values in (before, now))
    if centered:
        x, own_x = x - x.mean(0), own_x - own_x.mean(0)
    x, own_x = x.transpose(0, 1), own_x.transpose(0, 1)  # groups x rows x d
    own = (own_x.transpose(1, 2) @ own_x).double() / x.shape[1]
    cross = (x.transpose(1, 2) @ own_x).double() / x.shape[1]
    diagonal = own.diagonal(dim1=1, dim2=2)
    damping = DAMPING * diagonal.mean(1).clamp_min(1e-12)
    identity = torch.eye(own.shape[1], dtype=torch.float64) * damping[:, None, None]
    return Gram(own + identity, cross + identity)


def _patches(module: Any, values: Tensor) -> Tensor:
    """What the weights see: rows x groups x d, of evenly spread positions."""
    if not is_convolution(module):
        return values[:, None, :]
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = module.kernel_size, module.stride, module.padding, module.dilation
    spread = F.pad(values, (pw, pw, ph, ph)).unfold(2, dh * (kh - 1) + 1, sh).unfold(3, dw * (kw - 1) + 1, sw)
    windows = spread[..., ::dh, ::dw]
    n, height, width = windows.shape[0], windows.shape[2], windows.shape[3]
    inputs = module.weight[0].numel()
    wanted = min(MOST, max(FEWEST, ROWS_PER_INPUT * inputs))
    total = n * height * width
    chosen = torch.arange(min(wanted, total)) * total // min(wanted, total)
    image, place = chosen // (height * width), chosen % (height * width)
    rows = windows[image, :, place // width, place % width]
    return rows.reshape(len(rows), module.groups, -1)


def best_integers(rule: Grid, rows: Tensor, moments: Gram) -> None:
    """Set scales and integers of `rule` for absorbed weights as rows (float64, out x d)."""
    keep = None if rule.mask is None else rule.mask.bool().reshape(rows.shape)
    wanted = rows if keep is not None else moments.solve(rows)
    linear = moments.linear(rows)

    def error(value: Tensor) -> Tensor:
        gap = value - wanted
        return gap * moments.pull(gap)

    rule.search_scales(wanted, error)
    zero = rule.spread(rule.zero).expand(rows.shape)
    problem = _Problem(
        moments.own,
        *(_grouped(part, moments) for part in (
            wanted,
            linear,
            rule.step().double().expand(rows.shape),
            (rule.low - zero).double(),
            (rule.top - zero).double(),
            torch.ones_like(rows, dtype=torch.bool) if keep is None else keep,
        )),
    )  # fmt: skip
    value = problem.nearest()
    for start in (problem.wanted, problem.nearest_plane()):
        found = problem.descend(start)
        value = torch.where((problem.cost(found) < problem.cost(value))[:, :, None], found, value)
    rule.set_whole(torch.round(value / problem.step).reshape(rows.shape))


def _grouped(rows: Tensor, moments: Gram) -> Tensor:
    return rows.reshape(len(moments.own), -1, rows.shape[1])


@dataclass
class _Problem:
    """Least v H v - 2 v b over grid points v, for every row of every group (groups x rows x d)."""

    own: Tensor
    wanted: Tensor
    linear: Tensor
    step: Tensor
    low: Tensor
    top: Tensor
    kept: Tensor

    def cost(self, value: Tensor) -> Tensor:
        """groups x rows, up to a constant of each row."""
        return (value * (value @ self.own - 2 * self.linear)).sum(2)

    def nearest(self) -> Tensor:
        """Every weight rounded by itself."""
        return torch.stack([self.on_grid(self.wanted[:, :, i], i) for i in range(self.wanted.shape[2])], 2)

    def on_grid(self, value: Tensor, i: int) -> Tensor:
        """Column i on the grid."""
        whole = torch.round(value / self.step[:, :, i])
        whole = torch.minimum(torch.maximum(whole, self.low[:, :, i]), self.top[:, :, i])
        return whole * self.step[:, :, i] * self.kept[:, :, i]

    def nearest_plane(self) -> Tensor:
        """Babai's nearest plane, which is what GPTQ computes: each input makes up for the rounding of those before."""
        order = torch.argsort(self.own.diagonal(dim1=1, dim2=2).sum(0), stable=True)
        upper = torch.linalg.cholesky(self.own[:, order][:, :, order]).transpose(1, 2)
        value, gap = torch.zeros_like(self.wanted), torch.zeros_like(self.wanted)
        for place in range(len(order) - 1, -1, -1):
            i = int(order[place])
            pull = (gap @ upper[:, place, :, None])[:, :, 0] / upper[:, place, place, None]
            value[:, :, i] = self.on_grid(self.wanted[:, :, i] + pull, i)
            gap[:, :, place] = self.wanted[:, :, i] - value[:, :, i]
        return value

    def descend(self, start: Tensor) -> Tensor:
        """Coordinate descent from a start on the grid or off it, until no whole number moves."""
        value, residual = start.clone(), self.linear - start @ self.own
        diagonal = self.own.diagonal(dim1=1, dim2=2)
        order = torch.argsort(diagonal.sum(0), descending=True, stable=True).tolist()
        for _ in range(SWEEPS):
            moved = False
            for i in order:
                best = self.on_grid(value[:, :, i] + residual[:, :, i] / diagonal[:, i, None], i)
                change = best - value[:, :, i]
                if bool(change.any()):
                    moved = True
                    value[:, :, i] = best
                    residual -= change[:, :, None] * self.own[:, i, None, :]
            if not moved:
                break
        return value
