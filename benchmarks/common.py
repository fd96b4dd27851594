"""Where the real data are, and printing."""

import os
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = Path(sys.executable).with_name("mignon")


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


def bar(name: str, figure: float, limit: float, at_most: bool = True, unit: str = "") -> bool:
    """Print a bar of the issue with the figure seen; whether it is met."""
    met = figure <= limit if at_most else figure >= limit
    sign = "<=" if at_most else ">="
    print(f"{'met   ' if met else 'MISSED'} {name}: {figure:.4g}{unit} ({sign} {limit:g}{unit})", flush=True)
    return met
