"""Batches of uint8 images, changed at random as one gather.

Where whole pixels move, their row and column numbers, mirrored where an image is flipped and reflected at the border,
make one index array and one `take` moves the pixels. Where an image is turned, scaled or sheared too, the `take` brings
four neighbors of every place (bilinear). Tried and slower: a padded buffer and a strided copy for each crop (2x).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mignon.data.imageset import Split

VIEWS = (1, 2, 6)  # of an image, whose answers are averaged


@dataclass(frozen=True)
class Augment:
    """How far an image may change, each by its own draw; what comes in from outside is reflected at the border.

    Moved by `shift` pixels each way, flipped horizontally (half of the images), turned by `turn` degrees each way,
    made larger or smaller by the share `scale`, and sheared by the share `shear`.
    """

    shift: float = 0.0
    flip: bool = False
    turn: float = 0.0
    scale: float = 0.0
    shear: float = 0.0

    def __call__(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Each image changed by its own draw: uint8 B x H x W x C."""
        return augmented(images, self, generator)


def batch_size(images: int, wanted: int) -> int:
    """At most as wanted, and so small that an epoch has at least 16 steps (but not below 8 images)."""
    return min(wanted, images, max(8, images // 16))


def steps_per_epoch(images: int, wanted: int) -> int:
    """Full batches in an epoch; the images of a last short one wait for another shuffle."""
    return images // batch_size(images, wanted)


def augmented(images: np.ndarray, augment: Augment, generator: np.random.Generator) -> np.ndarray:
    """Each image changed by its own draw: uint8 B x H x W x C. Without turn, scale and shear whole pixels move."""
    if augment == Augment():
        return images
    if augment.turn or augment.scale or augment.shear:
        return resampled(images, *_places(images.shape, augment, generator))
    count, height, width, _ = images.shape
    shift = min(int(augment.shift), height - 1, width - 1)
    top, left = generator.integers(-shift, shift + 1, size=(2, count))
    flipped = _flipped(augment, count, generator)
    columns = np.where(flipped[:, None], np.arange(width)[::-1], np.arange(width))
    rows = reflected(top[:, None] + np.arange(height), height)
    columns = reflected(left[:, None] + columns, width)
    return _taken(images, rows[:, :, None], columns[:, None, :])


def _flipped(augment: Augment, count: int, generator: np.random.Generator) -> np.ndarray:
    return np.asarray(generator.random(count) < (0.5 if augment.flip else 0.0))


def _places(shape: tuple[int, ...], augment: Augment, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of each changed image comes from: rows and columns, float B x H x W."""
    count, height, width, _ = shape
    down, right, turn, size, shear = generator.uniform(-1, 1, size=(5, count, 1, 1))
    flipped = _flipped(augment, count, generator)[:, None, None]
    y = np.arange(height)[:, None] - (height - 1) / 2
    x = np.arange(width)[None, :] - (width - 1) / 2
    x = np.where(flipped, -x, x)
    angle, zoom = np.deg2rad(augment.turn * turn), 1 + augment.scale * size
    slanted = x + augment.shear * shear * y
    rows = zoom * (np.cos(angle) * y + np.sin(angle) * slanted) + (height - 1) / 2 + augment.shift * down
    columns = zoom * (np.cos(angle) * slanted - np.sin(angle) * y) + (width - 1) / 2 + augment.shift * right
    return reflected(rows, height), reflected(columns, width)


def resampled(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear at these places (B x H x W, inside of the image), rounded: uint8 B x H x W x C."""
    _, height, width, _ = images.shape
    top, left = rows.astype(np.int64), columns.astype(np.int64)
    down, right = (rows - top).astype(np.float32)[..., None], (columns - left).astype(np.float32)[..., None]
    below, beside = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    a, b, c, d = _taken(images, np.stack([top, top, below, below]), np.stack([left, beside, left, beside]))
    mixed = (1 - down) * ((1 - right) * a + right * b) + down * ((1 - right) * c + right * d)
    return (mixed + np.float32(0.5)).astype(np.uint8)


def _taken(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The pixels of each image at whole rows and columns: uint8 (... x) B x H x W x C."""
    count, height, width, channels = images.shape
    pixels = images.reshape(-1, channels).view(f"V{channels}").reshape(-1)  # a pixel is one item: it moves as a whole
    starts = np.arange(count)[:, None, None] * (height * width)
    taken = pixels.take(starts + rows * width + columns)
    return taken.view(np.uint8).reshape(*taken.shape, channels)


def reflected(places: np.ndarray, size: int) -> np.ndarray:
    """Places on a line of `size` pixels that is reflected at both ends: ..., 1, 0, 1, ..., size-1, size-2, ..."""
    return np.abs((places + size - 1) % (2 * size - 2) - (size - 1)) if size > 1 else np.zeros_like(places)


def in_order(split: Split, batch: int = 500) -> Iterator[np.ndarray]:
    """All images of a split in order, for measuring: uint8 B x H x W x C."""
    for first in range(0, len(split), batch):
        yield split.take(slice(first, first + batch))


def views_of(images: np.ndarray, count: int) -> list[np.ndarray]:
    """An image as it is; with its mirror image (2); both moved by a 32nd of the side to two corners too (6)."""
    found = [images]
    if count == 6:
        height, width = images.shape[1:3]
        for way in (-1, 1):
            rows = reflected(np.arange(height) + way * max(1, height // 32), height)
            columns = reflected(np.arange(width) + way * max(1, width // 32), width)
            found.append(images[:, rows[:, None], columns])
    return found if count == 1 else [*found, *(np.ascontiguousarray(view[:, :, ::-1]) for view in found)]
