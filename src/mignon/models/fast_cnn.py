"""A fast network for 32 to 64 pixels, in the manner of airbench (Jordan 2024, arXiv 2404.00498).

As there: a stem of 2x2, three groups of two 3x3 convolutions with a max-pool, few layers and many channels. Unlike
there: the stem learns, and BatchNorm stands right behind each convolution, so that it can be absorbed.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mignon.models import Example, check_width
from mignon.models.layers import GlobalMaximum, conv_bn, initialize
from mignon.registry import MODELS

STEM, WIDTHS = 24, (64, 256, 256)


@MODELS.register("fast-cnn")
@dataclass(frozen=True)
class FastCNN:
    """width: multiplies the channels of the three groups."""

    width: float = 1.0

    summary: ClassVar[str] = "seven convolutions, 1.97 million parameters: quick to train on 32 to 64 pixels"
    pixels: ClassVar[int] = 32
    example: ClassVar[Example] = ({"width": 0.1}, 16)

    def __post_init__(self) -> None:
        check_width(self.width)

    def units(self) -> list[str]:
        """The six convolutions of 3x3."""
        return [f"group{group}.conv{number}" for group in (1, 2, 3) for number in (1, 2)]

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        parts = OrderedDict[str, nn.Module](stem=nn.Conv2d(channels, STEM, 2), stem_silu=nn.SiLU())
        inputs = STEM
        for number, base in enumerate(WIDTHS, 1):
            outputs = max(1, round(base * self.width))
            conv1, bn1 = conv_bn(inputs, outputs, 3)
            conv2, bn2 = conv_bn(outputs, outputs, 3)
            layers = OrderedDict(conv1=conv1, bn1=bn1, silu1=nn.SiLU(), pool=nn.MaxPool2d(2))
            parts[f"group{number}"] = nn.Sequential(layers | OrderedDict(conv2=conv2, bn2=bn2, silu2=nn.SiLU()))
            inputs = outputs
        parts |= OrderedDict(maximum=GlobalMaximum(), linear=nn.Linear(inputs, classes))
        return initialize(nn.Sequential(parts))
