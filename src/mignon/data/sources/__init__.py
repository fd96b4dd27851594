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
    source, place, settings = _settings(thing)
    if source:
        return fill(SOURCES[source], settings, DataError, f"source {source}").scan(place)
    best = _surest(place)
    if not best:
        raise DataError(
            f"there is no folder {place!r}",
            "give a folder that holds one folder of images for each class, or: digits",
        )
    if len(best) > 1:
        raise DataError(f"{place} may be {' or '.join(best)}", f"say which: {best[0]}:{place}")
    return fill(SOURCES[best[0]], settings, DataError, f"source {best[0]}").scan(place)


def absolute(thing: str) -> str:
    """The same for every working folder: a place that is there by its whole path; words and what is not there stay."""
    source, place, settings = _settings(thing)
    path = Path(place).expanduser()
    if path.exists() and (source or _surest(place) == _surest(str(path.absolute()))):
        place = str(path.absolute())
    return (f"{source}:" if source else "") + place + "".join(f",{key}={value}" for key, value in settings.items())


def is_place(thing: str) -> bool:
    """Whether a source knows what was typed, or is named."""
    source, place, _ = _settings(thing)
    return bool(source or _surest(place))


def _surest(place: str) -> list[str]:
    """The sources that are surest of a place; none when no source knows it."""
    sure = {name: SOURCES[name]().sure(place) for name in SOURCES}
    most = max(sure.values())
    return [name for name, value in sure.items() if value == most > 0]


def _settings(thing: str) -> tuple[str, str, dict[str, Any]]:
    """The source where one is named, the place, and what stands behind it as `,key=value`.

    A path that is there is a place, with commas and colons or not.
    """
    settings: dict[str, Any] = {}
    source, place = "", thing
    while not Path(place).expanduser().exists() and (found := re.fullmatch(r"(.+),(\w+)=([^,]*)", place, re.S)):
        place = found[1]
        settings = {found[2]: found[3], **settings}
    word, colon, rest = place.partition(":")
    if colon and word in SOURCES and not Path(place).expanduser().exists():
        source, place = word, rest
    return source, place, settings
