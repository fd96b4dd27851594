"""Files of tensors: safetensors and what `torch.save` writes; names and numbers as training tools leave them."""

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mignon.errors import ModelError
from mignon.files import machine_errors, parse_untrusted

ALIASES = {"mobilenet": "mobilenetv1"}
PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile and of modules that wrap a network
INSIDE = ("state_dict", "model", "model_state_dict", "net")  # where checkpoints of others keep their tensors


def read_header(path: Path) -> dict[str, Any] | None:
    """The `mignon` entry of the metadata of a safetensors file; None where there is none. Raises ModelError."""
    with machine_errors(path):
        try:
            with safe_open(path, framework="pt") as file:
                text = (file.metadata() or {}).get("mignon", "null")
            header = parse_untrusted(text.encode("utf-8", "surrogatepass"))
        except (SafetensorError, ValueError) as error:
            raise ModelError(f"{path} is not a whole safetensors file ({error})", "get the file again") from None
    if header is not None and not isinstance(header, dict):
        raise ModelError(f"{path} does not say which network it is for", "its entry `mignon` is no table")
    if header is None:
        return None
    family = header.get("family")
    return {**header, "family": ALIASES.get(family, family)} if isinstance(family, str) else header


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors by name, without the prefixes and counters that training tools add.

    Raises ModelError when it is no such file, and for numbers that are not finite.
    """
    with machine_errors(path):
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, ValueError) as error:
            raise ModelError(f"{path} is not a whole safetensors file ({error})", "get the file again") from None
    return checked(tensors, path)


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The `mignon` header of a safetensors file and its tensors. Raises ModelError where there is no header, too."""
    header = read_header(path)
    if header is None:
        raise ModelError(
            f"{path} does not say which network it is for",
            'its safetensors metadata needs an entry "mignon" with family, options, classes and input',
        )
    return header, read_safetensors(path)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of `torch.save`, without running code of it; float32 where they are float.

    Raises ModelError for what holds anything but tensors, and for numbers that are not finite.
    """
    with machine_errors(path):
        try:
            value = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(
                f"{path} is no file of plain tensors ({reason})", "save it as torch.save(network.state_dict(), PATH)"
            ) from None
    for key in INSIDE:
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
    tensors = {n: t for n, t in value.items() if isinstance(t, Tensor)} if isinstance(value, dict) else {}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise ModelError(
            f"{path} holds no tensors by name", "give the state dict: torch.save(network.state_dict(), PATH)"
        )
    return checked({name: tensor.detach() for name, tensor in tensors.items()}, path)


def checked(tensors: dict[str, Tensor], where: Any) -> dict[str, Tensor]:
    """The same without prefixes and counters. Raises ModelError for numbers that are not finite, negative variances."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
            raise ModelError(f"{where}: {name} holds numbers that are not finite", "train or export the network again")
        if name.endswith("running_var") and tensor.numel() and float(tensor.min()) < 0:
            raise ModelError(f"{where}: {name} holds a negative variance", "train or export the network again")
    return without_prefixes(tensors)


def without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without a prefix that all names have, and without counters of batches."""
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    for prefix in PREFIXES * len(PREFIXES):
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
