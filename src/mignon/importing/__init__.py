"""Weights of others: their files, names and number forms become those of a network of ours. One file an origin."""

from pathlib import Path
from typing import Any

from torch import Tensor

from mignon.errors import ModelError
from mignon.importing import int8, torchvision
from mignon.importing.given import IMAGENET, Given, Importer
from mignon.importing.tensors import read_header, read_tensors
from mignon.progress import Quiet, Screen
from mignon.registry import IMPORTERS

__all__ = ["IMAGENET", "Given", "Importer", "adapt", "give", "importer_of", "read_header", "read_tensors"]


def importer_of(place: str) -> Importer | None:
    """The origin that takes what the user typed; None for our own files and runs, and for what nobody knows."""
    return next((found for found in (IMPORTERS[name]() for name in IMPORTERS) if found.takes(place)), None)


def give(place: str, screen: Screen | None = None) -> Given:
    """Weights from elsewhere by name, path or address. Raises MignonError."""
    importer = importer_of(place)
    if importer is None:
        raise ModelError(f"there are no weights {place!r}", "mignon ls importers shows where weights may come from")
    return importer.read(place, screen or Quiet())


def adapt(header: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors as our own checkpoints have them; those of ours come back as they are. Raises ModelError."""
    for origin in (torchvision, int8):
        header, tensors = origin.adapt(header, tensors, path)
    return header, tensors
