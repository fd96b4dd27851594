"""VGG (Simonyan and Zisserman 2015) for 32 x 32 pictures, as system 001 has it: convolutions never have a bias."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mignon.models import Example
from mignon.models.layers import GlobalAverage, conv_bn, initialize
from mignon.registry import MODELS

WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
HEAD = 512


def convolution_names(depth: int, norm: bool) -> list[str]:
    """The convolutions by name; with their BatchNorm and ReLU and with the max-pools they stand in one sequence."""
    names, place = [], 0
    for count in CONVOLUTIONS[depth]:
        for _ in range(count):
            names.append(f"features.{place}")
            place += 3 if norm else 2
        place += 1
    return names


class Network(nn.Module):
    """Five stages of 3x3 convolutions with ReLU, each ended by a max-pool; average; three linear layers."""

    def __init__(self, depth: int, norm: bool, classes: int, channels: int):
        super().__init__()
        features: list[nn.Module] = []
        inputs = channels
        for count, outputs in zip(CONVOLUTIONS[depth], WIDTHS):
            for _ in range(count):
                convolution, batch_norm = conv_bn(inputs, outputs, 3)
                features += [convolution, batch_norm, nn.ReLU()] if norm else [convolution, nn.ReLU()]
                inputs = outputs
            features.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*features)
        self.pool = GlobalAverage()
        hidden = [nn.Linear(inputs, HEAD), nn.ReLU(), nn.Dropout(), nn.Linear(HEAD, HEAD), nn.ReLU(), nn.Dropout()]
        self.classifier = nn.Sequential(*hidden, nn.Linear(HEAD, classes))

    def forward(self, x: Tensor) -> Tensor:
        """N x channels x H x W to N x classes logits."""
        return self.classifier(self.pool(self.features(x)))


@dataclass(frozen=True)
class VGGCifar:
    """No options; depth and BatchNorm are in the name."""

    depth: ClassVar[int]
    norm: ClassVar[bool]
    summary: ClassVar[str]
    pixels: ClassVar[int] = 32
    example: ClassVar[Example] = ({}, 32)

    def units(self) -> list[str]:
        """All convolutions but the first."""
        return convolution_names(self.depth, self.norm)[1:]

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes; pictures of 32 pixels or more."""
        return initialize(Network(self.depth, self.norm, classes, channels))


for _depth in CONVOLUTIONS:
    for _norm in (False, True):
        _text = f"VGG-{_depth} {'with' if _norm else 'without'} BatchNorm for pictures of 32 pixels and more"
        _member = type(f"VGG{_depth}", (VGGCifar,), {"depth": _depth, "norm": _norm, "summary": _text})
        MODELS.register(f"vgg{_depth}{'-bn' if _norm else ''}-cifar")(_member)
