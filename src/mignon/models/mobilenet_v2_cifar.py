"""MobileNetV2 with strides for 32 x 32 pictures, as systems 001 and 002 train it."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mignon.errors import ModelError
from mignon.models import Example, check_width
from mignon.models.layers import initialize
from mignon.models.mobilenet_v2 import LAST, Network, unit_names
from mignon.registry import MODELS


@MODELS.register("mobilenetv2-cifar")
@dataclass(frozen=True)
class MobileNetV2Cifar:
    """width: multiplies the channels (rounded to 8); last: channels of the last 1x1, not scaled; reduction: how many
    times smaller than the picture the last maps are, 8 or 4 (as systems 001 and 002 have it).
    """

    width: float = 1.0
    last: int = LAST
    reduction: int = 8

    summary: ClassVar[str] = "MobileNetV2 with strides for pictures of about 32 pixels"
    pixels: ClassVar[int] = 32
    example: ClassVar[Example] = ({"width": 0.1, "last": 32}, 16)

    def __post_init__(self) -> None:
        check_width(self.width)
        if not 8 <= self.last <= 8192:
            raise ModelError(f"{self.last} last channels are not possible", "use 8 to 8192")
        if self.reduction not in (4, 8):
            raise ModelError(f"a reduction of {self.reduction} is not possible", "use 8 or 4")

    def units(self) -> list[str]:
        """The inverted residuals."""
        return unit_names()

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        strides = (1, 1, 1, 2 if self.reduction == 8 else 1, 2, 1, 2, 1)
        return initialize(Network(strides, self.width, self.last, classes, channels))
