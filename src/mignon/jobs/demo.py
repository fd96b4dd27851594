"""`mignon demo`: the whole story on the handwritten digits that ship with the package."""

from pathlib import Path

from mignon.jobs.build import build
from mignon.jobs.result import Result
from mignon.progress import Screen

EPOCHS = 60
KIB = 3.0


def demo(*, out: str | Path | None = None, seed: int = 0, screen: Screen | None = None) -> Result:
    """`build` on the digits with a limit of 3 KiB and a fixed number of epochs: about a minute on two cores."""
    return build("digits", max_kib=KIB, epochs=EPOCHS, out=out, seed=seed, device="cpu", screen=screen)
