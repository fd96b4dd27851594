"""From any picture to pixels: modes, orientations, sizes, what is no picture."""

import numpy as np
import pytest
from helpers import SPEC, make_pictures, opened, read, write
from PIL import Image

from mignon.data.inputs import InputSpec
from mignon.data.look import neutral_spec
from mignon.data.pictures import open_image, read_pixels
from mignon.errors import DataError


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    make_pictures(tmp_path, {"a": 60, "b": 60})
    write(tmp_path / "a", "large.png", Image.new("RGB", (70, 60)))
    monkeypatch.setattr("mignon.data.pictures.MAX_PIXELS", 70 * 60 - 1)
    bad = opened(tmp_path).card["bad"]
    assert [name for name, _ in bad] == ["a/large.png"] and "too large (70 x 60" in bad[0][1]
    monkeypatch.setattr("mignon.data.pictures.MAX_PIXELS", 70 * 60)
    open_image(tmp_path / "a" / "large.png").close()


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
