"""Weights of others: their files, names and number forms become those of a checkpoint of ours. One file an origin."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mignon.errors import ModelError
from mignon.files import machine_errors, parse_untrusted
from mignon.importing import int8, torchvision

ALIASES = {"mobilenet": "mobilenetv1"}
PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile and of modules that wrap a network


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The `mignon` header and the tensors by name, without the prefixes and counters that training tools add.

    Raises ModelError when it is no such file, and for numbers that are not finite.
    """
    with machine_errors(path):
        try:
            with safe_open(path, framework="pt") as file:
                header = parse_untrusted((file.metadata() or {}).get("mignon", "null").encode("utf-8", "surrogatepass"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, ValueError) as error:
            raise ModelError(f"{path} is not a whole safetensors file ({error})", "get the file again") from None
    if not isinstance(header, dict):
        raise ModelError(
            f"{path} does not say which network it is for",
            'its safetensors metadata needs an entry "mignon" with family, options, classes and input',
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
            raise ModelError(f"{path}: {name} holds numbers that are not finite", "train or export the network again")
        if name.endswith("running_var") and tensor.numel() and float(tensor.min()) < 0:
            raise ModelError(f"{path}: {name} holds a negative variance", "train or export the network again")
    family = header.get("family")
    if isinstance(family, str):
        header = {**header, "family": ALIASES.get(family, family)}
    return header, without_prefixes(tensors)


def without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without a prefix that all names have, and without counters of batches."""
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    for prefix in PREFIXES * len(PREFIXES):
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def adapt(header: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors as our own checkpoints have them; those of ours come back as they are. Raises ModelError."""
    for origin in (torchvision, int8):
        header, tensors = origin.adapt(header, tensors, path)
    return header, tensors
