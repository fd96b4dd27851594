"""The data card: what was learned from, in figures that can be checked, and a sheet of pictures."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
from PIL import Image

from mignon.data.imageset import SPLITS, ImageSet
from mignon.data.inputs import InputSpec
from mignon.data.sources import Listing


def data_card(
    listing: Listing,
    kept: list[int],
    labels: np.ndarray,
    splits: list[str],
    contents: list[str],
    facts: list[tuple[int, int, str]],
    bad: list[tuple[str, str]],
    rule: str,
    key: str,
    spec: InputSpec,
) -> dict[str, Any]:
    """Counts, sizes, split rule, hash, bad files, and images that are in the source more than once."""
    split_of = [splits[i] for i in kept]
    per_class = {
        name: {split: sum(1 for s, y in zip(split_of, labels) if s == split and y == number) for split in SPLITS}
        for number, name in enumerate(listing.classes)
    }
    groups: dict[str, list[int]] = defaultdict(list)
    for i in kept:
        groups[contents[i]].append(i)
    repeated = [group for group in groups.values() if len(group) > 1]
    across = [group for group in repeated if len({splits[i] for i in group}) > 1]
    widths, heights = [f[0] for f in facts], [f[1] for f in facts]
    return {
        "source": listing.title,
        "images": len(kept),
        "classes": len(listing.classes),
        "counts": {split: split_of.count(split) for split in SPLITS},
        "per_class": per_class,
        "width": _range(widths),
        "height": _range(heights),
        "modes": dict(Counter(f[2] for f in facts)),
        "stored_as": spec.pixels,
        "split_rule": rule,
        "hash": key,
        "bad": bad,
        "repeated": sum(len(group) - 1 for group in repeated),
        "in_two_splits": [[listing.names[i] for i in group] for group in across[:20]],
        "in_two_splits_count": len(across),
        "notes": listing.notes,
    }


def _range(values: list[int]) -> dict[str, int]:
    return {"min": min(values), "median": int(np.median(values)), "max": max(values)}


def contact_sheet(images: ImageSet, per_class: int = 10, cell: int = 48) -> Image.Image:
    """One row a class, the first training images of each, as stored in the cache."""
    rows = min(len(images.classes), 40)
    sheet = Image.new("RGB", (per_class * (cell + 2), rows * (cell + 2)), "white")
    for label in range(rows):
        for column, i in enumerate(np.flatnonzero(images.train.labels == label)[:per_class]):
            tile = thumbnail(images.train.take(slice(i, i + 1))[0]).resize((cell, cell), Image.Resampling.NEAREST)
            sheet.paste(tile, (column * (cell + 2), label * (cell + 2)))
    return sheet


def thumbnail(pixels: np.ndarray) -> Image.Image:
    """A stored uint8 H x W x C image as a picture."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
