"""Files are whole or not there; what the disk refuses is one line; keys do not depend on the order of a dict."""

import errno
import json
import os
from pathlib import Path

import pytest

from mignon import files
from mignon.errors import MachineError
from mignon.files import cache_folder, digest, machine_error, machine_errors, read_json, write_atomic, write_json


def test_a_file_is_written_with_its_folders_and_replaced_whole(tmp_path):
    path = tmp_path / "a" / "b" / "model.mgn"
    write_atomic(path, b"one")
    write_atomic(path, b"two, longer")
    assert path.read_bytes() == b"two, longer" and os.listdir(path.parent) == ["model.mgn"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_the_old_file_stays_when_writing_fails(tmp_path, monkeypatch, moment, error):
    path = tmp_path / "model.mgn"
    write_atomic(path, b"old")

    def fail(*arguments):
        raise error

    monkeypatch.setattr(*((os, "fsync") if moment == "fsync" else (Path, "replace")), fail)
    with pytest.raises((MachineError, KeyboardInterrupt)):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["model.mgn"]


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    done, replace, fsync = [], Path.replace, os.fsync
    monkeypatch.setattr(files.os, "fsync", lambda f: (done.append("sync"), fsync(f)))
    monkeypatch.setattr(Path, "replace", lambda *a: (done.append("rename"), replace(*a))[1])
    write_atomic(tmp_path / "x", b"x")
    assert done == ["sync", "rename", "sync"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left"),
        (OSError("1078 requested and 512 written"), "no space left"),
        (OSError(errno.EROFS, "Read-only file system"), "cannot write here: read-only"),
        (PermissionError(errno.EACCES, "Permission denied"), "cannot write here: permission"),
        (IsADirectoryError(errno.EISDIR, "Is a directory"), "cannot use here: is a directory"),
    ],
)
def test_what_the_disk_refuses_is_said_in_one_line_with_a_way_out(error, words):
    said = machine_error(error, "here")
    assert words in said.what and said.instead and "\n" not in said.what + said.instead and said.exit_code == 1
    with pytest.raises(MachineError), machine_errors(Path("here")):
        raise error


def test_a_folder_where_the_file_should_be_is_an_error_of_the_machine(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(MachineError):
        write_atomic(tmp_path / "x", b"x")
    assert os.listdir(tmp_path) == ["x"]


def test_json_comes_back_and_what_is_none_is_none(tmp_path):
    value = {"größe": [1, 2.5, None, True], "名": "x"}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value and "größe" in (tmp_path / "a.json").read_text(encoding="utf-8")
    (tmp_path / "half.json").write_text('{"a": [1, 2')
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for name in ("none.json", "half.json", "bytes.json", "a.json/inside"):
        assert read_json(tmp_path / name) is None


def test_a_digest_depends_on_content_and_on_nothing_else():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) and len(digest()) == 64
    different = [digest(*parts) for parts in ((1,), ("1",), (1.0,), (1, 2), ([1, 2],), (12,), (None,), (), ({"a": 1},))]
    assert len(set(different)) == len(different)
    assert digest("mignon", 1) == "bb586f93a7dd938d925d2c7581c9aeccc913bc2b4f81fc9b2bcafa3ad343a75d"


def test_the_cache_is_where_the_user_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv("MIGNON_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("MIGNON_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "mignon"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "mignon"


def test_json_stays_readable_by_other_programs(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1} and (tmp_path / "a.json").read_text()[-1] == "\n"
