"""Where the real data are, and printing."""

import os
import sys
import tarfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = Path(sys.executable).with_name("mignon")
FEW = 10  # photos a class


def shared_data() -> Path:
    """$MIGNON_SHARED/data or ../shared/data beside the project; says so and ends when it is absent."""
    folder = Path(os.environ.get("MIGNON_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        print(f"skipped: {folder} is not there (set MIGNON_SHARED)")
        sys.exit(0)
    return folder


def unpacked(name: str) -> Path:
    """An archive of the shared data, unpacked once under the cache folder."""
    from mignon.files import cache_folder

    target = cache_folder() / "shared" / name
    if not target.is_dir():
        partial = target.with_suffix(".part")
        with tarfile.open(shared_data() / f"{name}.tar.xz") as archive:
            archive.extractall(partial, filter="data")
        (partial / name).rename(target)
        partial.rmdir()
    return target


def cats_dogs() -> Path:
    """Class folders of the 1,000 photos."""
    from mignon.files import cache_folder

    target = cache_folder() / "shared" / "cats-dogs-1000"
    if not target.is_dir():
        with tarfile.open(shared_data() / "cats-dogs-1000.tar") as archive:
            archive.extractall(target.parent, filter="data")
    return target


def class_folders_of_tiny_imagenet() -> Path:
    """Tiny ImageNet's training images of ten classes as links in class folders named by word."""
    source = unpacked("tiny-imagenet-10")
    words = dict(line.split("\t") for line in (source / "words.txt").read_text().splitlines() if "\t" in line)
    target = source.parent / "tiny-imagenet-10-folders"
    for wnid in sorted(p.name for p in (source / "train").iterdir()):
        folder = target / words.get(wnid, wnid).split(",")[0].strip().replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        for image in (source / "train" / wnid / "images").iterdir():
            link = folder / image.name
            if not link.exists():
                link.hardlink_to(image)
    return target


def tiny_imagenet(seed: int, images: int = 200) -> Path:
    """Folder of Tiny ImageNet's ten classes: so many training images of each, its validation images as the test set."""
    source, generator = unpacked("tiny-imagenet-10"), np.random.default_rng(seed)
    target = source.parent / f"tiny-imagenet-10-{images}-{seed}"
    lines = (source / "val" / "val_annotations.txt").read_text().splitlines()
    held = [(source / "val" / "images" / name, wnid) for name, wnid, *_ in (line.split("\t") for line in lines)]
    classes = sorted(path.name for path in (source / "train").iterdir())
    for wnid in classes:
        own = sorted((source / "train" / wnid / "images").iterdir())
        chosen = [own[i] for i in generator.permutation(len(own))[:images]]
        link(chosen, target / "train" / wnid)
        link([path for path, own_class in held if own_class == wnid and path.exists()], target / "test" / wnid)
    return target


def few_photos(draw: int) -> Path:
    """Ten photos a class to learn from, all others to be measured on."""
    from mignon.files import cache_folder

    generator, target = np.random.default_rng(draw), cache_folder() / "shared" / f"cats-dogs-{FEW}-{draw}"
    for folder in sorted(cats_dogs().iterdir()):
        own = sorted(folder.iterdir())
        order = generator.permutation(len(own))
        link([own[i] for i in order[:FEW]], target / "train" / folder.name)
        link([own[i] for i in order[FEW:]], target / "test" / folder.name)
    return target


def link(paths: list[Path], folder: Path) -> None:
    """The same files in another folder, without copying them."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if not (folder / path.name).exists():
            (folder / path.name).hardlink_to(path)


def bar(name: str, figure: float, limit: float, at_most: bool = True, unit: str = "") -> bool:
    """Print a bar of the issue with the figure seen; whether it is met."""
    met = figure <= limit if at_most else figure >= limit
    sign = "<=" if at_most else ">="
    print(f"{'met   ' if met else 'MISSED'} {name}: {figure:.4g}{unit} ({sign} {limit:g}{unit})", flush=True)
    return met
