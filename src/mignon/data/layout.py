"""The shape of a folder, as pure functions of the paths in it: which images, of which class, in which split.

Every file is chosen or stands under a reason in `left`; what may have been meant otherwise is asked for.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from mignon.data.pictures import HEIC, HEIC_HINT, SUFFIXES
from mignon.errors import DataError

SPLIT_WORDS = {
    "train": {"train", "training", "trn"},
    "validation": {"val", "valid", "validation", "validate", "dev", "development", "eval", "evaluation"},
    "test": {"test", "testing", "tst", "holdout"},
}
FILLERS = {"set", "sets", "data", "dataset", "split", "images", "image", "imgs", "img", "pictures", "photos"}
FILLERS |= {"label", "labels", "list", "annotations"}  # of tables
COMMON_SUFFIXES = ".jpg .jpeg .png .webp .bmp .gif .tif .avif"
NO_IMAGES = "files that are no images"
NEED_HEIC = f"images that wait for the extra heic ({HEIC_HINT})"
TWICE = "links to an image that is there already"


@dataclass(frozen=True)
class Layout:
    """What was understood: (path, class, split or None) of each image in order of paths, and the rest by reason."""

    chosen: list[tuple[str, str, str | None]]
    left: dict[str, list[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def told(self, outside: dict[str, list[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(notes, warnings): a line a reason, those of the walk too; images that are not used are a warning."""
        left = {**self.left, **outside}
        notes = [_line(reason, names) for reason, names in left.items() if not reason.startswith("images ")]
        warnings = [_line(reason, names) for reason, names in left.items() if reason.startswith("images ")]
        return tuple(notes), (*self.remarks, *warnings)


def _line(reason: str, names: Sequence[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:3])
    return f"{len(names):,} {reason} were left alone ({shown}{', ...' if len(names) > 3 else ''})"


def printable(name: str) -> str:
    """File names may be any bytes: those that are not UTF-8 become a mark, control characters their number."""
    if name.isprintable():
        return name
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(f"\\x{ord(c):02x}" if unicodedata.category(c) == "Cc" else c for c in text)


def is_image(path: str) -> bool:
    """Whether the suffix is that of a picture."""
    return _suffix(path) in SUFFIXES


def _suffix(path: str) -> str:
    name = path.rpartition("/")[2]
    return "." + name.rpartition(".")[2].lower() if "." in name else ""


def split_of(name: str) -> str | None:
    """The split that a name says: train, Training_Set, val2017, dev, eval, test-images, ..."""
    tokens = [_stem(token) for token in re.findall(r"[a-z]+", name.casefold())]
    words = [token for token in tokens if token and token not in FILLERS]
    found = {split for split, known in SPLIT_WORDS.items() for word in words if word in known}
    return found.pop() if len(words) == 1 and len(found) == 1 else None


def _stem(token: str) -> str:
    for filler in ("set", "data", "images", "imgs", "split"):
        if token != filler and token.removesuffix(filler) in set().union(*SPLIT_WORDS.values()):
            return token.removesuffix(filler)
    return token


def resembles_split(name: str) -> bool:
    """Whether a name holds, or nearly is, the word of a split."""
    every = set().union(*SPLIT_WORDS.values())
    tokens = [_stem(token) for token in re.findall(r"[a-z]+", name.casefold())]
    return any(token in every or get_close_matches(token, every, 1, 0.75) for token in tokens if len(token) > 2)


