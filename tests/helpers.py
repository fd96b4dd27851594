"""Small made picture folders, and what a step is given."""

import dataclasses
import os
import signal
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from mignon.classifier import parameter_count
from mignon.data.cache import open_images
from mignon.data.look import neutral_spec
from mignon.data.pictures import open_image, to_pixels
from mignon.progress import Quiet
from mignon.registry import MODELS
from mignon.steps import Context

SPEC = neutral_spec(16, 3)


def opened(folder, **settings):
    """The images of a folder at 16 x 16."""
    return open_images(str(folder), settings.pop("spec", SPEC), **settings)


def write(folder: Path, name: str, image: Image.Image, **options) -> Path:
    """A picture in a folder that is made for it."""
    folder.mkdir(parents=True, exist_ok=True)
    image.save(folder / name, **options)
    return folder / name


def read(path, spec=SPEC):
    """Its pixels as the network takes them."""
    with open_image(path) as image:
        return to_pixels(image, spec)


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


class Listening(Quiet):
    """Keeps the lines."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, text):
        self.lines.append(text)


class PressCtrlC(Quiet):
    """In the second epoch, before so many steps of it are done."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def track(self, items, total, label):
        for i, item in enumerate(items):
            if i == self.step and label.startswith("epoch 2"):
                signal.raise_signal(signal.SIGINT)
            yield item


def context_for(images, folder, parent=None, **changes):
    """What a step sees; `parent` is what it gets when it loads one."""
    context = Context(images.train, images.validation, 0, "cpu", Quiet(), lambda _: parent, folder)
    return dataclasses.replace(context, **changes)


def lively(network):
    """A network whose BatchNorms do something, some of it odd."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.weight[0] = 0.0
                module.weight[-1] = -0.8
                module.bias.uniform_(-0.3, 0.3, generator=generator)
                module.running_mean.uniform_(-0.3, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
    return network


def smallest():
    """Of each file with families the name of the one with the fewest parameters in its example; MIGNON_ONLY: of those
    of one package (the others had their turn).
    """
    found = {}
    for name in MODELS:
        if not MODELS[name].__module__.startswith(os.environ.get("MIGNON_ONLY", "")):
            continue
        size = parameter_count(name, MODELS[name].example[0], 2, 3)
        file = MODELS[name].__module__
        found[file] = min(found.get(file, (size, name)), (size, name))
    return [name for _, name in found.values()]
