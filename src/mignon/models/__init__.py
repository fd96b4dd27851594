"""Network families: one file each, made of modules only, so that `graph.py` sees a plain list of layers."""

from typing import Any, ClassVar, Protocol

from torch import nn

from mignon.errors import ModelError
from mignon.registry import MODELS
from mignon.settings import fill

MAX_CLASSES = 20_000


class Family(Protocol):
    """A frozen dataclass whose fields are the options of the family."""

    name: ClassVar[str]
    summary: ClassVar[str]
    pixels: ClassVar[int]  # the usual input size

    def build(self, classes: int, channels: int) -> nn.Module:
        """A freshly initialized network for `channels` input channels; its output is N x classes logits."""


def build(family: str, options: dict[str, Any], classes: int, channels: int) -> nn.Module:
    """The network of a family by name. Raises ModelError for unknown names, options or sizes."""
    if not 1 <= classes <= MAX_CLASSES:
        raise ModelError(f"{classes} classes are not possible", f"give 2 to {MAX_CLASSES:,}")
    if channels not in (1, 3):
        raise ModelError(f"{channels} input channels are not possible", "use 1 (grey) or 3 (color)")
    return fill(MODELS[family], options, ModelError, f"model {family}", words=False).build(classes, channels)


def units(family: str, options: dict[str, Any]) -> list[str]:
    """The blocks of a network as names of modules, in order. Raises ModelError."""
    settings = fill(MODELS[family], options, ModelError, f"model {family}", words=False)
    return settings.units() if hasattr(settings, "units") else []


def parse_model(text: str) -> tuple[str, dict[str, Any]]:
    """`mobilenetv2-cifar,reduction=4` to the family's name and its options. Raises ModelError."""
    name, *parts = text.split(",")
    options = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise ModelError(f"{part!r} in model {text!r} is no option", "write options as key=value after a comma")
        options[key] = value
    filled = fill(MODELS[name], options, ModelError, f"model {name}")
    return name, {key: getattr(filled, key) for key in options}


def check_width(width: float) -> None:
    """Raise ModelError for a width multiplier that makes no network."""
    if not 0.05 <= width <= 4:
        raise ModelError(f"a width of {width:g} is not possible", "use --width 0.05 to 4")
