"""Wrong input as a new user would type it: one line what is wrong, one what to type instead, the right exit code."""

import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers import make_pictures
from PIL import Image
from safetensors.numpy import save_file

from mignon.cli.start import run


def bomb(path: Path) -> None:
    """A PNG of a few bytes that says it has 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
    path.write_bytes(data)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a trained run and everything that can be wrong."""
    root = tmp_path_factory.mktemp("wrong")
    assert run(["train", "digits-cnn", "--data", "digits", "--epochs", "1", "--out", str(root / "run")]) == 0
    make_pictures(root / "good", {"cat": 20, "dog": 20})
    make_pictures(root / "one", {"cat": 20})
    make_pictures(root / "tiny", {"cat": 2, "dog": 2})
    (root / "empty").mkdir()
    (root / "loose").mkdir()
    Image.new("RGB", (8, 8)).save(root / "loose" / "a.png")
    make_pictures(root / "text", {"cat": 20, "dog": 20})
    (root / "text" / "cat" / "note.jpg").write_text("not a picture")
    make_pictures(root / "allbad", {"cat": 1, "dog": 1})
    for picture in (root / "allbad").rglob("*.png"):
        picture.write_bytes(b"no")
    make_pictures(root / "large", {"cat": 20, "dog": 20})
    bomb(root / "large" / "cat" / "huge.png")
    make_pictures(root / "missing" / "train", {"cat": 20, "dog": 20})
    make_pictures(root / "missing" / "part2", {"cat": 20})
    make_pictures(root / "noval" / "val", {"cat": 20, "dog": 20})
    make_pictures(root / "noval" / "test", {"cat": 20, "dog": 20})
    (root / "notes.txt").write_text("hello")
    (root / "empty.mgn").write_bytes(b"")
    (root / "cut.mgn").write_bytes((root / "run" / "model.mgn").read_bytes()[:500])
    (root / "cut.safetensors").write_bytes((root / "run" / "model.safetensors").read_bytes()[:500])
    (root / "pickle.safetensors").write_bytes(pickle.dumps({"a": 1}))
    save_file({"a": np.zeros(3)}, root / "plain.safetensors")
    (root / "foreign").mkdir()
    (root / "foreign" / "thesis.doc").write_text("precious")
    return root


