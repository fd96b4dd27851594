"""Where images come from: one file a source. `scan` lists; nothing is decoded here."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from mignon.errors import DataError
from mignon.registry import SOURCES
from mignon.settings import fill


@dataclass(frozen=True)
class Listing:
    """What a source holds, before decoding.

    `names`, `labels` and `given` (the split that the source itself names, or None) run in parallel; `open(i)` gives
    a binary file that holds picture i, or its pixels (uint8 H x W or H x W x C); `stamp` changes whenever the listing
    or a file does. `warnings`: what of the place is not used though it may have been meant to be; `notes`: the rest.
    """

    title: str
    classes: tuple[str, ...]
    names: list[str]
    labels: np.ndarray
    given: list[str | None]
    open: Callable[[int], BinaryIO | np.ndarray]
    stamp: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Source(Protocol):
    """A kind of place that images come from: a frozen dataclass whose fields are its settings."""

    name: str
    summary: str

    def sure(self, place: str) -> float:
        """How sure it is that `place`, as the user typed it, is one of these: 0 (it is not) to 1. Never fails."""

    def scan(self, place: str) -> Listing:
        """List it. Raises DataError when there is nothing to learn from."""

    @classmethod
    def example(cls, folder: Path) -> str:
        """Make a small one in an empty folder, for the contract's test, and return what a user would type."""


def scan(thing: str) -> Listing:
    """The listing of the source that is surest of what the user typed: `PLACE`, `SOURCE:PLACE`, `PLACE,key=value`."""
    place, settings = _settings(thing)
    source, colon, rest = place.partition(":")
    if colon and source in SOURCES and not Path(place).expanduser().exists():
        return fill(SOURCES[source], settings, DataError, f"source {source}").scan(rest)
    sure = {name: SOURCES[name]().sure(place) for name in SOURCES}
    most = max(sure.values())
    best = [name for name, value in sure.items() if value == most]
    if not most > 0:
        raise DataError(
            f"there is no folder {place!r}",
            "give a folder that holds one folder of images for each class, or: digits",
        )
    if len(best) > 1:
        raise DataError(f"{place} may be {' or '.join(best)}", f"say which: {best[0]}:{place}")
    return fill(SOURCES[best[0]], settings, DataError, f"source {best[0]}").scan(place)


def _settings(thing: str) -> tuple[str, dict[str, Any]]:
    """The place, and what stands behind it as `,key=value`; a path that is there is a place, commas or not."""
    settings: dict[str, Any] = {}
    place = thing
    while not Path(place).expanduser().exists() and (found := re.fullmatch(r"(.+),(\w+)=([^,]*)", place)):
        place = found[1]
        settings[found[2]] = found[3]
    return place, settings
