"""FD-MobileNet (Qin et al. 2018, arXiv 1802.03750): MobileNetV1 that halves the map in its first blocks already."""

from dataclasses import dataclass
from typing import ClassVar

from mignon.models.mobilenet_v1 import Pairs, Stages
from mignon.registry import MODELS

STAGES: Stages = (
    ((64, 2),),
    ((128, 2), (128, 1)),
    ((256, 2), (256, 1)),
    ((512, 2), *[(512, 1)] * 4, (1024, 1)),
)


@MODELS.register("fdmobilenet")
@dataclass(frozen=True)
class FDMobileNet(Pairs):
    """width: multiplies all channels (int(width x c))."""

    stages: ClassVar[Stages] = STAGES
    summary: ClassVar[str] = "FD-MobileNet: MobileNetV1 at a quarter of its work, for 96 pixels and more"