CASES = [
    ("build nowhere", "no folder 'nowhere'"),
    ("build {empty}", "no images"),
    ("build {loose}", "no class folders"),
    ("build {one}", "one class"),
    ("build {tiny}", "too few"),
    ("build {text}", "note.jpg"),
    ("build {text} --on-bad fail", "note.jpg"),
    ("build {large}", "huge.png: too large"),
    ("build {allbad}", "can be opened"),
    ("build {missing}", "is it a split?"),
    ("build {noval}", "no train folder"),
    ("build {good} --on-bad maybe", "--on-bad maybe"),
    ("build {good} --max-kib 0", "--max-kib 0"),
    ("build {good} --max-drop -5", "--max-drop -5"),
    ("build {good} --minutes -1", "--minutes -1"),
    ("build {good} --image 1", "--image 1"),
    ("build {good} --width 0 --model mobilenetv1", "width of 0"),
    ("build {good} --model resnet2", "'resnet2'"),
    ("build digits --from {run} --model mobilenetv1", "mobilenetv1"),
    ("train", "no images are given"),
    ("train resnet99 --data digits", "'resnet99'"),
    ("train digits-cnn --data digits --epochs 0", "--epochs 0"),
    ("train digits-cnn --data digits --lr -1", "-1"),
    ("train digits-cnn --data digits --batch 0", "batch 0"),
    ("train digits-cnn --data digits --seed x", "seed"),
    ("train digits-cnn --data digits --device tpu", "tpu"),
    ("train digits-cnn --data digits --epochs 1 --image 2", "--image 2"),
    ("train --resume nothing", "'nothing'"),
    ("train digits-cnn --data digits --epochs 2 --out {run}", "another run"),
    ("train digits-cnn --data digits --epochs 2 --out {foreign}", "no run of mignon"),
    ("train digits-cnn --data digits --epochs 2 --out {notes.txt}", "no run of mignon"),
    ("compress {run} --data digits", "no steps"),
    ("compress {run} quant=w8", "data"),
    ("compress {run} --data digits prun=0.5", "'prun'"),
    ("compress {run} --data digits prune=1.5", "prune=1.5"),
    ("compress {run} --data digits prune=0.5,scop=3", "'scop'"),
    ("compress {run} --data digits quant=w1a8", "w1a8"),
    ("compress {run} --data digits quant=w40", "w40"),
    ("compress {run} --data digits quant=w8 prune=0.5", "prune cannot follow quant"),
    ("compress {run} --data digits code=zip", "'zip'"),
    ("compress {run} --data digits tune=0", "epochs=0"),
    ("compress {run} --data {good} quant=w8", "classes"),
    ("compress {notes.txt} --data digits quant=w8", "no model file"),
    ("compress {empty.mgn} --data digits quant=w8", "0 bytes"),
    ("compress {cut.mgn} --data digits quant=w8", "checksum"),
    ("compress {cut.safetensors} --data digits quant=w8", "not a whole safetensors"),
    ("compress {pickle.safetensors} --data digits quant=w8", "not a whole safetensors"),
    ("compress {plain.safetensors} --data digits quant=w8", "which network"),
    ("compress nothing.mgn --data digits quant=w8", "nothing.mgn"),
    ("eval {run} --data digits --split foo", "'foo'"),
    ("eval {run} --data {one}", "one class"),
    ("predict {run}", "no images are given"),
    ("predict {run} nothing.jpg", "nothing.jpg"),
    ("predict {run} {notes.txt}", "notes.txt"),
    ("show nothing", "'nothing'"),
    ("show resnet20-cifar --classes 0", "--classes 0"),
    ("show mobilenetv1 --image 0", "--image 0"),
    ("show resnet20-cifar --as coo", "--as"),
    ("show resnet20-cifar --as zip", "'zip'"),
    ("ls things", "'things'"),
    ("rm nothing", "'nothing'"),
    ("rm {foreign}", "no run"),
    ("rm", "no run is named"),
    ("report nothing", "'nothing'"),
    ("report {run} --out page.pdf", ".html"),
    ("frobnicate", "frobnicate"),
    ("build {good} --frob 3", "--frob"),
    ("build", "folder"),
]


@pytest.mark.parametrize(("line", "word"), CASES, ids=[line for line, _ in CASES])
def test_wrong_input_gets_one_clear_line_and_what_to_type(place, capsys, line, word, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIGNON_RUNS", str(tmp_path / "runs"))
    names = {path.name: path for path in place.iterdir()}
    arguments = [str(names[a[1:-1]]) if a.startswith("{") else a for a in line.split()]
    code = run(arguments)
    shown = capsys.readouterr()
    said = [text for text in shown.err.splitlines() if not text.startswith(("run folder", "warning:"))]
    start = next((i for i, text in enumerate(said) if text.startswith("mignon: ")), None)
    assert code == 2, shown.err
    assert start is not None and len(said) == start + 2, shown.err
    assert word in said[start], shown.err
    assert said[start + 1].strip()
    assert shown.out == "" and "Traceback" not in shown.err and "should not happen" not in shown.err


def test_nothing_that_was_there_is_lost(place):
    assert (place / "foreign" / "thesis.doc").read_text() == "precious"
    assert (place / "run" / "model.mgn").exists() and (place / "notes.txt").read_text() == "hello"


def test_bad_files_are_left_out_on_request_and_counted(place, capsys):
    import json

    assert run(["data", str(place / "text"), "--on-bad", "skip", "--out", str(place / "card"), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert [name for name, _ in card["bad"]] == ["cat/note.jpg"] and card["images"] == 40


def test_ctrl_c_is_one_line_and_130(monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("mignon.jobs.demo.demo", interrupted)
    assert run(["demo"]) == 130
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_unforeseen_error_shows_no_traceback(monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("mignon.jobs.demo.demo", broken)
    assert run(["demo"]) == 1
    shown = capsys.readouterr().err
    assert "ZeroDivisionError" in shown and "Traceback" not in shown and "--debug" in shown
    with pytest.raises(ZeroDivisionError):
        run(["demo", "--debug"])
