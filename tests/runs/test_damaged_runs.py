"""A damaged run folder: what does not read is made again or named in one line, for every verb; rm takes only runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mignon
from mignon.cli.start import run
from mignon.runs.record import Record, plain, read_record, to_dict

COMPRESS = ["compress", "{m}", "--data", "digits", "prune=0.5", "tune=1,share=0.05", "quant=w4a8", "--out", "{r}"]
TRAIN = ["train", "digits-cnn", "--data", "digits", "--epochs", "1", "--out", "{r}"]
VERBS = {
    "train": [["train", "--resume", "{r}"], ["show", "{r}"], ["report", "{r}"], ["ls"], ["rm", "{r}"]],
    "compress": [["report", "{r}", "--analysis"], COMPRESS, ["ls", "--json"]],
}
FILES = {
    "train": ["run.json", "ledger.jsonl", "model.safetensors"],
    "compress": ["run.json", "ledger.jsonl", "steps/*/history.json", "steps/*.*", "flips.npz"],
}
BINARY = ("cut", "empty")  # what the other damages add nothing to
DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "null": lambda data: b"null",
    "list": lambda data: b"[]",
    "rows": lambda data: b'[{"epoch": "x"}]',
    "types": lambda data: b'{"key": "0", "verb": 3, "row": {"top1": "x"}, "bytes": 1, "settings": []}',
    "half": lambda data: data[:-1].replace(b'"status"', b'"verdict": [], "card": 3, "plan": "x", "status"') + b"\n",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    for name, command in (("train", TRAIN), ("compress", COMPRESS)):
        assert run([word.format(r=root / name, m=root / "train") for word in command]) == 0
    return root


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", VERBS)
def test_every_verb_takes_a_damaged_run_folder(kind, damage, whole, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MIGNON_RUNS", str(tmp_path))
    for pattern in FILES[kind]:
        if damage not in BINARY and not pattern.endswith(("json", "jsonl")):
            continue
        folder = tmp_path / "run"
        shutil.copytree(whole / kind, folder)
        found = list(folder.glob(pattern))
        assert found, pattern
        for path in found:
            path.write_bytes(DAMAGES[damage](path.read_bytes()))
        capsys.readouterr()
        for command in VERBS[kind]:
            code = run([word.format(r=folder, m=whole / "train") for word in command])
            said = capsys.readouterr()
            assert code in (0, 2) and "should not happen" not in said.err, (pattern, command, said.err)
            if pattern != "run.json":
                assert code == 0, (pattern, command, said.err)
        shutil.rmtree(folder, ignore_errors=True)


def test_one_bad_record_is_named_and_the_other_runs_are_listed(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MIGNON_RUNS", str(tmp_path))
    shutil.copytree(whole / "train", tmp_path / "good")
    for name, text in (("bad", "{"), ("odd", '{"verb": [], "key": 3}'), ("none", "null")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    assert run(["ls", "--json"]) == 0
    said = capsys.readouterr()
    assert [Path(entry["run"]).name for entry in json.loads(said.out)] == ["good"]
    assert all(f"{tmp_path / name}: its run.json does not read" in said.err for name in ("bad", "odd", "none"))


def test_rm_takes_only_what_a_run_has_made(whole, tmp_path, capsys):
    def refused(folder, word):
        assert run(["rm", str(folder)]) == 2 and word in capsys.readouterr().err
        assert folder.exists()

    mine = shutil.copytree(whole / "train", tmp_path / "mine")
    (mine / "thesis.doc").write_text("precious")
    refused(mine, "thesis.doc")
    (mine / "thesis.doc").unlink()
    (tmp_path / "link").symlink_to(mine)
    refused(tmp_path / "link", "is a link")
    other = tmp_path / "other"
    other.mkdir()
    (other / "run.json").write_text('{"verb": "train", "key": "1", "settings": {}}')
    refused(other, "not made by a run")
    assert run(["rm", str(mine)]) == 0 and not mine.exists()
    capsys.readouterr()


def test_a_record_reads_as_it_was_written(tmp_path):
    record = Record("train", "k", history=[{"loss": float("inf")}], classes=["a\udcff"], bytes=[["x", 3]])
    (tmp_path / "run.json").write_text(json.dumps(to_dict(record)))
    again = read_record(tmp_path / "run.json")
    assert again.history == [{"loss": None}] and again.classes == ["a\\udcff"] and again.bytes == [["x", 3]]
    assert plain({"a": (1.5, float("nan"))}) == {"a": [1.5, None]}


def test_weights_that_overflow_give_a_line_and_no_half_document(whole, tmp_path, capsys):
    from dataclasses import replace

    import torch

    from mignon.checkpoint import save_safetensors

    classifier = mignon.load(whole / "train").copy()
    with torch.no_grad():
        for module in classifier.weighted().values():
            module.weight.mul_(1e30)
    save_safetensors(replace(classifier), tmp_path / "huge.safetensors")
    for command in (["eval"], ["compress", "quant=w8a8", "--out", str(tmp_path / "run")]):
        verb, *rest = command
        assert run([verb, str(tmp_path / "huge.safetensors"), *rest, "--data", "digits", "--json"]) in (1, 2)
        said = capsys.readouterr()
        assert said.out == "" and "not finite" in said.err and "should not happen" not in said.err
    assert "NaN" not in "".join(path.read_text() for path in tmp_path.glob("run/*.jsonl"))
    assert np.isfinite(mignon.evaluate(whole / "train", data="digits").rows[0]["kl"])
