"""The three disjoint splits of one source, as they travel through the program."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mignon.data.inputs import InputSpec

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Images behind `take`, their labels (int64 N) and file names. Nobody else reads `store` (usually a memory map)."""

    name: str
    store: np.ndarray
    labels: np.ndarray
    names: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray | slice) -> np.ndarray:
        """These images in this order, in memory: uint8 N x H x W x C, or float32 features of a frozen trunk."""
        return np.array(self.store[indices])


@dataclass(frozen=True)
class ImageSet:
    """Train, validation and test of one source, its class names, its data card and the hash of all of it."""

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    input: InputSpec
    card: dict[str, Any]
    key: str

    @property
    def splits(self) -> tuple[Split, Split, Split]:
        """All three, in order."""
        return self.train, self.validation, self.test
