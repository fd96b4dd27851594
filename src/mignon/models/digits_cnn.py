"""A small network for small pictures: 3,778 parameters for ten classes of 8 x 8 digits."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mignon.models import Example, check_width
from mignon.models.layers import GlobalAverage, conv_bn, initialize
from mignon.registry import MODELS


@MODELS.register("digits-cnn")
@dataclass(frozen=True)
class DigitsCNN:
    """Three 3x3 convolutions of 8, 16 and 16 channels (times width), one max-pool, global average, linear."""

    width: float = 1.0

    summary: ClassVar[str] = "three convolutions for pictures of 8 to 32 pixels"
    pixels: ClassVar[int] = 8
    example: ClassVar[Example] = ({}, 8)

    def __post_init__(self) -> None:
        check_width(self.width)

    def units(self) -> list[str]:
        """The second and the third convolution."""
        return ["3", "7"]

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        a, b = max(1, round(8 * self.width)), max(1, round(16 * self.width))
        layers = [
            *conv_bn(channels, a, 3),
            nn.ReLU(),
            *conv_bn(a, b, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            *conv_bn(b, b, 3),
            nn.ReLU(),
            GlobalAverage(),
            nn.Linear(b, classes),
        ]
        return initialize(nn.Sequential(*layers))
