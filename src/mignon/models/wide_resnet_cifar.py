"""Wide ResNets for 32 x 32 pictures (Zagoruyko and Komodakis 2016, arXiv 1605.07146), BatchNorm behind convolutions.

The paper has BatchNorm and ReLU *before* each convolution. Here they stand behind it, as in ResNet, so that BatchNorm
can be absorbed; parameters and multiply-accumulates are the same.
"""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from torch import nn

from mignon.errors import ModelError
from mignon.models import Example
from mignon.models.layers import initialize
from mignon.models.resnet_cifar import ResNet, unit_names
from mignon.registry import MODELS


@dataclass(frozen=True)
class WideResNetCifar:
    """No options: depth and how many times as wide as ResNet are in the name."""

    depth: ClassVar[int]
    widen: ClassVar[int]
    summary: ClassVar[str]
    pixels: ClassVar[int] = 32
    example: ClassVar[Example] = ({}, 16)

    def units(self) -> list[str]:
        """The residual blocks."""
        return unit_names((self.depth - 4) // 6)

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        return initialize(ResNet((self.depth - 4) // 6, self.widen, "conv", classes, channels))


@MODELS.register_names("wrn-{}-{}-cifar", (10, 1), (16, 4), (16, 10), (28, 10))
@cache
def wide_resnet(depth: int, widen: int) -> type[WideResNetCifar]:
    """The member of a depth (6 n + 4) and a widening factor. Raises ModelError for others."""
    if depth % 6 != 4 or not 10 <= depth <= 100 or widen > 20:
        raise ModelError(
            f"there is no wrn-{depth}-{widen}-cifar: depths are 6 n + 4 from 10 to 100, widths 1 to 20",
            "for example: wrn-16-4-cifar",
        )
    text = f"ResNet-{depth} of {widen} times the width, for pictures of about 32 pixels"
    about = {"depth": depth, "widen": widen, "summary": text}
    return type(f"WideResNet{depth}x{widen}", (WideResNetCifar,), about)
