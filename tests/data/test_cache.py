"""Decoded once: what makes another cache, what is never used, what the card counts."""

import os
from pathlib import Path

from helpers import make_pictures, opened, write
from PIL import Image

import mignon.data.cache as cache
from mignon.data.card import contact_sheet
from mignon.data.look import neutral_spec
from mignon.files import cache_folder


def test_the_second_time_nothing_is_decoded(tmp_path, monkeypatch):
    make_pictures(tmp_path, {"a": 20, "b": 20})
    first = opened(tmp_path)

    def fail(*arguments):
        raise AssertionError("decoded again")

    monkeypatch.setattr("mignon.data.decode.to_pixels", fail)
    again = opened(tmp_path)
    assert again.key == first.key and (again.train.take(slice(None)) == first.train.take(slice(None))).all()


def test_another_size_or_another_file_makes_another_cache(tmp_path):
    make_pictures(tmp_path, {"a": 20, "b": 20})
    keys = {opened(tmp_path).key, opened(tmp_path, spec=neutral_spec(12, 3)).key, opened(tmp_path, seed=1).key}
    path = tmp_path / "a" / "0000.png"
    before = path.stat()
    Image.new("RGB", (16, 16), "blue").save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    changed = opened(tmp_path)
    keys.add(changed.key)
    assert len(keys) == 4
    images = {name: pixels for split in changed.splits for name, pixels in zip(split.names, split.take(slice(None)))}
    assert (images["a/0000.png"] == (0, 0, 255)).all()


def test_a_half_written_cache_is_never_used_and_is_swept(tmp_path):
    make_pictures(tmp_path, {"a": 20, "b": 20})
    folder = cache_folder() / "images"
    key = opened(tmp_path).key
    (folder / key / "card.json").unlink()  # as if the rename had never happened
    left = folder / f"{key}.part-999999999-{cache._machine()}"
    (folder / key).rename(left)
    images = opened(tmp_path)
    assert images.key == key and not left.exists()


def test_the_card_counts(tmp_path):
    make_pictures(tmp_path, {"a": 30, "b": 20})
    images = opened(tmp_path)
    card = images.card
    assert card["images"] == 50 and card["counts"] == {"train": 40, "validation": 5, "test": 5}
    assert card["per_class"]["a"] == {"train": 24, "validation": 3, "test": 3}
    assert card["width"] == {"min": 16, "median": 16, "max": 16} and card["modes"] == {"RGB": 50}
    assert contact_sheet(images).size == (500, 100)


def test_a_new_time_stamp_alone_changes_nothing_but_a_new_name_or_file_does(tmp_path, monkeypatch):
    make_pictures(tmp_path, {"a": 20, "b": 20})
    first = opened(tmp_path).key
    os.utime(tmp_path / "a" / "0000.png", (1, 1))
    assert opened(tmp_path).key == first
    (tmp_path / "b").rename(tmp_path / "c")
    renamed = opened(tmp_path)
    (tmp_path / "a" / "0001.png").unlink()
    fewer = opened(tmp_path)
    assert len({first, renamed.key, fewer.key}) == 3
    assert renamed.classes == ("a", "c") and sum(len(split) for split in fewer.splits) == 39


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    make_pictures(tmp_path, {"a": 20, "b": 20}, seed=4711)  # not cached by any other test, so it is built
    folder = cache_folder() / "images"
    alive = folder / f"other.part-{os.getpid()}-{cache._machine()}"
    elsewhere = folder / "other.part-999999999-anothermachine"
    for other in (alive, elsewhere):
        other.mkdir(parents=True)
    opened(tmp_path)
    assert alive.exists() and elsewhere.exists()
    alive.rmdir()
    elsewhere.rmdir()


def test_four_openings_at_once_give_one_cache(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    make_pictures(tmp_path, {"a": 20, "b": 20})
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: opened(tmp_path), range(4)))
    assert len({images.key for images in results}) == 1
    for images in results:
        assert (images.train.take(slice(None)) == results[0].train.take(slice(None))).all() and len(images.train) == 32
    assert not list((cache_folder() / "images").glob("*.part-*"))


def test_images_and_labels_stay_together(tmp_path):
    for number, name in enumerate(("dark", "light")):
        for i in range(30):
            write(tmp_path / name, f"{i}.png", Image.new("RGB", (16, 16), (200 * number, i, 7)))
    for split in opened(tmp_path).splits:
        for pixels, label, name in zip(split.take(slice(None)), split.labels, split.names):
            assert (pixels == (200 * label, int(Path(name).stem), 7)).all()
            assert name.startswith(("dark/", "light/")[label])


def test_the_sheet_has_a_row_of_training_images_for_each_class(tmp_path):
    for name, color in (("a", "red"), ("b", "lime")):
        for i in range(30):
            picture = Image.new("RGB", (16, 16), color)
            picture.putpixel((0, 0), (i, i, i))
            write(tmp_path / name, f"{i}.png", picture)
    sheet = contact_sheet(opened(tmp_path), per_class=3, cell=20)
    assert sheet.size == (66, 44)
    for x in (10, 32, 54):
        assert sheet.getpixel((x, 10)) == (255, 0, 0) and sheet.getpixel((x, 32)) == (0, 255, 0)


def test_a_file_that_keeps_its_name_and_size_but_not_its_content_is_read_again(tmp_path):
    make_pictures(tmp_path, {"a": 20, "b": 20})
    path = write(tmp_path / "a", "x.bmp", Image.new("RGB", (16, 16), "red"))
    before, first = path.stat(), opened(tmp_path).key
    path.write_bytes(path.read_bytes()[:54] + bytes(16 * 16 * 3))  # the same inode
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert path.stat().st_size == before.st_size
    images = opened(tmp_path)
    pixels = {name: p for split in images.splits for name, p in zip(split.names, split.take(slice(None)))}
    assert images.key != first and (pixels["a/x.bmp"] == 0).all()
