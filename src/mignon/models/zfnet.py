"""ZFNet (Zeiler and Fergus 2014, arXiv 1311.2901) and AlexNet as system 003 has them: BatchNorm, dropout at the pools.

System 003 has BatchNorm behind ReLU. Here it is before it, so that it can be absorbed; the counts are the same.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mignon.models import Example, check_width
from mignon.models.layers import initialize
from mignon.registry import MODELS

Convolution = tuple[int, int, int, int, bool]  # channels at width 1, kernel, stride, padding, a max-pool behind it
ALEXNET: tuple[Convolution, ...] = (
    (96, 11, 4, 0, True),
    (256, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)
ZFNET: tuple[Convolution, ...] = (
    (96, 7, 2, 0, True),
    (256, 5, 2, 1, True),
    (512, 3, 1, 1, False),
    (1024, 3, 1, 1, False),
    (512, 3, 1, 1, True),
)
HIDDEN, SIDE = 4096, 6  # of the linear layers; of the map that they read


@dataclass(frozen=True)
class Normed:
    """width: multiplies all channels and the hidden layers."""

    width: float = 1.0

    convolutions: ClassVar[tuple[Convolution, ...]]
    summary: ClassVar[str]
    pixels: ClassVar[int] = 227
    example: ClassVar[Example] = ({"width": 0.05}, 67)

    def __post_init__(self) -> None:
        check_width(self.width)

    def units(self) -> list[str]:
        """All convolutions but the first."""
        return [f"conv{number}.conv" for number in range(2, len(self.convolutions) + 1)]

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = channels
        for number, (base, kernel, stride, padding, pooled) in enumerate(self.convolutions, 1):
            outputs = max(1, round(base * self.width))
            convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding)
            layers = OrderedDict(conv=convolution, bn=nn.BatchNorm2d(outputs), relu=nn.ReLU())
            if pooled:
                layers |= OrderedDict(pool=nn.MaxPool2d(3, 2, ceil_mode=True), dropout=nn.Dropout(0.25))
            parts[f"conv{number}"] = nn.Sequential(layers)
            inputs = outputs
        hidden = max(1, round(HIDDEN * self.width))
        first = [nn.Linear(inputs * SIDE**2, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout()]
        second = [nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
        parts |= OrderedDict(average=nn.AdaptiveAvgPool2d(SIDE), flatten=nn.Flatten())
        parts["classifier"] = nn.Sequential(*first, *second, nn.Linear(hidden, classes))
        return initialize(nn.Sequential(parts))


@MODELS.register("zfnet")
class ZFNet(Normed):
    """Stem 7x7 of stride 2; 512, 1,024 and 512 channels at the end."""

    convolutions = ZFNET
    summary = "ZFNet with BatchNorm, for pictures of 64 pixels and more"


@MODELS.register("alexnet-bn")
class AlexNetBN(Normed):
    """Stem 11x11 of stride 4, no padding, 96 channels."""

    convolutions = ALEXNET
    summary = "AlexNet with BatchNorm and wider first layers, for pictures of 67 pixels and more"
