"""What a network expects of a picture, and how stored pixels become its input."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from mignon.errors import ModelError

RESIZE_RULES = ("crop", "squash")


@dataclass(frozen=True)
class InputSpec:
    """Height, width (pixels), channels (1 or 3), resize rule, and mean and std of x/255 for each channel.

    `crop` scales until the picture covers the input and cuts its center out; `squash` ignores the aspect ratio.
    `values`: the numbers that become black and white in pictures of more than 8 bits; None: the range of their type.
    """

    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str = "crop"
    values: tuple[float, float] | None = None

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
        if self.values is not None and not 0 < self.values[1] - self.values[0] < float("inf"):
            raise ModelError("the numbers for black and white must be finite, black below white")

    def to_dict(self) -> dict[str, Any]:
        """As it stands in headers; `values` only where it is not None."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if v is not None}

    @property
    def pixels(self) -> dict[str, Any]:
        """The part that decides the stored bytes of an image; mean and std do not."""
        return {k: v for k, v in self.to_dict().items() if k not in ("mean", "std")}

    @classmethod
    def from_dict(cls, values: Any) -> "InputSpec":
        """Checked spec from the header of a file; `resize: none` of older files means `crop`."""
        try:
            resize, ends = values.get("resize", "crop"), values.get("values")
            return cls(
                height=_whole(values["height"]),
                width=_whole(values["width"]),
                channels=_whole(values["channels"]),
                mean=tuple(float(x) for x in values["mean"]),
                std=tuple(float(x) for x in values["std"]),
                resize="crop" if resize == "none" else resize,
                values=None if ends is None else _pair(ends),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError(f"the input description is not valid ({type(error).__name__}: {error})") from None


def _pair(values: Any) -> tuple[float, float]:
    black, white = values
    return float(black), float(white)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is not a whole number")
    return value


def to_network(pixels: np.ndarray | torch.Tensor, spec: InputSpec) -> torch.Tensor:
    """uint8 N x H x W x C to the float32 N x C x H x W (channels last in memory) that a network takes.

    Float features of a frozen trunk are what the rest of the network takes, as they are.
    """
    batch = torch.as_tensor(pixels)
    if batch.is_floating_point():
        return batch
    mean = torch.tensor(spec.mean, device=batch.device) * 255
    scale = 1 / (torch.tensor(spec.std, device=batch.device) * 255)
    return ((batch.float() - mean) * scale).permute(0, 3, 1, 2)
