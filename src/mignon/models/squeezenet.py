"""SqueezeNet 1.1 (Iandola et al. 2016, arXiv 1602.07360); module names as in torchvision, so that its weights load."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mignon.errors import ModelError
from mignon.models import Example
from mignon.models.layers import Concat, GlobalAverage, initialize
from mignon.registry import MODELS

STAGES = (((16, 64), (16, 64)), ((32, 128), (32, 128)), ((48, 192), (48, 192), (64, 256), (64, 256)))


class Fire(nn.Module):
    """Squeeze 1x1; expand 1x1 and expand 3x3 side by side, each `half` channels wide; ReLU behind all three."""

    def __init__(self, inputs: int, squeezed: int, half: int):
        super().__init__()
        self.squeeze, self.squeeze_activation = nn.Conv2d(inputs, squeezed, 1), nn.ReLU()
        self.expand1x1, self.expand1x1_activation = nn.Conv2d(squeezed, half, 1), nn.ReLU()
        self.expand3x3, self.expand3x3_activation = nn.Conv2d(squeezed, half, 3, padding=1), nn.ReLU()
        self.concat = Concat()

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x 2 half x H x W."""
        x = self.squeeze_activation(self.squeeze(x))
        left = self.expand1x1_activation(self.expand1x1(x))
        return self.concat(left, self.expand3x3_activation(self.expand3x3(x)))


class Network(nn.Module):
    """Stem 3x3, max-pool and eight fire modules in three stages, 1x1 convolution to the classes, global average."""

    def __init__(self, stride: int, classes: int, channels: int):
        super().__init__()
        features: list[nn.Module] = [nn.Conv2d(channels, 64, 3, stride), nn.ReLU()]
        inputs = 64
        for stage in STAGES:
            features.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            for squeezed, half in stage:
                features.append(Fire(inputs, squeezed, half))
                inputs = 2 * half
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(inputs, classes, 1), nn.ReLU(), GlobalAverage())

    def forward(self, x: Tensor) -> Tensor:
        """N x channels x H x W to N x classes logits."""
        return self.classifier(self.features(x))


@MODELS.register("squeezenet1_1")
@dataclass(frozen=True)
class SqueezeNet:
    """stride: of the stem; 2 as published, 1 for pictures of about 32 pixels (3 x 3 maps at the end)."""

    stride: int = 2

    summary: ClassVar[str] = "SqueezeNet 1.1 for pictures of 64 pixels and more; with stride 1 for about 32"
    pixels: ClassVar[int] = 128
    example: ClassVar[Example] = ({"stride": 1}, 32)

    def __post_init__(self) -> None:
        if self.stride not in (1, 2):
            raise ModelError(f"a stem of stride {self.stride} is not possible", "use 2 (as published) or 1")

    def units(self) -> list[str]:
        """The fire modules; before each stage of them there is a max-pool."""
        starts = (3, 6, 9)
        return [f"features.{start + i}" for start, stage in zip(starts, STAGES) for i in range(len(stage))]

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        network = Network(self.stride, classes, channels)
        initialize(network)
        nn.init.normal_(network.classifier[1].weight, 0, 0.01)  # type: ignore[arg-type]
        return network
