"""Moves, flips, turns and crops: batched, as one gather of pixels."""

from collections.abc import Callable

import numpy as np

from mignon.data.batches import Augment, reflected, resampled
from mignon.data.inputs import InputSpec
from mignon.registry import AUGMENTATIONS

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]

AREA, ASPECT = (0.35, 1.0), 4 / 3  # of the picture that a random crop keeps; its longest ratio of sides


@AUGMENTATIONS.register("none")
class Nothing:
    """Images as they are."""

    summary = "images as they are"

    @staticmethod
    def change(spec: InputSpec) -> Change:
        """For pictures of this input."""
        return Augment()


@AUGMENTATIONS.register("crop-flip")
class CropFlip:
    """Moved by up to an eighth of the side (4 of 32 pixels), and flipped (He et al. 2016 on CIFAR)."""

    summary = "moved by up to an eighth of the side, and flipped"

    @staticmethod
    def change(spec: InputSpec) -> Change:
        """For pictures of this input."""
        return Augment(shift=spec.height // 8, flip=True)


@AUGMENTATIONS.register("auto")
class Auto:
    """Grey pictures are often signs, small ones at that: small affine changes, and never mirrored. Photos in color show
    things anywhere, from both sides: as `crop-flip`.
    """

    summary = "grey pictures: small affine changes, never mirrored; color: crop-flip"

    @staticmethod
    def change(spec: InputSpec) -> Change:
        """For pictures of this input."""
        if spec.channels == 1:
            return Augment(shift=0.04 * spec.height, turn=8, scale=0.08, shear=0.08)
        return CropFlip.change(spec)


@AUGMENTATIONS.register("shift-scale-rotate")
class ShiftScaleRotate:
    """Half of the images: moved by 1/16 of the side, scaled by a tenth, turned by 15 degrees at most; all flipped by
    chance (system 003, which turned by exactly -15; what comes in from outside is reflected here, replicated there).
    """

    summary = "half of the images moved, scaled, turned a little; flipped"

    @staticmethod
    def change(spec: InputSpec) -> Change:
        """For pictures of this input."""
        flip, all_of_it = Augment(flip=True), Augment(0.0625 * spec.height, True, 15, 0.1)

        def mixed(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
            chosen = generator.random(len(images)) < 0.5
            return np.where(chosen[:, None, None, None], all_of_it(images, generator), flip(images, generator))

        return mixed


@AUGMENTATIONS.register("random-resized-crop")
class RandomResizedCrop:
    """A part of 35 to 100 % of the area, of sides 3:4 to 4:3, enlarged to the whole; flipped (Szegedy et al. 2015 keep
    8 % and more, which is for a million images and hundreds of epochs).
    """

    summary = "a part of 35 to 100 % of the area enlarged; flipped"

    @staticmethod
    def change(spec: InputSpec) -> Change:
        """For pictures of this input."""
        return _part


def _part(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    count, height, width, _ = images.shape
    area = generator.uniform(*AREA, size=(count, 1, 1))
    ratio = np.exp(generator.uniform(-np.log(ASPECT), np.log(ASPECT), size=(count, 1, 1)))
    tall, wide = (np.minimum(1, np.sqrt(area * r)) for r in (ratio, 1 / ratio))
    down, right = generator.random((2, count, 1, 1))
    flipped = generator.random((count, 1, 1)) < 0.5
    rows = (down * (1 - tall) * height) + (np.arange(height)[None, :, None] + 0.5) * tall - 0.5
    columns = (right * (1 - wide) * width) + (np.arange(width)[None, None, :] + 0.5) * wide - 0.5
    columns = np.where(flipped, columns[..., ::-1], columns)
    shape = np.zeros((1, height, width))
    return resampled(images, reflected(rows + shape, height), reflected(columns + shape, width))
