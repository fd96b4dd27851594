"""VGG (Simonyan and Zisserman 2015, arXiv 1409.1556); module names as in torchvision, so that its weights load."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mignon.models import Example, check_width
from mignon.models.layers import initialize
from mignon.registry import MODELS

WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
HIDDEN, SIDE = 4096, 7  # of the linear layers; of the map that they read


def features(depth: int, norm: bool, bias: bool, widths: list[int], channels: int) -> nn.Sequential:
    """Five stages of 3x3 convolutions with ReLU, each ended by a max-pool."""
    layers: list[nn.Module] = []
    inputs = channels
    for count, outputs in zip(CONVOLUTIONS[depth], widths):
        for _ in range(count):
            layers.append(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=bias))
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()] if norm else [nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def head(inputs: int, hidden: int, classes: int) -> nn.Sequential:
    """Three linear layers, dropout behind two of them."""
    layers = [nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(hidden, classes))


def unit_names(depth: int, norm: bool) -> list[str]:
    """All convolutions but the first by name."""
    return list(_names(depth, norm))[1:]


def _names(depth: int, norm: bool) -> Iterator[str]:
    place = 0
    for count in CONVOLUTIONS[depth]:
        for _ in range(count):
            yield f"features.{place}"
            place += 3 if norm else 2
        place += 1


@dataclass(frozen=True)
class VGG:
    """width: multiplies all channels and the hidden layers; depth and BatchNorm are in the name."""

    width: float = 1.0

    depth: ClassVar[int]
    norm: ClassVar[bool]
    summary: ClassVar[str]
    pixels: ClassVar[int] = 224
    example: ClassVar[Example] = ({"width": 0.05}, 32)

    def __post_init__(self) -> None:
        check_width(self.width)

    def units(self) -> list[str]:
        """All convolutions but the first."""
        return unit_names(self.depth, self.norm)

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        widths = [max(1, round(base * self.width)) for base in WIDTHS]
        trunk = features(self.depth, self.norm, True, widths, channels)
        last = head(widths[-1] * SIDE**2, max(1, round(HIDDEN * self.width)), classes)
        parts = OrderedDict(features=trunk, avgpool=nn.AdaptiveAvgPool2d(SIDE), flatten=nn.Flatten(), classifier=last)
        return initialize(nn.Sequential(parts))


for _depth in CONVOLUTIONS:
    for _norm in (False, True):
        _text = (
            f"VGG-{_depth} {'with' if _norm else 'without'} BatchNorm and three linear layers, for 64 pixels and more"
        )
        _member = type(f"VGG{_depth}", (VGG,), {"depth": _depth, "norm": _norm, "summary": _text})
        MODELS.register(f"vgg{_depth}{'-bn' if _norm else ''}")(_member)
