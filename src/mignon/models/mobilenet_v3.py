"""MobileNetV3-Small (Howard et al. 2019, arXiv 1905.02244); module names as in torchvision."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mignon.models import Example, check_width
from mignon.models.layers import Add, Gate, GlobalAverage, initialize, rounded
from mignon.registry import MODELS

BLOCKS = (  # kernel, expanded channels, channels, squeeze-excite, hard-swish, stride
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)
STEM, LAST = 16, 1024
EPSILON, MOMENTUM = 1e-3, 0.01


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs, EPSILON, MOMENTUM)]


class Excite(nn.Module):
    """Squeeze-excite: every channel times a number that depends on the mean of all."""

    def __init__(self, channels: int):
        super().__init__()
        inner = rounded(channels / 4)
        self.avgpool, self.fc1, self.activation = nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), nn.ReLU()
        self.fc2, self.scale_activation, self.gate = nn.Conv2d(inner, channels, 1), nn.Hardsigmoid(), Gate()

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return self.gate(x, self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x))))))


class Inverted(nn.Module):
    """Expand 1x1, depthwise, squeeze-excite, project 1x1 (no activation); residual where the shapes agree."""

    def __init__(self, inputs: int, hidden: int, outputs: int, kernel: int, excite: bool, swish: bool, stride: int):
        super().__init__()
        kind = nn.Hardswish if swish else nn.ReLU
        parts: list[nn.Module] = [] if hidden == inputs else [nn.Sequential(*_conv(inputs, hidden, 1), kind())]
        parts.append(nn.Sequential(*_conv(hidden, hidden, kernel, stride, hidden), kind()))
        parts += [Excite(hidden)] if excite else []
        parts.append(nn.Sequential(*_conv(hidden, outputs, 1)))
        self.block = nn.Sequential(*parts)
        self.add = Add() if stride == 1 and inputs == outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride, rounded up."""
        return self.block(x) if self.add is None else self.add(x, self.block(x))


@MODELS.register("mobilenetv3-small")
@dataclass(frozen=True)
class MobileNetV3Small:
    """width: multiplies the channels (rounded to 8)."""

    width: float = 1.0

    summary: ClassVar[str] = "MobileNetV3-Small (squeeze-excite, hard-swish) for pictures of 64 pixels and more"
    pixels: ClassVar[int] = 128
    example: ClassVar[Example] = ({"width": 0.1}, 32)

    def __post_init__(self) -> None:
        check_width(self.width)

    def units(self) -> list[str]:
        """The inverted residuals."""
        return [f"features.{number}" for number in range(1, len(BLOCKS) + 1)]

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        inputs = rounded(STEM * self.width)
        features: list[nn.Module] = [nn.Sequential(*_conv(channels, inputs, 3, 2), nn.Hardswish())]
        for kernel, expanded, base, excite, swish, stride in BLOCKS:
            hidden, outputs = rounded(expanded * self.width), rounded(base * self.width)
            features.append(Inverted(inputs, hidden, outputs, kernel, excite, swish, stride))
            inputs = outputs
        features.append(nn.Sequential(*_conv(inputs, 6 * inputs, 1), nn.Hardswish()))
        last = rounded(LAST * self.width)
        head = nn.Sequential(nn.Linear(6 * inputs, last), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(last, classes))
        parts = OrderedDict(features=nn.Sequential(*features), avgpool=GlobalAverage(), classifier=head)
        return initialize(nn.Sequential(parts))
