"""What lies in a folder: files and folders below it, links followed, and what is left out with the reason."""

import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mignon.data.layout import TWICE, Layout, printable
from mignon.data.sources import Listing
from mignon.errors import DataError
from mignon.files import digest

JUNK = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information", "lost+found"}


@dataclass(frozen=True)
class Tree:
    """A folder as lists of paths below it, with `/` between names; `left`: a reason and what it keeps out."""

    root: Path
    files: dict[str, os.stat_result]  # in order of their paths
    folders: list[str]
    linked: set[str]  # files that a link leads to
    left: dict[str, list[str]] = field(default_factory=dict)


def walk(root: Path) -> Tree:
    """Everything below a folder. A folder inside itself by a link is entered once."""
    files: list[tuple[str, os.stat_result]] = []
    folders: list[str] = []
    linked: set[str] = set()
    left: dict[str, list[str]] = {}
    here = root.stat()
    todo: list[tuple[str, bool, frozenset]] = [("", False, frozenset({(here.st_dev, here.st_ino)}))]
    entered: set[tuple] = set()  # (split and class, a folder behind a link): once in each
    while todo:
        path, by_link, above = todo.pop()
        try:
            with os.scandir(root / path) as found:
                entries = list(found)
        except OSError:
            left.setdefault("folders that cannot be read", []).append(path)
            continue
        for entry in entries:
            name = f"{path}/{entry.name}" if path else entry.name
            if entry.name.startswith(".") or entry.name.casefold() in JUNK:
                left.setdefault("hidden files and folders, and those of the system,", []).append(name)
                continue
            by_this = by_link or entry.is_symlink()
            try:
                status = entry.stat()
            except OSError:
                left.setdefault("links that lead nowhere", []).append(name)
                continue
            mark = (status.st_dev, status.st_ino)
            if stat.S_ISDIR(status.st_mode):
                place = (tuple(name.split("/")[:2]), mark)
                if mark in above or (by_this and place in entered):
                    left.setdefault("links to a folder that is there already", []).append(name)
                    continue
                entered.add(place)
                folders.append(name)
                todo.append((name, by_this, above | {mark}))
            elif stat.S_ISREG(status.st_mode):
                files.append((name, status))
                if by_this:
                    linked.add(name)
            else:
                left.setdefault("pipes, sockets and devices", []).append(name)
    files.sort(key=lambda item: item[0].split("/"))
    return Tree(root, dict(files), sorted(folders), linked, {reason: sorted(names) for reason, names in left.items()})


def listing_of(tree: Tree, layout: Layout) -> Listing:
    """The Listing of what a layout chose from a tree; a picture that several links lead to counts once."""
    layout = _once(tree, layout)
    classes = tuple(sorted({label for _, label, _ in layout.chosen}))
    if len(classes) < 2:
        raise DataError(
            f"{tree.root} holds images of one class only ({classes[0]})" if classes else f"{tree.root} holds no images",
            "add a folder with images of at least one other class (for example: background)",
        )
    numbers = {name: i for i, name in enumerate(classes)}
    paths = [os.path.join(tree.root, name) for name, _, _ in layout.chosen]
    stats = [tree.files[name] for name, _, _ in layout.chosen]
    stamp = digest(
        str(tree.root),
        [
            (*row, st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino, st.st_dev)
            for row, st in zip(layout.chosen, stats)
        ],
    )
    notes, warnings = layout.told(tree.left)
    return Listing(
        title=printable(tree.root.name),
        classes=classes,
        names=[printable(name) for name, _, _ in layout.chosen],
        labels=np.array([numbers[label] for _, label, _ in layout.chosen], dtype=np.int64),
        given=[split for _, _, split in layout.chosen],
        open=lambda i: open_file(paths[i]),
        stamp=stamp,
        notes=notes,
        warnings=warnings,
    )


def open_file(path: str) -> BinaryIO:
    """A regular file for reading; anything else that took its place meanwhile is refused without waiting for it."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise DataError("no file")
    return file


def _once(tree: Tree, layout: Layout) -> Layout:
    """Without links to a picture that is itself among the chosen, or that its class and split have by another link."""
    if not tree.linked:
        return layout

    def mark(name: str) -> tuple[int, int]:
        return tree.files[name].st_dev, tree.files[name].st_ino

    seen: set[tuple] = {mark(name) for name, _, _ in layout.chosen if name not in tree.linked}
    chosen, again = [], []
    for name, label, split in layout.chosen:
        if name in tree.linked:
            places = (mark(name), (mark(name), label, split))
            if not seen.isdisjoint(places):
                again.append(name)
                continue
            seen.add(places[1])
        chosen.append((name, label, split))
    return replace(layout, chosen=chosen, left={**layout.left, TWICE: again} if again else layout.left)
