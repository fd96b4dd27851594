"""The one way from any picture to pixels: training, measuring and predicting share it.

A picture from outside is bounded before it is decoded: bytes of its file, pixels, memory. What is larger than a tile is
brought to 8 bits, to its colors and near its size tile by tile, one such picture at a time.
"""

import contextlib
import math
import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.ImageFile import ImageFile as _File

from mignon.data.inputs import InputSpec
from mignon.errors import DataError

with contextlib.suppress(ImportError):  # the extra `heic`
    import pillow_heif

    pillow_heif.register_heif_opener()

MAX_BYTES = 256_000_000  # of a file
MAX_PIXELS = 100_000_000
MAX_MEMORY = 400_000_000  # bytes of the decoded picture, with the copies that its decoder makes
TILE = 2048  # pixels a side
LARGE = 64_000_000  # bytes; such pictures are decoded one at a time
COPIES = dict.fromkeys(("PNG", "JPEG", "MPO", "TIFF", "BMP", "DIB", "PPM", "TGA"), 1)
COPIES |= {"GIF": 2, "WEBP": 4, "JPEG2000": 5}  # measured on 25 to 100 million pixels
OTHERS = 3  # copies that other decoders are taken to make
DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # modes of more than 8 bits
NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"}  # no pixels, or another program runs

Image.init()
SUFFIXES = frozenset(
    suffix
    for suffix, kind in Image.registered_extensions().items()
    if kind in {*Image.OPEN, "MPO"} - NO_PICTURES  # the decoder of JPEG opens MPO
)
COMMON = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # tried first
FORMATS = (*COMMON, *{Image.registered_extensions()[suffix] for suffix in SUFFIXES} - {*COMMON, "MPO"})
HEIC = frozenset({".heic", ".heif", ".hif"}) - SUFFIXES  # those that wait for the extra
HEIC_HINT = "pip install 'mignon[heic]'"

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by the EXIF orientation

warnings.filterwarnings("ignore", module=r"PIL\.")  # they name lines of Pillow, not what the user gave
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is checked here instead
_one_large = threading.RLock()


@dataclass(frozen=True)
class Range:
    """The least and the most that pictures of more than 8 bits hold, and whether these are whole numbers."""

    least: float
    most: float
    whole: bool

    def with_(self, other: "Range | None") -> "Range":
        """The range of both."""
        if other is None:
            return self
        return Range(min(self.least, other.least), max(self.most, other.most), self.whole and other.whole)

    @property
    def ends(self) -> tuple[float, float]:
        """Black and white for a set that holds this: the ends of the smallest usual range around it.

        White is 1 (numbers that are not whole), or 2^n - 1 of cameras and files; the most itself where that would
        leave the pictures darker than an eighth. Black is 0, or as far below where numbers are negative.
        """
        usual = ([] if self.whole else [1.0]) + [2.0**n - 1 for n in (8, 10, 12, 14, 16, 24, 32)]
        most = max(self.most, -self.least)
        white = next((end for end in usual if most <= end), most)
        if 0 < most < white / 8:
            white = most
        return (-white if self.least < 0 else 0.0), white


def open_image(source: Any) -> Image.Image:
    """A picture, a path or a binary file, that is safe to decode. Raises DataError with the reason when it is not."""
    size = byte_count(source)
    if size > MAX_BYTES:
        raise DataError(f"too large ({size:,} bytes, over {MAX_BYTES // 10**6} million)")
    try:
        image = Image.open(source, formats=FORMATS)
    except Image.DecompressionBombError:
        raise DataError(f"too large (over {MAX_PIXELS // 10**6} million pixels)") from None
    except Exception as error:
        raise DataError("not a picture that Pillow can read" if "identify" in str(error) else str(error)) from None
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise DataError(f"too large ({image.width} x {image.height}, over {MAX_PIXELS // 10**6} million pixels)")
    return image


def byte_count(source: Any) -> int:
    """The size of a file, given as its path or open."""
    if not hasattr(source, "read"):
        return os.stat(source).st_size if isinstance(source, (str, os.PathLike)) and os.path.exists(source) else 0
    here = source.tell()
    size = source.seek(0, os.SEEK_END)
    source.seek(here)
    return size


def kind_of(image: Image.Image) -> str:
    """Mode of a picture as the card shows it; `/16`: of 16 bits a color, of which Pillow reads the upper 8."""
    raw = str(image.tile[0][3]) if isinstance(image, _File) and image.tile else ""
    return image.mode + ("/16" if ";16" in raw and not is_deep(image) else "")


def is_deep(image: Image.Image) -> bool:
    """Whether its numbers may need more than 8 bits."""
    return image.mode in DEEP


