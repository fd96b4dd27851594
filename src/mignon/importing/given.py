"""What an importer gives, and what an importer is."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from mignon.progress import Screen

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and std of x/255, as most ImageNet networks have them


@dataclass(frozen=True)
class Given:
    """Weights from elsewhere: tensors by name, in their order, and what is known of the network they are made for.

    `source`: as the user knows it. `family` and `options` as in `models.build`, None where only the user can say it;
    `normal`: mean and std of x/255 for each channel, None where nobody says it.
    """

    source: str
    tensors: dict[str, Tensor]
    family: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    normal: tuple[tuple[float, ...], tuple[float, ...]] | None = None


class Importer(Protocol):
    """An origin of weights: a frozen dataclass without fields."""

    name: str
    summary: str

    def takes(self, place: str) -> bool:
        """Whether what the user typed behind `--from` is one of these. Never fails, and is quick."""

    def read(self, place: str, screen: Screen) -> Given:
        """The weights. Raises ModelError in one line: what is wrong, what to install or to type instead."""

    @classmethod
    def example(cls, folder: Path) -> str:
        """Make a small one in an empty folder, for the contract's test, and return what a user would type."""
