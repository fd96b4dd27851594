"""Decode once into a uint8 memory map, keyed by a hash of contents and settings.

Another image, another size or another rule makes another cache. A cache is built under a temporary name and renamed
when it is whole, so a half-written one is never used.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mignon.data.card import data_card
from mignon.data.imageset import SPLITS, ImageSet, Split
from mignon.data.inputs import InputSpec, to_pixels
from mignon.data.sources import Listing, scan
from mignon.data.splits import assign
from mignon.errors import DataError
from mignon.files import cache_folder, digest, machine_errors, read_json, sync_folder, write_json
from mignon.progress import Quiet, Screen

VERSION = 2  # raise it when decoding changes, so that old caches are left alone
FEW_IMAGES = 100
BAD_SHARE = 0.01


def open_images(
    thing: str | Listing,
    spec: InputSpec,
    seed: int = 0,
    on_bad: str | None = None,
    screen: Screen | None = None,
) -> ImageSet:
    """The three splits of a source, decoded for `spec`; from the cache when it is there.

    `on_bad`: `skip` or `fail`; None skips files that cannot be decoded unless there are fewer than 100 images or more
    than 1 % are bad. They are always listed in the card. Raises DataError.
    """
    if on_bad not in (None, "skip", "fail"):
        raise DataError(f"--on-bad {on_bad} is not possible", "use --on-bad skip or --on-bad fail")
    check_seed(seed)
    screen = screen or Quiet()
    listing = scan(thing) if isinstance(thing, str) else thing
    contents = _contents(listing, screen)
    splits, rule = assign(listing.labels, contents, listing.given, seed)
    items = list(zip(listing.names, contents, listing.labels.tolist(), splits))
    key = digest(VERSION, items, listing.classes, spec.pixels)[:24]
    folder = cache_folder() / "images" / key
    if not (folder / "card.json").exists():
        _build(folder, listing, contents, splits, spec, rule, key, screen)
    card = read_json(folder / "card.json")
    card["source"] = listing.title
    _judge(card["bad"], len(listing.names), on_bad)
    images = np.load(folder / "images.npy", mmap_mode="r")
    labels = np.load(folder / "labels.npy")
    names = read_json(folder / "names.json")
    parts, start = [], 0
    for name in SPLITS:
        stop = start + card["counts"][name]
        parts.append(Split(name, images[start:stop], labels[start:stop], names[start:stop]))
        start = stop
    return ImageSet(parts[0], parts[1], parts[2], classes=listing.classes, input=spec, card=card, key=key)


def check_seed(seed: int) -> None:
    """Raise DataError for a seed that the random generators do not take."""
    if not 0 <= seed < 1 << 63:
        raise DataError(f"--seed {seed} is not possible", "use a whole number from 0 on: --seed 0")


def _contents(listing: Listing, screen: Screen) -> list[str]:
    """A hash of every file's bytes; remembered as long as no path, size or time stamp changes."""
    path = cache_folder() / "contents" / f"{listing.stamp[:24]}.json"
    known = read_json(path)
    if isinstance(known, list) and len(known) == len(listing.names):
        return known
    (hashes,) = screen.track((listing.contents() for _ in range(1)), 1, f"reading {len(listing.names):,} files")
    write_json(path, hashes)
    return hashes


def _judge(bad: list, total: int, on_bad: str | None) -> None:
    if not bad or on_bad == "skip":
        return
    if on_bad == "fail" or total < FEW_IMAGES or len(bad) > BAD_SHARE * total:
        shown = "; ".join(f"{name}: {reason}" for name, reason in bad[:5])
        more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise DataError(
            f"{len(bad)} of {total} images cannot be decoded ({shown}{more})",
            "replace or remove them, or go on without them: --on-bad skip",
        )


def _build(
    folder: Path,
    listing: Listing,
    contents: list[str],
    splits: list[str],
    spec: InputSpec,
    rule: str,
    key: str,
    screen: Screen,
) -> None:
    order = sorted(range(len(splits)), key=lambda i: SPLITS.index(splits[i]))  # stable: names stay sorted
    with machine_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f"{key}.part-{os.getpid()}-", dir=folder.parent))
        try:
            shape = (len(order), spec.height, spec.width, spec.channels)
            _reserve(temporary / "images.npy", int(np.prod(shape)))
            images = np.lib.format.open_memmap(temporary / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
            good, facts, bad = _decode(listing, order, spec, images, screen)
            if not good:
                raise DataError(
                    f"none of the {len(order)} images of {listing.title} can be decoded ({bad[0][0]}: {bad[0][1]})",
                    "give pictures that open elsewhere",
                )
            if bad:
                images[: len(good)] = images[good]
                images.flush()
                compact = np.array(images[: len(good)])
                del images
                np.save(temporary / "images.npy", compact)
            else:
                images.flush()
            kept = [order[i] for i in good]
            labels = listing.labels[kept]
            np.save(temporary / "labels.npy", labels)
            write_json(temporary / "names.json", [listing.names[i] for i in kept])
            card = data_card(listing, kept, labels, splits, contents, facts, bad, rule, key, spec)
            for name in SPLITS:
                if not card["counts"][name]:
                    raise DataError(
                        f"no {name} image of {listing.title} can be decoded ({bad[0][0]}: {bad[0][1]})",
                        f"put pictures that open elsewhere into the {name} set",
                    )
            for name, counts in card["per_class"].items():
                if not counts["train"]:
                    raise DataError(
                        f"no train image of class {name!r} can be decoded ({bad[0][0]}: {bad[0][1]})",
                        "give pictures of it that open elsewhere, or remove the class",
                    )
            write_json(temporary / "card.json", card)
            os.sync()
            try:
                temporary.rename(folder)
            except OSError:
                if not (folder / "card.json").exists():  # otherwise another process was first
                    raise
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _reserve(path: Path, size: int) -> None:
    """Take the disk space now: writing to a memory map on a full disk would kill the process by a signal."""
    with path.open("wb") as file:
        if size:
            os.posix_fallocate(file.fileno(), 0, size + 4096)
    path.unlink()


def _sweep(folder: Path) -> None:
    """Remove what a killed process left behind."""
    for left in folder.glob("*.part-*"):
        pid = left.name.split(".part-")[1].split("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)


def _decode(
    listing: Listing, order: list[int], spec: InputSpec, images: np.ndarray, screen: Screen
) -> tuple[list[int], list[tuple[int, int, str]], list[tuple[str, str]]]:
    """Fill `images`; give the positions that worked, (width, height, mode) of each, and the names that did not."""

    def one(position: int) -> tuple[int, int, str] | str:
        try:
            with listing.open(order[position]) as image:
                facts = (image.width, image.height, image.mode)
                images[position] = to_pixels(image, spec)
                return facts
        except Exception as error:  # any decoder may fail in any way; the file is listed, never dropped
            reason = error.what if isinstance(error, DataError) else str(error)
            return " ".join(reason.split())[:120] or type(error).__name__

    def chunk(start: int) -> list[tuple[int, int, str] | str]:
        return [one(i) for i in range(start, min(start + 256, len(order)))]

    def results() -> Iterator[list[tuple[int, int, str] | str]]:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            yield from pool.map(chunk, range(0, len(order), 256))

    outcomes: list[tuple[int, int, str] | str] = []
    for part in screen.track(results(), -(-len(order) // 256), f"decoding {len(order):,} images"):
        outcomes += part
    good = [i for i, outcome in enumerate(outcomes) if not isinstance(outcome, str)]
    facts = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    bad = [(listing.names[order[i]], outcome) for i, outcome in enumerate(outcomes) if isinstance(outcome, str)]
    return good, facts, bad
