"""Thirty epochs of a head on cached features of a frozen trunk against thirty that compute them again, and an epoch of
`fit` on them against a plain loop. One network, the same photos; seconds of CPU, so that other programs count less."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import sys
import tempfile
import time
from pathlib import Path

from common import bar, cats_dogs

from mignon.jobs.start import start_from
from mignon.progress import Quiet
from mignon.training.loop import fit
from mignon.training.settings import Options, Settings

EPOCHS, DIRECT = 30, 1  # epochs on features, and those that are computed again (each costs the same)

begun = start_from(str(cats_dogs()), None, None, 128, "efficientnet-lite0", 0, None, Quiet())
start, images = begun.classifier, begun.images


def seconds(epochs: int, augment: str, cache: Path) -> float:
    """CPU-seconds of training the head: on features of plain images (`none`), or through the trunk."""
    os.environ["MIGNON_CACHE"] = str(cache)
    settings = Settings.of(Options(epochs=epochs, layers="head", augment=augment), given="trunk")
    with tempfile.TemporaryDirectory() as place:
        started = time.process_time()
        fit(start.copy(), images.train, images.validation, settings, 0, "cpu", Path(place), Quiet(), choose_from=1)
        return time.process_time() - started


with tempfile.TemporaryDirectory() as folder:
    first = seconds(EPOCHS, "none", Path(folder))
    again = seconds(EPOCHS, "none", Path(folder))
    direct = seconds(DIRECT, "crop-flip", Path(folder)) / DIRECT * EPOCHS
print(f"{EPOCHS} epochs: {first:.1f} CPU s with the features to compute, {again:.1f} with them, {direct:.1f} without")
met = bar("direct / cached, features computed once", direct / first, 20, at_most=False)
met &= bar("direct / cached, features there", direct / again, 20, at_most=False)
sys.exit(not met)
