"""More than 8 bits: one rule for the set by what it holds, and the same rule for one picture later."""

import numpy as np
import pytest
from PIL import Image

from mignon.checkpoint import load_safetensors, save_safetensors
from mignon.classifier import fresh
from mignon.data.cache import open_images
from mignon.data.inputs import InputSpec
from mignon.data.look import neutral_spec
from mignon.data.pictures import Range, read_pixels
from mignon.errors import DataError, ModelError

RAMP = np.arange(256).reshape(16, 16)


def deep_set(root, make, suffix="tif", count=30):
    """Two classes; every picture holds the ramp, made deep by `make`, darker in one class."""
    for name, factor in (("a", 1), ("b", 2)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            values = RAMP // factor
            values[0, 0] = i
            Image.fromarray(make(values)).save(root / name / f"{i}.{suffix}")
    return str(root)


CASES = {
    "12 bits": (lambda v: (v * 16).astype(np.uint16), "tif", (0, 4095), 1),
    "16 bits": (lambda v: (v * 257).astype(np.uint16), "png", (0, 65535), 1),
    "8 bits": (lambda v: v.astype(np.uint16), "png", (0, 255), 0),
    "shares": (lambda v: (v / 255).astype(np.float32), "tif", (0, 1), 0),
    "float 255": (lambda v: v.astype(np.float32), "tif", (0, 255), 0),
    "signed shares": (lambda v: (v / 127.5 - 1).astype(np.float32), "tif", (-1, 1), 1),
    "32 bits": (lambda v: (v * 4).astype(np.int32), "tif", (0, 1023), 1),
}


@pytest.mark.parametrize("case", CASES)
def test_the_whole_set_decides_what_is_white(tmp_path, case):
    make, suffix, ends, tolerance = CASES[case]
    images = open_images(deep_set(tmp_path, make, suffix), neutral_spec(16, 1), fit=True)
    assert images.input.values == ends
    depth = images.card["depth"]
    assert depth["pictures"] == 60 and (depth["black"], depth["white"]) == ends and "values" in images.card["stored_as"]
    for split in images.splits:
        for pixels, label in zip(split.take(slice(None)), split.labels):
            wanted = RAMP // (1 + label)
            assert np.abs(pixels[1:, :, 0].astype(int) - wanted[1:]).max() <= tolerance
    again = open_images(str(tmp_path), neutral_spec(16, 1), fit=True)
    assert again.key == images.key and again.input == images.input
    fixed = open_images(str(tmp_path), images.input)
    assert fixed.key == images.key
    one = read_pixels(next((tmp_path / "b").iterdir()), images.input)
    assert np.abs(one[1:, :, 0].astype(int) - (RAMP // 2)[1:]).max() <= tolerance


def test_a_set_of_8_bits_has_no_rule_and_its_header_no_entry(tmp_path):
    images = open_images("digits", neutral_spec(8, 1), fit=True)
    assert images.input.values is None and images.card["depth"] is None
    assert "values" not in images.input.to_dict() and "values" not in images.input.pixels


def test_numbers_that_are_not_finite_are_a_bad_file(tmp_path):
    root = deep_set(tmp_path, CASES["shares"][0], count=60)
    values = (RAMP / 255).astype(np.float32)
    values[15, 15] = np.nan
    Image.fromarray(values).save(tmp_path / "a" / "nan.tif")
    images = open_images(root, neutral_spec(16, 1), fit=True)
    assert images.card["bad"] == [["a/nan.tif", "it holds numbers that are not finite (NaN or infinite)"]]
    for spec in (images.input, neutral_spec(16, 1)):
        with pytest.raises(DataError, match="not finite"):
            read_pixels(tmp_path / "a" / "nan.tif", spec)


def test_the_rule_travels_with_the_network(tmp_path):
    from mignon import mgn

    spec = InputSpec(8, 8, 1, (0.5,), (0.25,), values=(0.0, 4095.0))
    classifier = fresh("digits-cnn", {}, spec, ("a", "b"), 0)
    assert mgn.decode(mgn.encode(classifier)).input == spec
    save_safetensors(classifier, tmp_path / "m.safetensors")
    assert load_safetensors(tmp_path / "m.safetensors").input == spec
    picture = Image.fromarray((np.full((8, 8), 4095)).astype(np.uint16))
    assert (read_pixels(picture, spec) == 255).all() and (read_pixels(picture, neutral_spec(8, 1)) == 16).all()


@pytest.mark.parametrize("values", [[1, 1], [2, 1], [0, float("inf")], [float("nan"), 1], [1], "ab", 7, [0, "x"]])
def test_rules_that_make_no_sense_are_refused(values):
    with pytest.raises(ModelError):
        InputSpec.from_dict({"height": 8, "width": 8, "channels": 1, "mean": [0], "std": [1], "values": values})


@pytest.mark.parametrize(
    ("held", "ends"),
    [
        (Range(0, 0, True), (0, 255)),
        (Range(0, 3, True), (0, 3)),
        (Range(0, 127, True), (0, 255)),
        (Range(0, 256, True), (0, 1023)),
        (Range(-1024, 3071, True), (-4095, 4095)),
        (Range(0, 1.02, False), (0, 1.02)),
        (Range(0, 1e9, False), (0, 2.0**32 - 1)),
        (Range(0, 1e20, False), (0, 1e20)),
    ],
)
def test_black_and_white_by_what_is_held(held, ends):
    assert held.ends == pytest.approx(ends)


def test_16_bits_a_color_are_mentioned(tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(20):
            rows = b"".join(b"\0" + struct.pack(">3H", 300 * i, 256 * ord(name), y) * 16 for y in range(16))
            data = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows))
            (tmp_path / name / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b""))
    card = open_images(str(tmp_path), neutral_spec(16, 3)).card
    assert card["modes"] == {"RGB/16": 40} and "40 pictures have 16 bits a color" in card["warnings"][0]
