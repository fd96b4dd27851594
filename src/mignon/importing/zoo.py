"""Networks of torchvision, timm and pytorchcv by name, where these are installed and their weights can be reached."""

import re
from collections.abc import Callable
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


def _torchvision(name: str) -> Any:
    from torchvision.models import get_model

    return get_model(name, weights="DEFAULT")


def _timm(name: str) -> Any:
    from timm import create_model

    return create_model(name, pretrained=True)


def _pytorchcv(name: str) -> Any:
    from pytorchcv.model_provider import get_model

    return get_model(name, pretrained=True)


@dataclass(frozen=True)
class Zoo:
    """`LIBRARY:NAME`."""

    library: ClassVar[str]
    smallest: ClassVar[str]
    load: ClassVar[Callable[[str], Any]]
    summary: ClassVar[str]

    def takes(self, place: str) -> bool:
        """By its beginning."""
        return place.startswith(f"{self.library}:")

    def read(self, place: str, screen: Screen) -> Given:
        """The weights that the library gives for a name. Raises ModelError."""
        name = place.partition(":")[2]
        try:
            network = type(self).load(name)
        except ImportError as error:
            raise ModelError(f"{place} needs {self.library} ({error})", f"pip install {self.library}") from None
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


for _library, _load, _smallest in (
    ("torchvision", _torchvision, "squeezenet1_1"),
    ("timm", _timm, "test_resnet"),
    ("pytorchcv", _pytorchcv, "mobilenet_wd4"),
):
    _text = f"{_library}:NAME, a network of {_library} with its weights (where it is installed)"
    _about = {"library": _library, "load": staticmethod(_load), "smallest": _smallest, "summary": _text}
    IMPORTERS.register(_library)(type(_library, (Zoo,), _about))
