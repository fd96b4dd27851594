"""A recipe that was interrupted goes on at its step, and inside `tune` at its epoch, to the same bytes."""

import json
import signal
import sys
from pathlib import Path

import pytest

import mignon
from mignon.errors import RecipeError
from mignon.progress import Quiet
from mignon.registry import STEPS
from mignon.steps import parse_recipe, parse_step

SOURCE = str(Path(mignon.__file__).parent)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "run"
    mignon.train("digits-cnn", data="digits", epochs=2, out=out)
    return out / "model.safetensors"


class Calls:
    """Counts the calls of functions of mignon while a step works, and presses Ctrl-C at one of them."""

    def __init__(self, monkeypatch, step, at=None):
        self.count, self.at = 0, at
        apply = type(step).apply

        def watched(this, *args):
            sys.setprofile(self.look if this == step else None)
            try:
                return apply(this, *args)
            finally:
                sys.setprofile(None)

        monkeypatch.setattr(type(step), "apply", watched)

    def look(self, frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(SOURCE) and code.co_name != "<module>":
            self.count += 1
            if self.count == self.at:
                signal.raise_signal(signal.SIGINT)


def first_step_for(text):
    for first in ("prune=0.3", "code=huffman"):
        try:
            parse_recipe([first, text])
        except RecipeError:
            continue
        return first
    raise AssertionError(f"{text} follows nothing")


def kept(run):
    return {path.name: path.stat().st_mtime_ns for path in (run / "steps").glob("*.safetensors")}


def computed(run):
    return [line.split(" step ")[1].rsplit(": ", 1)[0] for line in (run / "log.txt").read_text().splitlines()]


@pytest.mark.parametrize("name", sorted(STEPS))
def test_the_step_that_was_interrupted_is_the_first_to_be_computed_again(model, name, tmp_path, monkeypatch):
    text = STEPS[name].examples[-1]
    recipe = [first_step_for(text), text, "code=range"]
    with monkeypatch.context() as patch:
        calls = Calls(patch, parse_step(text))
        whole = mignon.compress(model, *recipe, data="digits", out=tmp_path / "whole")
    steps = [row["step"] for row in whole.rows[1:]]
    out = tmp_path / "cut"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Calls(patch, parse_step(text), at=(calls.count + 1) // 2)
        mignon.compress(model, *recipe, data="digits", out=out)
    before = kept(out)
    assert len(before) == 1 and computed(out) == steps[:1]
    result = mignon.compress(model, *recipe, data="digits", out=out)
    after = kept(out)
    assert len(after) == 3 and before.items() <= after.items()
    assert computed(out) == steps
    assert Path(result.file).read_bytes() == Path(whole.file).read_bytes()


class AtEpoch(Quiet):
    """Presses Ctrl-C in the middle of an epoch; remembers what was said."""

    def __init__(self, label=None):
        super().__init__()
        self.label, self.said = label, []

    def say(self, text):
        self.said.append(text)

    def track(self, items, total, label):
        for number, item in enumerate(items):
            if label == self.label and number == total // 2:
                signal.raise_signal(signal.SIGINT)
            yield item


def test_tune_goes_on_at_its_epoch_and_leaves_its_history_only(model, tmp_path):
    recipe = ["prune=0.5", "tune=3,share=0.3,batch=32", "code=range"]
    whole = mignon.compress(model, *recipe, data="digits", out=tmp_path / "whole")
    out = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        mignon.compress(model, *recipe, data="digits", out=out, screen=AtEpoch("epoch 2/3"))
    assert len(list(out.glob("steps/*/checkpoint.safetensors"))) == 1
    screen = AtEpoch()
    result = mignon.compress(model, *recipe, data="digits", out=out, screen=screen)
    assert "continuing at epoch 2 of 3" in screen.said
    assert not any(line.startswith(("epoch 1/3", "step prune")) for line in screen.said)
    assert Path(result.file).read_bytes() == Path(whole.file).read_bytes()
    (left,) = [path for path in out.glob("steps/*/*") if path.is_file()]
    ours, theirs = (json.loads(path.read_bytes()) for path in (left, *tmp_path.glob("whole/steps/*/history.json")))
    assert [entry.pop("epoch") for entry in ours] == [1, 2, 3]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.pop("seconds") >= 0 <= other.pop("seconds")
        assert mine.items() <= other.items()


def test_what_a_kill_left_behind_a_finished_step_is_removed_when_the_command_is_repeated(model, tmp_path):
    out = tmp_path / "run"
    recipe = ["prune=0.5", "tune=1,share=0.1"]
    first = mignon.compress(model, *recipe, data="digits", out=out)
    (folder,) = [path for path in (out / "steps").iterdir() if path.is_dir()]
    (folder / "round-1").mkdir()
    for name in ("checkpoint.safetensors", "round-1/checkpoint.safetensors"):
        (folder / name).write_bytes(b"old")
    again = mignon.compress(model, *recipe, data="digits", out=out)
    assert again.rows == first.rows
    assert [path.name for path in folder.rglob("*")] == ["history.json"]