def range_of(image: Image.Image) -> Range:
    """What a deep picture holds. Raises DataError for numbers that are not finite."""
    least, most = float("inf"), float("-inf")
    with _bounded(image):
        for box in _tiles(image.size, TILE):
            numbers = np.asarray(image.crop(box))
            low, high = float(numbers.min()), float(numbers.max())
            if not (math.isfinite(low) and math.isfinite(high)):
                raise DataError("it holds numbers that are not finite (NaN or infinite)")
            least, most = min(least, low), max(most, high)
    return Range(least, most, image.mode != "F")


def to_pixels(image: Image.Image, spec: InputSpec) -> np.ndarray:
    """Decode, rotate by EXIF, bring to grey or RGB and to the size of the input: uint8 H x W x C."""
    target = (spec.width, spec.height)
    if image.format in ("JPEG", "MPO") and min(image.size) >= 4 * max(target):
        image.draft(None, (2 * max(target), 2 * max(target)))  # decode large photos at a fraction of their size
    with _bounded(image):
        turn = TURNS.get(_orientation(image))
        image = _eight_bits(image, spec, 3 * max(target))
    if turn is not None:
        image = image.transpose(turn)
    if image.size != target:
        if spec.resize == "squash":
            image = image.resize(target, Image.Resampling.BILINEAR, reducing_gap=3.0)
        else:
            image = ImageOps.fit(image, target, Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8).reshape(spec.height, spec.width, spec.channels)


def read_pixels(item: Any, spec: InputSpec) -> np.ndarray:
    """A path, PIL image or uint8 array (H x W or H x W x C) as the network takes it. Raises DataError."""
    try:
        if isinstance(item, Image.Image):
            return to_pixels(item, spec)
        if isinstance(item, np.ndarray):
            return to_pixels(from_array(item), spec)
        with open_image(item) as image:
            return to_pixels(image, spec)
    except (DataError, OSError, ValueError, SyntaxError, TypeError) as error:
        what = f"an array of {item.dtype} {item.shape}" if isinstance(item, np.ndarray) else " ".join(str(item).split())
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{what[:150]} cannot be decoded ({reason})", "give an image that opens elsewhere") from None


def from_array(pixels: np.ndarray) -> Image.Image:
    """An array H x W, H x W x 1 or H x W x C as a picture."""
    return Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


@contextlib.contextmanager
def picture(item: BinaryIO | np.ndarray) -> Iterator[Image.Image]:
    """What `Listing.open` gives, as a picture; a file is closed afterwards."""
    if isinstance(item, np.ndarray):
        yield from_array(item)
        return
    with item, open_image(item) as image:
        yield image


@contextlib.contextmanager
def _bounded(image: Image.Image) -> Iterator[None]:
    """Decode it: refused when that takes too much memory, alone when it takes much."""
    each = 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4
    copies = COPIES.get(image.format or "", OTHERS) if isinstance(image, _File) else 1
    need = image.width * image.height * each * copies
    if need > MAX_MEMORY:
        raise DataError(
            f"too large ({image.width} x {image.height} pixels take {need // 10**6:,} MB as {image.format})"
        )
    with _one_large if need > LARGE else contextlib.nullcontext():
        image.load()
        yield


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF says nothing about the picture
        return 1


def _eight_bits(image: Image.Image, spec: InputSpec, enough: int) -> Image.Image:
    """Grey or RGB of 8 bits; what is larger than a tile becomes smaller, but not below `enough` pixels a side."""
    mode = "L" if spec.channels == 1 else "RGB"
    ends = _ends(image, spec) if is_deep(image) else None
    if max(image.size) <= TILE:
        return _plain(image, ends).convert(mode)
    factor = 1 << max(0, (min(image.size) // enough).bit_length() - 1)  # powers of two: Pillow's others round down
    small = Image.new(mode, (-(-image.width // factor), -(-image.height // factor)))
    for box in _tiles(image.size, max(1, TILE // factor) * factor):
        tile = _plain(image.crop(box), ends).convert(mode)
        small.paste(tile.reduce(factor) if factor > 1 else tile, (box[0] // factor, box[1] // factor))
    return small


def _tiles(size: tuple[int, int], side: int) -> Iterator[tuple[int, int, int, int]]:
    width, height = size
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield left, top, min(width, left + side), min(height, top + side)


def _ends(image: Image.Image, spec: InputSpec) -> tuple[float, float]:
    """Black and white of a deep picture: as the input says, or by type ("I" may hold 8 bits, "F" shares of white)."""
    most = range_of(image).most
    if spec.values is not None:
        return spec.values
    if image.mode.startswith("I;16") or most > 255:
        return 0.0, 65535.0
    return 0.0, 1.0 if image.mode == "F" and most <= 1 else 255.0


def _plain(image: Image.Image, ends: tuple[float, float] | None) -> Image.Image:
    """Deep pictures to 8 bits between `ends`, transparent ones onto white."""
    if ends is not None:
        black, white = ends
        values = (np.asarray(image, dtype=np.float64) - black) * (255 / (white - black))
        return Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image
