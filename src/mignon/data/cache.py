"""Decode once into a uint8 memory map, keyed by a hash of contents and settings.

Another image, another size or another rule makes another cache. A cache is built under a temporary name and renamed
when it is whole, so a half-written one is never used; its card holds digests of its files, which are checked when it
is opened, and what does not match is made again. Linux and macOS are meant; elsewhere disk space is not taken in
advance, and what a killed process left is not swept.
"""

import contextlib
import os
import platform
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mignon.data.card import data_card, remarks
from mignon.data.decode import Seen, content_of, decode
from mignon.data.imageset import SPLITS, ImageSet, Split
from mignon.data.inputs import InputSpec
from mignon.data.pictures import Range
from mignon.data.sealed import read_sealed, write_sealed
from mignon.data.sources import Listing, scan
from mignon.data.splits import assign
from mignon.errors import DataError
from mignon.files import cache_folder, digest, machine_errors, read_json, sha256_of, sync_folder, write_json
from mignon.progress import Quiet, Screen

VERSION = 3  # raise it when decoding changes, so that old caches are left alone
FEW_IMAGES = 100
BAD_SHARE = 0.01
SAMPLE = 32  # pictures whose bytes are compared though no time stamp changed
SAMPLE_BYTES = 1_000_000  # of each at most; larger ones are not among them
BLOCK = 4096  # images that are put in order at a time
FILES = ("images.npy", "labels.npy", "names.json")

_checked: set[tuple] = set()  # what this process has compared with its digests


def open_images(
    thing: str | Listing,
    spec: InputSpec,
    seed: int = 0,
    on_bad: str | None = None,
    screen: Screen | None = None,
    fit: bool = False,
) -> ImageSet:
    """The three splits of a source, decoded for `spec`; from the cache when it is there.

    `on_bad`: `skip` or `fail`; None skips files that cannot be decoded unless there are fewer than 100 images or more
    than 1 % are bad. They are always listed in the card. `fit`: black and white of pictures of more than 8 bits come
    from what the whole set holds; the input of the result says them. Raises DataError.
    """
    if on_bad not in (None, "skip", "fail"):
        raise DataError(f"--on-bad {on_bad} is not possible", "use --on-bad skip or --on-bad fail")
    check_seed(seed)
    screen = screen or Quiet()
    listing = scan(thing) if isinstance(thing, str) else thing
    for warning in listing.warnings:
        screen.warn(warning)
    root = cache_folder() / "images"
    with contextlib.ExitStack() as stack:
        decoded = None
        contents = _recall(listing)
        if contents is None:
            decoded = stack.enter_context(_decoded(root, listing, spec, screen))
            contents = decoded.contents
            _remember(listing, contents)
        if fit and contents.range is not None:
            spec = replace(spec, values=contents.range.ends)
        splits, rule = assign(listing.labels, contents.hashes, listing.given, seed)
        items = list(zip(listing.names, contents.hashes, listing.labels.tolist(), splits))
        key = digest(VERSION, items, listing.classes, spec.pixels)[:24]
        folder = root / key
        card = _whole(folder)
        if card is None:
            if decoded is None:
                decoded = stack.enter_context(_decoded(root, listing, spec, screen))
            decoded.fit(spec, screen)
            card = _build(folder, decoded, splits, contents.range, rule, key, screen)
    told = remarks(card)
    for warning in told:
        screen.warn(warning)
    card |= {"source": listing.title, "warnings": [*listing.warnings, *told], "notes": [*listing.notes]}
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


@dataclass(frozen=True)
class _Contents:
    """A hash of each picture's bytes, and what those of more than 8 bits hold."""

    hashes: list[str]
    range: Range | None


def _contents_file(listing: Listing) -> Path:
    return cache_folder() / "contents" / f"{listing.stamp[:24]}.json"


def _remember(listing: Listing, contents: _Contents) -> None:
    held = contents.range
    write_sealed(
        _contents_file(listing),
        {"hashes": contents.hashes, "range": held and [held.least, held.most, held.whole]},
    )


def _recall(listing: Listing) -> _Contents | None:
    """What an earlier pass saw, as long as no path, size or time stamp changed and a sample of bytes is the same."""
    known = read_sealed(_contents_file(listing))
    if known is None or len(known["hashes"]) != len(listing.names):
        return None
    hashes = known["hashes"]
    for place in np.random.default_rng().permutation(len(hashes))[:SAMPLE].tolist():
        if content_of(listing, place, SAMPLE_BYTES) not in (hashes[place], None):
            return None
    return _Contents(hashes, known["range"] and Range(*known["range"]))


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


