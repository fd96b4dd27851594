"""Names of torchvision (system 002 has them): MobileNetV2."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from mignon.errors import ModelError


def adapt(header: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A header of `mobilenetv2` beside torchvision's names means the network of system 002: strides for 32 pixels.

    Raises ModelError.
    """
    if header.get("family") != "mobilenetv2" or "features.1.conv.0.0.weight" not in tensors:
        return header, tensors
    options = header.get("options") or {}
    if not isinstance(options, dict):
        raise ModelError(f"{path}: the options of its network are {options!r}")
    header = {**header, "family": "mobilenetv2-cifar", "options": {"reduction": 4, **options}}
    return header, with_our_names(tensors)


def with_our_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a MobileNetV2 of torchvision by our names, all others as they are."""
    if "features.1.conv.0.0.weight" not in tensors:
        return tensors
    return {mobilenetv2_name(name): tensor for name, tensor in tensors.items()}


def mobilenetv2_name(name: str) -> str:
    """torchvision's name of a MobileNetV2 tensor to ours: `conv` is `body`, and the projection is a part of its own."""
    match = re.fullmatch(r"features\.(\d+)\.conv\.(\d+)\.(.+)", name)
    if match is None:
        return re.sub(r"^classifier\.1\.", "classifier.", name)
    number, part, rest = int(match[1]), int(match[2]), match[3]
    project = 1 if number == 1 else 2  # the first block does not expand
    if part >= project:
        part, rest = project, f"{part - project}.{rest}"
    return f"features.{number}.body.{part}.{rest}"
