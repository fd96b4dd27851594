"""Batches: augmentation as one gather, sizes, order."""

import numpy as np
import pytest
from scipy import ndimage

from mignon.data.batches import Augment, augmented, in_order, steps_per_epoch, views_of


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


def test_all_images_of_a_split_are_gone_through_in_order(digits):
    for batch in (1000, 450, 449, 7):
        parts = list(in_order(digits.test, batch))
        assert (np.concatenate(parts) == digits.test.take(slice(None))).all() and max(map(len, parts)) == min(
            batch, 450
        )


def test_views_are_the_image_its_mirror_image_and_both_moved():
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    assert [len(views_of(images, count)) for count in (1, 2, 6)] == [1, 2, 6]
    assert (views_of(images, 2)[1] == images[:, :, ::-1]).all()
    plain, back, on, *mirrored = views_of(images, 6)
    assert (plain == images).all() and (back[:, 1:, 1:] == images[:, :-1, :-1]).all()
    assert (on[:, :-1, :-1] == images[:, 1:, 1:]).all() and (mirrored[2] == on[:, :, ::-1]).all()
