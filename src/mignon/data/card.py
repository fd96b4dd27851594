"""The data card: what was learned from, in figures that can be checked, and a sheet of pictures."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
from PIL import Image

from mignon.data.decode import Seen
from mignon.data.imageset import SPLITS, ImageSet
from mignon.data.inputs import InputSpec
from mignon.data.pictures import Range
from mignon.data.sources import Listing

SHOWN = 20


def data_card(
    listing: Listing, splits: list[str], seen: list[Seen], held: Range | None, rule: str, key: str, spec: InputSpec
) -> dict[str, Any]:
    """Counts, sizes, depth, split rule, hash, bad files, and images that are there more than once.

    `splits` and `seen` run in parallel with the listing. What belongs to this place and not to its pictures (title,
    notes) is added when the card is read.
    """
    kept = [i for i, one in enumerate(seen) if not one.reason]
    table = np.zeros((len(listing.classes), len(SPLITS)), np.int64)
    np.add.at(table, (listing.labels[kept], np.array([SPLITS.index(splits[i]) for i in kept], np.int64)), 1)
    groups: dict[str, list[int]] = defaultdict(list)
    for i in kept:
        groups[seen[i].content].append(i)
    repeated = [group for group in groups.values() if len(group) > 1]
    across = [group for group in repeated if len({splits[i] for i in group}) > 1]
    labels = listing.labels.tolist()
    disputed = [group for group in repeated if len({labels[i] for i in group}) > 1]
    return {
        "images": len(kept),
        "classes": len(listing.classes),
        "counts": dict(zip(SPLITS, table.sum(0).tolist())),
        "per_class": {name: dict(zip(SPLITS, row)) for name, row in zip(listing.classes, table.tolist())},
        "width": _range([seen[i].width for i in kept]),
        "height": _range([seen[i].height for i in kept]),
        "modes": dict(Counter(seen[i].mode for i in kept)),
        "depth": _depth([seen[i] for i in kept], held, spec),
        "stored_as": spec.pixels,
        "split_rule": rule,
        "hash": key,
        "bad": [[listing.names[i], one.reason] for i, one in enumerate(seen) if one.reason],
        "repeated": sum(len(group) - 1 for group in repeated),
        "in_two_splits": [[listing.names[i] for i in group] for group in across[:SHOWN]],
        "in_two_splits_count": len(across),
        "in_two_classes": [[listing.names[i] for i in group] for group in disputed[:SHOWN]],
        "in_two_classes_count": len(disputed),
    }


def _range(values: list[int]) -> dict[str, int]:
    return {"min": min(values), "median": int(np.median(values)), "max": max(values)} if values else {}


def _depth(kept: list[Seen], held: Range | None, spec: InputSpec) -> dict[str, Any] | None:
    """How many pictures have more than 8 bits, what these hold, and which numbers become black and white."""
    if held is None:
        return None
    black, white = spec.values or (None, None)
    pictures = sum(one.range is not None for one in kept)
    return {"pictures": pictures, "least": held.least, "most": held.most, "black": black, "white": white}


def remarks(card: dict[str, Any]) -> list[str]:
    """What a user should know before learning from these pictures, one line each."""
    found = []
    if count := card["in_two_classes_count"]:
        shown = "; ".join(" and ".join(group[:3]) for group in card["in_two_classes"][:3])
        found.append(f"{count} images are there under two labels ({shown})")
    upper = sum(count for mode, count in card["modes"].items() if mode.endswith("/16"))
    if upper:
        found.append(f"{upper} pictures have 16 bits a color, of which the upper 8 are read")
    for split in SPLITS[1:]:
        missing = [name for name, counts in card["per_class"].items() if not counts[split]]
        if missing:
            found.append(
                f"{len(missing)} of {card['classes']} classes have no {split} image ({', '.join(missing[:3])})"
            )
    return found


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
