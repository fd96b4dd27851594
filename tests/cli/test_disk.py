"""A full or read-only disk: one line, what to do, exit 1, nothing half-written. Needs root, for small file systems."""

import gc
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench_kills import broken_files

from mignon.cli.start import run
from mignon.files import cache_folder

MIGNON = Path(sys.executable).with_name("mignon")


@pytest.fixture
def disk(tmp_path):
    """`disk(size)` mounts a fresh tmpfs of that size; `disk(None)` makes the last one read-only."""
    mounted = []

    def mount(*arguments):
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount a small file system here (root is needed): {done.stderr.strip()}")

    def make(size):
        if size is None:
            mount("-o", "remount,ro", str(mounted[-1]))
            return mounted[-1]
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
        mounted.append(folder)
        return folder

    yield make
    gc.collect()  # what an error kept open
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.StringIO())
        patch.setattr(sys, "stderr", io.StringIO())
        assert run(["train", "digits-cnn", "--data", "digits", "--epochs", "1", "--out", str(out)]) == 0
    return out


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def check(code, shown, word, reason):
    lines = shown.err.splitlines()
    assert code == 1 and shown.out == "", shown.err
    assert "Traceback" not in shown.err and "should not happen" not in shown.err, shown.err
    assert lines[-2].startswith("mignon: ") and word in lines[-2] and reason in lines[-2], shown.err
    assert "--out" in lines[-1] or "MIGNON_CACHE" in lines[-1], shown.err
    assert sum(line.startswith("mignon: ") for line in lines) == 1


def check_whole(folder):
    """Everything with a final name is whole, and nothing is left of what did not fit."""
    assert list(broken_files(folder)) == []
    assert not [p for p in folder.rglob("*") if p.name.endswith(".part") or ".part-" in p.name]


@pytest.mark.parametrize("size", ["4k", "12k", "64k", "140k", "200k"])
def test_no_room_for_the_data_cache(size, disk, trained, monkeypatch, capsys, tmp_path):
    cache = disk(size)
    monkeypatch.setenv("MIGNON_CACHE", str(cache))
    out = tmp_path / "run"
    command = ["compress", str(trained), "--data", "digits", "quant=w4a8", "--out", str(out)]
    code = run(command)
    shown = capsys.readouterr()
    check(code, shown, str(cache), "no space left")
    check_whole(cache)
    assert not list(cache.glob("images/*")) and not out.exists()
    monkeypatch.setenv("MIGNON_CACHE", str(tmp_path / "cache"))
    assert run(command) == 0
    capsys.readouterr()


@pytest.mark.parametrize("size", ["4k", "24k", "64k", "100k", "160k", "220k"])
def test_no_room_for_the_run(size, disk, trained, capsys):
    folder = disk(size)
    out = folder / "run"
    command = ["compress", str(trained), "--data", "digits", "prune=0.5", "tune=1", "quant=w4a8", "code=range"]
    code = run([*command, "--out", str(out)])
    check(code, capsys.readouterr(), str(folder), "no space left")
    check_whole(folder)
    assert "model.mgn" not in files(folder)
    subprocess.run(["mount", "-o", "remount,size=2m", str(folder)], check=True)
    assert run([*command, "--out", str(out)]) == 0  # goes on when there is room
    capsys.readouterr()
    assert (out / "model.mgn").exists()
    check_whole(out)


def test_a_full_disk_keeps_the_finished_run(disk, trained, capsys):
    folder = disk("400k")
    shutil.copytree(trained, folder / "run")
    (folder / "filler").write_bytes(b"")
    with (folder / "filler").open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    before = {name: (folder / "run" / name).read_bytes() for name in files(folder / "run")}
    command = ["train", "digits-cnn", "--data", "digits", "--epochs", "1", "--out", str(folder / "run")]
    check(run(command), capsys.readouterr(), str(folder), "no space left")
    assert before == {name: (folder / "run" / name).read_bytes() for name in files(folder / "run")}


def test_no_room_for_the_report(disk, trained, capsys):
    folder = disk("8k")
    check(run(["report", str(trained), "--out", str(folder / "page.html")]), capsys.readouterr(), "page", "no space")
    assert files(folder) == []


@pytest.mark.parametrize(
    "command",
    [
        ["train", "digits-cnn", "--data", "digits", "--epochs", "1", "--out", "{folder}/new"],
        ["train", "digits-cnn", "--data", "digits", "--epochs", "1", "--out", "{folder}/run"],
        ["train", "--resume", "{folder}/run"],
        ["compress", "{folder}/run", "--data", "digits", "quant=w4a8", "--out", "{folder}/small"],
        ["report", "{folder}/run"],
        ["data", "digits", "--out", "{folder}/card"],
        ["build", "digits", "--epochs", "1", "--out", "{folder}/built"],
        ["rm", "{folder}/run"],
    ],
    ids=" ".join,
)
def test_a_read_only_folder(command, disk, trained, capsys):
    folder = disk("1m")
    shutil.copytree(trained, folder / "run")
    disk(None)
    before = files(folder)
    code = run([word.format(folder=folder) for word in command])
    check(code, capsys.readouterr(), str(folder), "read-only")
    assert files(folder) == before


def test_reading_from_a_read_only_folder_works(disk, trained, capsys):
    folder = disk("1m")
    shutil.copytree(trained, folder / "run")
    disk(None)
    assert run(["eval", str(folder / "run"), "--data", "digits"]) == 0
    assert run(["show", str(folder / "run" / "model.mgn"), "--bytes"]) == 0
    capsys.readouterr()


def test_a_read_only_data_cache(disk, trained, monkeypatch, capsys):
    cache = disk("1m")
    disk(None)
    monkeypatch.setenv("MIGNON_CACHE", str(cache))
    check(run(["eval", str(trained), "--data", "digits"]), capsys.readouterr(), str(cache), "read-only")


CODING = """
import sys, numpy, mignon.coding
from mignon.coding import Stream, decode, encode
values = numpy.arange(-50, 50, dtype=numpy.int32)
assert (decode(encode([Stream(values)], "range"))[0].values == values).all()
from mignon.coding import integers
print("compiled", mignon.coding.__file__)
"""


@pytest.mark.parametrize("kind", ["read-only", "full"])
def test_the_coders_work_where_nothing_can_be_kept(kind, disk, tmp_path):
    """The package and the cache folder cannot be written, or are full: numba compiles without its cache."""
    import mignon

    folder = disk("8m")
    package = folder / "mignon"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(mignon.__file__).parent, package, ignore=ignore)
    (folder / "cache").mkdir()
    (folder / "home").mkdir()
    if kind == "read-only":
        disk(None)
    else:
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        (folder / "filler").write_bytes(bytes((8 << 20) - size - (1 << 20)))
    env = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    env |= {"MIGNON_CACHE": str(folder / "cache"), "HOME": str(folder / "home"), "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", CODING], env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1].startswith(str(folder))


def test_predict_needs_no_cache_folder(disk, trained, tmp_path):
    from PIL import Image

    cache = disk("1m")
    disk(None)
    Image.new("L", (8, 8), 128).save(tmp_path / "grey.png")
    env = {**os.environ, "MIGNON_CACHE": str(cache), "NUMBA_CACHE_DIR": str(cache_folder() / "numba")}
    command = [MIGNON, "predict", str(trained), str(tmp_path / "grey.png")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "grey.png" in done.stdout, done.stderr
