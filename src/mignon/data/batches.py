"""Batches out of the uint8 map, with crop and flip folded into the gather.

Whole images are gathered into a padded buffer (NumPy moves them as blocks), its border is reflected, and each crop is
one strided copy out of it; nothing is done image by image in Python.
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


def steps_per_epoch(images: int, batch: int) -> int:
    """How many batches `epoch_batches` gives."""
    return images // min(batch, images)


def gather(images: np.ndarray, chosen: np.ndarray, augment: Augment, generator: np.random.Generator) -> np.ndarray:
    """The chosen images, each cropped and flipped by its own draw: uint8 B x H x W x C."""
    count, (height, width, channels) = len(chosen), images.shape[1:]
    pad = min(augment.pad, height - 1, width - 1)
    if pad:
        padded = np.empty((count, height + 2 * pad, width + 2 * pad, channels), np.uint8)
        padded[:, pad:-pad, pad:-pad] = images[chosen]
        for i in range(pad):
            padded[:, pad - 1 - i, pad:-pad] = padded[:, pad + 1 + i, pad:-pad]
            padded[:, height + pad + i, pad:-pad] = padded[:, height + pad - 2 - i, pad:-pad]
        for i in range(pad):
            padded[:, :, pad - 1 - i] = padded[:, :, pad + 1 + i]
            padded[:, :, width + pad + i] = padded[:, :, width + pad - 2 - i]
        top, left = generator.integers(0, 2 * pad + 1, size=(2, count))
        windows = np.lib.stride_tricks.sliding_window_view(
            padded.reshape(count, height + 2 * pad, -1), width * channels, axis=2
        )  # B x rows x start in bytes x width * channels: a crop's row is one contiguous run
        rows = top[:, None] + np.arange(height)
        result = windows[np.arange(count)[:, None], rows, left[:, None] * channels]
        result = result.reshape(count, height, width, channels)
    else:
        result = images[chosen]
    if augment.flip:
        flipped = np.flatnonzero(generator.random(count) < 0.5)
        result[flipped] = result[flipped, :, ::-1]
    return result


def in_order(split: Split, batch: int = 500) -> Iterator[np.ndarray]:
    """All images of a split in order, for measuring: uint8 B x H x W x C."""
    for first in range(0, len(split), batch):
        yield np.array(split.images[first : first + batch])
