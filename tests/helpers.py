"""Small made picture folders, and what a step is given."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from mignon.progress import Quiet
from mignon.steps import Context


def make_pictures(root: Path, counts: dict[str, int], size: int = 16, seed: int = 0, spread: int = 150) -> Path:
    """One folder a class; the classes differ in brightness by `spread` at most, every picture in noise."""
    dice = np.random.default_rng(seed)
    for number, (name, count) in enumerate(counts.items()):
        folder = root / name
        folder.mkdir(parents=True)
        middle = 50 + spread * number // max(1, len(counts) - 1)
        for i in range(count):
            pixels = np.clip(dice.normal(middle, 40, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:04d}.png")
    return root


def context_for(images, folder, parent=None, **changes):
    """What a step sees; `parent` is what it gets when it loads one."""
    context = Context(images.train, images.validation, 0, "cpu", Quiet(), lambda _: parent, folder)
    return dataclasses.replace(context, **changes)
