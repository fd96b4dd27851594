"""Weights of others: their names and number forms become those of a checkpoint of ours."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mignon.errors import FormatError, ModelError
from mignon.rules.scaled import Scaled

INTEGERS = "int8 NAME.weight times float32 NAME.scale"  # `weights` of the header


def adapt(header: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors as our own checkpoints have them; those of ours come back as they are. Raises ModelError."""
    if header.get("family") == "mobilenetv2":
        options = header.get("options") or {}
        if not isinstance(options, dict):
            raise ModelError(f"{path}: the options of its network are {options!r}")
        header = {**header, "family": "mobilenetv2-cifar", "options": {"reduction": 4, **options}}
        tensors = {mobilenetv2_name(name): tensor for name, tensor in tensors.items()}
    form = header.get("weights")
    if form == INTEGERS:
        return under_scales(header, tensors, path)
    if form:
        raise ModelError(f"{path} stores {form}, which cannot be imported", f"give float32 weights or {INTEGERS}")
    return header, tensors


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


def under_scales(
    header: dict[str, Any], tensors: dict[str, Tensor], path: Path
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """int8 `NAME.weight` and float32 `NAME.scale` under the rule `scaled`; zeros stay zero when tuned."""
    rules: dict[str, dict[str, Any]] = {}
    plain = dict(tensors)
    for key in [name for name in tensors if name.endswith(".scale")]:
        name = key.removesuffix(".scale")
        step, integers = plain.pop(key), plain.pop(f"{name}.weight", None)
        if integers is None or integers.dtype != torch.int8 or step.dtype != torch.float32 or step.numel() != 1:
            raise ModelError(f"{path}: {name} is not {INTEGERS}", "get the file again")
        rule = Scaled({"rule": "scaled", "bits": 8, "masked": True}, tuple(integers.shape))
        try:
            rule.set_scale(float(step))
        except FormatError as error:
            raise ModelError(f"{path}: {name}: {error.what}", "get the file again") from None
        rule.q.copy_(integers)
        rule.hold_mask(rule.nonzero())
        rules[f"{name}.weight"] = rule.spec
        under = f"{name}.parametrizations.weight"
        plain[f"{under}.original"] = rule.weight()
        plain |= {f"{under}.0.{buffer}": value for buffer, value in rule.state_dict().items()}
    left = next((name for name, tensor in plain.items() if tensor.dtype == torch.int8), None)
    if left is not None:
        raise ModelError(f"{path}: {left} has no scale", "get the file again")
    return {**header, "rules": rules}, plain
