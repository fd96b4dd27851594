"""ResNets for large pictures (He et al. 2016, arXiv 1512.03385); module names as in torchvision."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mignon.models import Example, check_width
from mignon.models.layers import Add, GlobalAverage, conv_bn, initialize
from mignon.registry import MODELS

WIDTHS = (64, 128, 256, 512)
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
BOTTLENECK = 50  # from this depth on blocks have three convolutions and four times the channels at their end


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 and inputs == outputs else nn.Sequential(*conv_bn(inputs, outputs, 1, stride))


class Basic(nn.Module):
    """3x3-BN-ReLU-3x3-BN, plus the shortcut, ReLU."""

    def __init__(self, inputs: int, hidden: int, outputs: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inputs, hidden, 3, stride)
        self.relu1 = nn.ReLU()
        self.conv2, self.bn2 = conv_bn(hidden, outputs, 3)
        self.downsample = _shortcut(inputs, outputs, stride)
        self.add, self.relu = Add(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride."""
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu(self.add(y, self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1-BN-ReLU-3x3-BN-ReLU-1x1-BN, plus the shortcut, ReLU; the 3x3 has the stride."""

    def __init__(self, inputs: int, hidden: int, outputs: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inputs, hidden, 1)
        self.relu1 = nn.ReLU()
        self.conv2, self.bn2 = conv_bn(hidden, hidden, 3, stride)
        self.relu2 = nn.ReLU()
        self.conv3, self.bn3 = conv_bn(hidden, outputs, 1)
        self.downsample = _shortcut(inputs, outputs, stride)
        self.add, self.relu = Add(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride."""
        y = self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))
        return self.relu(self.add(self.bn3(self.conv3(y)), self.downsample(x)))


class Network(nn.Module):
    """Stem 7x7 of stride 2, max-pool, four stages, global average, linear."""

    def __init__(self, depth: int, width: float, classes: int, channels: int):
        super().__init__()
        kind, growth = (Bottleneck, 4) if depth >= BOTTLENECK else (Basic, 1)
        inputs = max(1, round(WIDTHS[0] * width))
        self.conv1, self.bn1 = conv_bn(channels, inputs, 7, 2)
        self.relu, self.maxpool = nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        stages: list[nn.Module] = []
        for number, (count, base) in enumerate(zip(BLOCKS[depth], WIDTHS)):
            hidden, found = max(1, round(base * width)), []
            for i in range(count):
                found.append(kind(inputs, hidden, growth * hidden, 2 if number and i == 0 else 1))
                inputs = growth * hidden
            stages.append(nn.Sequential(*found))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool, self.fc = GlobalAverage(), nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """N x channels x H x W to N x classes logits."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(self.avgpool(self.layer4(self.layer3(self.layer2(self.layer1(x))))))


@dataclass(frozen=True)
class ResNet:
    """width: multiplies all channels."""

    width: float = 1.0

    depth: ClassVar[int]
    summary: ClassVar[str]
    pixels: ClassVar[int] = 224
    example: ClassVar[Example] = ({"width": 0.1}, 32)

    def __post_init__(self) -> None:
        check_width(self.width)

    def units(self) -> list[str]:
        """The residual blocks."""
        return [f"layer{stage}.{i}" for stage, count in enumerate(BLOCKS[self.depth], 1) for i in range(count)]

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        return initialize(Network(self.depth, self.width, classes, channels))


for _depth in BLOCKS:
    _text = {"depth": _depth, "summary": f"ResNet-{_depth} for pictures of 64 pixels and more"}
    MODELS.register(f"resnet{_depth}")(type(f"ResNet{_depth}", (ResNet,), _text))