@dataclass
class _Decoded:
    """A source after the pass: its pixels in the order of the listing, in a folder that is removed afterwards."""

    folder: Path
    listing: Listing
    spec: InputSpec
    pixels: np.ndarray
    seen: list[Seen]

    @property
    def contents(self) -> _Contents:
        """Hashes, and the range of all deep pictures."""
        held = None
        for one in self.seen:
            held = one.range.with_(held) if one.range else held
        return _Contents([one.content for one in self.seen], held)

    def fit(self, spec: InputSpec, screen: Screen) -> None:
        """Deep pictures again, with the black and white that the set asks for."""
        deep = [place for place, one in enumerate(self.seen) if one.range]
        if spec != self.spec and deep:
            for place, one in zip(deep, decode(self.listing, deep, spec, self.pixels, screen)):
                self.seen[place] = one
        self.spec = spec


@contextlib.contextmanager
def _decoded(root: Path, listing: Listing, spec: InputSpec, screen: Screen) -> Iterator[_Decoded]:
    with machine_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        folder = root / f"{secrets.token_hex(8)}.part-{os.getpid()}-{_machine()}"
        folder.mkdir()  # not tempfile: its folders are for one user, these follow the umask
    try:
        with machine_errors(root):
            shape = (len(listing.names), spec.height, spec.width, spec.channels)
            reserve(folder / "pixels.npy", int(np.prod(shape)))
            pixels = np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
        yield _Decoded(folder, listing, spec, pixels, decode(listing, range(len(listing.names)), spec, pixels, screen))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _build(
    folder: Path, decoded: _Decoded, splits: list[str], held: Range | None, rule: str, key: str, screen: Screen
) -> dict[str, Any]:
    """The cache at `folder`: files, then the card with their digests. Raises DataError when too little is left."""
    listing, seen = decoded.listing, decoded.seen
    card = data_card(listing, splits, seen, held, rule, key, decoded.spec)
    _check(listing, card)
    kept = [i for i, one in enumerate(seen) if not one.reason]
    kept.sort(key=lambda i: SPLITS.index(splits[i]))  # stable: names stay in order
    new = decoded.folder / "whole"
    with machine_errors(folder):
        new.mkdir()
        with (new / "images.npy").open("wb") as file:
            shape = (len(kept), *decoded.pixels.shape[1:])
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for start in range(0, len(kept), BLOCK):
                file.write(decoded.pixels[kept[start : start + BLOCK]].tobytes())
            file.flush()
            os.fsync(file.fileno())
        with (new / "labels.npy").open("wb") as file:
            np.save(file, listing.labels[kept])
            file.flush()
            os.fsync(file.fileno())
        write_json(new / "names.json", [listing.names[i] for i in kept])
        card["digests"] = _digests(new)
        write_sealed(new / "card.json", card)
        if folder.exists():
            screen.warn(f"the cached images of {listing.title} were damaged: they are made again")
            with contextlib.suppress(FileNotFoundError):  # another process was first
                folder.rename(decoded.folder / "damaged")
        try:
            new.rename(folder)
        except OSError:
            if _whole(folder) is None:  # otherwise another process was first
                raise
        sync_folder(folder.parent)
        _checked.add(_signature(folder))
    return card


def _check(listing: Listing, card: dict[str, Any]) -> None:
    bad = card["bad"]
    if not card["images"]:
        raise DataError(
            f"none of the {len(listing.names)} images of {listing.title} can be decoded ({bad[0][0]}: {bad[0][1]})",
            "give pictures that open elsewhere",
        )
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


def _whole(folder: Path) -> dict[str, Any] | None:
    """The card of a cache whose files are what they were when it was built, or None."""
    card = read_sealed(folder / "card.json")
    if card is None:
        return None
    try:
        signature = _signature(folder)
        if signature not in _checked:
            if _digests(folder) != card["digests"]:
                return None
            _checked.add(signature)
    except OSError:
        return None
    return card


def _signature(folder: Path) -> tuple:
    stats = [(folder / name).stat() for name in FILES]
    return tuple((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats)


def _digests(folder: Path) -> dict[str, str]:
    return {name: sha256_of(folder / name) for name in FILES}


def reserve(path: Path, size: int) -> None:
    """Take the disk space now: writing to a memory map on a full disk would kill the process by a signal."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size + 4096)
        else:  # macOS
            for start in range(0, size + 4096, 1 << 20):
                file.write(bytes(min(1 << 20, size + 4096 - start)))


def _machine() -> str:
    return digest(platform.node())[:8]


def _sweep(folder: Path) -> None:
    """Remove what a killed process of this machine left behind."""
    for left in folder.glob(f"*.part-*-{_machine()}"):
        pid = left.name.rsplit(".part-", 1)[1].split("-")[0]
        if pid.isdigit() and os.name == "posix" and not _runs(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # asks, sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
