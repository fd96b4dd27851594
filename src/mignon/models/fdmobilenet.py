"""FD-MobileNet (Qin et al. 2018, arXiv 1802.03750): MobileNetV1 that halves the map in its first blocks already."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mignon.models import Example, check_width
from mignon.models.layers import initialize
from mignon.models.mobilenet_v1 import Network, Stages, unit_names
from mignon.registry import MODELS

STAGES: Stages = (
    ((64, 2),),
    ((128, 2), (128, 1)),
    ((256, 2), (256, 1)),
    ((512, 2), *[(512, 1)] * 4, (1024, 1)),
)


@MODELS.register("fdmobilenet")
@dataclass(frozen=True)
class FDMobileNet:
    """width: multiplies all channels (int(width x c))."""

    width: float = 1.0

    summary: ClassVar[str] = "FD-MobileNet: MobileNetV1 at a quarter of its work, for 96 pixels and more"
    pixels: ClassVar[int] = 128
    example: ClassVar[Example] = ({"width": 0.1}, 32)

    def __post_init__(self) -> None:
        check_width(self.width)

    def units(self) -> list[str]:
        """The pairs of depthwise and pointwise convolution."""
        return unit_names(STAGES)

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        return initialize(Network(STAGES, self.width, 2, classes, channels))
