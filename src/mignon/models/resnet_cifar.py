"""ResNets for 32 x 32 pictures (He et al. 2016, section 4.2): 6 n + 2 layers in three stages of n blocks."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from torch import Tensor, nn

from mignon.errors import ModelError
from mignon.models import Example
from mignon.models.layers import Add, GlobalAverage, PadShortcut, conv_bn, initialize
from mignon.registry import MODELS

DEEPEST = 1202


class Block(nn.Module):
    """3x3-BN-ReLU-3x3-BN, plus the shortcut, ReLU. shortcut: where the size changes `a` (padding), `b` (1x1 and
    BatchNorm) or `conv` (1x1 alone)."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inputs, outputs, 3, stride)
        self.relu1 = nn.ReLU()
        self.conv2, self.bn2 = conv_bn(outputs, outputs, 3)
        if stride == 1 and inputs == outputs:
            self.shortcut: nn.Module = nn.Identity()
        elif shortcut == "a":
            self.shortcut = PadShortcut((outputs - inputs) // 2, stride)
        elif shortcut == "conv":
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        else:
            self.shortcut = nn.Sequential(*conv_bn(inputs, outputs, 1, stride))
        self.add = Add()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride."""
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(self.add(y, self.shortcut(x)))


def unit_names(blocks: int) -> list[str]:
    """The names of all blocks, so many a stage."""
    return [f"layer{stage}.{i}" for stage in (1, 2, 3) for i in range(blocks)]


class ResNet(nn.Module):
    """Stem, three stages of `blocks` blocks with 16, 32 and 64 channels (times `widen`), global average, linear."""

    def __init__(self, blocks: int, widen: int, shortcut: str, classes: int, channels: int):
        super().__init__()
        self.layer1: nn.Module
        self.layer2: nn.Module
        self.layer3: nn.Module
        self.conv1, self.bn1 = conv_bn(channels, 16, 3)
        self.relu = nn.ReLU()
        widths = (16, 16 * widen, 32 * widen, 64 * widen)
        for stage in (1, 2, 3):
            first = Block(widths[stage - 1], widths[stage], 1 if stage == 1 else 2, shortcut)
            rest = [Block(widths[stage], widths[stage], 1, shortcut) for _ in range(blocks - 1)]
            setattr(self, f"layer{stage}", nn.Sequential(first, *rest))
        self.pool = GlobalAverage()
        self.linear = nn.Linear(widths[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        """N x channels x H x W to N x classes logits."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.linear(self.pool(self.layer3(self.layer2(self.layer1(x)))))


@dataclass(frozen=True)
class ResNetCifar:
    """shortcut: `b` (1x1 convolution where the size changes) or `a` (padding, no weights)."""

    shortcut: str = "b"

    depth: ClassVar[int]
    summary: ClassVar[str]
    pixels: ClassVar[int] = 32
    example: ClassVar[Example] = ({}, 16)

    def __post_init__(self) -> None:
        if self.shortcut not in ("a", "b"):
            raise ModelError(f"there is no shortcut {self.shortcut!r}", "use a (padding) or b (1x1 convolution)")

    def units(self) -> list[str]:
        """The residual blocks."""
        return unit_names((self.depth - 2) // 6)

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        return initialize(ResNet((self.depth - 2) // 6, 1, self.shortcut, classes, channels))


@MODELS.register_names("resnet{}-cifar", (14,), (20,), (32,), (44,), (56,), (110,))
@cache
def resnet(depth: int) -> type[ResNetCifar]:
    """The member of a depth: 6 n + 2 from 8 to 1202. Raises ModelError for others."""
    if depth % 6 != 2 or not 8 <= depth <= DEEPEST:
        near = min(DEEPEST, max(8, depth // 6 * 6 + 2))
        raise ModelError(f"there is no resnet{depth}-cifar: depths are 6 n + 2", f"the nearest: resnet{near}-cifar")
    text = f"ResNet-{depth} for pictures of about 32 pixels"
    return type(f"ResNet{depth}", (ResNetCifar,), {"depth": depth, "summary": text})
