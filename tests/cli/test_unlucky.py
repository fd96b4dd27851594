"""Machines as they are: no home, no memory, no working folder, no stdout; what others may read follows the umask."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import mignon
from mignon.cli.start import run

MIGNON = shlex.quote(str(Path(sys.executable).with_name("mignon")))


def shell(command, **env):
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=200, env=os.environ | env)


def check(done, code, words):
    lines = done.stderr.strip().splitlines()
    assert done.returncode == code and len(lines) == 2 and words in lines[0], (done.returncode, done.stderr)
    assert "should not happen" not in done.stderr and "Traceback" not in done.stderr


def test_an_account_without_a_name_and_a_home(monkeypatch, capsys):
    for name in ("HOME", "MIGNON_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as it is for a number without a name
    assert run(["ls", "steps"]) in (0, 1) and run(["data", "digits"]) == 1
    said = capsys.readouterr().err
    assert "no home folder" in said and "MIGNON_CACHE" in said and "should not happen" not in said


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
     RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: not enough memory: you tried to allocate")],
    ids=["python", "torch", "torch on other systems"],
)  # fmt: skip
def test_no_memory_is_one_line_and_1(error, monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise error

    monkeypatch.setattr("mignon.jobs.demo.demo", broken)
    assert run(["demo"]) == 1
    assert capsys.readouterr().err.splitlines()[0] == "mignon: out of memory"


@pytest.mark.parametrize("kib", [300_000, 600_000, 1_000_000])
def test_a_limit_on_memory_is_kept_or_one_line_and_1(kib, tmp_path):
    done = shell(f"ulimit -v {kib}; {MIGNON} data digits --out {shlex.quote(str(tmp_path / 'card'))}")
    if done.returncode:
        check(done, 1, "out of memory")


def test_a_working_folder_that_is_gone(tmp_path):
    command = f"cd {shlex.quote(str(tmp_path))} && mkdir gone && cd gone && rmdir ../gone && {MIGNON}"
    check(shell(f"{command} data photos --out here"), 1, "the working folder is not there any more")


def test_a_closed_stdout_and_a_closed_pipe(tmp_path):
    done = shell(f"{MIGNON} data digits --out {shlex.quote(str(tmp_path / 'a'))} >&-")
    assert done.returncode == 0 and "run folder" not in done.stderr, done.stderr
    assert (tmp_path / "a" / "card.json").read_bytes()[:1] == b"{"
    done = shell(f"set -o pipefail; {MIGNON} ls steps --json | true")
    assert "Exception" not in done.stderr and "should not happen" not in done.stderr


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644)])
def test_files_of_a_run_follow_the_umask(mask, mode, tmp_path):
    before = os.umask(mask)
    try:
        mignon.train("digits-cnn", data="digits", epochs=1, out=tmp_path / "run")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {mode} and len(files) > 5
