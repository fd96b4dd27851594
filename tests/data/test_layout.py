"""The shape of a folder, from its paths alone: every path is chosen or stands under a reason."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mignon.data.layout import by_folders, resembles_split, split_of
from mignon.errors import DataError


def paths(*places, count=3, suffix="jpg"):
    return [f"{place}/{i}.{suffix}" for place in places for i in range(count)]


def folders_of(files, *more):
    found = set(more)
    for name in files:
        parts = name.split("/")[:-1]
        found |= {"/".join(parts[: i + 1]) for i in range(len(parts))}
    return sorted(found)


def arranged(files, *more):
    return by_folders(sorted(files), folders_of(files, *more), "photos")


def counts(layout):
    found = {}
    for _, label, split in layout.chosen:
        found[split, label] = found.get((split, label), 0) + 1
    return found


def lines(layout):
    notes, warnings = layout.told({})
    return "\n".join([*notes, *warnings])


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(
            (name, "train")
            for name in ("train", "Training", "training_set", "Train_Data", "trainset", "train2017", "trn")
        ),
        *((name, "validation") for name in ("val", "valid", "Validation", "dev", "eval", "valset", "val_images")),
        *((name, "test") for name in ("test", "testing_set", "test-images", "holdout")),
        *(
            (name, None)
            for name in ("cats", "unlabeled", "trainers", "latest", "train_val", "images", "data", "sets", "")
        ),
    ],
)
def test_the_names_of_splits(name, split):
    assert split_of(name) == split


def test_what_is_nearly_a_split_resembles_one():
    assert all(map(resembles_split, ("tset", "trian", "train_val", "my test pictures")))
    assert not any(map(resembles_split, ("cats", "dogs", "airplane", "ship")))


@pytest.mark.parametrize(
    "names", [("training_set", "test_set"), ("train", "eval"), ("train", "dev"), ("Train", "Valid")]
)
def test_two_splits_by_any_usual_name(names):
    layout = arranged(paths(*(f"{name}/{label}" for name in names for label in ("cat", "dog"))))
    assert {label for _, label, _ in layout.chosen} == {"cat", "dog"}
    assert {split for _, _, split in layout.chosen} == {split_of(name) for name in names} and not lines(layout)


def test_a_split_around_a_split_of_the_same_name_is_one():
    layout = arranged(
        paths("training_set/training_set/cat", "training_set/training_set/dog", "test/test/cat", "test/test/dog")
    )
    assert counts(layout) == {(s, c): 3 for s in ("train", "test") for c in ("cat", "dog")}


def test_a_folder_around_everything_is_looked_into():
    layout = arranged(paths("archive/photos/cat", "archive/photos/dog"))
    assert counts(layout) == {(None, "cat"): 3, (None, "dog"): 3} and "everything lies in archive/photos/" in lines(
        layout
    )
    inside = arranged(paths("archive/train/cat", "archive/train/dog", "archive/test/cat", "archive/test/dog"))
    assert {split for _, _, split in inside.chosen} == {"train", "test"}


@pytest.mark.parametrize("other", ["unlabeled/x", "unlabeled", "train_more"])
def test_a_folder_beside_splits_that_is_none_is_counted(other):
    layout = arranged(paths("train/cat", "train/dog", "test/cat", "test/dog", other))
    assert len(layout.chosen) == 12 and "3 images in" in lines(layout) and "which is no split" in lines(layout)


def test_a_folder_beside_train_is_no_class():
    assert {label for _, label, _ in arranged(paths("train/cat", "train/dog", "more/x")).chosen} == {"cat", "dog"}


def test_a_folder_beside_splits_with_their_classes_is_asked_for():
    with pytest.raises(DataError, match="'part2' with classes of 'train'") as caught:
        arranged(paths("train/cat", "train/dog", "part2/cat", "part2/dog"))
    assert "rename it" in caught.value.instead


def test_folders_nearly_named_like_splits_that_hold_the_same_folders_are_asked_for():
    with pytest.raises(DataError, match="are they splits"):
        arranged(paths("trian/cat", "trian/dog", "tset/cat", "tset/dog"))
    assert {c for _, c, _ in arranged(paths("chairs/front", "chairs/back", "tables/front", "tables/back")).chosen} == {
        "chairs",
        "tables",
    }


def test_split_folders_without_class_folders_are_no_classes():
    with pytest.raises(DataError, match="hold images but no class folders"):
        arranged(paths("train", "test"))


def test_classes_come_from_train():
    layout = arranged(paths("train/cat", "train/dog", "val/cat", "test/cat", "test/dog", "test/frog"))
    assert {label for _, label, _ in layout.chosen} == {"cat", "dog"}
    assert "3 images in test of classes that train does not have (frog)" in lines(layout)


def test_loose_pictures_are_counted():
    assert "2 images outside of the class folders" in lines(arranged([*paths("a", "b"), "x.jpg", "y.png"]))
    layout = arranged([*paths("train/a", "train/b", "test/a", "test/b"), "train/x.jpg"])
    assert "1 images outside of the class folders of train" in lines(layout)


def test_empty_class_folders_are_mentioned():
    assert "1 folders hold no images (frog)" in lines(arranged(paths("a", "b"), "frog"))
    assert "(val/b)" in lines(arranged(paths("train/a", "train/b", "val/a", "test/a", "test/b"), "val/b"))
    assert "(frog)" in lines(arranged([*paths("a", "b"), "frog/readme.txt"]))


def test_names_that_look_the_same_are_one_class():
    layout = arranged(paths("train/caf\u00e9", "train/tea", "val/cafe\u0301", "val/tea", "test/cafe\u0301", "test/tea"))
    assert {label for _, label, _ in layout.chosen} == {"caf\u00e9", "tea"} and "two spellings of 'café'" in lines(
        layout
    )


@pytest.mark.parametrize("name", ["dog\x1b[2J", "dog\nx", os.fsdecode(b"caf\xe9")])
def test_a_class_whose_name_cannot_be_printed_is_refused(name):
    with pytest.raises(DataError, match="rename it") as caught:
        arranged(paths("cat", name))
    assert caught.value.what.isprintable() and caught.value.what.encode()


def test_file_names_cannot_control_a_terminal():
    assert "\x1b" not in lines(arranged([*paths("a", "b"), "a/\x1b[31m.txt"]))


def test_heic_pictures_wait_for_their_extra(monkeypatch):
    monkeypatch.setattr("mignon.data.layout.HEIC", {".heic"})
    monkeypatch.setattr("mignon.data.layout.SUFFIXES", {".jpg"})
    assert "3 images that wait for the extra heic (pip install" in lines(
        arranged([*paths("a", "b"), *paths("c", suffix="HEIC")])
    )
    with pytest.raises(DataError, match="3 HEIC") as caught:
        arranged(paths("c", suffix="heic"))
    assert "mignon[heic]" in caught.value.instead


NAMES = st.sampled_from(["train", "test", "val", "dev", "cat", "dog", "images", "tset", "caf\u00e9", "cafe\u0301", "x"])
FILES = st.sampled_from(["1.jpg", "2.png", "3.jfif", "readme.txt", "labels.csv", "noending"])


@given(st.lists(st.tuples(st.lists(NAMES, max_size=4), FILES), min_size=1, max_size=40))
def test_every_file_is_chosen_or_stands_under_a_reason(items):
    files = sorted({"/".join([*parts, file]) for parts, file in items})
    try:
        layout = arranged(files)
    except DataError as error:
        assert error.what and error.instead and "\n" not in error.what
        return
    left = [name for names in layout.left.values() for name in names]
    assert sorted([name for name, _, _ in layout.chosen] + left) == files
    assert [name.split("/") for name, _, _ in layout.chosen] == sorted(name.split("/") for name, _, _ in layout.chosen)
    assert arranged(files) == layout
