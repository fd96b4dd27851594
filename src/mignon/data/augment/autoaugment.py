"""AutoAugment's policy for CIFAR (Cubuk et al. 2019) and Cutout (DeVries and Taylor 2017), by Pillow, one by one."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from mignon.data.augment.simple import Change, CropFlip
from mignon.data.inputs import InputSpec
from mignon.registry import AUGMENTATIONS

GREY = 128
CUT = 0.5  # of the side, the hole of Cutout (16 of 32 pixels)
# two operations each: name, probability, magnitude 0 to 9 (table 7 of the paper)
POLICY = (
    (("invert", 0.1, 7), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate-x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear-y", 0.5, 8), ("translate-y", 0.7, 9)),
    (("autocontrast", 0.5, 8), ("equalize", 0.9, 2)),
    (("shear-y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 5), ("equalize", 0.5, 1)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate-x", 0.5, 8)),
    (("equalize", 0.3, 7), ("autocontrast", 0.4, 8)),
    (("translate-y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 3)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 8), ("equalize", 0.6, 4)),
    (("color", 0.9, 9), ("equalize", 0.6, 6)),
    (("autocontrast", 0.8, 4), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 3)),
    (("translate-y", 0.9, 9), ("translate-y", 0.7, 9)),
    (("autocontrast", 0.9, 2), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 8), ("invert", 0.1, 3)),
    (("translate-y", 0.7, 9), ("autocontrast", 0.9, 1)),
)


@AUGMENTATIONS.register("autoaugment-cifar")
class AutoAugment:
    """As `crop-flip`, then one of 25 pairs of operations, then a grey hole of half the side."""

    summary = "crop-flip, a pair of color or affine operations, a grey hole (color pictures of 32 pixels)"

    @staticmethod
    def change(spec: InputSpec) -> Change:
        """For pictures of this input."""
        moved = CropFlip.change(spec)

        def change(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
            images = moved(images, generator)
            return np.stack([_cutout(_operated(image, generator), generator) for image in images])

        return change


def _operated(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    image = Image.fromarray(pixels.squeeze())
    for name, probability, level in POLICY[generator.integers(len(POLICY))]:
        applied, sign = generator.random() < probability, generator.choice([-1.0, 1.0])
        if applied:
            image = operate(image, name, level, sign)
    return np.asarray(image).reshape(pixels.shape)


def _cutout(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    height, width, _ = pixels.shape
    half = round(CUT * height / 2)
    y, x = generator.integers(height), generator.integers(width)
    pixels = pixels.copy()
    pixels[max(0, y - half) : y + half, max(0, x - half) : x + half] = GREY
    return pixels


def operate(image: Image.Image, name: str, level: int, sign: float) -> Image.Image:
    """One operation of the paper at a level from 0 to 9; `sign` (1 or -1) is the side where there are two."""
    share = level / 9
    if name in _PLAIN:
        return _PLAIN[name](image)
    if name in _ENHANCED:
        return _ENHANCED[name](image).enhance(1 + sign * 0.9 * share)
    if name == "posterize":
        return ImageOps.posterize(image, 8 - round(4 * share))
    if name == "solarize":
        return ImageOps.solarize(image, round(256 * (1 - share)))
    fill = GREY if image.mode == "L" else (GREY,) * 3
    if name == "rotate":
        return image.rotate(sign * 30 * share, Image.Resampling.NEAREST, fillcolor=fill)
    shear, shift = sign * 0.3 * share, sign * 150 / 331 * share * image.width
    matrix = {
        "shear-x": (1, shear, 0, 0, 1, 0),
        "shear-y": (1, 0, 0, shear, 1, 0),
        "translate-x": (1, 0, shift, 0, 1, 0),
        "translate-y": (1, 0, 0, 0, 1, shift),
    }[name]
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=fill)


_PLAIN: dict[str, Callable[[Image.Image], Image.Image]] = {
    "invert": ImageOps.invert,
    "equalize": ImageOps.equalize,
    "autocontrast": ImageOps.autocontrast,
}
_ENHANCED: dict[str, Callable[[Image.Image], ImageEnhance._Enhance]] = {
    "contrast": ImageEnhance.Contrast,
    "color": ImageEnhance.Color,
    "brightness": ImageEnhance.Brightness,
    "sharpness": ImageEnhance.Sharpness,
}
