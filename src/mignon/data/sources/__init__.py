"""Where images come from: one file a source. `scan` lists; nothing is decoded here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from PIL import Image

from mignon.errors import DataError
from mignon.registry import SOURCES


@dataclass
class Listing:
    """What a source holds, before decoding.

    `names`, `labels` and `given` (the split that the source itself names, or None) run in parallel; `open(i)` gives
    the picture, `contents()` a hash of each item's bytes, `stamp` changes whenever the listing or a file does.
    """

    title: str
    classes: tuple[str, ...]
    names: list[str]
    labels: np.ndarray
    given: list[str | None]
    open: Callable[[int], Image.Image]
    contents: Callable[[], list[str]]
    stamp: str
    notes: list[str] = field(default_factory=list)


class Source(Protocol):
    """A kind of place that images come from."""

    name: str
    summary: str

    def accepts(self, thing: str) -> bool:
        """Whether `thing`, as the user typed it, is one of these."""

    def scan(self, thing: str) -> Listing:
        """List it. Raises DataError when there is nothing to learn from."""


def scan(thing: str) -> Listing:
    """The listing of the first source that accepts what the user typed."""
    for name in SOURCES:
        source = SOURCES[name]()
        if source.accepts(thing):
            return source.scan(thing)
    raise DataError(
        f"there is no folder {thing!r}",
        "give a folder that holds one folder of images for each class, or: digits",
    )
