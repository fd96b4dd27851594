"""What is drawn: text from outside is shown as it is and never acted on, figures are never cut."""

import dataclasses
import json
import re

import pytest
from helpers import make_pictures

import mignon
from mignon import mgn
from mignon.cli import screen
from mignon.cli.start import run

HOSTILE = "dogs [old] \x1b[31m$x^2$ \x9b2J:dog:"
SHOWN = r"dogs [old] \x1b[31m$x^2$ \x9b2J:dog:"
CLASS = "dogs [old] $x^2$ :dog:"
ROW = {
    "step": "prune=0.8 quant=w4a8 tune=15,teacher=parent", "split": "validation", "images": 10000, "top1": 0.9926,
    "top1_low": 0.973, "top1_high": 0.998, "top1_change": -0.0112, "within_noise": True, "lost": 1234, "gained": 4321,
    "p_value": 0.38, "kl": 0.0349, "size_bytes": 1085123, "ratio": 1000.2, "seconds": 123456.7,
}  # fmt: skip


def on_screen(monkeypatch, width):
    monkeypatch.setattr(screen, "columns", lambda: width)


@pytest.mark.parametrize("width", [40, 60, 80, 150])
def test_a_narrow_screen_cuts_no_figure(width, capsys, monkeypatch):
    on_screen(monkeypatch, width)
    screen.print_rows([ROW, ROW | {"step": "float"}])
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert max(len(line) for line in lines if "left out" not in line) <= width
    assert "1,085,123" in text and "99.26" in text and "…" not in text
    figures = {"1234/4321", "0.0349", "97.3-99.8", "123456.7", "-1.12 (noise)", "1000.2"}
    named = {"lost/gained": "1234/4321", "KL": "0.0349", "95 %": "97.3-99.8", "s": "123456.7", "x": "1000.2"}
    left = next((line for line in lines if line.startswith("left out")), "")
    assert all(figure in text or re.search(rf"[ ,]{re.escape(name)}[, ]", left) for name, figure in named.items())
    assert width < 150 or all(figure in text for figure in figures)
    words = "".join(line[1:].split("│")[0].strip() for line in lines if line.startswith("│"))
    assert "prune=0.8 quant=w4a8" in text or words.replace(" ", "").startswith("prune=0.8quant=w4a8")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile") / HOSTILE
    make_pictures(root / "photos", {CLASS: 40, "cats": 40}, size=12)
    mignon.train("digits-cnn", data=root / "photos", epochs=1, out=root / "run")
    return root


@pytest.mark.parametrize("width", [40, 150])
def test_names_from_outside_are_shown_as_they_are_in_every_verb(place, width, capsys, monkeypatch):
    on_screen(monkeypatch, width)
    monkeypatch.setenv("MIGNON_RUNS", str(place))
    photos = str(place / "photos")
    for command in (
        ["data", photos, "--out", str(place / "card")],
        ["predict", str(place / "run"), photos],
        ["eval", str(place / "run"), "--data", photos],
        ["show", str(place / "run"), "--bytes"],
        ["ls"],
        ["report", str(place / "run")],
        ["compress", str(place / "run"), "quant=w8a8", "--data", photos, "--out", str(place / "small")],
        ["show", str(place / "nothing.mgn")],
        ["rm", str(place / "card")],
    ):
        run(command)
        said = capsys.readouterr()
        for text in (said.out, said.err):
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text), command
        first = "".join(line.split("│")[1] for line in said.out.splitlines() if line.startswith("│"))  # may wrap
        whole = re.sub(r"[\s│]", "", said.out + said.err + first)
        assert SHOWN.replace(" ", "") in whole, (command, said)
        if command[0] in ("data", "predict"):
            assert CLASS.replace(" ", "") in whole, (command, said)


def test_names_from_outside_are_shown_as_they_are_in_a_report_and_in_json(place, capsys):
    assert run(["predict", str(place / "run"), str(place / "photos"), "--json"]) == 0
    text = capsys.readouterr().out
    assert "\x9b" not in text and HOSTILE in json.loads(text)[0]["image"]
    mignon.ls("runs")
    assert run(["report", str(place / "run"), "--analysis"]) == 0
    capsys.readouterr()
    for name in ("report.html", "report.md"):
        page = (place / "run" / name).read_text()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", page)
        assert r"\x1b" in page and ("$x^2$" in page) and ":dog:" in page


def test_recipes_from_outside_are_shown_as_they_are(tmp_path, tiny_classifier, capsys):
    hostile = "quant=w8\x1b[31m"
    (tmp_path / "r.toml").write_text('steps = ["quant=w8\\u001b[31m"]')
    assert run(["train", "digits-cnn", "--data", "digits", "--epochs", "1", "--out", str(tmp_path / "t")]) == 0
    capsys.readouterr()
    given = [str(tmp_path / "t"), "--data", "digits"]
    assert run(["compress", *given, "--recipe", str(tmp_path / "r.toml")]) == 2
    assert run(["compress", *given, hostile]) == 2
    file = tmp_path / "model.mgn"
    settled = mgn.settle(dataclasses.replace(tiny_classifier, recipe=(hostile,)))
    file.write_bytes(mgn.encode(settled))
    assert run(["show", str(file)]) == 0
    said = capsys.readouterr()
    assert r"\x1b" in said.out and r"\x1b" in said.err
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", said.out + said.err)
