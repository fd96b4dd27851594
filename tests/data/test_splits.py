"""Three disjoint sets: as given, drawn by the seed, identical files together."""

import numpy as np
import pytest
from helpers import make_pictures, opened
from hypothesis import given
from hypothesis import strategies as st


def test_digits_have_their_own_splits(digits):
    assert [len(split) for split in digits.splits] == [1078, 269, 450]
    names = [set(split.names) for split in digits.splits]
    assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])


@pytest.mark.parametrize("middle", ["val", "valid", "validation"])
def test_three_given_splits_stay(tmp_path, middle):
    for number, (name, count) in enumerate((("train", 12), (middle, 4), ("test", 6))):
        make_pictures(tmp_path / name, {"a": count, "b": count}, seed=number)
    images = opened(tmp_path)
    assert [len(split) for split in images.splits] == [24, 8, 12]
    assert all(name.startswith("test/") for name in images.test.names)


def test_a_class_may_be_called_test(tmp_path):
    images = opened(make_pictures(tmp_path, {"other": 20, "test": 20}))
    assert images.classes == ("other", "test") and [len(split) for split in images.splits] == [32, 4, 4]


def test_a_train_folder_alone_is_drawn_from(tmp_path):
    make_pictures(tmp_path / "train", {"a": 20, "b": 20})
    images = opened(tmp_path)
    assert images.classes == ("a", "b") and [len(split) for split in images.splits] == [32, 4, 4]


@pytest.mark.parametrize("held", ["val", "test"])
def test_with_two_given_splits_validation_comes_out_of_train(tmp_path, held):
    make_pictures(tmp_path / "train", {"a": 50, "b": 30})
    make_pictures(tmp_path / held, {"a": 6, "b": 6}, seed=1)
    images = opened(tmp_path)
    assert [len(split) for split in images.splits] == [72, 8, 12]
    assert np.bincount(images.validation.labels).tolist() == [5, 3]
    assert all(name.startswith(held) for name in images.test.names)
    assert held.replace("val", "validation") in images.card["split_rule"] or held in images.card["split_rule"]


def test_one_folder_is_drawn_stratified_and_by_the_seed(tmp_path):
    make_pictures(tmp_path, {"a": 100, "b": 50, "c": 20})
    images = opened(tmp_path)
    assert [np.bincount(split.labels).tolist() for split in images.splits] == [[80, 40, 16], [10, 5, 2], [10, 5, 2]]
    assert opened(tmp_path).test.names == images.test.names
    assert opened(tmp_path, seed=1).test.names != images.test.names


@given(st.integers(0, 1000))
def test_identical_files_are_drawn_together(seed):
    from mignon.data.splits import assign

    dice = np.random.default_rng(seed)
    contents = [str(i) for i in dice.integers(0, 60, 150)]
    labels = dice.integers(0, 2, 150)
    splits, _ = assign(labels, contents, [None] * 150, seed)
    where = {}
    for content, split in zip(contents, splits):
        assert where.setdefault(content, split) == split


def test_the_same_image_in_two_given_splits_is_in_the_card(tmp_path):
    for name in ("train", "val", "test"):
        make_pictures(tmp_path / name, {"a": 10, "b": 10}, seed=len(name))
    (tmp_path / "test" / "a" / "copy.png").write_bytes((tmp_path / "train" / "a" / "0003.png").read_bytes())
    card = opened(tmp_path).card
    assert card["in_two_splits_count"] >= 1
    assert ["train/a/0003.png", "test/a/copy.png"] in [sorted(g, reverse=True) for g in card["in_two_splits"]]


def test_a_class_of_one_image_many_times_over_is_trained_on(tmp_path):
    make_pictures(tmp_path, {"a": 30, "b": 30})
    for path in (tmp_path / "a").iterdir():
        path.write_bytes((tmp_path / "a" / "0000.png").read_bytes())
    images = opened(tmp_path)
    assert images.card["per_class"]["a"] == {"train": 30, "validation": 0, "test": 0}
    assert images.card["repeated"] == 29 and images.card["in_two_splits_count"] == 0


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(2, 60))
def test_every_class_is_trained_on_however_often_its_images_repeat(seed, different, count):
    from mignon.data.splits import assign

    dice = np.random.default_rng(seed)
    contents = [str(i) for i in dice.integers(0, different, count)] + [f"other {i}" for i in range(60)]
    labels = np.array([0] * count + [1] * 60)
    splits, _ = assign(labels, contents, [None] * len(labels), seed)
    assert {label for label, split in zip(labels, splits) if split == "train"} == {0, 1}
