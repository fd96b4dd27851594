"""The cache is not believed unseen: what does not match its digests or does not read is made again."""

import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from helpers import make_pictures
from PIL import Image

from mignon.data import cache
from mignon.data.look import neutral_spec
from mignon.data.sources import scan
from mignon.files import cache_folder
from mignon.progress import Quiet

SPEC = neutral_spec(16, 3)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGNON_CACHE", str(tmp_path / "cache"))
    return str(make_pictures(tmp_path / "p", {"a": 20, "b": 20}))


def everything(images):
    return [(split.names, split.labels.tolist(), split.take(slice(None)).tobytes()) for split in images.splits]


def zeroed(path):
    data = bytearray(path.read_bytes())
    data[200:] = bytes(len(data) - 200)
    path.write_bytes(data)


def rotated(path):
    labels = np.load(path)
    np.save(path, np.roll(labels, 3))


DAMAGES = {
    "zeroed": zeroed,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "null": lambda path: path.write_text("null"),
    "list": lambda path: path.write_text("[1, 2]"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "utf-16": lambda path: path.write_bytes('{"a": 1}'.encode("utf-16")),
    "long number": lambda path: path.write_text("1" * 10_000),
    "one letter": lambda path: path.write_bytes(path.read_bytes()[:-3] + b"7" + path.read_bytes()[-2:]),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "names.json", "card.json"])
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_cache_is_made_again(pictures, name, damage):
    first = cache.open_images(pictures, SPEC)
    before = everything(first)
    DAMAGES[damage](cache_folder() / "images" / first.key / name)
    screen = Quiet()
    again = cache.open_images(pictures, SPEC, screen=screen)
    assert everything(again) == before and again.card == first.card
    assert "damaged" in screen.warnings[0]
    silent = Quiet()
    cache.open_images(pictures, SPEC, screen=silent)
    assert not silent.warnings and len(list((cache_folder() / "images").iterdir())) == 1


def test_other_labels_and_other_counts_are_noticed(pictures):
    first = cache.open_images(pictures, SPEC)
    before = everything(first)
    folder = cache_folder() / "images" / first.key
    rotated(folder / "labels.npy")
    assert everything(cache.open_images(pictures, SPEC)) == before
    text = (folder / "card.json").read_text()
    (folder / "card.json").write_text(text.replace('"train": 32', '"train": 30'))
    assert everything(cache.open_images(pictures, SPEC)) == before


@pytest.mark.parametrize("damage", ["cut", "empty", "null", "list", "deep", "utf-16", "long number", "a folder"])
def test_damaged_hashes_of_contents_are_made_again(pictures, damage):
    first = cache.open_images(pictures, SPEC)
    (path,) = (cache_folder() / "contents").iterdir()
    DAMAGES[damage](path)
    if damage == "a folder":
        path.rmdir()
    assert everything(cache.open_images(pictures, SPEC)) == everything(first)


def test_files_are_compared_with_their_digests_once_a_process(pictures, monkeypatch):
    cache.open_images(pictures, SPEC)
    monkeypatch.setattr(cache, "_digests", lambda folder: pytest.fail("compared again"))
    cache.open_images(pictures, SPEC)


def test_pictures_changed_in_place_are_read_again(tmp_path, monkeypatch):
    """Same size, time and inode: the change time says it, and where nothing does, a sample of bytes."""
    root = make_pictures(tmp_path / "p", {"a": 20, "b": 20})
    path = root / "a" / "x.bmp"
    Image.new("RGB", (16, 16), "red").save(path)
    os.utime(path, (1, 1))
    first = cache.open_images(str(root), SPEC)

    def change(color):
        with path.open("r+b") as file:
            file.seek(54)
            file.write(bytes(color) * 256)
        os.utime(path, (1, 1))

    change((1, 2, 3))
    changed = cache.open_images(str(root), SPEC)
    assert changed.key != first.key
    listing = scan(str(root))
    change((3, 2, 1))
    monkeypatch.setattr(cache, "SAMPLE", 1000)
    assert cache.open_images(listing, SPEC).key not in (first.key, changed.key)  # with the stamp of before


def test_what_is_said_of_a_folder_comes_from_this_folder(tmp_path):
    for name in ("p", "q"):
        make_pictures(tmp_path / name, {"a": 20, "b": 20})
    (tmp_path / "p" / "a" / "readme.txt").write_text("x")
    (tmp_path / "q" / "c").mkdir()
    p, q = (cache.open_images(str(tmp_path / name), SPEC) for name in ("p", "q"))
    assert p.key == q.key and p.card["source"] == "p" and q.card["source"] == "q"
    assert "readme.txt" in p.card["notes"][0] and not q.card["notes"]
    assert not p.card["warnings"] and "(c)" in q.card["warnings"][0]


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [("077", 0o600, 0o700), ("002", 0o664, 0o775), ("022", 0o644, 0o755)]
)
def test_the_cache_follows_the_umask(pictures, umask, file, folder):
    code = "from mignon.data.cache import open_images; from mignon.data.look import neutral_spec; "
    code += f"open_images({pictures!r}, neutral_spec(16, 3))"
    subprocess.run(["sh", "-c", f'umask {umask} && exec "$0" -c "$1"', sys.executable, code], check=True)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in cache_folder().rglob("*")}
    assert len(modes) >= 8 and all(mode == (folder if path.is_dir() else file) for path, mode in modes.items())


def test_without_posix_fallocate_the_space_is_written(pictures, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    cache.reserve(cache_folder().parent / "x", 3_000_000)
    assert sum(map(len, cache.open_images(pictures, SPEC).splits)) == 40


def test_the_same_picture_under_two_labels_is_named(tmp_path):
    root = make_pictures(tmp_path, {"a": 20, "b": 20})
    (root / "b" / "copy.png").write_bytes((root / "a" / "0003.png").read_bytes())
    screen = Quiet()
    card = cache.open_images(str(root), SPEC, screen=screen).card
    assert card["in_two_classes"] == [["a/0003.png", "b/copy.png"]]
    assert screen.warnings == ["1 images are there under two labels (a/0003.png and b/copy.png)"] == card["warnings"]


def test_a_class_that_is_missing_in_a_split_is_a_warning(tmp_path):
    for seed, (name, classes) in enumerate((("train", "ab"), ("val", "a"), ("test", "ab"))):
        make_pictures(tmp_path / name, dict.fromkeys(classes, 12), seed=seed)
    screen = Quiet()
    images = cache.open_images(str(tmp_path), SPEC, screen=screen)
    assert images.classes == ("a", "b") and set(images.test.labels) == {0, 1} and set(images.validation.labels) == {0}
    assert screen.warnings == ["1 of 2 classes have no validation image (b)"]


def test_many_classes_take_no_loop_over_images_and_classes():
    """20,000 images of 1,000 classes: the card and the draw took 30 s, are to take about one."""
    import time

    from mignon.data.card import data_card
    from mignon.data.decode import Seen
    from mignon.data.sources import Listing
    from mignon.data.splits import assign

    count, classes = 20_000, 1_000
    labels = np.arange(count) % classes
    names = [f"{i}.png" for i in range(count)]
    hashes = [f"{i:064x}" for i in range(count)]
    listing = Listing("x", tuple(map(str, range(classes))), names, labels, [None] * count, lambda i: None, "x")
    started = time.process_time()
    splits, rule = assign(labels, hashes, listing.given, 0)
    card = data_card(listing, splits, [Seen(h, 8, 8, "RGB") for h in hashes], None, rule, "key", SPEC)
    assert time.process_time() - started < 3
    assert card["per_class"]["7"] == {"train": 16, "validation": 2, "test": 2}
