"""Networks of torchvision, timm and pytorchcv by name, where these are installed and their weights can be reached."""

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mignon.errors import ModelError
from mignon.importing.given import IMAGENET, Given
from mignon.importing.tensors import checked
from mignon.importing.torchvision import with_our_names
from mignon.progress import Screen
from mignon.registry import IMPORTERS

WIDTHS = {"w1": 1.0, "w3d4": 0.75, "wd2": 0.5, "wd4": 0.25}  # as pytorchcv writes them


def _ours(name: str) -> tuple[str | None, dict[str, Any]]:
    """Family and options of ours that have this name there; None for networks that are none of ours."""
    plain = name.partition(".")[0]
    scaled = re.fullmatch(r"(fd)?mobilenet_(w1|w3d4|wd2|wd4)", plain)
    if scaled is not None:
        return "fdmobilenet" if scaled[1] else "mobilenetv1", {"width": WIDTHS[scaled[2]]}
    if re.fullmatch(r"resnet(18|34|50|101|152)|alexnet|squeezenet1_[01]|vgg(11|13|16|19)(_bn)?", plain):
        return plain.replace("_", "-") if plain.startswith("vgg") else plain, {}
    others = {"mobilenet_v2": "mobilenetv2", "mobilenet_v3_small": "mobilenetv3-small"}
    return others.get(plain), {}


@dataclass(frozen=True)
class Zoo:
    """`LIBRARY:NAME`."""

    library: ClassVar[str]
    smallest: ClassVar[str]
    maker: ClassVar[tuple[str, str, dict[str, Any]]]  # module, function, how to ask it for trained weights
    summary: ClassVar[str]

    def takes(self, place: str) -> bool:
        """By its beginning."""
        return place.startswith(f"{self.library}:")

    def read(self, place: str, screen: Screen) -> Given:
        """The weights that the library gives for a name. Raises ModelError."""
        name = place.partition(":")[2]
        module, function, trained = self.maker
        try:
            make = getattr(importlib.import_module(module), function)
        except (ImportError, OSError, RuntimeError) as error:  # the last: built for another torch
            raise ModelError(f"{place} needs {self.library} ({error})", f"pip install {self.library}") from None
        try:
            network = make(name, **trained)
        except OSError as error:
            raise ModelError(
                f"the weights of {place} cannot be reached ({error})", "download them elsewhere and give the file"
            ) from None
        except (ValueError, RuntimeError, KeyError) as error:
            raise ModelError(f"{self.library} has no network {name!r} ({error})", "look up its name there") from None
        about = getattr(network, "pretrained_cfg", {})  # of timm
        normal = (tuple(about["mean"]), tuple(about["std"])) if {"mean", "std"} <= about.keys() else IMAGENET
        family, options = _ours(name)
        return Given(place, with_our_names(checked(dict(network.state_dict()), place)), family, options, normal)

    @classmethod
    def example(cls, folder: Path) -> str:
        """A small network of the library."""
        return f"{cls.library}:{cls.smallest}"


for _library, _module, _function, _trained, _smallest in (
    ("torchvision", "torchvision.models", "get_model", {"weights": "DEFAULT"}, "squeezenet1_1"),
    ("timm", "timm", "create_model", {"pretrained": True}, "test_resnet"),
    ("pytorchcv", "pytorchcv.model_provider", "get_model", {"pretrained": True}, "mobilenet_wd4"),
):
    _text = f"{_library}:NAME, a network of {_library} with its weights (where it is installed)"
    _maker = (_module, _function, _trained)
    _about = {"library": _library, "maker": _maker, "smallest": _smallest, "summary": _text}
    IMPORTERS.register(_library)(type(_library, (Zoo,), _about))
