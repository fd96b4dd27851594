"""What a frozen trunk makes of images, computed once and kept on disk.

A file is named by a hash of all that it depends on: the numbers and the graph of the trunk, mean and std, the pixels,
the copy (as they are, mirrored). A sealed card beside it holds its digest, so that damage is noticed and it is made
again.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.nn.utils import parametrize

from mignon.data.cache import reserve
from mignon.data.imageset import Split
from mignon.data.inputs import InputSpec, to_network
from mignon.data.sealed import read_sealed, write_sealed
from mignon.files import cache_folder, digest, machine_errors, sha256_of
from mignon.progress import Screen
from mignon.training.layers import fingerprint

VERSION = 1
BATCH = 64  # images at a time
LARGEST = 0.5  # of the free disk that one file may take

_checked: set[tuple] = set()  # what this process has compared with its digest


@dataclass(frozen=True)
class Copy:
    """All images of a split, each changed in one fixed way: `take(split, indices)` gives them, `name` is in keys."""

    name: str
    take: Callable[[Split, np.ndarray], np.ndarray]


plain = Copy("plain", lambda split, chosen: split.take(chosen))
mirrored = Copy("mirrored", lambda split, chosen: np.ascontiguousarray(split.take(chosen)[:, :, ::-1]))


def features_of(
    trunk: fx.GraphModule, spec: InputSpec, split: Split, copy: Copy, device: str, screen: Screen
) -> Split | None:
    """The same split with float32 N x C (x H x W) of the trunk instead of pixels; from the cache when it is there.

    A whole network gives its logits. None when they would take more than half of the free disk.
    """
    trunk.to(device).eval()
    key = digest(
        VERSION, fingerprint(list(trunk.state_dict().values())), trunk.code, list(spec.mean), list(spec.std),
        _pixels_key(split), copy.name, torch.get_num_threads() if device == "cpu" else device,
    )[:24]  # fmt: skip
    path = cache_folder() / "features" / f"{key}.npy"
    if not _is_whole(path):
        shape = (len(split), *_run(trunk, spec, split.take(slice(1)), device).shape[1:])
        with machine_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if 4 * int(np.prod(shape)) > LARGEST * shutil.disk_usage(path.parent).free:
                return None
        _make(path, trunk, spec, split, copy, device, shape, screen)
    return Split(split.name, np.load(path, mmap_mode="r"), split.labels, split.names)


def _make(
    path: Path,
    trunk: fx.GraphModule,
    spec: InputSpec,
    split: Split,
    copy: Copy,
    device: str,
    shape: tuple[int, ...],
    screen: Screen,
) -> None:
    """Write the file and its card."""
    new = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.part")
    try:
        with machine_errors(path):
            reserve(new, 4 * int(np.prod(shape)))
            store = np.lib.format.open_memmap(new, mode="w+", dtype=np.float32, shape=shape)
            starts = range(0, len(split), BATCH)
            for first in screen.track(starts, len(starts), f"features of {split.name} ({copy.name})"):
                part = np.arange(first, min(first + BATCH, len(split)))
                store[part] = _run(trunk, spec, copy.take(split, part), device)
            store.flush()
            del store
            os.sync()
            write_sealed(path.with_suffix(".json"), {"sha256": sha256_of(new)})
            new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _run(trunk: fx.GraphModule, spec: InputSpec, pixels: np.ndarray, device: str) -> np.ndarray:
    with torch.no_grad(), parametrize.cached():
        return trunk(to_network(torch.from_numpy(pixels).to(device), spec)).float().cpu().numpy()


def _pixels_key(split: Split) -> str:
    seen = hashlib.sha256(str(split.take(slice(1)).shape[1:]).encode())
    for part in _parts(split):
        seen.update(part)
    return seen.hexdigest()


def _parts(split: Split) -> Iterator[Any]:
    for first in range(0, len(split), 4096):
        yield np.ascontiguousarray(split.take(slice(first, first + 4096)))


def _is_whole(path: Path) -> bool:
    card = read_sealed(path.with_suffix(".json"))
    if card is None or not path.is_file():
        return False
    stat = path.stat()
    signature = (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if signature not in _checked:
        if sha256_of(path) != card["sha256"]:
            return False
        _checked.add(signature)
    return True
