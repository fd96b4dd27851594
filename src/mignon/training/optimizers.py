"""How weights follow their gradients, by name.

A member makes a torch optimizer of parameter groups and says its usual rates: `fresh` for a new network, `given` for a
new head on given weights; `decay` is its usual weight decay; `states`: numbers that it keeps for each parameter.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mignon.registry import OPTIMIZERS
from mignon.training.settings import Settings

Groups = list[dict[str, Any]]


@OPTIMIZERS.register("sgd")
class Sgd:
    """Stochastic gradient descent with Nesterov momentum."""

    fresh, given, decay = 0.2, 0.02, 5e-4
    states = 1

    @staticmethod
    def make(groups: Groups, settings: Settings) -> Optimizer:
        """For these groups."""
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0)


@OPTIMIZERS.register("adam")
class Adam:
    """Adam (Kingma and Ba 2015), weight decay added to the gradient; `momentum` is its first beta."""

    fresh, given, decay = 5e-3, 1e-2, 1e-4
    states = 2

    @staticmethod
    def make(groups: Groups, settings: Settings) -> Optimizer:
        """For these groups."""
        return torch.optim.Adam(groups, lr=settings.lr, betas=(settings.momentum, 0.999))


@OPTIMIZERS.register("adamw")
class AdamW:
    """Adam with weight decay of its own (Loshchilov and Hutter 2019)."""

    fresh, given, decay = 5e-3, 1e-2, 1e-2
    states = 2

    @staticmethod
    def make(groups: Groups, settings: Settings) -> Optimizer:
        """For these groups."""
        return torch.optim.AdamW(groups, lr=settings.lr, betas=(settings.momentum, 0.999))


@OPTIMIZERS.register("muon")
class Muon:
    """Momentum made orthogonal for convolutions and matrices (Jordan 2024), SGD with Nesterov momentum for the rest."""

    fresh, given, decay = 0.02, 0.02, 1e-2
    states = 1

    @staticmethod
    def make(groups: Groups, settings: Settings) -> Optimizer:
        """For these groups."""
        return Orthogonal(groups, lr=settings.lr, momentum=settings.momentum)


class Orthogonal(Optimizer):
    """Steps of Muon: each filter bank O x (I kh kw) moves along the nearest orthogonal matrix of its momentum."""

    def __init__(self, groups: Groups, lr: float, momentum: float):
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                mean = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                mean.mul_(group["momentum"]).add_(weight.grad)
                ahead = weight.grad + group["momentum"] * mean
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(group["lr"] * (orthogonal(ahead) if weight.dim() > 1 else ahead))


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V^T of the tensor as O x rest, scaled by sqrt(max(1, O / rest)), by five steps of Newton and Schulz.

    The coefficients are Jordan's: singular values end between 0.7 and 1.2, which is enough and takes five products.
    """
    flat = matrix.reshape(len(matrix), -1)
    tall = flat.shape[0] > flat.shape[1]
    x = flat.T if tall else flat
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        inner = x @ x.T
        x = 3.4445 * x + (-4.7750 * inner + 2.0315 * inner @ inner) @ x
    x = x.T if tall else x
    return (x * max(1.0, flat.shape[0] / flat.shape[1]) ** 0.5).reshape(matrix.shape)
