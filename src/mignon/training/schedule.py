"""How the learning rate goes: pure functions by name.

`schedule(progress, epochs)` gives the share of the highest rate when the share `progress` of these epochs is done
(what the warm-up takes is none of them).
"""

import math

from mignon.registry import SCHEDULES

HALF, LEAST, CHANGE = 5, 0.01, 70  # epochs from peak to valley, share at the valley, epochs before the tenth
TINY = 1e-9  # an epoch begins where rounding says that it nearly does


@SCHEDULES.register("cosine")
def cosine(progress: float, epochs: float) -> float:
    """Falls slowly, fast, slowly to 0 (Loshchilov and Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


@SCHEDULES.register("linear")
def linear(progress: float, epochs: float) -> float:
    """Falls evenly to 0."""
    return 1 - progress


@SCHEDULES.register("constant")
def constant(progress: float, epochs: float) -> float:
    """Stays."""
    return 1.0


@SCHEDULES.register("step")
def step(progress: float, epochs: float) -> float:
    """A tenth after a half, a hundredth after three quarters (He et al. 2016)."""
    return 0.1 ** ((progress >= 0.5) + (progress >= 0.75))


@SCHEDULES.register("exponential")
def exponential(progress: float, epochs: float) -> float:
    """Times 0.98 after every epoch (MobileNetV2)."""
    return 0.98 ** _epoch(progress, epochs)


@SCHEDULES.register("one-cycle")
def one_cycle(progress: float, epochs: float) -> float:
    """From a 25th up to the rate in three tenths of the way, then down to 0, as cosines (Smith and Topin 2018)."""
    if progress < 0.3:
        return 1 - (1 - 1 / 25) * cosine(progress / 0.3, epochs)
    return cosine((progress - 0.3) / 0.7, epochs)


@SCHEDULES.register("oscillating-cosine")
def oscillating_cosine(progress: float, epochs: float) -> float:
    """Down to a hundredth in five epochs and up again in five, without end; from epoch 71 on a tenth of that, begun
    anew (system 003: PyTorch's annealing with half a period of 5 for 90 epochs).
    """
    epoch = _epoch(progress, epochs)
    return oscillating(epoch, LEAST) if epoch < CHANGE else 0.1 * oscillating(epoch - CHANGE, LEAST)


@SCHEDULES.register("range")
def growing(progress: float, epochs: float) -> float:
    """Grows evenly by factors from a ten-thousandth: what `--lr auto` looks for a rate with."""
    return 1e-4 ** (1 - progress)


def oscillating(epoch: int, least: float) -> float:
    """Share of the rate in an epoch (from 0) between 1 and `least`, in closed form."""
    return least + (1 - least) * (1 + math.cos(math.pi * epoch / HALF)) / 2


def _epoch(progress: float, epochs: float) -> int:
    return int(progress * epochs + TINY)
