"""SqueezeNet 1.0 and 1.1 (Iandola et al. 2016, arXiv 1602.07360); module names as in torchvision."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mignon.errors import ModelError
from mignon.models import Example
from mignon.models.layers import Add, Concat, GlobalAverage, initialize
from mignon.registry import MODELS

FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))  # squeezed, half
ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU}
BYPASSES = ("none", "simple", "complex")


class Fire(nn.Module):
    """Squeeze 1x1; expand 1x1 and expand 3x3 side by side, each `half` channels wide; an activation behind all three.

    bypass: the input is added where it is as wide (`simple`), else through a 1x1 convolution (`complex`).
    """

    def __init__(self, inputs: int, squeezed: int, half: int, activation: str, bypass: str):
        super().__init__()
        kind = ACTIVATIONS[activation]
        self.squeeze, self.squeeze_activation = nn.Conv2d(inputs, squeezed, 1), kind()
        self.expand1x1, self.expand1x1_activation = nn.Conv2d(squeezed, half, 1), kind()
        self.expand3x3, self.expand3x3_activation = nn.Conv2d(squeezed, half, 3, padding=1), kind()
        self.concat = Concat()
        same = inputs == 2 * half
        self.add = Add() if bypass == "complex" or (bypass == "simple" and same) else None
        self.bypass = nn.Identity() if same or self.add is None else nn.Conv2d(inputs, 2 * half, 1)

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x 2 half x H x W."""
        y = self.squeeze_activation(self.squeeze(x))
        left = self.expand1x1_activation(self.expand1x1(y))
        y = self.concat(left, self.expand3x3_activation(self.expand3x3(y)))
        return y if self.add is None else self.add(y, self.bypass(x))


class Network(nn.Module):
    """Stem, eight fire modules with max-pools before some, 1x1 convolution to the classes, global average.

    pools: the numbers of the fires (0 to 7) that have a max-pool before them.
    """

    def __init__(self, stem: nn.Conv2d, pools: tuple[int, ...], options: "SqueezeNet", classes: int):
        super().__init__()
        kind = ACTIVATIONS[options.activation]
        features: list[nn.Module] = [stem, kind()]
        inputs = stem.out_channels
        for number, (squeezed, half) in enumerate(FIRES):
            if number in pools:
                features.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            features.append(Fire(inputs, squeezed, half, options.activation, options.bypass))
            inputs = 2 * half
        self.features = nn.Sequential(*features)
        last = kind() if options.activation == "relu" or options.elu_logits else nn.Identity()
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(inputs, classes, 1), last, GlobalAverage())

    def forward(self, x: Tensor) -> Tensor:
        """N x channels x H x W to N x classes logits."""
        return self.classifier(self.features(x))


@dataclass(frozen=True)
class SqueezeNet:
    """activation: relu or elu (system 003); bypass: none, simple or complex. stride: of the stem; 2 as published, 1 for
    pictures of about 32 pixels. elu_logits: an ELU behind the last convolution too, as system 003 has it: no logit is
    below -1.
    """

    stride: int = 2
    activation: str = "relu"
    bypass: str = "none"
    elu_logits: bool = False

    stem: ClassVar[tuple[int, int]]  # channels, kernel
    pools: ClassVar[tuple[int, ...]]
    summary: ClassVar[str]
    pixels: ClassVar[int] = 128
    example: ClassVar[Example] = ({"stride": 1}, 32)

    def __post_init__(self) -> None:
        if self.stride not in (1, 2):
            raise ModelError(f"a stem of stride {self.stride} is not possible", "use 2 (as published) or 1")
        if self.activation not in ACTIVATIONS:
            raise ModelError(f"there is no activation {self.activation!r} here", f"use {' or '.join(ACTIVATIONS)}")
        if self.bypass not in BYPASSES:
            raise ModelError(f"there is no bypass {self.bypass!r}", f"use one of: {', '.join(BYPASSES)}")
        if self.elu_logits and self.activation != "elu":
            raise ModelError("elu_logits needs activation=elu", "leave it away")

    def units(self) -> list[str]:
        """The fire modules."""
        return [f"features.{2 + i + sum(pool <= i for pool in self.pools)}" for i in range(len(FIRES))]

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes."""
        outputs, kernel = self.stem
        network = Network(nn.Conv2d(channels, outputs, kernel, self.stride), self.pools, self, classes)
        initialize(network)
        nn.init.normal_(network.classifier[1].weight, 0, 0.01)  # type: ignore[arg-type]
        return network


@MODELS.register("squeezenet1_0")
class SqueezeNet10(SqueezeNet):
    """Stem 7x7 of 96 channels, late max-pools."""

    stem, pools = (96, 7), (0, 3, 7)
    summary = "SqueezeNet 1.0 for pictures of 64 pixels and more; with stride 1 for about 32"


@MODELS.register("squeezenet1_1")
class SqueezeNet11(SqueezeNet):
    """Stem 3x3 of 64 channels, early max-pools: 2.4 times less work."""

    stem, pools = (64, 3), (0, 2, 4)
    summary = "SqueezeNet 1.1 for pictures of 64 pixels and more; with stride 1 for about 32"
