"""Images in: shapes of folders, kinds of files, splits, the cache, the card, batches."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers import make_pictures
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

import mignon.data.cache as cache
from mignon.data.batches import Augment, augmented, in_order, steps_per_epoch
from mignon.data.card import contact_sheet
from mignon.data.imageset import Split
from mignon.data.inputs import InputSpec, to_network
from mignon.data.look import choose_pixels, input_spec, look, neutral_spec
from mignon.data.pictures import open_image, picture, read_pixels, to_pixels
from mignon.data.sources import scan
from mignon.errors import DataError, ModelError
from mignon.files import cache_folder

SPEC = neutral_spec(16, 3)


def opened(folder, **settings):
    return cache.open_images(str(folder), settings.pop("spec", SPEC), **settings)


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


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    make_pictures(tmp_path, {"a": 60, "b": 60})
    write(tmp_path / "a", "large.png", Image.new("RGB", (70, 60)))
    monkeypatch.setattr("mignon.data.pictures.MAX_PIXELS", 70 * 60 - 1)
    bad = opened(tmp_path).card["bad"]
    assert [name for name, _ in bad] == ["a/large.png"] and "too large (70 x 60" in bad[0][1]
    monkeypatch.setattr("mignon.data.pictures.MAX_PIXELS", 70 * 60)
    open_image(tmp_path / "a" / "large.png").close()


def write(folder: Path, name: str, image: Image.Image, **options) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    image.save(folder / name, **options)
    return folder / name


def read(path, spec=SPEC):
    with open_image(path) as image:
        return to_pixels(image, spec)


def test_every_kind_of_picture_is_decoded_right(tmp_path):
    red = Image.new("RGB", (16, 16), (200, 40, 60))
    assert (read(write(tmp_path, "rgb.png", red)) == (200, 40, 60)).all()
    assert (read(write(tmp_path, "grey.png", Image.new("L", (16, 16), 90))) == 90).all()
    assert (read(write(tmp_path, "one.png", Image.new("1", (16, 16), 1))) == 255).all()
    assert np.abs(read(write(tmp_path, "palette.gif", red.quantize(4))).astype(int) - (200, 40, 60)).max() <= 4
    clear = Image.new("RGBA", (16, 16), (200, 40, 60, 0))
    assert (read(write(tmp_path, "alpha.png", clear)) == 255).all(), "transparent is white"
    half = Image.new("LA", (16, 16), (0, 128))
    assert np.abs(read(write(tmp_path, "la.png", half)).astype(int) - 127).max() <= 1
    deep = Image.fromarray(np.full((16, 16), 257 * 77, np.uint16))
    assert (read(write(tmp_path, "deep.png", deep)) == 77).all()
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    for suffix in ("png", "tif"):
        assert (read(write(tmp_path, f"ramp.{suffix}", Image.fromarray(ramp * 257)))[:, :, 1] == ramp).all()
        dark = read(write(tmp_path, f"dark.{suffix}", Image.fromarray(np.full((16, 16), 255, np.uint16))))
        assert (dark == 1).all(), "a dark 16-bit picture stays dark"
    holes = Image.new("P", (16, 16), 1)
    holes.putpalette([0, 0, 0, 200, 40, 60])
    holes.putpixel((0, 0), 0)
    seen = read(write(tmp_path, "holes.png", holes, transparency=0))
    assert (seen[0, 0] == 255).all() and (seen[1:] == (200, 40, 60)).all()
    grey = neutral_spec(16, 1)
    assert read(write(tmp_path, "rgb.png", red), grey).shape == (16, 16, 1)
    assert (read(tmp_path / "rgb.png", grey) == round(0.299 * 200 + 0.587 * 40 + 0.114 * 60)).all()
    cmyk = read(write(tmp_path, "cmyk.jpg", red.convert("CMYK"), quality=95))
    assert np.abs(cmyk.astype(int) - (200, 40, 60)).max() <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_are_undone(tmp_path, orientation):
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # FLIP_LEFT_RIGHT, ROTATE_180, FLIP_TOP_BOTTOM, TRANSPOSE, ...
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert (read(write(tmp_path, "o.png", stored, exif=exif)) == np.asarray(upright)).all()


def test_what_is_no_picture_is_named_in_one_line(tmp_path):
    (tmp_path / "text.jpg").write_text("text")
    for item in (
        np.zeros((8, 8, 5), np.uint8),
        np.zeros((300, 2), complex),
        tmp_path / "text.jpg",
        tmp_path / "none",
        5,
    ):
        with pytest.raises(DataError) as caught:
            read_pixels(item, SPEC)
        assert caught.value.what and "\n" not in caught.value.what and len(caught.value.what) < 300
        assert caught.value.instead


def test_rotation_by_exif_is_undone(tmp_path):
    picture = Image.new("RGB", (16, 16), "black")
    picture.paste("white", (0, 0, 16, 4))  # white on top
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: to be turned clockwise
    pixels = read(write(tmp_path, "turned.png", picture.rotate(90), exif=exif))
    assert pixels[:4].min() == 255 and pixels[4:].max() == 0


@pytest.mark.parametrize(
    ("size", "inside"), [((40, 20), (slice(None), slice(4, 12))), ((20, 40), (slice(4, 12), slice(None)))]
)
def test_crop_keeps_the_shape_of_things_and_squash_does_not(tmp_path, size, inside):
    picture = Image.new("RGB", size, "black")
    picture.paste("white", (size[0] // 2 - 5, size[1] // 2 - 5, size[0] // 2 + 5, size[1] // 2 + 5))
    path = write(tmp_path, "square.png", picture)
    cropped = read(path)[:, :, 0] > 127
    rows, columns = cropped.any(1).sum(), cropped.any(0).sum()
    assert rows == columns == 8
    squashed = read(path, InputSpec(16, 16, 3, (0.5,) * 3, (0.5,) * 3, "squash"))[:, :, 0] > 127
    assert sorted((squashed.any(1).sum(), squashed.any(0).sum())) == [4, 8]


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


def test_what_is_seen_decides_the_input(tmp_path):
    make_pictures(tmp_path / "small", {"a": 5, "b": 5}, size=28)
    make_pictures(tmp_path / "large", {"a": 5, "b": 5}, size=300)
    small, large = (look(scan(str(tmp_path / n))) for n in ("small", "large"))
    assert choose_pixels(small, None, None) == 28 and choose_pixels(large, None, None) == 32
    assert choose_pixels(large, None, 128) == 128 and choose_pixels(large, 50, 128) == 50
    assert choose_pixels(look(scan("digits")), None, None) == 8 and look(scan("digits")).channels == 1


def naive(image, top, left, flip, shift):
    padded = np.pad(image, ((shift, shift), (shift, shift), (0, 0)), mode="reflect")
    crop = padded[shift + top : shift + top + image.shape[0], shift + left : shift + left + image.shape[1]]
    return crop[:, ::-1] if flip else crop


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("shift", "flip"), [(0, False), (0, True), (3, False), (4, True), (7, True), (20, True)])
def test_a_gathered_batch_is_what_one_by_one_would_give(channels, shift, flip):
    images = np.random.default_rng(0).integers(0, 256, (30, 9, 8, channels), dtype=np.uint8)
    chosen = np.random.default_rng(1).integers(0, 30, 25)
    batch = augmented(images[chosen], Augment(shift, flip), np.random.default_rng(2))
    assert batch.flags.c_contiguous and batch.dtype == np.uint8
    draws, shift = np.random.default_rng(2), min(shift, 7)  # a side can be reflected once only
    top, left = draws.integers(-shift, shift + 1, size=(2, 25)) if shift or flip else np.zeros((2, 25), int)
    flips = draws.random(25) < (0.5 if flip else 0)
    for i, pixels in enumerate(batch):
        assert (pixels == naive(images[chosen[i]], top[i], left[i], flips[i], shift)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_resampled_batch_is_what_scipy_gives_one_by_one(channels):
    images = np.random.default_rng(0).integers(0, 256, (30, 9, 8, channels), dtype=np.uint8)
    augment = Augment(shift=1.5, flip=True, turn=20, scale=0.2, shear=0.2)
    batch = augmented(images, augment, np.random.default_rng(2))
    assert batch.dtype == np.uint8 and batch.shape == images.shape and not (batch == images).all()
    draws = np.random.default_rng(2)
    (down, right, turn, size, shear), flips = draws.uniform(-1, 1, size=(5, 30)), draws.random(30) < 0.5
    for i, image in enumerate(images):
        angle = np.deg2rad(20 * turn[i])
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        matrix = (1 + 0.2 * size[i]) * rotation @ [[1, 0], [0.2 * shear[i], 1]] @ np.diag([1, -1 if flips[i] else 1])
        center = np.array([4, 3.5])
        offset = center + 1.5 * np.array([down[i], right[i]]) - matrix @ center
        for c in range(channels):
            expected = ndimage.affine_transform(image[..., c].astype(float), matrix, offset, order=1, mode="mirror")
            assert np.abs(batch[i, :, :, c] - expected).max() <= 0.501


def test_a_change_of_size_zero_is_none():
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 6, 3), dtype=np.uint8)
    assert (augmented(images, Augment(turn=1e-9), np.random.default_rng(0)) == images).all()


def test_batches_leave_at_least_sixteen_steps():
    assert steps_per_epoch(45_000, 128) == 351 and steps_per_epoch(160, 128) == 16 and steps_per_epoch(3, 128) == 1


@pytest.mark.parametrize(
    "values",
    [
        {},
        None,
        {"height": 0, "width": 8, "channels": 1, "mean": [0.5], "std": [0.5]},
        {"height": 8, "width": 8, "channels": 2, "mean": [0.5] * 2, "std": [0.5] * 2},
        {"height": 8, "width": 8, "channels": 1, "mean": [0.5] * 3, "std": [0.5]},
        {"height": 8, "width": 8, "channels": 1, "mean": [0.5], "std": [0]},
        {"height": 8.5, "width": 8, "channels": 1, "mean": [0.5], "std": [0.5]},
        {"height": 8, "width": 8, "channels": 1, "mean": [float("nan")], "std": [0.5]},
        {"height": 8, "width": 8, "channels": 1, "mean": [0.5], "std": [0.5], "resize": "magic"},
    ],
    ids=str,
)
def test_inputs_that_make_no_sense_are_refused(values):
    with pytest.raises(ModelError):
        InputSpec.from_dict(values)


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


def test_digits_are_grey_values_of_sixteen_steps(digits):
    values = np.unique(digits.train.take(slice(None)))
    assert values.tolist() == [round(i * 255 / 16) for i in range(17)]
    assert all((np.bincount(split.labels, minlength=10) > 20).all() for split in digits.splits)
    with picture(scan("digits").open(0)) as image:
        assert image.size == (8, 8) and image.mode == "L"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_sees_pixels_less_their_mean_over_their_deviation(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4, channels), dtype=np.uint8)
    mean, std = (0.2, 0.5, 0.7)[:channels], (0.1, 0.25, 0.3)[:channels]
    batch = to_network(pixels, InputSpec(5, 4, channels, mean, std))
    assert batch.shape == (3, channels, 5, 4)
    expected = (pixels / 255 - mean) / std
    np.testing.assert_allclose(batch.permute(0, 2, 3, 1).numpy(), expected, rtol=0, atol=1e-5)


def test_mean_and_deviation_come_from_the_training_images_alone(digits):
    spec = input_spec(digits.train, digits.input)
    assert spec.mean == (round(digits.train.take(slice(None)).mean() / 255, 3),)
    assert spec.std == (round(digits.train.take(slice(None)).std() / 255, 3),)
    flat = Split("train", np.full((9, 8, 8, 1), 77, np.uint8), np.zeros(9, int), [""] * 9)
    assert input_spec(flat, digits.input).std == (0.01,)


def test_all_images_of_a_split_are_gone_through_in_order(digits):
    for batch in (1000, 450, 449, 7):
        parts = list(in_order(digits.test, batch))
        assert (np.concatenate(parts) == digits.test.take(slice(None))).all() and max(map(len, parts)) == min(
            batch, 450
        )


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
