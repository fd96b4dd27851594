"""More of what a new user gets wrong: the second line helps, the exit code is right, nothing on the disk changes."""

import io
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import make_pictures

from mignon.cli.start import run

MIGNON = Path(sys.executable).with_name("mignon")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a trained and a compressed run, pictures, and files with something wrong with them."""
    root = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.StringIO())
        patch.setattr(sys, "stderr", io.StringIO())
        train = ["train", "digits-cnn", "--data", "digits", "--epochs", "1", "--out", f"{root}/trained"]
        assert run(train) == 0
        compress = ["compress", f"{root}/trained", "--data", "digits", "quant=w4a8", "code=range"]
        assert run([*compress, "--out", f"{root}/small"]) == 0
    make_pictures(root / "good", {"cat": 12, "dog": 12})
    make_pictures(root / "onlyval" / "val", {"cat": 12, "dog": 12})
    for name in ("cat", "dog"):
        (root / "corrupt" / name).mkdir(parents=True)
        for i in range(12):
            (root / "corrupt" / name / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(i))
    (root / "empty").mkdir()
    (root / "foreign").mkdir()
    mgn = (root / "small" / "model.mgn").read_bytes()
    weights = (root / "trained" / "model.safetensors").read_bytes()
    files = {
        "notes.txt": b"just some words, no network\n", "changed.mgn": mgn[:200] + bytes([mgn[200] ^ 1]) + mgn[201:],
        "text.mgn": b"hello " * 20, "pickle.mgn": pickle.dumps({"weight": [1.0] * 20}), "none.safetensors": b"",
        "head.safetensors": weights[:40], "half.safetensors": weights[: len(weights) // 2],
        "foreign/letter.txt": b"dear aunt",
    }  # fmt: skip
    for name, content in files.items():
        (root / name).write_bytes(content)
    return root


# (command with {w} for the folder above, exit code, words of the first line, words of the second line)
CASES = [
    # -- folders of images
    ("build {w}/nowhere", 2, "nowhere", "one folder of images for each class"),
    ("train digits-cnn --data digit", 2, "'digit'", "digits"),
    ("build {w}/notes.txt", 2, "notes.txt", "give a folder"),
    ("data {w}/onlyval", 2, "one class only (val)", "at least one other class"),
    ("data {w}/corrupt", 2, "none of the images", "open elsewhere"),
    ("data {w}/corrupt --on-bad skip", 2, "none of the images", "open elsewhere"),
    ("data {w}/good --image 5000", 2, "--image 5000", "4 to 1024"),
    # -- words of the command line
    ("trian digits-cnn", 2, '"train"', "mignon --help"),
    ("train digits-cnn --data digits --epoch 3", 2, "--epochs", "mignon train --help"),
    ("train digits-cnn --data", 2, "--data", "mignon train --help"),
    ("train digits-cnn resnet20-cifar --data digits", 2, "resnet20-cifar", "mignon train --help"),
    ("train digits-cnn --data digits --seed 1.5", 2, "'1.5' is not a whole number", "mignon train --help"),
    ("train digits-cnn --data digits --seed -1", 2, "--seed -1", "--seed 0"),
    ("data digits --seed 99999999999999999999", 2, "--seed 9999", "--seed 0"),
    ("build digits --epochs 1.5", 2, "'1.5' is not a whole number", "mignon build --help"),
    ("build digits --epochs 0", 2, "--epochs 0", "--epochs 1"),
    ("build digits --max-kib small", 2, "small", "mignon build --help"),
    ("train digits-cnn --data digits --epochs 100000", 2, "--epochs 100000", "--epochs 30"),
    ("train digits-cnn --data digits --lr nan", 2, "--lr nan", "--lr 0.2"),
    ("train digits-cnn --data digits --batch 0", 2, "--batch 0", "--batch 128"),
    ("train resnet20 --data digits", 2, "'resnet20'", "did you mean 'resnet20-cifar'"),
    ("train resnet20-cifar --data digits --width 2", 2, "'width'", "settings: shortcut"),
    ("train mobilenetv1 --data digits --image 3", 2, "--image 3", "4 to 1024"),
    ("compress {w}/trained --data digits --device tpu quant=w4", 2, "'tpu'", "--device cpu"),
    # -- steps
    ("compress {w}/trained --data digits quan=w4", 2, "'quan'", "did you mean 'quant'"),
    ("compress {w}/trained --data digits =w4", 2, "'=w4'", "quant=w8a8"),
    ("compress {w}/trained --data digits prune", 2, "share", "prune=0.8"),
    ("compress {w}/trained --data digits prune=lots", 2, "'lots'", "0.5"),
    ("compress {w}/trained --data digits prune=nan", 2, "'nan'", "0.5"),
    ("compress {w}/trained --data digits quant=8", 2, "quant=8", "quant=w8a8"),
    ("compress {w}/trained --data digits tune=1.5", 2, "'1.5'", "5"),
    ("compress {w}/trained --data digits tune=1,lr=0", 2, "lr=0", "lr=0.02"),
    ("compress {w}/trained --data digits tune=5,batches=9", 2, "'batches'", "did you mean 'batch'"),
    ("compress {w}/trained --data digits tune=5,fast", 2, "'fast'", "key=value"),
    ("compress {w}/trained --data digits tune=5,lr=0.1,lr=0.2", 2, "lr is given twice", "once"),
    ("compress {w}/trained --data digits quant=w8 quant=w4", 2, "quant cannot follow", "float file"),
    ("compress {w}/small --data digits quant=w4", 2, "quant cannot follow", "float file"),
    ("compress {w}/small --data digits prune=0.5", 2, "prune cannot follow", "before quant"),
    # -- model files
    ("show {w}/changed.mgn", 2, "checksum", "get the file again"),
    ("predict {w}/text.mgn {w}/good", 2, "does not begin like one", "get the file again"),
    ("show {w}/pickle.mgn", 2, "does not begin like one", "get the file again"),
    ("show {w}/none.safetensors", 2, "none.safetensors", "get the file again"),
    ("show {w}/head.safetensors", 2, "head.safetensors", "get the file again"),
    ("show {w}/half.safetensors", 2, "half.safetensors", "get the file again"),
    ("train digits-cnn --data digits --from {w}/notes.txt", 2, "notes.txt", ".safetensors"),
    ("train resnet20-cifar --data digits --from {w}/trained", 2, "digits-cnn", "--from"),
    ("compress {w}/trained --data {w}/good quant=w4", 2, "10 classes (0, 1", "mignon train"),
    ("eval {w}/small --data {w}/good", 2, "the images have 2 (cat, dog", "mignon train"),
    ("predict {w}/small {w}/empty", 2, "no images in", ".jpg"),
    ("predict {w}/good {w}/good/cat/0000.png", 2, "there is no run", "mignon ls runs"),
    ("show resnet20-cifar --channels 2", 2, "2 input channels", "--channels 1"),
    # -- run folders
    ("train digits-cnn --data digits --out {w}/small", 2, "another run (compress", "mignon rm"),
    ("data digits --out {w}/foreign", 2, "foreign is there already", "--out"),
    ("data digits --out {w}/notes.txt/run", 1, "not a directory", "check the path"),
    ("report {w}/small nothing", 2, "'nothing'", "mignon ls runs"),
    ("rm {w}/small nothing", 2, "'nothing'", "mignon ls runs"),
    ("rm {w}", 2, "there is no run", "mignon ls runs"),
    ("rm {w}/foreign", 2, "there is no run", "mignon ls runs"),
    ("train --resume {w}/small", 2, "a run of compress", "mignon compress"),
    ("train --resume {w}/foreign", 2, "there is no run", "mignon ls runs"),
]


def check(code, out, err, expected, what, instead):
    lines = err.splitlines()
    assert len(lines) == 2 and lines[0].startswith("mignon: "), err
    assert "Traceback" not in err and "should not happen" not in err
    assert what in lines[0] and instead in lines[1] and max(map(len, lines)) < 400, err
    assert (code, out) == (expected, ""), err


def everything(folder):
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*")}


@pytest.mark.parametrize(("line", "code", "what", "instead"), CASES, ids=[case[0] for case in CASES])
def test_two_lines_and_nothing_on_the_disk_changes(line, code, what, instead, world, capsys, monkeypatch):
    monkeypatch.setenv("MIGNON_RUNS", str(world / "runs"))
    before = everything(world)
    got = run([word.format(w=world) for word in line.split()])
    check(got, *capsys.readouterr(), code, what, instead)
    assert everything(world) == before, "a wrong request left, changed or removed something"


@pytest.mark.parametrize("number", [0, 7, 24])
def test_the_same_from_a_shell(number, world):
    line, code, what, instead = CASES[number]
    done = subprocess.run([MIGNON, *line.format(w=world).split()], capture_output=True, text=True, timeout=120)
    check(done.returncode, done.stdout, done.stderr, code, what, instead)


def test_a_run_named_twice_is_removed_once(world, capsys, tmp_path):
    shutil.copytree(world / "small", tmp_path / "run")
    assert run(["rm", str(tmp_path / "run"), str(tmp_path / "run")]) == 0
    assert not (tmp_path / "run").exists() and capsys.readouterr().out.count("removed") == 1


def test_ctrl_c_in_the_middle_of_the_training_gets_one_line(capsys, monkeypatch, tmp_path):
    def pressed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("mignon.training.loop.validate", pressed)
    assert run(["train", "digits-cnn", "--data", "digits", "--epochs", "1", "--out", str(tmp_path / "run")]) == 130
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("mignon: interrupted") and not any("Traceback" in line for line in lines)
