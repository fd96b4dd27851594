"""A source: class folders inside a zip archive."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mignon.data.examples import paint
from mignon.data.sources import Listing
from mignon.files import digest
from mignon.registry import SOURCES


@SOURCES.register("toy-archive")
@dataclass(frozen=True)
class Zip:
    """No settings."""

    summary = "a zip archive (.pictures) with a folder of images for each class"

    def sure(self, place):
        """By its suffix."""
        return 0.9 if Path(place).suffix == ".pictures" and Path(place).is_file() else 0.0

    def scan(self, place):
        """The .png files of the archive."""
        with zipfile.ZipFile(place) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        labels = [name.split("/")[0] for name in names]
        classes = tuple(sorted(set(labels)))

        def opened(i):
            with zipfile.ZipFile(place) as archive:
                return io.BytesIO(archive.read(names[i]))

        numbers = np.array([classes.index(label) for label in labels], np.int64)
        return Listing("zip", classes, names, numbers, [None] * len(names), opened, digest(place, names))

    @classmethod
    def example(cls, folder):
        """24 painted pictures of two classes."""
        with zipfile.ZipFile(folder / "x.pictures", "w") as archive:
            for i in range(24):
                paint(folder / f"{i}.png", i)
                archive.write(folder / f"{i}.png", f"{i % 2}/{i}.png")
        return str(folder / "x.pictures")
