"""Images with a table of them: labels.csv, train.tsv, annotations.txt with a line of file and label for each."""

import os
from dataclasses import dataclass
from pathlib import Path

from mignon.data.examples import paint
from mignon.data.layout import is_image
from mignon.data.sources import Listing
from mignon.data.tables import Index, by_tables, flat, is_table, read_table
from mignon.data.tree import listing_of, walk
from mignon.errors import DataError
from mignon.registry import SOURCES

MAX_TABLE = 1 << 27  # bytes
HEAD = 1 << 14  # bytes that are looked at before it is sure


@SOURCES.register("table")
@dataclass(frozen=True)
class Table:
    """Images in any folders, their classes in tables at the top; a split column or the table's name says the split."""

    table: str = ""  # the name of the one table to use
    image: str = ""  # the name of the column with the files
    label: str = ""

    summary = "images with a labels.csv or .txt of file,label (settings: table=FILE, image=COLUMN, label=COLUMN)"

    def sure(self, place: str) -> float:
        """Where a table names images that lie in one place or whose folders do not say the classes."""
        root = Path(place).expanduser()
        try:
            names = os.listdir(root)
            tables = [name for name in names if is_table(name)]
            if not tables:
                return 0.0
            below = [f"{name}/{file}" for name in names if (root / name).is_dir() for file in os.listdir(root / name)]
            index = Index(name for name in [*names, *below] if is_image(name))
            for name in tables:
                with (root / name).open("rb") as file:
                    head = file.read(HEAD).decode("utf-8", "replace").rpartition("\n")[0]
                try:
                    found = read_table(name, head, index)
                except DataError:  # one of images, with columns to be asked for
                    return 0.8
                if found and flat(found.lines):
                    return 0.8
        except OSError:
            pass
        return 0.0

    def scan(self, place: str) -> Listing:
        """List the images that the tables name. Raises DataError when it is not clear which column is the label."""
        root = Path(place).expanduser().resolve()
        tree = walk(root)
        tables = [name for name in tree.files if is_table(name) and "/" not in name]
        if self.table and self.table not in tables:
            raise DataError(f"{place} has no table {self.table!r}", f"tables: {', '.join(tables) or 'none'}")
        texts = {}
        for name in [self.table] if self.table else tables:
            if tree.files[name].st_size > MAX_TABLE:
                raise DataError(f"{name} is too large for a table", "name another one: ,table=FILE behind the folder")
            texts[name] = (root / name).read_bytes().decode("utf-8", "replace")
        return listing_of(tree, by_tables(tree.files, texts, self.image, self.label, place))

    @classmethod
    def example(cls, folder: Path) -> str:
        """Twenty pictures in one place."""
        for i in range(20):
            paint(folder / f"{i}.png", i)
        (folder / "labels.csv").write_text("file,label\n" + "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(20)))
        return str(folder)
