"""Pictures that cost too much are bounded before they are decoded; only our own lines reach the screen."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import make_pictures
from PIL import Image

from mignon.data.cache import open_images
from mignon.data.inputs import InputSpec
from mignon.data.look import neutral_spec
from mignon.data.pictures import FORMATS, SUFFIXES, open_image, read_pixels
from mignon.errors import DataError
from mignon.jobs.predict import predict

SPEC = neutral_spec(16, 3)
COST = """
import resource, sys
from mignon.data.look import neutral_spec
from mignon.data.pictures import read_pixels
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(read_pixels(sys.argv[1], neutral_spec(16, 3))[8, 8].tolist())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("mode", "name", "color", "seen"),
    [
        ("RGBA", "x.png", (200, 40, 60, 0), [255, 255, 255]),
        ("I;16", "x.png", 257 * 77, [77, 77, 77]),
        ("F", "x.tif", 0.2, [51, 51, 51]),
        ("RGB", "x.png", (200, 40, 60), [200, 40, 60]),
        ("CMYK", "x.jpg", (0, 0, 0, 0), [255, 255, 255]),
    ],
)
def test_a_hundred_million_pixels_take_about_half_a_gigabyte(tmp_path, mode, name, color, seen):
    options = {"compress_level": 1} if name.endswith("png") else {"compression": "tiff_lzw"}
    Image.new(mode, (10_000, 10_000), color).save(tmp_path / name, **options)
    done = subprocess.run([sys.executable, "-c", COST, tmp_path / name], capture_output=True, text=True, check=True)
    pixels, megabytes = done.stdout.splitlines()
    assert pixels == str(seen) and int(megabytes) < 560 and not done.stderr


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "1", "I;16", "F", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_tile_by_tile_is_nearly_what_the_whole_picture_gives(tmp_path, monkeypatch, mode, orientation, resize):
    x, y = np.meshgrid(np.arange(311), np.arange(200))
    picture = Image.fromarray(np.stack([x * 255 // 310, y * 255 // 199, (x + y) // 2], -1).astype(np.uint8))
    if mode in ("I;16", "F"):
        grey = np.asarray(picture.convert("L"))
        picture = Image.fromarray(grey * np.uint16(257) if mode == "I;16" else (grey / 255).astype(np.float32))
    elif mode == "1":
        picture = picture.convert("L").point(lambda v: 255 * (v > 99)).convert("1")
    else:
        picture = picture.convert("RGB").quantize(64) if mode == "P" else picture.convert(mode)
    if mode in ("RGBA", "LA"):
        picture.putalpha(Image.fromarray((x * 255 // 310).astype(np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / ("x.tif" if mode in ("F", "CMYK") else "x.png")
    picture.save(path, exif=exif)
    spec = InputSpec(16, 16, 3, (0.5,) * 3, (0.5,) * 3, resize)
    whole = read_pixels(path, spec).astype(int)
    monkeypatch.setattr("mignon.data.pictures.TILE", 64)
    assert np.abs(read_pixels(path, spec) - whole).max() <= (40 if mode == "1" else 6)


def test_what_takes_too_much_memory_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.new("RGB", (100, 100)).save(tmp_path / "x.webp")
    monkeypatch.setattr("mignon.data.pictures.MAX_MEMORY", 100 * 100 * 4 * 4 - 1)
    with pytest.raises(DataError, match=r"too large \(100 x 100 pixels"):
        read_pixels(tmp_path / "x.webp", SPEC)
    monkeypatch.setattr("mignon.data.pictures.MAX_MEMORY", 100 * 100 * 4 * 4)
    read_pixels(tmp_path / "x.webp", SPEC)


def test_a_file_of_gigabytes_is_never_read(tmp_path):
    make_pictures(tmp_path, {"a": 60, "b": 60})
    with (tmp_path / "a" / "sparse.jpg").open("wb") as file:
        file.truncate(3 << 30)
    card = open_images(str(tmp_path), SPEC).card
    assert card["bad"] == [["a/sparse.jpg", "too large (3,221,225,472 bytes, over 256 million)"]]


def test_large_files_are_hashed_in_blocks_to_the_same_hash(tmp_path, monkeypatch):
    root = str(make_pictures(tmp_path, {"a": 20, "b": 20}, seed=77))
    first = open_images(root, SPEC)
    monkeypatch.setattr("mignon.data.decode.IN_MEMORY", 100)
    (tmp_path / "b").rename(tmp_path / "c")
    (tmp_path / "c").rename(tmp_path / "b")
    (tmp_path / "a" / "0000.png").touch()
    assert open_images(root, SPEC).key == first.key


def test_only_formats_of_pictures_are_opened(tmp_path):
    """A PostScript file would start another program, whatever its name says."""
    Image.new("RGB", (8, 8)).save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.jpg")
    with pytest.raises(DataError, match="not a picture"):
        open_image(tmp_path / "x.jpg")
    assert "EPS" not in FORMATS and ".eps" not in SUFFIXES and ".pdf" not in SUFFIXES and ".mpg" not in SUFFIXES
    assert {".jpg", ".jfif", ".jpe", ".png", ".webp", ".tga", ".qoi", ".jp2", ".mpo", ".pbm"} <= SUFFIXES


@pytest.mark.parametrize("suffix", ["jfif", "mpo", "tga", "pcx", "jp2", "ico", "sgi"])
def test_pictures_of_every_suffix_are_read(tmp_path, suffix):
    make_pictures(tmp_path, {"a": 20, "b": 20})
    for path in (tmp_path / "a").iterdir():
        Image.open(path).save(path.with_suffix(f".{suffix}"))
        path.unlink()
    assert open_images(str(tmp_path), SPEC).card["per_class"]["a"]["train"] == 16


def test_heic_pictures_are_read_with_the_extra(tmp_path):
    pytest.importorskip("pillow_heif")
    Image.new("RGB", (32, 32), (200, 40, 60)).save(tmp_path / "x.heic")
    assert np.abs(read_pixels(tmp_path / "x.heic", SPEC).astype(int) - (200, 40, 60)).max() < 9


def test_no_lines_of_libraries_reach_the_screen(tmp_path):
    root = make_pictures(tmp_path / "p", {"a": 60, "b": 60})
    for i in range(3):
        exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40
        Image.new("L", (16, 16), i).save(root / "a" / f"exif{i}.jpg", exif=exif)
    code = "import sys; from mignon.cli.start import run; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "data", root], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "Warning" not in done.stderr and ".py" not in done.stderr
    assert "123 images of 2 classes" in done.stdout and "0 files cannot be decoded" in done.stdout


def test_predict_takes_a_folder_with_any_suffix_and_leaves_pipes(tmp_path, tiny_classifier):
    import os

    from mignon.checkpoint import save_safetensors

    save_safetensors(tiny_classifier, tmp_path / "m.safetensors")
    make_pictures(tmp_path, {"p": 2})
    (tmp_path / "p" / "0000.png").rename(tmp_path / "p" / "0000.apng")
    os.mkfifo(tmp_path / "p" / "pipe.jpg")
    assert len(predict(tmp_path / "m.safetensors", [tmp_path / "p"])) == 2
