"""Network families: one file each, made of modules only, so that `graph.py` sees a plain list of layers."""

from dataclasses import make_dataclass
from functools import cache
from typing import Any, ClassVar, Protocol

from torch import nn

from mignon.errors import ModelError
from mignon.models.cut import cut
from mignon.registry import MODELS
from mignon.settings import fill

MAX_CLASSES = 20_000
Example = tuple[dict[str, Any], int]  # options and pixels


class Family(Protocol):
    """A frozen dataclass whose fields are the options of the family; every family also has the option `cut`."""

    name: ClassVar[str]
    summary: ClassVar[str]
    pixels: ClassVar[int]  # the usual input size
    example: ClassVar[Example]  # a small one, for the contract

    def build(self, classes: int, channels: int) -> nn.Module:
        """A freshly initialized network for `channels` input channels; its output is N x classes logits."""

    def units(self) -> list[str]:
        """The modules of its blocks by name, in order; the stem and what comes behind the last block are none."""


def build(family: str, options: dict[str, Any], classes: int, channels: int) -> nn.Module:
    """The network of a family by name. Raises ModelError for unknown names, options or sizes."""
    if not 1 <= classes <= MAX_CLASSES:
        raise ModelError(f"{classes} classes are not possible", f"give 2 to {MAX_CLASSES:,}")
    if channels not in (1, 3):
        raise ModelError(f"{channels} input channels are not possible", "use 1 (grey) or 3 (color)")
    settings = options_of(family, options)
    network = settings.build(classes, channels)
    if settings.cut is None:
        return network
    return cut(network, settings.units()[settings.cut], classes, (channels, settings.pixels, settings.pixels))


def units(family: str, options: dict[str, Any]) -> list[str]:
    """The blocks of a network as names of modules, in order; with `cut=K` up to block K. Raises ModelError.

    A block is all from the first layer in its module to the next block; what is before block 0 is the stem.
    """
    settings = options_of(family, options)
    return settings.units() if settings.cut is None else settings.units()[: settings.cut + 1]


def options_of(family: str, options: dict[str, Any], words: bool = False) -> Any:
    """The family with its options filled in and checked, `cut` among them (None: the whole network).

    With `words` numbers may be text. Raises ModelError for unknown names, options and blocks.
    """
    settings = fill(_with_cut(MODELS[family]), options, ModelError, f"model {family}", words)
    last = len(settings.units()) - 1
    if settings.cut is not None and not 0 <= settings.cut <= last:
        raise ModelError(
            f"{family} cannot end behind block {settings.cut}", f"its blocks have the numbers 0 to {last}: cut={last}"
        )
    return settings


@cache
def _with_cut(member: type[Family]) -> Any:
    return make_dataclass(member.__name__, [("cut", int | None, None)], bases=(member,), frozen=True)


def parse_model(text: str) -> tuple[str, dict[str, Any]]:
    """`mobilenetv2-cifar,reduction=4,cut=8` to the family's name and its options. Raises ModelError."""
    name, *parts = text.split(",")
    options = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise ModelError(f"{part!r} in model {text!r} is no option", "write options as key=value after a comma")
        options[key] = value
    filled = options_of(name, options, words=True)
    return name, {key: getattr(filled, key) for key in options}


def check_width(width: float) -> None:
    """Raise ModelError for a width multiplier that makes no network."""
    if not 0.05 <= width <= 4:
        raise ModelError(f"a width of {width:g} is not possible", "use --width 0.05 to 4")
