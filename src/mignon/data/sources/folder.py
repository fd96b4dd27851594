"""A folder of images in any of the usual shapes.

Class folders; or train / val|valid|validation / test folders that hold class folders. Below a class folder images
may lie at any depth. Hidden files and files that are no images by their suffix are counted and left alone.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
from PIL import Image

from mignon.data.inputs import open_image
from mignon.data.sources import Listing
from mignon.errors import DataError
from mignon.files import digest
from mignon.registry import SOURCES

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@SOURCES.register("folder")
class Folder:
    """Class folders, or train / val / test folders with class folders in them."""

    summary = "a folder with one folder of images for each class, with or without train/val/test above"

    def accepts(self, thing: str) -> bool:
        """Any folder that exists."""
        return Path(thing).expanduser().is_dir()

    def scan(self, thing: str) -> Listing:
        """List the images with class and split; classes are sorted by name."""
        root = Path(thing).expanduser().resolve()
        split_folders: dict[str, Path] = {}
        for folder in _folders(root):
            split_name = SPLIT_NAMES.get(folder.name.lower())
            if split_name is None:
                continue
            if split_name in split_folders:
                raise DataError(
                    f"{thing} has two folders for one split ({split_folders[split_name].name} and {folder.name})",
                    "put their images together, or rename one of them",
                )
            split_folders[split_name] = folder
        if len(split_folders) == 1 and len(_folders(root)) > 1:
            split_folders = {}  # one class that happens to be called "test"
        found: list[tuple[str, str | None, str, os.stat_result]] = []  # name, split, class, stat
        others: list[str] = []
        places: list[tuple[str | None, Path]] = [*sorted(split_folders.items())] or [(None, root)]
        for split, folder in places:
            for class_folder in _folders(folder):
                for path, stat in _files(class_folder):
                    name = str(path.relative_to(root))
                    if path.suffix.lower() in SUFFIXES:
                        found.append((name, split, _class_name(class_folder), stat))
                    else:
                        others.append(_printable(name))
        _check(root, thing, found, split_folders)
        notes = []
        if others:
            notes.append(f"{len(others)} files that are no images were left alone ({', '.join(others[:3])}...)")
        classes = tuple(sorted({row[2] for row in found}))
        for split in split_folders:
            missing = sorted(set(classes) - {row[2] for row in found if row[1] == split})
            if missing:
                raise DataError(
                    f"class {missing[0]!r} has no images in {split_folders[split]}",
                    "every split needs the same class folders; move some images, or give one folder of classes",
                )
        numbers = {name: i for i, name in enumerate(classes)}
        paths = [root / row[0] for row in found]

        def opened(i: int) -> Image.Image:
            return open_image(paths[i])

        def contents() -> list[str]:
            return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]

        stamp = digest(str(root), [(n, s, c, st.st_size, st.st_mtime_ns, st.st_ino) for n, s, c, st in found])
        return Listing(
            title=_printable(root.name),
            classes=classes,
            names=[_printable(row[0]) for row in found],
            labels=np.array([numbers[row[2]] for row in found], dtype=np.int64),
            given=[row[1] for row in found],
            open=opened,
            contents=contents,
            stamp=stamp,
            notes=notes,
        )


def _printable(name: str) -> str:
    """File names may be any bytes; those that are not UTF-8 are shown by a mark."""
    return os.fsencode(name).decode("utf-8", "replace")


def _class_name(folder: Path) -> str:
    if _printable(folder.name) != folder.name:
        raise DataError(
            f"the name of the class folder {_printable(folder.name)} is not UTF-8", "rename it, for example: class-1"
        )
    return folder.name


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    found, todo = [], [str(folder)]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                elif entry.is_file():
                    found.append((Path(entry.path), entry.stat()))
    return sorted(found, key=lambda item: str(item[0]))


def _check(root: Path, thing: str, found: list, split_folders: dict) -> None:
    if not found:
        loose = sum(p.suffix.lower() in SUFFIXES for p in root.iterdir())
        if loose:
            raise DataError(
                f"{thing} holds {loose} images but no class folders",
                "put the images of each class into a folder named after it",
            )
        raise DataError(
            f"{thing} holds no images",
            f"give a folder that holds one folder of images ({' '.join(sorted(SUFFIXES))}) for each class",
        )
    classes = {row[2] for row in found}
    if len(classes) < 2:
        raise DataError(
            f"{thing} holds images of one class only ({next(iter(classes))})",
            "add a folder with images of at least one other class (for example: background)",
        )
    if split_folders and "train" not in split_folders:
        raise DataError(f"{thing} has {' and '.join(split_folders)} but no train folder", "add a folder named train")