def by_folders(files: Iterable[str], folders: Sequence[str], thing: str) -> Layout:
    """Class folders, or split folders with class folders in them. Raises DataError that names `thing`.

    One folder around everything is looked into. `files` and `folders` are paths below the root.
    """
    images, left = sorted_out(files)
    if not images:
        heic = left.get(NEED_HEIC)
        raise DataError(
            f"{thing} holds no images" + (f" that can be read ({len(heic)} HEIC)" if heic else ""),
            HEIC_HINT if heic else f"give a folder that holds one folder of images ({COMMON_SUFFIXES} ...) a class",
        )
    base = _inside(images)
    below = [name.removeprefix(base) for name in images]
    tops: dict[str, list[str]] = defaultdict(list)
    for name in below:
        tops[name.partition("/")[0] if "/" in name else ""].append(name)
    loose = [base + name for name in tops.pop("", [])]
    splits = _splits(tops, thing)
    if splits:
        layout = _with_splits(tops, splits, base, thing)
    elif not tops:
        raise DataError(
            f"{thing} holds {len(loose)} images but no class folders",
            "put the images of each class into a folder named after it, or add labels.csv with lines of file,label",
        )
    else:
        _ask_for_splits(tops, thing)
        layout = Layout([(base + name, top, None) for top, names in tops.items() for name in names])
    left |= layout.left
    if loose:
        left["images outside of the class folders"] = loose
    remarks = [f"everything lies in {base}: its folders are the classes"] if base and not splits else []
    for top in sorted(splits.values()) or [""]:
        remarks += _empty(layout.chosen, left, folders, base + (f"{top}/" if top else ""))
    return _one_name_a_class(Layout(sorted(layout.chosen, key=lambda row: row[0].split("/")), left, remarks))


