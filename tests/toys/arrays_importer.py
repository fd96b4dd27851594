"""Weights in a .npz archive of numpy, as an importer of somebody else's package."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from mignon.importing import Given
from mignon.registry import IMPORTERS


@IMPORTERS.register("toy-arrays")
@dataclass(frozen=True)
class Arrays:
    """Names and arrays, nothing else."""

    summary: ClassVar[str] = "FILE.npz of arrays by name"

    def takes(self, place):
        """By the end of its name."""
        return place.endswith(".npz") and Path(place).is_file()

    def read(self, place, screen):
        """The tensors."""
        with np.load(place, allow_pickle=False) as arrays:
            return Given(Path(place).name, {name: torch.from_numpy(arrays[name]) for name in arrays})

    @classmethod
    def example(cls, folder):
        """One array."""
        np.savez(folder / "toy.npz", **{"linear.weight": np.ones((2, 4), np.float32)})
        return str(folder / "toy.npz")
