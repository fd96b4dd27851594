"""AlexNet in one tower (Krizhevsky 2014, arXiv 1404.5997); module names as in torchvision, so that its weights load."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mignon.models import Example, check_width
from mignon.models.layers import initialize
from mignon.registry import MODELS

WIDTHS = (64, 192, 384, 256, 256)
HIDDEN, SIDE = 4096, 6  # of the linear layers; of the map that they read


@MODELS.register("alexnet")
@dataclass(frozen=True)
class AlexNet:
    """width: multiplies all channels and the hidden layers."""

    width: float = 1.0

    summary: ClassVar[str] = "AlexNet for pictures of 64 pixels and more"
    pixels: ClassVar[int] = 224
    example: ClassVar[Example] = ({"width": 0.05}, 63)

    def __post_init__(self) -> None:
        check_width(self.width)

    def units(self) -> list[str]:
        """All convolutions but the first."""
        return ["features.3", "features.6", "features.8", "features.10"]

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        a, b, c, d, e = (max(1, round(base * self.width)) for base in WIDTHS)
        hidden = max(1, round(HIDDEN * self.width))
        features = nn.Sequential(
            nn.Conv2d(channels, a, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(a, b, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(b, c, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(c, d, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(d, e, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        head = nn.Sequential(
            nn.Dropout(), nn.Linear(e * SIDE**2, hidden), nn.ReLU(),
            nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes),
        )  # fmt: skip
        parts = OrderedDict(
            features=features, avgpool=nn.AdaptiveAvgPool2d(SIDE), flatten=nn.Flatten(), classifier=head
        )
        return initialize(nn.Sequential(parts))
