"""`mignon probe`: one command from a folder to a table, a learning curve and a network with its linear head."""

import json

import pytest
from helpers import make_pictures

import mignon
from mignon.cli.start import run
from mignon.errors import ModelError


@pytest.fixture
def trunk(shared_data):
    return str(shared_data / "mobilenet-025-imagenet-trunk.safetensors")


def test_a_folder_is_probed_and_its_head_can_be_used(tmp_path, trunk, capsys):
    photos = make_pictures(tmp_path / "photos", {"dark": 40, "light": 40}, size=32)
    command = ["probe", str(photos), "--from", trunk, "--image", "32", "--out", str(tmp_path / "run"), "--json"]
    assert run(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["cuts"]) == 14 and sum(cut["best"] for cut in told["cuts"]) == 1
    assert told["judged"] == "8 validation images" and told["curve"][0]["images"] == 10
    (row,) = told["rows"]
    assert row["split"] == "test" and row["top1"] > 0.8
    assert run([word for word in command if word != "--json"]) == 0
    text = capsys.readouterr().out
    assert "cut=5" in text and "with 10 images a class" in text and "model.mgn" in text
    head = mignon.load(tmp_path / "run")
    assert head.classes == ("dark", "light")
    assert (
        mignon.compress(str(tmp_path / "run"), "quant=w8a8", data=photos, out=tmp_path / "c").rows[0]["top1"]
        == row["top1"]
    )


def test_weights_that_are_not_there_are_named(tmp_path):
    photos = make_pictures(tmp_path / "photos", {"a": 12, "b": 12}, size=32)
    with pytest.raises(ModelError, match="nowhere"):
        mignon.probe(photos, start="nowhere.safetensors")
