"""A request is the same from the command line, the Python function, the record of its run and its repeat line."""

import dataclasses
import inspect
import json
import math
import shlex
import typing
from pathlib import Path

import pytest
from helpers import make_pictures
from hypothesis import given
from hypothesis import strategies as st

import mignon
from mignon.cli.start import run
from mignon.cli.verbs import app
from mignon.errors import MignonError, RunError
from mignon.jobs.requests import REQUESTS, Build, Compress, Train, function_of

WORDS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=12)
MEMBERS = {
    "schedule": ["cosine", "linear"], "augment": ["auto", "none"], "balance": ["none", "weights"],
    "layers": ["all", "head", "last:2"], "optimizer": ["sgd", "muon"], "lr": ["0.1", "1e-3,0.1", "auto"],
}  # fmt: skip
PATHS = WORDS.map(lambda text: f"/nowhere/ a'$\n{text}")


def values_for(field, hint):
    """What a field may be."""
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind not in (type(None), ...)]
    notes = field.metadata
    if field.name in MEMBERS and kinds == [str]:
        return st.sampled_from(MEMBERS[field.name])
    if notes.get("words"):
        return st.lists(PATHS if notes.get("path") else WORDS.map("a{}".format), max_size=3).map(tuple)
    if kinds == [bool]:
        return st.booleans()
    if kinds == [int]:
        return st.integers(notes.get("low", 0), notes.get("high", 1 << 40))
    if kinds == [float]:
        low, high = notes.get("low", -1e3), notes.get("high", 1e3)
        return st.floats(low, high, exclude_min=bool(notes.get("above")), allow_subnormal=False)
    if notes.get("path"):
        return PATHS
    return WORDS.map("a{}".format) if notes.get("word") else WORDS


@st.composite
def requests(draw):
    request = draw(st.sampled_from(REQUESTS))
    hints = typing.get_type_hints(request)
    fields = {field.name: field for field in dataclasses.fields(request) if field.name != "resume"}
    needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    if "steps" in fields:
        needed.add("model")  # the first step would be taken for it
    names = [name for name in fields if name in needed or draw(st.booleans())]
    return request.read({name: draw(values_for(fields[name], hints[name])) for name in names})


def typed(words):
    """What the command line makes of words."""
    asked = []
    command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mignon.cli.verbs.function_of", lambda _: lambda request, screen: asked.append(request))
        patch.setattr("mignon.cli.verbs.SHOWN", dict.fromkeys((r.verb for r in REQUESTS), lambda *_: 0))
        command(*bound.args, **bound.kwargs)
    return asked[0]


@given(requests())
def test_the_repeat_line_of_every_verb_gives_the_same_request(request):
    words = shlex.split(request.line())
    assert words[:2] == ["mignon", request.verb]
    assert typed(words[1:]) == request


@given(requests())
def test_the_record_of_every_verb_gives_the_same_request(request):
    assert type(request).read(json.loads(json.dumps(request.record()))) == request


def test_only_what_was_given_and_is_not_usual_is_in_the_line():
    assert Build.of("digits", epochs=None, seed=0, minutes=10).line() == "mignon build digits"
    line = Train.of("digits-cnn", data="digits", half=False, on_bad="skip", device="cpu", lr=0.1 + 0.2).line()
    assert line == (
        "mignon train digits-cnn --lr 0.30000000000000004 --data digits --no-half --on-bad skip --device cpu"
    )
    assert Compress.of(None, data="digits", recipe="/a b.toml").line() == (
        "mignon compress --data digits --recipe '/a b.toml'"
    )


def test_paths_are_absolute_and_words_stay(tmp_path, monkeypatch):
    make_pictures(tmp_path / "photos", {"a": 2, "b": 2})
    (tmp_path / "digits").mkdir()
    (tmp_path / "model.mgn").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    photos = str(tmp_path / "photos")
    assert Build.of("photos").folder == photos
    assert Build.of("folder:photos").folder == f"folder:{photos}"
    assert Build.of("digits").folder == "digits" and Build.of("nowhere").folder == "nowhere"
    asked = Compress.of("model.mgn", "quant=w8a8", data="photos,a=1,b=2", out=Path("x"))
    assert asked.model == str(tmp_path / "model.mgn") and asked.out == str(tmp_path / "x")
    assert asked.data == f"{photos},a=1,b=2"
    assert Compress.of(asked.model, *asked.steps, data=asked.data, out=asked.out) == asked


def test_every_verb_is_a_function_with_the_fields_of_its_request(capsys):
    listed = {name for name in app if not name.startswith("-")}
    assert listed == {request.verb for request in REQUESTS}
    for request in REQUESTS:
        names = {field.name for field in dataclasses.fields(request)}
        assert set(inspect.signature(function_of(request)).parameters) == names | {"screen"}
        assert set(inspect.signature(app[request.verb].default_command).parameters) == names | {"json"}
        assert all(field.metadata["help"] for field in dataclasses.fields(request))
    with capsys.disabled():
        print(f"\n{len(REQUESTS)} verbs have the fields of their request")


def test_a_wrong_value_from_python_gets_a_line_and_no_traceback():
    with pytest.raises(MignonError, match="epochs must be a whole number"):
        mignon.train("digits-cnn", data="digits", epochs=1.5)
    with pytest.raises(MignonError, match="--max-kib -1"):
        mignon.build("digits", max_kib=-1)
    with pytest.raises(MignonError, match="--lr nan"):
        mignon.train("digits-cnn", data="digits", lr=math.nan)
    with pytest.raises(MignonError, match="width must be a number"):
        mignon.train("digits-cnn", data="digits", width=math.inf)
    with pytest.raises(TypeError):
        mignon.train("digits-cnn", data="digits", rate=3)


def test_flags_that_have_no_effect_beside_resume_are_refused(capsys, tmp_path):
    for flags in (["--epochs", "30"], ["--out", "x"], ["--no-half"], ["digits-cnn"]):
        assert run(["train", "--resume", str(tmp_path), *flags]) == 2
        assert "no effect beside --resume" in capsys.readouterr().err
    with pytest.raises(RunError, match="--seed has no effect"):
        mignon.train(resume=tmp_path, seed=1)


def test_a_run_goes_on_with_its_images_elsewhere(tmp_path, capsys):
    photos = make_pictures(tmp_path / "photos", {"dark": 30, "light": 30}, size=12)
    first = mignon.train("digits-cnn", data=photos, epochs=1, momentum=0.8, out=tmp_path / "run")
    moved = photos.rename(tmp_path / "it's moved")
    assert run(["train", "--resume", first.run]) == 2
    assert "--data" in capsys.readouterr().err
    again = mignon.train(resume=first.run, data=moved)
    assert again.rows == first.rows
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["request"]["data"] == str(moved) and record["request"]["momentum"] == 0.8
    assert typed(shlex.split(record["command"])[1:]).data == str(moved)
    make_pictures(tmp_path / "others", {"dark": 30, "light": 30}, size=12, seed=1)
    with pytest.raises(RunError, match="does not hold the images"):
        mignon.train(resume=first.run, data=tmp_path / "others")


def test_the_layers_of_a_run_are_shown_from_any_folder(tmp_path, monkeypatch):
    make_pictures(tmp_path / "photos", {"dark": 30, "light": 30}, size=12)
    monkeypatch.chdir(tmp_path)
    trained = mignon.train("digits-cnn", data="photos", epochs=1, out="run")
    mignon.compress("run", "quant=w8a8", data="photos", out="small")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in (trained.run, tmp_path / "small", "../small"):
        assert mignon.show(name, layers=True)["sensitivity"]
