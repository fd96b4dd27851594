"""MobileNetV1 with a stem of stride 1, as system 001 trains it on 32 x 32 pictures; 2 x 2 maps before the average."""

from dataclasses import dataclass
from typing import ClassVar

from mignon.models import Example
from mignon.models.mobilenet_v1 import Pairs
from mignon.registry import MODELS


@MODELS.register("mobilenetv1-cifar")
@dataclass(frozen=True)
class MobileNetV1Cifar(Pairs):
    """width: multiplies all channels (int(width x c))."""

    stride: ClassVar[int] = 1
    summary: ClassVar[str] = "MobileNetV1 with strides for pictures of about 32 pixels"
    pixels: ClassVar[int] = 32
    example: ClassVar[Example] = ({"width": 0.1}, 16)
