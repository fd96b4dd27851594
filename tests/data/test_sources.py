"""The contract of sources, checked on each by its own example; who is surest; settings; a toy from outside."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mignon.data.cache import open_images
from mignon.data.examples import paint
from mignon.data.imageset import SPLITS
from mignon.data.look import look, neutral_spec
from mignon.data.pictures import picture
from mignon.data.sources import Listing, scan
from mignon.errors import DataError
from mignon.files import digest
from mignon.registry import SOURCES


@dataclass(frozen=True)
class Zip:
    """Class folders inside a zip archive: what somebody else's package may add."""

    classes: str = "folders"

    summary = "a .zip with a folder of images for each class"

    def sure(self, place):
        return 0.9 if Path(place).suffix == ".zip" else 0.0

    def scan(self, place):
        with zipfile.ZipFile(place) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        labels = [name.split("/")[0] for name in names]
        classes = tuple(sorted(set(labels)))

        def opened(i):
            with zipfile.ZipFile(place) as archive:
                return io.BytesIO(archive.read(names[i]))

        numbers = np.array([classes.index(label) for label in labels], np.int64)
        return Listing("zip", classes, names, numbers, [None] * len(names), opened, digest(place, names))

    @classmethod
    def example(cls, folder):
        for i in range(24):
            paint(folder / f"{i % 2}-{i}.png", i)
        with zipfile.ZipFile(folder / "x.zip", "w") as archive:
            for path in folder.glob("*.png"):
                archive.write(path, f"{path.name[0]}/{path.name}")
        return str(folder / "x.zip")


@pytest.fixture
def toy():
    SOURCES.register("toy-zip")(Zip)
    yield
    SOURCES.remove("toy-zip")


def test_every_source_keeps_the_contract(tmp_path, capsys, toy):
    for name in SOURCES:
        (tmp_path / name).mkdir()
        thing = SOURCES[name].example(tmp_path / name)
        source = SOURCES[name]()
        assert source.summary and 0 < source.sure(thing) <= 1 and source.sure("no such place") == 0
        assert source.sure(str(tmp_path / "none" / "x")) == 0
        listing = scan(thing)
        assert source.scan(thing).stamp == listing.stamp == scan(f"{name}:{thing}").stamp, f"another source took {name}"
        count = len(listing.names)
        assert len(listing.labels) == len(listing.given) == count > 0 and len(set(listing.names)) == count
        assert set(listing.labels.tolist()) == set(range(len(listing.classes))) and listing.labels.dtype == np.int64
        assert set(listing.given) <= {*SPLITS, None}
        with picture(listing.open(count - 1)) as image:
            assert image.size[0] > 0
        assert look(listing).side > 0
        images = open_images(thing, neutral_spec(8, 3))
        assert sum(map(len, images.splits)) == count and images.card["source"] == listing.title
        with pytest.raises(DataError, match=name):
            scan(f"{thing},nothing=1")
    with capsys.disabled():
        print(f"\n{len(list(SOURCES))} sources keep the contract: {', '.join(SOURCES)}")


def test_the_surest_wins_and_a_tie_is_named(tmp_path, toy):
    place = Zip.example(tmp_path)
    other = type("Other", (Zip,), {})
    SOURCES.register("toy-other")(other)
    try:
        with pytest.raises(DataError, match="toy-other or toy-zip") as caught:
            scan(place)
        assert caught.value.instead == f"say which: toy-other:{place}"
        assert scan(f"toy-zip:{place}").title == "zip"
    finally:
        SOURCES.remove("toy-other")


def test_a_folder_with_commas_and_colons_is_a_place(tmp_path):
    odd = tmp_path / "digits:a,b=c"
    SOURCES["folder"].example(odd)
    assert scan(str(odd)).title == "digits:a,b=c"
