"""`mignon demo`: the whole story on the handwritten digits that ship with the package."""

from mignon.jobs.build import build
from mignon.jobs.requests import Demo, verb
from mignon.jobs.result import Result
from mignon.progress import Screen

EPOCHS = 60
TEACHER = 4.0  # times as wide
KIB = 1.5


@verb(Demo)
def demo(request: Demo, screen: Screen) -> Result:
    """`build` on the digits with a teacher, a limit of 1.5 KiB and so many epochs: about a minute on two cores."""
    given = {"max_kib": KIB, "epochs": EPOCHS, "teacher": TEACHER, "device": "cpu"}
    return build("digits", **given, out=request.out, seed=request.seed, screen=screen)
