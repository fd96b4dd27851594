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

import numpy as np
from common import bar, cats_dogs, unpacked

import mignon
from mignon.files import cache_folder

FEW = 10


def tiny_imagenet(seed: int, images: int = 200) -> Path:
    """Folder of Tiny ImageNet's ten classes: so many training images of each, its validation images as the test set."""
    source, generator = unpacked("tiny-imagenet-10"), np.random.default_rng(seed)
    target = source.parent / f"tiny-imagenet-10-{images}-{seed}"
    lines = (source / "val" / "val_annotations.txt").read_text().splitlines()
    held = [(source / "val" / "images" / name, wnid) for name, wnid, *_ in (line.split("\t") for line in lines)]
    classes = sorted(path.name for path in (source / "train").iterdir())
    for wnid in classes:
        own = sorted((source / "train" / wnid / "images").iterdir())
        chosen = [own[i] for i in generator.permutation(len(own))[:images]]
        link(chosen, target / "train" / wnid)
        link([path for path, own_class in held if own_class == wnid and path.exists()], target / "test" / wnid)
    return target


def few_photos(draw: int) -> Path:
    """Ten photos a class to learn from, all others to be measured on."""
    generator, target = np.random.default_rng(draw), cache_folder() / "shared" / f"cats-dogs-{FEW}-{draw}"
    for folder in sorted(cats_dogs().iterdir()):
        own = sorted(folder.iterdir())
        order = generator.permutation(len(own))
        link([own[i] for i in order[:FEW]], target / "train" / folder.name)
        link([own[i] for i in order[FEW:]], target / "test" / folder.name)
    return target


def link(paths: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if not (folder / path.name).exists():
            (folder / path.name).hardlink_to(path)


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
