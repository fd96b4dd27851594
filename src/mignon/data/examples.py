"""Small made pictures for the examples of sources."""

from pathlib import Path

import numpy as np
from PIL import Image


def pixels(number: int) -> np.ndarray:
    """The same noise for the same number: uint8 8 x 8 x 3."""
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def paint(path: Path, number: int) -> None:
    """Save these pixels, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(number)).save(path)
