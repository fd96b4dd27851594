"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381); channels rounded as in torchvision."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mignon.models import Example, check_width
from mignon.models.layers import Add, GlobalAverage, conv_bn, initialize, rounded
from mignon.registry import MODELS

STAGES = (  # expansion, channels at width 1, repeats
    (1, 16, 1),
    (6, 24, 2),
    (6, 32, 3),
    (6, 64, 4),
    (6, 96, 3),
    (6, 160, 3),
    (6, 320, 1),
)
STRIDES = (2, 1, 2, 2, 2, 1, 2, 1)  # of the stem and the stages
LAST = 1280


class Inverted(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1 (no activation); residual where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        parts = [] if expansion == 1 else [nn.Sequential(*conv_bn(inputs, hidden, 1), nn.ReLU6())]
        parts.append(nn.Sequential(*conv_bn(hidden, hidden, 3, stride, hidden), nn.ReLU6()))
        parts.append(nn.Sequential(*conv_bn(hidden, outputs, 1)))
        self.body = nn.Sequential(*parts)
        self.add = Add() if stride == 1 and inputs == outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride."""
        y = self.body(x)
        return y if self.add is None else self.add(x, y)


def unit_names() -> list[str]:
    """The names of the inverted residuals."""
    return [f"features.{i + 1}" for i in range(sum(repeats for _, _, repeats in STAGES))]


class Network(nn.Module):
    """Stem, seventeen inverted residuals, last 1x1, global average, linear. strides: of the stem and each stage."""

    def __init__(self, strides: tuple[int, ...], width: float, last: int, classes: int, channels: int):
        super().__init__()
        inputs = rounded(32 * width)
        features: list[nn.Module] = [nn.Sequential(*conv_bn(channels, inputs, 3, strides[0]), nn.ReLU6())]
        for (expansion, base, repeats), stride in zip(STAGES, strides[1:]):
            outputs = rounded(base * width)
            for i in range(repeats):
                features.append(Inverted(inputs, outputs, stride if i == 0 else 1, expansion))
                inputs = outputs
        features.append(nn.Sequential(*conv_bn(inputs, last, 1), nn.ReLU6()))
        self.features = nn.Sequential(*features)
        self.pool = GlobalAverage()
        self.classifier = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """N x channels x H x W to N x classes logits."""
        return self.classifier(self.pool(self.features(x)))


@MODELS.register("mobilenetv2")
@dataclass(frozen=True)
class MobileNetV2:
    """width: multiplies the channels (rounded to 8); the last 1x1 has 1,280 and more only above width 1."""

    width: float = 1.0

    summary: ClassVar[str] = "MobileNetV2 for pictures of 64 pixels and more"
    pixels: ClassVar[int] = 128
    example: ClassVar[Example] = ({"width": 0.1}, 32)

    def __post_init__(self) -> None:
        check_width(self.width)

    def units(self) -> list[str]:
        """The inverted residuals."""
        return unit_names()

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        return initialize(Network(STRIDES, self.width, rounded(LAST * max(1.0, self.width)), classes, channels))
