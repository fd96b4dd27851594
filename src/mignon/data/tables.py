"""Tables of images: which file is of which class, as pure functions of paths and texts."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mignon.data.layout import Layout, printable, sorted_out, split_of
from mignon.errors import DataError

SUFFIXES = (".csv", ".tsv", ".txt")
LABELS = {
    "label",
    "labels",
    "class",
    "classes",
    "classname",
    "category",
    "target",
    "species",
    "breed",
    "diagnosis",
    "y",
}
SPLITS = {"split", "set", "subset", "partition", "usage"}
LOOKED_AT = 50  # lines, to find out what the columns are


@dataclass(frozen=True)
class Found:
    """What a table says: (image, class, split or None) a line, names that are no image, and whether it has labels."""

    lines: list[tuple[str, str, str | None]]
    missing: list[str]


def is_table(path: str) -> bool:
    """Whether the suffix is that of a table."""
    return path.lower().endswith(SUFFIXES)


def rows_of(text: str) -> list[list[str]]:
    """Lines of cells; the delimiter is the one that cuts most lines into the same number of cells, two at least."""
    lines = [line for line in text.lstrip("\ufeff").splitlines() if line.strip() and not line.startswith("#")]
    best: tuple[int, list[list[str]]] = (0, [])
    for delimiter in ("\t", ";", ",", " "):
        try:
            rows = [
                [cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
            ]
        except csv.Error:
            continue
        same = sum(len(row) == len(rows[-1]) >= 2 for row in rows[-LOOKED_AT:])
        if same > best[0]:
            best = same, rows
    return best[1]


class Index:
    """Images by the names that a table may use: the path, its end, without the suffix."""

    def __init__(self, images: Iterable[str]):
        self._known: dict[str, list[str]] = defaultdict(list)
        self._folders: set[str] = set()
        for path in images:
            self._folders.update(path.split("/")[-2:-1])
            for name in {path, path.rpartition("/")[2]}:
                self._known[name].append(path)
                self._known[name.rpartition(".")[0]].append(path)

    def find(self, name: str, split: str | None) -> str | None:
        """The one image of this name; among several the one in a folder of the split."""
        name = name.replace("\\", "/").removeprefix("./")
        found = self._known.get(name, [])
        if not found and self._folders.isdisjoint(name.split("/")[-2:-1]):
            found = self._known.get(name.rpartition("/")[2], [])  # a path on another machine
        if len(found) > 1 and split:
            found = [path for path in found if split in map(split_of, path.split("/")[:-1])]
        return found[0] if len(found) == 1 else None


def read_table(name: str, text: str, index: Index, image: str = "", label: str = "") -> Found | None:
    """What a table says of images, or None when it is not one of images. Raises DataError for columns that are unclear.

    `image` and `label` name columns of its header.
    """
    rows = rows_of(text)
    if not rows:
        return None
    split = split_of(name.rpartition("/")[2].rpartition(".")[0])
    width = len(rows[-1])
    heads = {cell: i for i, cell in enumerate(rows[0])}
    for column in filter(None, (image, label)):
        if column not in heads:
            raise DataError(f"{name} has no column {column!r}", f"columns: {', '.join(heads)}")
    looked = [row for row in rows[1 : LOOKED_AT + 1] if len(row) == width] or [rows[0]]
    hits = [sum(index.find(row[i], split) is not None for row in looked) for i in range(width)]
    at = heads[image] if image else hits.index(max(hits))
    if not max(hits) or 2 * hits[at] < len(looked) or 2 * len({row[at] for row in looked}) < len(looked):
        return None
    headed = bool(image or label) or index.find(rows[0][at], split) is None
    names = [cell.casefold() for cell in rows[0]] if headed else [""] * width
    divided = next((i for i, cell in enumerate(names) if cell in SPLITS and i != at), None)
    answer = heads[label] if label else _label_column(names, looked, at, divided)
    if answer is None:
        shown = ", ".join(rows[0]) if headed else f"{width} columns without names"
        raise DataError(f"{name} does not say which column is the label ({shown})", "add ,label=COLUMN to the folder")
    lines: list[tuple[str, str, str | None]] = []
    missing: list[str] = []
    for row in rows[headed:]:
        if len(row) != width or not row[at] or not (text := _label(row, answer, names)):
            missing.append(" ".join(row)[:80])
            continue
        own = split_of(row[divided]) if divided is not None else split
        path = index.find(row[at], own)
        if path is None:
            missing.append(row[at])
        else:
            lines.append((path, text, own or split_of(path.partition("/")[0])))
    return Found(lines, missing)


def _label_column(names: list[str], rows: list[list[str]], at: int, divided: int | None) -> int | list[int] | None:
    """The column of labels, or those of a table with a column of 0 and 1 for each class."""
    others = [i for i in range(len(names)) if i not in (at, divided)]
    named = [i for i in others if names[i] in LABELS]
    if len(others) == 1 or len(named) == 1:
        return (named or others)[0]
    marks = {"0", "1", "0.0", "1.0"}
    if any(names) and all(
        {row[i] for i in others} <= marks and sum(float(row[i]) for i in others) == 1 for row in rows
    ):
        return others
    return None


def _label(row: list[str], answer: int | list[int], names: list[str]) -> str:
    if isinstance(answer, int):
        return row[answer]
    ones = [i for i in answer if row[i] in ("1", "1.0")]
    return names[ones[0]] if len(ones) == 1 else ""


def by_tables(files: Iterable[str], texts: Mapping[str, str], image: str, label: str, thing: str) -> Layout:
    """The images that tables name, with the class and split that they say. Raises DataError that names `thing`."""
    images, left = sorted_out(name for name in files if name not in texts)
    index = Index(images)
    remarks: list[str] = []
    said: dict[str, set[tuple[str, str | None]]] = defaultdict(set)
    for name, text in texts.items():
        found = read_table(name, text, index, image, label)
        if found is None:
            left.setdefault("tables that name no images with a label", []).append(name)
            continue
        for path, cell, split in found.lines:
            said[path].add((cell, split))
        if found.missing:
            shown = ", ".join(printable(cell) for cell in found.missing[:3])
            remarks.append(f"{len(found.missing):,} lines of {name} name no image that is there, or no class ({shown})")
    if not said:
        raise DataError(
            f"no table of {thing} names its images", "add labels.csv with lines of file,label, or class folders"
        )
    clear = {path: next(iter(pairs)) for path, pairs in said.items() if len(pairs) == 1}
    doubtful = sorted(path for path, pairs in said.items() if len(pairs) > 1)
    if doubtful:
        left["images with two labels or splits in the tables"] = doubtful
    if silent := [path for path in images if path not in said]:
        left["images without a line in a table"] = silent
    some = any(split for _, split in clear.values())
    chosen = [
        (path, cell, split or ("train" if some else None))
        for path, (cell, split) in sorted(clear.items(), key=lambda item: item[0].split("/"))
    ]
    return Layout(chosen, left, remarks)


def flat(lines: list[tuple[str, str, str | None]]) -> bool:
    """Whether the folders of the images do not already say their classes."""
    labels: dict[str, set[str]] = defaultdict(set)
    for path, label, _ in lines:
        labels[path.rpartition("/")[0]].add(label)
    return len(labels) == 1 or any(len(found) > 1 for found in labels.values())


def numbered(text: str) -> dict[str, str]:
    """{image name: first word behind it}: lists of ImageNet, with any delimiter and more columns behind."""
    pairs = (re.split(r"[\t, ]+", line.strip()) for line in text.splitlines())
    return {cells[0].rpartition("/")[2]: cells[1] for cells in pairs if len(cells) > 1}
