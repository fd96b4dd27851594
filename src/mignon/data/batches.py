"""Batches of uint8 images, with crop and flip as one gather.

Row and column numbers of every crop, mirrored where it is flipped and reflected at the border, make one index array;
one `take` moves the pixels. Tried and slower: a padded buffer and a strided copy for each crop (2x).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mignon.data.imageset import Split


@dataclass(frozen=True)
class Augment:
    """Random crop after reflecting `pad` pixels at every side, and a horizontal flip for half of the images."""

    pad: int = 0
    flip: bool = False


def batch_size(images: int, wanted: int) -> int:
    """At most as wanted, and so small that an epoch has at least 16 steps (but not below 8 images)."""
    return min(wanted, images, max(8, images // 16))


def steps_per_epoch(images: int, wanted: int) -> int:
    """Full batches in an epoch; the images of a last short one wait for another shuffle."""
    return images // batch_size(images, wanted)


def augmented(images: np.ndarray, augment: Augment, generator: np.random.Generator) -> np.ndarray:
    """Each image cropped and flipped by its own draw: uint8 B x H x W x C."""
    count, height, width, channels = images.shape
    pad = min(augment.pad, height - 1, width - 1)
    if not pad and not augment.flip:
        return images
    top, left = generator.integers(0, 2 * pad + 1, size=(2, count))
    flipped = generator.random(count) < (0.5 if augment.flip else 0.0)
    rows = _reflected(height, pad)[top[:, None] + np.arange(height)]
    columns = left[:, None] + np.arange(width)
    columns = _reflected(width, pad)[np.where(flipped[:, None], columns[:, ::-1], columns)]
    starts = np.arange(count)[:, None] * (height * width) + rows * width
    pixels = images.reshape(-1, channels).view(f"V{channels}").reshape(-1)  # a pixel is one item: it moves as a whole
    moved = pixels.take(starts[:, :, None] + columns[:, None, :])
    return moved.view(np.uint8).reshape(count, height, width, channels)


def _reflected(size: int, pad: int) -> np.ndarray:
    """The pixel behind each position of a side that was reflected at both ends: pad..1, 0..size-1, size-2..."""
    return (
        np.abs((np.arange(-pad, size + pad) + size - 1) % (2 * size - 2) - (size - 1)) if size > 1 else np.zeros(1, int)
    )


def in_order(split: Split, batch: int = 500) -> Iterator[np.ndarray]:
    """All images of a split in order, for measuring: uint8 B x H x W x C."""
    for first in range(0, len(split), batch):
        yield split.take(slice(first, first + batch))
