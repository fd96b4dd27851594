"""`mignon probe` on photos: 200 images a class and more (three seeds), and ten photos a class (five draws, measured on
all the rest); `bench_probe.py ten-photos` takes a part. Every figure is the test row of one command; the choice of cut
and strength is made inside."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from common import bar, cats_dogs, few_photos, tiny_imagenet

import mignon
from mignon.files import cache_folder


def reached(name: str, folder: Callable[[int], Path], seeds: int) -> list[float]:
    """Test top-1 of one command a seed."""
    found = []
    for seed in range(seeds):
        started, cpu = time.perf_counter(), time.process_time()
        out = cache_folder() / "bench-probe"
        shutil.rmtree(out, ignore_errors=True)
        result = mignon.probe(folder(seed), seed=seed, out=out)
        row, best = result.rows[0], next(cut for cut in result.cuts if cut["best"])
        found.append(100 * row["top1"])
        print(
            f"{name}, seed {seed}: {found[-1]:.1f} % of {row['images']} test images ({100 * row['top1_low']:.1f} to "
            f"{100 * row['top1_high']:.1f}), cut {best['cut']}, C {best['strength']:g}, {result.judged}; "
            f"{time.perf_counter() - started:.0f} s, {time.process_time() - cpu:.0f} CPU s",
            flush=True,
        )
    print(f"{name}: {statistics.median(found):.1f} ({min(found):.1f} to {max(found):.1f})", flush=True)
    return found


PARTS: dict[str, tuple[Callable[[int], Path], int, Callable[[list[float]], float], float]] = {
    "cats-dogs": (lambda _: cats_dogs(), 3, statistics.median, 95),
    "ten-classes": (tiny_imagenet, 3, statistics.median, 95),
    "ten-photos": (few_photos, 5, statistics.mean, 91),
}
met = True
for name in sys.argv[1:] or PARTS:
    folder, seeds, middle, least = PARTS[name]
    met &= bar(f"{name}, {middle.__name__}", middle(reached(name, folder, seeds)), least, at_most=False, unit=" %")
sys.exit(not met)
