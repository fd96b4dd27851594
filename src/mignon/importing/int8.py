"""Whole numbers of others: int8 weights, each tensor under one float32 scale."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mignon.errors import FormatError, ModelError
from mignon.rules.scaled import Scaled

INTEGERS = "int8 NAME.weight times float32 NAME.scale"  # `weights` of the header


def adapt(header: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Integers and scales as rules and streams of ours. Raises ModelError."""
    form = header.get("weights")
    if form == INTEGERS:
        return under_scales(header, tensors, path)
    if form:
        raise ModelError(f"{path} stores {form}, which cannot be imported", f"give float32 weights or {INTEGERS}")
    return header, tensors


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
