"""Safetensors files without a classifier: those that say they are a trunk, and those that say nothing."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from mignon.errors import ModelError
from mignon.importing.given import IMAGENET, Given
from mignon.importing.tensors import read_header, read_safetensors
from mignon.models import units
from mignon.progress import Screen
from mignon.registry import IMPORTERS


@IMPORTERS.register("trunk")
@dataclass(frozen=True)
class Trunk:
    """`trunk_only` in the `mignon` entry of the metadata, with family, options and input; or no such entry."""

    summary: ClassVar[str] = "FILE.safetensors of a trunk, or without a word of which network it is for (--model)"

    def takes(self, place: str) -> bool:
        """A safetensors file that holds no whole classifier."""
        path = Path(place).expanduser()
        if path.suffix != ".safetensors" or not path.is_file():
            return False
        try:
            header = read_header(path)
        except ModelError:
            return False
        return header is None or bool(header.get("trunk_only"))

    def read(self, place: str, screen: Screen) -> Given:
        """The tensors, with the names of our networks where BatchNorm was folded. Raises ModelError."""
        path = Path(place).expanduser()
        header, tensors = read_header(path), read_safetensors(path)
        if header is None:
            return Given(path.name, tensors)
        family, options = header.get("family"), header.get("options", {})
        if not isinstance(family, str) or not isinstance(options, dict):
            raise ModelError(f"{path} does not say which network it is for", "get the file again")
        if header.get("weights"):
            raise ModelError(f"{path} stores {header['weights']}: nothing to start from", "give float32 weights")
        if header.get("batchnorm") == "folded":
            tensors = _with_our_names(tensors, units(family, options))
        return Given(path.name, tensors, family, options, _normal(header.get("input"), path))

    @classmethod
    def example(cls, folder: Path) -> str:
        """The stem of a network."""
        header = {"family": "mobilenetv1", "options": {"width": 0.25}, "trunk_only": True}
        tensors = {"features.init_block.conv.weight": torch.rand(8, 3, 3, 3)}
        save_file(tensors, folder / "trunk.safetensors", {"mignon": json.dumps(header)})
        return str(folder / "trunk.safetensors")


def _normal(values: Any, path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if values is None:
        return IMAGENET
    try:
        mean, std = (tuple(float(x) for x in values[key]) for key in ("mean", "std"))
    except (KeyError, TypeError, ValueError):
        raise ModelError(f"{path}: its input has no mean and std", "get the file again") from None
    return mean, std


def _with_our_names(tensors: dict[str, Tensor], names: list[str]) -> dict[str, Tensor]:
    """`init_block`, `block3.dw` and `block3.pw` as the MobileNets here call them."""

    def ours(name: str) -> str:
        match = re.fullmatch(r"block(\d+)\.(dw|pw)\.(weight|bias)", name)
        if match is not None and 1 <= int(match[1]) <= len(names):
            return f"{names[int(match[1]) - 1]}.{match[2]}_conv.conv.{match[3]}"
        return re.sub(r"^init_block\.", "features.init_block.conv.", name)

    return {ours(name): tensor for name, tensor in tensors.items()}
