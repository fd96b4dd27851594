"""1,797 real handwritten digits of 8 x 8 pixels that ship with the package; source and licence: ../digits.md."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from mignon.data.imageset import SPLITS
from mignon.data.sources import Listing
from mignon.files import digest
from mignon.registry import SOURCES


@SOURCES.register("digits")
@dataclass(frozen=True)
class Digits:
    """The handwritten digits of UCI, 8 x 8, grey, with splits of 1,078 / 269 / 450."""

    summary = "1,797 handwritten digits of 8 x 8 pixels (UCI), shipped with the package"

    def sure(self, place: str) -> float:
        """Of the word `digits`."""
        return float(place == "digits")

    def scan(self, place: str) -> Listing:
        """List the digits; grey values 0..16 become 0..255."""
        with files("mignon.data").joinpath("digits.npz").open("rb") as file, np.load(file) as stored:
            pixels = np.round(stored["images"].astype(np.float64) * (255 / 16)).astype(np.uint8)
            labels, splits = stored["labels"].astype(np.int64), stored["splits"]
        return Listing(
            title="digits",
            classes=tuple(str(i) for i in range(10)),
            names=[f"digit-{i:04d}" for i in range(len(labels))],
            labels=labels,
            given=[SPLITS[s] for s in splits],
            open=lambda i: pixels[i],
            stamp=digest("digits", hashlib.sha256(pixels.tobytes() + splits.tobytes()).hexdigest()),
        )

    @classmethod
    def example(cls, folder: Path) -> str:
        """The word."""
        return "digits"
