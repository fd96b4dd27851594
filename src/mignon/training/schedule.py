"""How the learning rate goes: pure functions of the step, by name."""

import math

from mignon.registry import SCHEDULES


@SCHEDULES.register("cosine")
def cosine(progress: float) -> float:
    """Falls slowly, fast, slowly to 0 (Loshchilov and Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


@SCHEDULES.register("linear")
def linear(progress: float) -> float:
    """Falls evenly to 0."""
    return 1 - progress


@SCHEDULES.register("constant")
def constant(progress: float) -> float:
    """Stays."""
    return 1.0
