"""CIFAR-10 and CIFAR-100 as they are given out: binary batches, or the pickled ones, read without running anything.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009), the page of the data set.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mignon.data.examples import pixels as made
from mignon.data.sources import Listing
from mignon.errors import DataError
from mignon.files import digest
from mignon.registry import SOURCES

PIXELS = 3 * 32 * 32
MAX_BATCH = 1 << 28  # bytes
NAMES = ("batches.meta.txt", "fine_label_names.txt")
PARTS = {"data_batch": "train", "train": "train", "test_batch": "test", "test": "test"}


@SOURCES.register("cifar")
@dataclass(frozen=True)
class Cifar:
    """The folder with the batches; classes by their names where the folder has them, of CIFAR-100 the fine ones."""

    summary = "CIFAR-10 or CIFAR-100 in their original binary or Python batches"

    def sure(self, place: str) -> float:
        """Of a folder with train and test batches and the file of names."""
        files = {split for _, split in _batches(Path(place).expanduser())}
        return 0.95 if files == {"train", "test"} else 0.0

    def scan(self, place: str) -> Listing:
        """List the images; validation is drawn from the training batches. Raises DataError for damaged batches."""
        root = Path(place).expanduser().resolve()
        batches = _batches(root)
        images, labels, names = [], [], []
        given: list[str | None] = []
        for path, split in batches:
            pixels, numbers = _binary(path) if path.suffix == ".bin" else _pickled(path)
            images.append(pixels)
            labels.append(numbers)
            given += [split] * len(numbers)
            names += [f"{path.name}/{i:05d}" for i in range(len(numbers))]
        every = np.concatenate(labels)
        classes = _names(root, int(every.max()) + 1)
        missing = sorted(set(range(len(classes))) - set(every.tolist()))
        if missing:
            raise DataError(f"{place} has no images of class {classes[missing[0]]!r}", "take the whole data set")
        pixels = np.concatenate(images)
        stats = [
            (path.name, path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path, _ in batches
        ]
        return Listing(
            title=root.name,
            classes=classes,
            names=names,
            labels=every,
            given=given,
            open=lambda i: pixels[i].reshape(3, 32, 32).transpose(1, 2, 0),
            stamp=digest("cifar", str(root), stats, classes),
        )

    @classmethod
    def example(cls, folder: Path) -> str:
        """Binary batches of 24 and 6 images."""
        for name, count in (("data_batch_1.bin", 24), ("test_batch.bin", 6)):
            rows = [
                bytes([i % 2]) + np.tile(made(i + count).transpose(2, 0, 1), (1, 4, 4)).tobytes() for i in range(count)
            ]
            (folder / name).write_bytes(b"".join(rows))
        (folder / "batches.meta.txt").write_text("airplane\nautomobile\n")
        return str(folder)


def _batches(root: Path) -> list[tuple[Path, str]]:
    """(file, split) of each batch: data_batch_1.bin, test_batch, train.bin, ... with the names of classes beside."""
    if not any((root / name).is_file() for name in (*NAMES, "batches.meta", "meta")):
        return []
    found = []
    for path in sorted(root.glob("*")):
        split = PARTS.get(path.stem.rstrip("0123456789").rstrip("_"))
        if split and path.suffix in (".bin", "") and path.is_file():
            found.append((path, split))
    binary = [item for item in found if item[0].suffix == ".bin"]
    return binary or found


def _names(root: Path, count: int) -> tuple[str, ...]:
    names: list[str] = []
    for name in NAMES:
        if (root / name).is_file():
            names = (root / name).read_text("utf-8", "replace").split()
    for name in ("batches.meta", "meta"):
        if not names and (root / name).is_file():
            known = _load(root / name)
            names = [_text(one) for one in known.get("label_names") or known.get("fine_label_names") or []]
    if len(names) < count or len(set(names)) < len(names):
        raise DataError(f"{root.name} has names for {len(names)} of {count} classes", "take the whole data set")
    return tuple(names)


def _binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels N x 3072 and labels N of a batch with one label an image (CIFAR-10) or two (CIFAR-100: coarse, fine)."""
    size = path.stat().st_size
    each = PIXELS + (2 if path.stem in ("train", "test") else 1)
    if size % each or not 0 < size <= MAX_BATCH:
        raise DataError(f"{path.name} is no CIFAR batch: {size:,} bytes are no number of images", "download it again")
    rows = np.fromfile(path, np.uint8).reshape(-1, each)
    return rows[:, -PIXELS:], rows[:, -PIXELS - 1].astype(np.int64)


def _pickled(path: Path) -> tuple[np.ndarray, np.ndarray]:
    batch = _load(path)
    labels = batch.get("fine_labels") or batch.get("labels")
    data: Any = batch.get("data")
    try:
        pixels = np.frombuffer(data.bytes, np.uint8).reshape(-1, PIXELS)
        numbers = np.array(labels, np.int64)
        if len(pixels) != len(numbers) or numbers.ndim != 1 or numbers.min() < 0 or numbers.max() > 99:
            raise ValueError
    except (AttributeError, ValueError, TypeError, OverflowError):
        raise DataError(f"{path.name} is no CIFAR batch", "download it again") from None
    return pixels, numbers


class _Array:
    """Stands for a numpy array while unpickling: only its bytes are kept."""

    bytes = b""

    def __setstate__(self, state: Any) -> None:
        self.bytes = next(
            (_text(part).encode("latin1") for part in reversed(state) if isinstance(part, (bytes, str))), b""
        )


class _Safe(pickle.Unpickler):
    """Knows three names, none of which runs anything: an array, its type, and old text as bytes."""

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in, or an error."""
        if name == "_reconstruct" and module.startswith("numpy"):
            return lambda *arguments: _Array()
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: _text(text).encode("latin1")
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return _Type
        raise pickle.UnpicklingError(f"{module}.{name} is not read")


class _Type:
    """Stands for numpy.ndarray and numpy.dtype."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _load(path: Path) -> dict[str, Any]:
    """The dictionary of a pickled batch, keys as text. Nothing but numbers, text, lists and arrays is made."""
    if path.stat().st_size > MAX_BATCH:
        raise DataError(f"{path.name} is too large for a CIFAR batch", "download it again")
    try:
        with path.open("rb") as file:
            value = _Safe(file, encoding="bytes").load()
        return {_text(key): part for key, part in value.items()}
    except Exception as error:  # a damaged pickle may fail in any way
        reason = " ".join(str(error).split())[:100]
        raise DataError(
            f"{path.name} is no CIFAR batch ({reason})", "load it down again, or take the binary version"
        ) from None
