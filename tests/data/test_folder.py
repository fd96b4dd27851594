"""Folders as people have them: what is refused, named, left alone, read."""

import os

import pytest
from helpers import make_pictures, opened, read, write
from PIL import Image

import mignon.data.cache as cache
from mignon.data.look import neutral_spec
from mignon.errors import DataError
from mignon.files import cache_folder


def folders_of_one_class(root):
    make_pictures(root, {"cats": 12})


def no_images(root):
    (root / "a").mkdir(parents=True)
    (root / "a" / "readme.txt").write_text("x")


def images_without_class_folders(root):
    write(root, "a.png", Image.new("RGB", (9, 9)))


def no_train_folder(root):
    for name in ("val", "test"):
        make_pictures(root / name, {"a": 9, "b": 9})


def two_folders_for_one_split(root):
    for name in ("train", "val", "validation", "test"):
        make_pictures(root / name, {"a": 9, "b": 9}, seed=len(name))


def too_few_different_images(root):
    make_pictures(root, {"a": 30, "b": 30})
    for name in "ab":
        for path in (root / name).iterdir():
            path.write_bytes((root / name / "0000.png").read_bytes())


def too_few_images(root):
    make_pictures(root, {"a": 2, "b": 2})


def no_image_that_can_be_decoded(root):
    make_pictures(root, {"a": 15, "b": 15})
    for path in root.rglob("*.png"):
        path.write_text(str(path))


def no_image_of_a_class_that_can_be_decoded(root):
    make_pictures(root, {"a": 15, "bees": 15})
    for path in (root / "bees").iterdir():
        path.write_text(str(path))


def no_image_of_a_split_that_can_be_decoded(root):
    for name in ("train", "val", "test"):
        make_pictures(root / name, {"a": 9, "b": 9}, seed=len(name))
    for path in (root / "val").rglob("*.png"):
        path.write_text(str(path))


def a_class_whose_name_is_no_text(root):
    make_pictures(root, {"a": 15, "b": 15})
    (root / "b").rename(os.fsdecode(os.fsencode(root) + b"/caf\xe9"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (folders_of_one_class, "one class only (cats)"),
        (no_images, "holds no images"),
        (images_without_class_folders, "1 images but no class folders"),
        (no_train_folder, "no train folder"),
        (two_folders_for_one_split, "val and validation"),
        (too_few_images, "4 images are too few"),
        (too_few_different_images, "60 images (2 different ones) are too few"),
        (no_image_that_can_be_decoded, "none of the 30 images"),
        (no_image_of_a_class_that_can_be_decoded, "no train image of class 'bees'"),
        (no_image_of_a_split_that_can_be_decoded, "no validation image"),
        (a_class_whose_name_is_no_text, "UTF-8"),
    ],
)
def test_a_folder_that_cannot_be_learned_from_says_what_is_wrong_and_what_to_do(tmp_path, make, words):
    make(tmp_path / "p")
    with pytest.raises(DataError) as caught:
        opened(tmp_path / "p", on_bad="skip")
    assert words in caught.value.what and "\n" not in caught.value.what
    assert caught.value.instead and "\n" not in caught.value.instead
    str(caught.value).encode()  # can be printed
    assert not list((cache_folder() / "images").glob("*.part-*"))


@pytest.mark.parametrize(("settings", "words"), [({"on_bad": "maybe"}, "--on-bad"), ({"seed": -1}, "--seed")])
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(DataError, match=words) as caught:
        cache.open_images("digits", neutral_spec(8, 1), **settings)
    assert caught.value.instead


def test_a_place_that_is_not_there_is_refused():
    with pytest.raises(DataError, match="there is no folder") as caught:
        opened("nowhere/at/all")
    assert "digits" in caught.value.instead


def test_file_names_in_another_encoding_are_read_and_can_be_printed(tmp_path):
    make_pictures(tmp_path, {"a": 20, "b": 20})
    (tmp_path / "a" / "0000.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/a/caf\xe9.png"))
    (tmp_path / "a" / "0001.png").rename(tmp_path / "a" / "日本.png")
    images = opened(tmp_path)
    names = [name for split in images.splits for name in split.names]
    assert len(names) == 40 and "a/日本.png" in names
    assert [name for name in names if name.encode().startswith(b"a/caf")]


def test_bad_files_are_named_counted_and_judged(tmp_path):
    make_pictures(tmp_path / "p", {"a": 120, "b": 120})
    (tmp_path / "p" / "a" / "bad.jpg").write_text("text")
    (tmp_path / "p" / "a" / "half.png").write_bytes((tmp_path / "p" / "a" / "0001.png").read_bytes()[:300])
    images = opened(tmp_path / "p")  # 2 of 242 are below 1 %
    assert [name for name, _ in images.card["bad"]] == ["a/bad.jpg", "a/half.png"]
    assert all(reason for _, reason in images.card["bad"])
    assert sum(len(split) for split in images.splits) == 240
    for split in images.splits:
        for name, pixels in zip(split.names, split.take(slice(None))):
            assert (read(tmp_path / "p" / name) == pixels).all()
    with pytest.raises(DataError, match=r"2 of 242 .*bad\.jpg"):
        opened(tmp_path / "p", on_bad="fail")
    (tmp_path / "p" / "a" / "third.jpg").write_text("text")
    with pytest.raises(DataError, match="3 of 243"):
        opened(tmp_path / "p")
    assert len(opened(tmp_path / "p", on_bad="skip").card["bad"]) == 3


def test_other_files_are_left_alone_and_mentioned(tmp_path):
    make_pictures(tmp_path, {"a": 20, "b": 20})
    (tmp_path / "a" / "Thumbs.db").write_text("x")
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "a" / ".hidden.png").write_text("x")
    notes = opened(tmp_path).card["notes"]
    assert "1 files that are no images" in notes[0] and "2 hidden files" in notes[1]


def test_images_may_lie_deeper_than_their_class(tmp_path):
    make_pictures(tmp_path / "x", {"images": 20})
    make_pictures(tmp_path / "y" / "more", {"images": 20})
    assert opened(tmp_path).classes == ("x", "y")


def test_a_folder_of_real_jpegs_is_read(shared_data, tmp_path):
    import tarfile

    with tarfile.open(shared_data / "cifar10-jpeg-small.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    images = opened(tmp_path / "cifar10-jpeg-small", spec=neutral_spec(32, 3))
    assert [len(split) for split in images.splits] == [2000, 400, 1000] and len(images.classes) == 10


@pytest.mark.parametrize(("images", "stops"), [(99, True), (100, False)])
def test_one_bad_file_stops_a_small_folder_only(tmp_path, images, stops):
    make_pictures(tmp_path, {"a": images - 50, "b": 49}, size=4)
    (tmp_path / "a" / "bad.png").write_text("text")
    if not stops:
        assert opened(tmp_path).card["bad"] == [["a/bad.png", "not a picture that Pillow can read"]]
        return
    with pytest.raises(DataError, match=r"1 of 99 .*a/bad\.png: not a picture"):
        opened(tmp_path)
