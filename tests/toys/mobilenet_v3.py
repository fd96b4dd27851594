"""A family in the manner of MobileNetV3 (Howard et al. 2019): hard-swish, squeeze-excite, an operation of its own."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mignon.models.layers import Add, GlobalAverage, conv_bn, initialize
from mignon.models.ops import Operation, register
from mignon.registry import MODELS


class Gate(nn.Module):
    """Each channel times its own number."""

    def forward(self, x, gate):
        """N x C x H x W and N x C x 1 x 1 to N x C x H x W."""
        return x * gate


register(Gate, Operation("join", Gate, inputs=2, integer="multiply"))


class Excite(nn.Module):
    """Squeeze-excite (Hu et al. 2018)."""

    def __init__(self, channels):
        super().__init__()
        self.squeeze, self.down, self.relu = nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels // 4, 1), nn.ReLU()
        self.up, self.sigmoid, self.gate = nn.Conv2d(channels // 4, channels, 1), nn.Hardsigmoid(), Gate()

    def forward(self, x):
        """The same shape."""
        return self.gate(x, self.sigmoid(self.up(self.relu(self.down(self.squeeze(x))))))


class Bottleneck(nn.Module):
    """Expand 1x1, depthwise 5x5, excite, project 1x1; residual where the shapes agree."""

    def __init__(self, inputs, hidden, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(
            *conv_bn(inputs, hidden, 1), nn.Hardswish(),
            *conv_bn(hidden, hidden, 5, stride, hidden), nn.Hardswish(),
            Excite(hidden), *conv_bn(hidden, outputs, 1),
        )  # fmt: skip
        self.add = Add() if stride == 1 and inputs == outputs else None

    def forward(self, x):
        """N x outputs x H/stride x W/stride."""
        return self.body(x) if self.add is None else self.add(x, self.body(x))


@MODELS.register("toy-mobilenetv3")
@dataclass(frozen=True)
class MobileNetV3:
    """No options."""

    summary: ClassVar[str] = "hard-swish and squeeze-excite"
    pixels: ClassVar[int] = 32
    example: ClassVar = ({}, 16)

    def units(self):
        """The bottlenecks."""
        return ["3", "4", "5"]

    def build(self, classes, channels):
        """Logits N x classes."""
        blocks = [Bottleneck(8, 16, 8, 1), Bottleneck(8, 24, 16, 2), Bottleneck(16, 48, 16, 1)]
        head = [*conv_bn(16, 32, 1), nn.Hardswish(), GlobalAverage(), nn.Linear(32, classes)]
        return initialize(nn.Sequential(*conv_bn(channels, 8, 3, 2), nn.Hardswish(), *blocks, *head))
