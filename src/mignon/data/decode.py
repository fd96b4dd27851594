"""One pass over a source: every picture is opened once, its bytes are hashed and decoded."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

from mignon.data.inputs import InputSpec
from mignon.data.pictures import (
    MAX_BYTES,
    Range,
    byte_count,
    from_array,
    is_deep,
    kind_of,
    open_image,
    range_of,
    to_pixels,
)
from mignon.data.sources import Listing
from mignon.errors import DataError
from mignon.progress import Screen

CHUNK = 256
IN_MEMORY = 16_000_000  # bytes; a larger file is hashed in blocks and then decoded from the disk
UNREADABLE = "unreadable"  # stands for the hash of what cannot be opened


@dataclass(frozen=True)
class Seen:
    """What the pass saw: a hash of the bytes; size, mode and range of what could be decoded, else the reason."""

    content: str
    width: int = 0
    height: int = 0
    mode: str = ""
    range: Range | None = None
    reason: str = ""


def decode(listing: Listing, places: Sequence[int], spec: InputSpec, pixels: np.ndarray, screen: Screen) -> list[Seen]:
    """Fill `pixels[place]` (uint8 H x W x C) for each place in the listing; what was seen at each, in this order."""

    def chunk(start: int) -> list[Seen]:
        return [_one(listing, place, spec, pixels) for place in places[start : start + CHUNK]]

    def results() -> Iterator[list[Seen]]:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            yield from pool.map(chunk, range(0, len(places), CHUNK))

    seen: list[Seen] = []
    for part in screen.track(results(), -(-len(places) // CHUNK), f"decoding {len(places):,} images"):
        seen += part
    return seen


def content_of(listing: Listing, place: int, limit: int) -> str | None:
    """The hash of one picture's bytes, or None when there are more than `limit`."""
    try:
        item = listing.open(place)
        if isinstance(item, np.ndarray):
            return _hash_of_array(item)
        with item:
            return _hashed(item)[0] if byte_count(item) <= limit else None
    except OSError:
        return UNREADABLE


def _one(listing: Listing, place: int, spec: InputSpec, pixels: np.ndarray) -> Seen:
    content = UNREADABLE
    try:
        item = listing.open(place)
        if isinstance(item, np.ndarray):
            content = _hash_of_array(item)
            pixels[place] = to_pixels(from_array(item), spec)
            return Seen(content, item.shape[1], item.shape[0], from_array(item).mode)
        with item:
            content, file = _hashed(item)
            with open_image(file) as image:
                mode, size = kind_of(image), image.size
                held = range_of(image) if is_deep(image) else None
                pixels[place] = to_pixels(image, spec)
        return Seen(content, *size, mode, held)
    except Exception as error:  # any decoder may fail in any way; the file is listed, never dropped
        reason = error.what if isinstance(error, DataError) else str(error)
        return Seen(content, reason=" ".join(reason.split())[:120] or type(error).__name__)


def _hash_of_array(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def _hashed(file: Any) -> tuple[str, BinaryIO]:
    """The hash of its bytes, and a file to decode them from; what is too large is not read."""
    size = byte_count(file)
    if size > MAX_BYTES:
        return f"{size} bytes", file
    if size <= IN_MEMORY:
        data = file.read(size)
        return hashlib.sha256(data).hexdigest(), BytesIO(data)
    content = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return content, file
