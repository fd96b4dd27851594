"""A schedule: half the rate after each third."""

from mignon.registry import SCHEDULES


@SCHEDULES.register("halves")
def halves(progress, epochs):
    """1, 1/2, 1/4."""
    return 0.5 ** min(2, int(3 * progress))
