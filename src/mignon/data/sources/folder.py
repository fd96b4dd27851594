"""A folder of images in any of the usual shapes.

Class folders; or train / val|valid|validation|dev / test|eval folders that hold class folders. Below a class folder
images may lie at any depth. What is not used is counted, with the reason.
"""

from dataclasses import dataclass
from pathlib import Path

from mignon.data.examples import paint
from mignon.data.layout import by_folders
from mignon.data.sources import Listing
from mignon.data.tree import listing_of, walk
from mignon.registry import SOURCES


@SOURCES.register("folder")
@dataclass(frozen=True)
class Folder:
    """Class folders, or train / val / test folders with class folders in them."""

    summary = "a folder with one folder of images for each class, with or without train/val/test above"

    def sure(self, place: str) -> float:
        """Of any folder, but a source that knows this kind of folder is surer."""
        return 0.5 if Path(place).expanduser().is_dir() else 0.0

    def scan(self, place: str) -> Listing:
        """List the images with class and split; classes are sorted by name."""
        tree = walk(Path(place).expanduser().resolve())
        return listing_of(tree, by_folders(tree.files, tree.folders, place))

    @classmethod
    def example(cls, folder: Path) -> str:
        """Two classes of ten pictures."""
        for i in range(20):
            paint(folder / "ab"[i % 2] / f"{i}.png", i)
        return str(folder)
