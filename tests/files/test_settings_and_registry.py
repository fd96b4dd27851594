"""Settings from words, members by name: wrong ones are named, with what was meant."""

import sys
from dataclasses import dataclass

import pytest

from mignon.errors import MignonError, ModelError, RecipeError
from mignon.registry import CODERS, MODELS, RULES, SOURCES, STEPS, Registry
from mignon.settings import fill


@dataclass(frozen=True)
class Toy:
    share: float
    count: int = 3
    scope: str = "global"
    fast: bool = False
    limit: int | None = None

    summary = "toy=0.5: a toy"


def filled(**values):
    return fill(Toy, values, RecipeError, "step toy")


def test_words_become_the_types_of_the_fields():
    toy = filled(share="0.25", count="7", scope="layer", fast="yes", limit="4")
    assert toy == Toy(0.25, 7, "layer", True, 4) and type(toy.count) is int and type(toy.limit) is int
    assert filled(share=1) == Toy(1.0) and type(filled(share=1).share) is float
    assert [filled(share=1, fast=word).fast for word in ("TRUE", "1", "no", "0", "False")] == [1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("values", "what", "instead"),
    [
        ({"share": "x"}, "step toy: share must be a number, not 'x'", "0.5"),
        ({"share": "nan"}, "must be a number", ""),
        ({"share": "inf"}, "must be a number", ""),
        ({"share": True}, "must be a number", ""),
        ({"share": 1, "count": "2.5"}, "count must be a whole number, not '2.5'", "5"),
        ({"share": 1, "count": 2.0}, "must be a whole number", ""),
        ({"share": 1, "count": [1]}, "must be a whole number", ""),
        ({"share": 1, "limit": "many"}, "limit must be a whole number", ""),
        ({"share": 1, "fast": "maybe"}, "must be true or false", "true"),
        ({"share": 1, "fast": 1}, "must be true or false", ""),
        ({"share": 1, "scope": 5}, "must be a word", ""),
        ({"share": 1, "scop": "layer"}, "no setting 'scop'", "did you mean 'scope'?"),
        ({"share": 1, "zzz": "1"}, "no setting 'zzz'", "settings: share, count, scope, fast, limit"),
        ({}, "needs a value for share", "toy=0.5"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_possible(values, what, instead):
    with pytest.raises(RecipeError) as caught:
        filled(**values)
    assert what in caught.value.what and instead in caught.value.instead and caught.value.instead


def test_members_are_found_loaded_once_and_suggested(capsys):
    checked = 0
    for registry in (SOURCES, MODELS, STEPS, CODERS, RULES):
        names = list(registry)
        assert names == sorted(names) and names
        for name in names:
            assert name in registry and registry[name].name == name
            checked += 1
    with capsys.disabled():
        print(f"\n{checked} members have a name")
    with pytest.raises(ModelError) as caught:
        MODELS["resnet20"]
    assert "did you mean 'resnet20-cifar'?" in caught.value.instead and "digits-cnn" in caught.value.instead
    with pytest.raises(RecipeError):
        CODERS["zip"]
    assert "zip" not in CODERS


def test_a_name_is_taken_once():
    registry = Registry("toy", "mignon.rules", MignonError)
    member = type("Member", (), {})
    assert registry.register("a")(member) is member and registry.register("a")(member).name == "a"
    with pytest.raises(ValueError, match="twice"):
        registry.register("a")(type("Other", (), {}))
    registry.remove("a")
    registry.remove("a")
    assert "a" not in registry


def test_a_package_registers_through_its_entry_point(tmp_path, monkeypatch):
    (tmp_path / "toys.py").write_text(
        "from mignon.registry import CODERS\n\n\n"
        "@CODERS.register('toy-coder')\nclass Toy:\n    summary, cost = 'a toy', None\n"
    )
    info = tmp_path / "toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mignon.coders]\ntoy = toys\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(CODERS, "_loaded", False)
    try:
        assert "toy-coder" in CODERS and CODERS["toy-coder"].summary == "a toy" and "range" in CODERS
    finally:
        CODERS.remove("toy-coder")
        sys.modules.pop("toys", None)
