"""State dicts as `torch.save` writes them, alone or inside a checkpoint of somebody's training."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from mignon.importing.given import Given
from mignon.importing.tensors import read_state_dict
from mignon.importing.torchvision import with_our_names
from mignon.progress import Screen
from mignon.registry import IMPORTERS

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")


@IMPORTERS.register("state-dict")
@dataclass(frozen=True)
class StateDict:
    """It does not say which network it is for; nothing of it is run."""

    summary: ClassVar[str] = f"FILE of a PyTorch state dict ({', '.join(SUFFIXES)}), with --model"

    def takes(self, place: str) -> bool:
        """By the end of its name."""
        path = Path(place).expanduser()
        return path.suffix in SUFFIXES and path.is_file()

    def read(self, place: str, screen: Screen) -> Given:
        """The tensors. Raises ModelError for what holds anything else."""
        path = Path(place).expanduser()
        return Given(path.name, with_our_names(read_state_dict(path)))

    @classmethod
    def example(cls, folder: Path) -> str:
        """A linear layer."""
        torch.save(torch.nn.Linear(4, 2).state_dict(), folder / "linear.pth")
        return str(folder / "linear.pth")