def sorted_out(files: Iterable[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Images by their suffix, and the other files under a reason."""
    images: list[str] = []
    left: dict[str, list[str]] = {}
    for name in files:
        if is_image(name):
            images.append(name)
        else:
            left.setdefault(NEED_HEIC if _suffix(name) in HEIC else NO_IMAGES, []).append(name)
    return images, left


def _inside(images: list[str]) -> str:
    """The path of the folders around everything, `a/b/`, or "" when what is in there is one folder only."""
    base = ""
    while True:
        below = [name[len(base) :] for name in images]
        tops = {name.partition("/")[0] for name in below}
        if len(tops) > 1 or split_of(next(iter(tops))):
            return base
        if any(name.count("/") < 2 for name in below):
            return ""
        base += tops.pop() + "/"


def _children(names: list[str]) -> set[str]:
    """The folders of images inside a top folder."""
    return {name.split("/")[1] for name in names if name.count("/") >= 2}


def _splits(tops: dict[str, list[str]], thing: str) -> dict[str, str]:
    """{split: its top folder}; empty when the top folders are classes. Raises DataError when it cannot be told."""
    named = {top: split for top in tops if (split := split_of(top))}
    holding = {top: split for top, split in named.items() if _children(tops[top])}
    if len(named) == len(tops) > 1 and "train" in named.values() and not holding and len(set(named.values())) > 1:
        raise DataError(
            f"{' and '.join(sorted(tops))} of {thing} hold images but no class folders",
            "put the images of each class into a folder named after it, or add labels.csv with lines of file,label",
        )
    for split in holding.values():
        twice = sorted(top for top in holding if holding[top] == split)
        if len(twice) > 1:
            raise DataError(
                f"{thing} has two folders for one split ({twice[0]} and {twice[1]})",
                "put their images together, or rename one of them",
            )
    if "train" not in holding.values():
        if len(holding) > 1:
            raise DataError(
                f"{thing} has {' and '.join(sorted(holding))} but no train folder", "add a folder named train"
            )
        return {}
    train = next(top for top, split in holding.items() if split == "train")
    folders_only = len(_children(tops[train])) > 1 and all(name.count("/") > 1 for name in tops[train])
    if len(holding) == 1 and len(tops) > 1 and not folders_only:
        return {}  # one class that happens to be called "train"
    return {split: top for top, split in holding.items()}


def _with_splits(tops: dict[str, list[str]], splits: dict[str, str], base: str, thing: str) -> Layout:
    chosen: list[tuple[str, str, str | None]] = []
    left: dict[str, list[str]] = {}
    train = {one_name(row[1]) for row in _classes_of(tops[splits["train"]], splits["train"])[0]}
    for top, names in sorted(tops.items()):
        split = next((split for split, folder in splits.items() if folder == top), None)
        rows, outside = _classes_of(names, top)
        if split is None:
            inside = {one_name(row[1]) for row in rows}
            if inside & train:
                raise DataError(
                    f"{thing} has a folder {top!r} with classes of {splits['train']!r} in it: is it a split?",
                    "rename it to train, val or test, or take it out of the folder",
                )
            left[f"images in {base + top}, which is no split,"] = [base + name for name in names]
            continue
        if outside:
            left[f"images outside of the class folders of {base + top}"] = [base + name for name in outside]
        unknown = [row for row in rows if one_name(row[1]) not in train]
        if unknown:
            kinds = ", ".join(sorted({label for _, label in unknown})[:3])
            left[f"images in {base + top} of classes that {splits['train']} does not have ({kinds})"] = [
                base + name for name, _ in unknown
            ]
        chosen += [(base + name, label, split) for name, label in rows if one_name(label) in train]
    return Layout(chosen, left)


def _classes_of(names: list[str], top: str) -> tuple[list[tuple[str, str]], list[str]]:
    """(path, class) of the images of a split folder, and those outside of class folders; `test/test/cats` is test."""
    depth = 1
    while all(name.count("/") > depth for name in names) and split_of(top):
        inner = {name.split("/")[depth] for name in names}
        if len(inner) > 1 or split_of(inner.pop()) != split_of(top):
            break
        depth += 1
    rows = [(name, name.split("/")[depth]) for name in names if name.count("/") > depth]
    return rows, [name for name in names if name.count("/") <= depth]


def _ask_for_splits(tops: dict[str, list[str]], thing: str) -> None:
    """Class folders that all hold the same folders, one of them named nearly like a split, are more likely splits."""
    inner = [_children(names) for names in tops.values()]
    common = set.intersection(*inner) if len(inner) > 1 else set()
    likely = [top for top in tops if resembles_split(top)]
    if len(common) > 1 and likely:
        raise DataError(
            f"{' and '.join(sorted(tops)[:3])} of {thing} hold the same folders ({', '.join(sorted(common)[:3])}): "
            "are they splits?",
            "rename them to train, val and test, or take away what is not meant",
        )


def _empty(chosen: list, left: dict[str, list[str]], folders: Sequence[str], prefix: str) -> list[str]:
    """A remark when class folders below a prefix hold no image, used or not."""
    images = [name for name, _, _ in chosen] + [name for names in left.values() for name in names if is_image(name)]
    used = {name[len(prefix) :].partition("/")[0] for name in images if name.startswith(prefix)}
    own = [name[len(prefix) :] for name in folders if name.startswith(prefix)]
    empty = sorted(name for name in own if "/" not in name and name not in used)
    if not empty:
        return []
    return [f"{len(empty)} folders hold no images ({', '.join(printable(prefix + name) for name in empty[:3])})"]


def one_name(name: str) -> str:
    """The name of a class: accents as one letter (NFC), however the disk stores them."""
    return unicodedata.normalize("NFC", name)


def _one_name_a_class(layout: Layout) -> Layout:
    spellings: dict[str, set[str]] = defaultdict(set)
    for label in {label for _, label, _ in layout.chosen}:
        if printable(label) != label:
            raise DataError(
                f"the name of the class folder {printable(label)} is not UTF-8 or holds control characters",
                "rename it, for example: class-1",
            )
        spellings[one_name(label)].add(label)
    remarks = [
        f"two spellings of {name!r} that look the same (NFC and NFD) are one class"
        for name, same in spellings.items()
        if len(same) > 1
    ]
    names = {label: name for name, same in spellings.items() for label in same}
    chosen = [(path, names[label], split) for path, label, split in layout.chosen]
    return replace(layout, chosen=chosen, remarks=layout.remarks + remarks)
