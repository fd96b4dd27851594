"""Recipes in files: those that are installed are read, wrong ones say what to type, and one trains from nothing."""

import json
import tomllib
from pathlib import Path

import pytest

import mignon
from mignon.cli.start import run
from mignon.errors import MignonError, RecipeError
from mignon.jobs.recipe import Training, read_recipe, shipped
from mignon.jobs.requests import Compress
from mignon.models import parse_model
from mignon.progress import Quiet
from mignon.registry import MODELS
from mignon.steps import parse_recipe


@pytest.mark.parametrize("name", shipped())
def test_every_recipe_that_is_installed_can_be_used_by_its_name(name):
    recipe = read_recipe(name)
    assert recipe.description and recipe.train is not None
    assert len(parse_recipe(recipe.steps)) == len(recipe.steps)
    assert parse_model(recipe.train.model)[0] in MODELS


def test_there_are_recipes_of_published_systems_and_of_our_own():
    repeats = [read_recipe(name).repeats for name in shipped()]
    assert sum(map(bool, repeats)) >= 3 and not all(repeats)


def test_a_file_goes_before_a_recipe_of_the_same_name_and_a_path_is_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_recipe("digits").train == Training("digits-cnn", epochs=20)
    with pytest.raises(RecipeError, match="there is no recipe") as error:
        read_recipe(tmp_path / "digits")
    assert "digits" in error.value.instead
    assert Compress.of(data="digits", recipe="digits").line() == "mignon compress --data digits --recipe digits"
    (tmp_path / "digits").write_text('steps = ["code=huffman"]')
    assert read_recipe("digits").steps == ("code=huffman",) == read_recipe(tmp_path / "digits").steps


def test_the_recipes_are_data_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["mignon"]
    root = Path(mignon.__file__).parent
    held = {path for pattern in patterns for path in root.glob(pattern)}
    others = {path for path in root.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc", ".nbi", ".nbc")}
    assert others == held


def test_the_table_of_training_is_read(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('steps = ["code=range"]\n[train]\nmodel = "digits-cnn"\nlr = 1\nwidth = 0.5\n')
    assert read_recipe(path).train == Training("digits-cnn", lr=1.0, width=0.5)


@pytest.mark.parametrize(
    ("text", "what", "instead"),
    [
        ("steps = [", "not TOML", 'steps = ["quant=w8a8"]'),
        (b'steps = ["\xff"]', "not TOML", "steps"),
        ("a = " + "[" * 5000, "not TOML", "steps"),
        ("", "no list of steps", "steps"),
        ("steps = []", "no list of steps", "steps"),
        ('steps = "quant=w8a8"', "no list of steps", "steps"),
        ("steps = [8]", "no list of steps", "steps"),
        ('step = ["quant=w8a8"]', "'step'", "did you mean 'steps'"),
        ('steps = ["quant=w8a8"]\nzebra = 1', "'zebra'", "possible: description, repeats, steps, train"),
        ('steps = ["quant=w8a8"]\ndescription = 3', "description must be a text", "quotes"),
        ('steps = ["quant=w8a8"]\ntrain = "digits-cnn"', "train must be a table", "[train]"),
        ('steps = ["quant=w8a8"]\n[train]', "needs a value for model", "resnet20-cifar"),
        ('steps = ["quant=w8a8"]\n[train]\nmodel = "digits-cnn"\nepoch = 3', "'epoch'", "did you mean 'epochs'"),
        ('steps = ["quant=w8a8"]\n[train]\nmodel = "digits-cnn"\nepochs = 2.5', "whole number", "5"),
        ('steps = ["quant=w8a8"]\n[train]\nmodel = "digits-cnn"\nepochs = 0', "epochs = 0", "epochs = 30"),
        ('steps = ["quant=w8a8"]\n[train]\nmodel = "digits"', "'digits'", "digits-cnn"),
        ('steps = ["quant=w8a8"]\n[train]\nmodel = "digits-cnn"\nlr = -1.0', "lr = -1", "lr = 0.2"),
        ('steps = ["quan=w8a8"]\n[train]\nmodel = "digits-cnn"', "'quan'", "did you mean 'quant'"),
        ('steps = ["quant=w8a8"]', "no model is given", "MODEL"),
    ],
)
def test_a_recipe_that_makes_no_sense_says_what_to_write(text, what, instead, tmp_path, capsys):
    path = tmp_path / "r.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert run(["compress", "--data", "digits", "--recipe", str(path), "--out", str(tmp_path / "run")]) == 2
    lines = capsys.readouterr().err.splitlines()[-2:]
    assert what in lines[0] and instead in lines[1]
    assert not (tmp_path / "run" / "model.mgn").exists()


def test_a_recipe_that_is_not_there_and_steps_beside_one_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="there is no recipe"):
        mignon.compress(data="digits", recipe=tmp_path / "nothing.toml")
    with pytest.raises(RecipeError, match=r"code=range.*beside the recipe"):
        mignon.compress(tmp_path, "code=range", data="digits", recipe="digits")
    with pytest.raises(MignonError, match="no model is given"):
        mignon.compress(None, "code=range", data="digits")


class CtrlC(Quiet):
    """Presses it when a line begins so."""

    def __init__(self, words=None):
        super().__init__()
        self.words, self.said = words, []

    def say(self, text):
        self.said.append(text)
        if self.words and text.startswith(self.words):
            raise KeyboardInterrupt


RECIPE = """
description = "two epochs"
steps = ["prune=0.5", "quant=w4a8", "tune=2,share=0.3", "code=range"]
[train]
model = "digits-cnn"
epochs = 3
"""


def test_a_recipe_trains_from_nothing_and_goes_on_wherever_it_was_interrupted(tmp_path, capsys):
    path = tmp_path / "r.toml"
    path.write_text(RECIPE)
    whole = mignon.compress(data="digits", recipe=path, out=tmp_path / "whole")
    assert [row["step"] for row in whole.rows] == [
        "float", "prune=0.5", "quant=w4a8", "tune=2,share=0.3", "code=range"
    ]  # fmt: skip
    out = tmp_path / "cut"
    for words in ("epoch 2/3", "step quant", "epoch 1/2"):
        with pytest.raises(KeyboardInterrupt):
            mignon.compress(data="digits", recipe=path, out=out, screen=CtrlC(words))
    screen = CtrlC()
    result = mignon.compress(data="digits", recipe=path, out=out, screen=screen)
    assert "continuing at epoch 2 of 2" in screen.said and not any(line.startswith("epoch 1") for line in screen.said)
    assert Path(result.file).read_bytes() == Path(whole.file).read_bytes()
    command = json.loads((out / "run.json").read_bytes())["command"].split()[1:]
    assert command[-2:] == ["--out", str(out)] and run(command) == 0
    assert whole.verdict in capsys.readouterr().out


def test_with_a_model_the_recipe_is_its_steps_only(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(RECIPE)
    model = mignon.train("digits-cnn", data="digits", epochs=1, out=tmp_path / "model").run
    result = mignon.compress(model, data="digits", recipe=path, out=tmp_path / "recipe")
    by_hand = read_recipe(path).steps
    again = mignon.compress(model, *by_hand, data="digits", out=tmp_path / "recipe")
    assert again.rows == result.rows and len(result.rows) == 5
