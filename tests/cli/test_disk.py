"""A full disk and a read-only folder: one line, exit code 1, no half file."""

import os
import subprocess

import pytest
from kills import TRAIN, broken_files, environment, mignon


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 200 KiB; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def refused(command, **changes):
    done = subprocess.run(mignon(command), capture_output=True, text=True, env={**environment(), **changes})
    said = done.stderr.splitlines()
    start = next(i for i, text in enumerate(said) if text.startswith("mignon: "))
    assert done.returncode == 1 and done.stdout == "", done.stderr
    assert len(said) == start + 2 and "--out" in said[start + 1], done.stderr
    return said[start]


def test_a_full_disk_for_the_run_is_one_line(small_disk):
    (small_disk / "ballast").write_bytes(bytes(150_000))
    assert "no space left" in refused([*TRAIN, "--out", str(small_disk / "run")])
    assert broken_files(small_disk / "run") == []


def test_a_full_disk_for_the_cache_is_one_line(small_disk, tmp_path):
    numba = os.environ.get("NUMBA_CACHE_DIR") or str(tmp_path / "numba")
    line = refused([*TRAIN, "--out", str(tmp_path / "run")], MIGNON_CACHE=str(small_disk), NUMBA_CACHE_DIR=numba)
    assert "no space left" in line
    assert not list((small_disk / "images").glob("*[!t]/card.json"))


def test_a_read_only_output_folder_is_one_line(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "read-only" in refused([*TRAIN, "--out", str(small_disk / "run")])


def test_a_read_only_cache_is_one_line(small_disk, tmp_path):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    line = refused([*TRAIN, "--out", str(tmp_path / "run")], MIGNON_CACHE=str(small_disk / "cache"))
    assert "read-only" in line
