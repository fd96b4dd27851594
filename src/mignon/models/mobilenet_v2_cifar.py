"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) with strides for 32 x 32 pictures."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mignon.errors import ModelError
from mignon.models import Example, check_width
from mignon.models.layers import Add, GlobalAverage, conv_bn, initialize, rounded
from mignon.registry import MODELS

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
THIRD = 2  # the stage that a reduction of 4 leaves at full size


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


class Network(nn.Module):
    """Stem, seventeen inverted residuals, last 1x1, global average, linear."""

    def __init__(self, width: float, last: int, reduction: int, classes: int, channels: int):
        super().__init__()
        inputs = rounded(32 * width)
        features: list[nn.Module] = [nn.Sequential(*conv_bn(channels, inputs, 3), nn.ReLU6())]
        for number, (expansion, base, repeats, stride) in enumerate(STAGES):
            if number == THIRD and reduction == 4:
                stride = 1
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


@MODELS.register("mobilenetv2-cifar")
@dataclass(frozen=True)
class MobileNetV2Cifar:
    """width: multiplies the channels (rounded to 8); last: channels of the last 1x1, not scaled; reduction: how many
    times smaller than the picture the last maps are, 8 or 4 (as systems 001 and 002 have it).
    """

    width: float = 1.0
    last: int = 1280
    reduction: int = 8

    summary: ClassVar[str] = "MobileNetV2 with strides for pictures of about 32 pixels"
    pixels: ClassVar[int] = 32
    example: ClassVar[Example] = ({"width": 0.25, "last": 64}, 16)

    def __post_init__(self) -> None:
        check_width(self.width)
        if not 8 <= self.last <= 8192:
            raise ModelError(f"{self.last} last channels are not possible", "use 8 to 8192")
        if self.reduction not in (4, 8):
            raise ModelError(f"a reduction of {self.reduction} is not possible", "use 8 or 4")

    def units(self) -> list[str]:
        """The inverted residuals."""
        return [f"features.{i + 1}" for i in range(sum(repeats for _, _, repeats, _ in STAGES))]

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        return initialize(Network(self.width, self.last, self.reduction, classes, channels))
