"""MobileNetV1 (Howard et al. 2017, arXiv 1704.04861); module names as in pytorchcv, so that its weights load."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mignon.models import Example, check_width
from mignon.models.layers import GlobalAverage, conv_bn, initialize
from mignon.registry import MODELS

Stages = tuple[tuple[tuple[int, int], ...], ...]  # of each block the channels at width 1 and the stride
STAGES: Stages = (
    ((64, 1),),
    ((128, 2), (128, 1)),
    ((256, 2), (256, 1)),
    ((512, 2), *[(512, 1)] * 5),
    ((1024, 2), (1024, 1)),
)


def _unit(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> nn.Module:
    conv, bn = conv_bn(inputs, outputs, kernel, stride, groups)
    return nn.Sequential(OrderedDict(conv=conv, bn=bn, activ=nn.ReLU()))


class Network(nn.Module):
    """Stem 3x3 (stride 2 for large pictures), pairs of depthwise 3x3 and pointwise 1x1, average, linear."""

    def __init__(self, stages: Stages, width: float, stride: int, classes: int, channels: int):
        super().__init__()
        stem = max(1, int(32 * width))
        features: OrderedDict[str, nn.Module] = OrderedDict(init_block=_unit(channels, stem, 3, stride))
        inputs = stem
        for i, units in enumerate(stages, 1):
            stage: OrderedDict[str, nn.Module] = OrderedDict()
            for j, (base, stride) in enumerate(units, 1):
                outputs = max(1, int(base * width))
                depthwise = _unit(inputs, inputs, 3, stride, groups=inputs)
                pointwise = _unit(inputs, outputs, 1, 1)
                stage[f"unit{j}"] = nn.Sequential(OrderedDict(dw_conv=depthwise, pw_conv=pointwise))
                inputs = outputs
            features[f"stage{i}"] = nn.Sequential(stage)
        features["final_pool"] = GlobalAverage()
        self.features = nn.Sequential(features)
        self.output = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """N x channels x H x W to N x classes logits."""
        return self.output(self.features(x))


@dataclass(frozen=True)
class Pairs:
    """Base of the families of this kind; width: multiplies all channels (int(width x c))."""

    width: float = 1.0

    stages: ClassVar[Stages] = STAGES
    stride: ClassVar[int] = 2  # of the stem
    pixels: ClassVar[int] = 128
    example: ClassVar[Example] = ({"width": 0.1}, 32)

    def __post_init__(self) -> None:
        check_width(self.width)

    def units(self) -> list[str]:
        """The pairs of depthwise and pointwise convolution."""
        places = [(i, j) for i, stage in enumerate(self.stages, 1) for j in range(1, len(stage) + 1)]
        return [f"features.stage{i}.unit{j}" for i, j in places]

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        return initialize(Network(self.stages, self.width, self.stride, classes, channels))


@MODELS.register("mobilenetv1")
@dataclass(frozen=True)
class MobileNetV1(Pairs):
    """width: multiplies all channels (int(width x c))."""

    summary: ClassVar[str] = "MobileNetV1 for pictures of 64 pixels and more"
