"""Every way to change images keeps the contract; the drawn changes are those of the papers."""

import numpy as np
import pytest
from PIL import Image

from mignon.data.augment.autoaugment import POLICY, operate
from mignon.data.look import neutral_spec
from mignon.errors import RecipeError
from mignon.registry import AUGMENTATIONS
from mignon.training.settings import Options


def pictures(count=12, side=16, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def test_every_augmentation_keeps_the_contract(capsys):
    checked = 0
    for name in AUGMENTATIONS:
        for channels in (1, 3):
            images = pictures(channels=channels)
            before, change = images.copy(), AUGMENTATIONS[name].change(neutral_spec(16, channels))
            made = change(images, np.random.default_rng(1))
            assert made.shape == images.shape and made.dtype == np.uint8, name
            assert (images == before).all(), f"{name} changed what it was given"
            assert (made == change(images, np.random.default_rng(1))).all(), f"{name} is not a function of its draw"
            assert (made == images).all() == (name == "none"), name
            assert change(images[:1], np.random.default_rng(2)).shape == images[:1].shape
        assert AUGMENTATIONS[name].summary and Options(augment=name).augment == name
        checked += 1
    with capsys.disabled():
        print(f"\n{checked} augmentations keep the contract")
    assert checked >= 6


def test_grey_pictures_are_never_mirrored_by_themselves():
    lopsided = np.zeros((64, 16, 16, 1), np.uint8)
    lopsided[:, :, 12:] = 255
    made = AUGMENTATIONS["auto"].change(neutral_spec(16, 1))(lopsided, np.random.default_rng(0))
    assert (made[:, :, 8:].mean((1, 2, 3)) > made[:, :, :8].mean((1, 2, 3))).all()


def test_a_random_crop_shows_a_part_of_the_picture_enlarged():
    ramp = np.broadcast_to(np.arange(32, dtype=np.uint8)[None, :, None, None] * 8, (200, 32, 32, 3)).copy()
    made = AUGMENTATIONS["random-resized-crop"].change(neutral_spec(32, 3))(ramp, np.random.default_rng(0))
    span = made[:, -1, 0, 0].astype(int) - made[:, 0, 0, 0]
    assert span.max() > 200 and 90 < span.min() < 140  # of 248: a third of the area is at least 0.51 of a side
    assert (np.diff(made[:, :, 0, 0].astype(int), axis=1) >= 0).all()


def test_the_policy_has_25_pairs_and_every_operation_works():
    assert len(POLICY) == 25
    names = {name for pair in POLICY for name, _, _ in pair} | {"shear-x"}
    for mode in ("RGB", "L"):
        image = Image.fromarray(pictures(1)[0]).convert(mode)
        for name in names:
            for level, sign in ((0, 1.0), (9, 1.0), (9, -1.0)):
                made = operate(image, name, level, sign)
                assert made.size == image.size and made.mode == mode
    moved = np.asarray(operate(Image.fromarray(pictures(1)[0]), "translate-x", 9, 1.0))
    assert (moved[:, :9] == pictures(1)[0][:, 7:16]).all() and (moved[:, 9:] == 128).all()


def test_the_hole_of_cutout_is_half_a_side():
    white = np.full((50, 32, 32, 3), 255, np.uint8)
    made = AUGMENTATIONS["autoaugment-cifar"].change(neutral_spec(32, 3))(white, np.random.default_rng(0))
    grey = (made == 128).all(3).sum((1, 2))
    assert grey.max() >= 256 and (grey >= 64).all()


def test_an_unknown_augmentation_is_named():
    with pytest.raises(RecipeError, match="no augmentation 'crop'"):
        Options(augment="crop")
