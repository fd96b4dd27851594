"""MobileNetV1 with a stem of stride 1, as system 001 trains it on 32 x 32 pictures; 2 x 2 maps before the average."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mignon.models import Example, check_width
from mignon.models.layers import initialize
from mignon.models.mobilenet_v1 import STAGES, Network, unit_names
from mignon.registry import MODELS


@MODELS.register("mobilenetv1-cifar")
@dataclass(frozen=True)
class MobileNetV1Cifar:
    """width: multiplies all channels (int(width x c))."""

    width: float = 1.0

    summary: ClassVar[str] = "MobileNetV1 with strides for pictures of about 32 pixels"
    pixels: ClassVar[int] = 32
    example: ClassVar[Example] = ({"width": 0.1}, 16)

    def __post_init__(self) -> None:
        check_width(self.width)

    def units(self) -> list[str]:
        """The pairs of depthwise and pointwise convolution."""
        return unit_names(STAGES)

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        return initialize(Network(STAGES, self.width, 1, classes, channels))
