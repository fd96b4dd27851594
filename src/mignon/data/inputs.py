"""What a network expects, and the one path from any picture to it: training, measuring and predicting share it."""

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from mignon.errors import DataError, ModelError

MAX_PIXELS = 100_000_000  # a larger picture is refused before it is decoded
RESIZE_RULES = ("crop", "squash")

warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is checked here instead


@dataclass(frozen=True)
class InputSpec:
    """Height, width (pixels), channels (1 or 3), resize rule, and mean and std of x/255 for each channel.

    `crop` scales until the picture covers the input and cuts its center out; `squash` ignores the aspect ratio.
    """

    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str = "crop"

    def __post_init__(self) -> None:
        numbers = (*self.mean, *self.std)
        if not (1 <= self.height <= 4096 and 1 <= self.width <= 4096 and self.channels in (1, 3)):
            raise ModelError(f"an input of {self.height} x {self.width} x {self.channels} is not possible")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ModelError("the input needs one mean and one std for each channel")
        if not all(np.isfinite(x) and abs(x) < 1e3 for x in numbers) or min(self.std) < 1e-4:
            raise ModelError("mean and std of the input must be finite, std at least 0.0001")
        if self.resize not in RESIZE_RULES:
            raise ModelError(f"there is no resize rule {self.resize!r}", f"known: {', '.join(RESIZE_RULES)}")

    @property
    def pixels(self) -> dict[str, Any]:
        """The part that decides the stored bytes of an image; mean and std do not."""
        return {k: v for k, v in asdict(self).items() if k not in ("mean", "std")}

    @classmethod
    def from_dict(cls, values: Any) -> "InputSpec":
        """Checked spec from the header of a file; `resize: none` of older files means `crop`."""
        try:
            resize = values.get("resize", "crop")
            return cls(
                height=_whole(values["height"]),
                width=_whole(values["width"]),
                channels=_whole(values["channels"]),
                mean=tuple(float(x) for x in values["mean"]),
                std=tuple(float(x) for x in values["std"]),
                resize="crop" if resize == "none" else resize,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError(f"the input description is not valid ({type(error).__name__}: {error})") from None


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is not a whole number")
    return value


def open_image(source: Any) -> Image.Image:
    """A picture that is safe to decode. Raises DataError with the reason when it is not."""
    try:
        image = Image.open(source)
    except Image.DecompressionBombError:
        raise DataError(f"too large (over {MAX_PIXELS // 10**6} million pixels)") from None
    except Exception as error:
        raise DataError("not a picture that Pillow can read" if "identify" in str(error) else str(error)) from None
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise DataError(f"too large ({image.width} x {image.height}, over {MAX_PIXELS // 10**6} million pixels)")
    return image


def to_pixels(image: Image.Image, spec: InputSpec) -> np.ndarray:
    """Decode, rotate by EXIF, bring to grey or RGB and to the size of the input: uint8 H x W x C."""
    target = (spec.width, spec.height)
    if image.format == "JPEG" and min(image.size) >= 4 * max(target):
        image.draft(None, (2 * max(target), 2 * max(target)))  # decode large photos at a fraction of their size
    image = _eight_bits(ImageOps.exif_transpose(image))
    image = image.convert("L" if spec.channels == 1 else "RGB")
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
            return to_pixels(Image.fromarray(item[:, :, 0] if item.ndim == 3 and item.shape[2] == 1 else item), spec)
        with open_image(item) as image:
            return to_pixels(image, spec)
    except (DataError, OSError, ValueError, SyntaxError, TypeError) as error:
        what = f"an array of {item.dtype} {item.shape}" if isinstance(item, np.ndarray) else " ".join(str(item).split())
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{what[:150]} cannot be decoded ({reason})", "give an image that opens elsewhere") from None


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit and float pictures to 8 bits, transparent ones onto white."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        sixteen = image.mode.startswith("I;16") or values.max(initial=0) > 255  # "I" may hold 8 bits
        scale = 1 / 257 if sixteen else 255.0 if image.mode == "F" and values.max() <= 1 else 1.0
        return Image.fromarray(np.clip(np.round(values * scale), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image


def to_network(pixels: np.ndarray | torch.Tensor, spec: InputSpec) -> torch.Tensor:
    """uint8 N x H x W x C to the float32 N x C x H x W (channels last in memory) that a network takes."""
    batch = torch.as_tensor(pixels)
    mean = torch.tensor(spec.mean, device=batch.device) * 255
    scale = 1 / (torch.tensor(spec.std, device=batch.device) * 255)
    return ((batch.float() - mean) * scale).permute(0, 3, 1, 2)
