"""What a network expects, chosen by a look at the pictures."""

import numpy as np
import pytest
from helpers import make_pictures

from mignon.data.imageset import Split
from mignon.data.inputs import InputSpec, to_network
from mignon.data.look import choose_pixels, input_spec, look
from mignon.data.pictures import picture
from mignon.data.sources import scan
from mignon.errors import ModelError


def test_what_is_seen_decides_the_input(tmp_path):
    make_pictures(tmp_path / "small", {"a": 5, "b": 5}, size=28)
    make_pictures(tmp_path / "large", {"a": 5, "b": 5}, size=300)
    small, large = (look(scan(str(tmp_path / n))) for n in ("small", "large"))
    assert choose_pixels(small, None, None) == 28 and choose_pixels(large, None, None) == 32
    assert choose_pixels(large, None, 128) == 128 and choose_pixels(large, 50, 128) == 50
    assert choose_pixels(look(scan("digits")), None, None) == 8 and look(scan("digits")).channels == 1


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
