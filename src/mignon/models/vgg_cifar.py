"""VGG for 32 x 32 pictures, as system 001 has it: convolutions never have a bias, 512 features go into the head."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mignon.models import Example
from mignon.models.layers import GlobalAverage, initialize
from mignon.models.vgg import CONVOLUTIONS, WIDTHS, features, head, unit_names
from mignon.registry import MODELS

HIDDEN = 512


@dataclass(frozen=True)
class VGGCifar:
    """No options; depth and BatchNorm are in the name."""

    depth: ClassVar[int]
    norm: ClassVar[bool]
    summary: ClassVar[str]
    pixels: ClassVar[int] = 32
    example: ClassVar[Example] = ({"cut": 2}, 32)

    def units(self) -> list[str]:
        """All convolutions but the first."""
        return unit_names(self.depth, self.norm)

    def build(self, classes: int, channels: int) -> nn.Module:
        """Logits N x classes; pictures of 32 pixels or more."""
        trunk = features(self.depth, self.norm, False, list(WIDTHS), channels)
        parts = OrderedDict(features=trunk, pool=GlobalAverage(), classifier=head(WIDTHS[-1], HIDDEN, classes))
        return initialize(nn.Sequential(parts))


for _depth in CONVOLUTIONS:
    for _norm in (False, True):
        _text = f"VGG-{_depth} {'with' if _norm else 'without'} BatchNorm for pictures of 32 pixels and more"
        _member = type(f"VGG{_depth}", (VGGCifar,), {"depth": _depth, "norm": _norm, "summary": _text})
        MODELS.register(f"vgg{_depth}{'-bn' if _norm else ''}-cifar")(_member)
