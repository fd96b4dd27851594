"""`mignon demo`: the whole story on the handwritten digits that ship with the package."""

from pathlib import Path

from mignon.jobs.build import build
from mignon.jobs.result import Result
from mignon.progress import Screen

EPOCHS = 60
TEACHER = 4.0  # times as wide
KIB = 1.5


def demo(*, out: str | Path | None = None, seed: int = 0, screen: Screen | None = None) -> Result:
    """`build` on the digits with a teacher, a limit of 1.5 KiB and so many epochs: about a minute on two cores."""
    return build("digits", max_kib=KIB, epochs=EPOCHS, teacher=TEACHER, out=out, seed=seed, device="cpu", screen=screen)
