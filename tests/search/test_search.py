"""A budget to an answer: the point that is kept, the networks worth a training, the recipes that fit."""

import json
import math

import pytest
from helpers import context_for, make_pictures

import mignon
from mignon import mgn
from mignon.cli.start import run
from mignon.search.candidates import worth_training
from mignon.search.limits import Limits, choose
from mignon.search.recipes import MARGIN, fitted, gains_from_training, share_that_fits, size_of
from mignon.steps import parse_recipe
from mignon.training.probe import Cut


def row(size, top1, change, kl=0.01):
    return {
        "size_bytes": size, "top1": top1, "top1_low": top1 - 0.02, "top1_change": change, "kl": kl, "images": 1000,
    }  # fmt: skip


ROWS = [row(4000, 0.98, 0.0), row(3000, 0.97, -0.01), row(2000, 0.975, -0.005), row(1000, 0.90, -0.08)]


@pytest.mark.parametrize(
    ("kib", "drop", "expected"),
    [
        (10, None, (0, True)),
        (3, None, (2, True)),
        (1.5, None, (3, True)),
        (0.5, None, (3, False)),
        (None, 1.0, (2, True)),
        (None, 0.0, (0, True)),
        (None, 100, (3, True)),
        (3, 1.0, (2, True)),
        (1, 1.0, (3, False)),
        (0.1, 1.0, (3, False)),
    ],
)
def test_the_point_that_is_kept(kib, drop, expected):
    assert choose(ROWS, Limits(kib, drop), 0.1) == expected


def test_what_so_few_images_cannot_tell_apart_is_told_apart_by_kl():
    rows = [row(3000, 0.974, 0.0, 0.001), row(2000, 0.975, 0.0, 0.02), row(1000, 0.96, 0.0, 0.0001)]
    assert choose(rows, Limits(3), 0.1) == (0, True)


def test_a_limit_is_not_met_by_a_file_that_is_no_better_than_one_class_for_all():
    assert choose(ROWS, Limits(1), 0.87) == (3, True)
    assert choose(ROWS, Limits(1), 0.885) == (3, False)
    assert choose(ROWS, Limits(None, 100), 0.885) == (2, True)


def test_without_a_limit_a_point_of_accuracy_may_go():
    assert Limits.of(None, None) == Limits(None, 1.0) and Limits.of(2, None) == Limits(2, None)
    assert Limits(2, 0.5).most_bytes == 2048 and Limits(2, 0.5).least_change == -0.005
    assert Limits(None, 1).most_bytes == math.inf and Limits(1, None).least_change == -math.inf
    assert str(Limits(64, 1.5)) == "--max-kib 64 and --max-drop 1.5"


def cut(number, parameters, top1, loss):
    return Cut(number, parameters, top1, top1 - 0.02, top1 + 0.02, loss, 0.01)


CUTS = [
    cut(0, 2_000, 0.55, 1.2), cut(5, 88_000, 0.84, 0.5), cut(7, 254_000, 0.86, 0.4), cut(8, 361_000, 0.86, 0.35),
    cut(12, 1_400_000, 0.95, 0.2), cut(None, 4_600_000, 0.96, 0.15),
]  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "expected"),
    [(Limits(64), [5]), (Limits(150), [8, 5]), (Limits(512), [12, 8]), (Limits(4000), [None]), (Limits(0.1), [0]),
     (Limits(None, 1), [12, None])],
)  # fmt: skip
def test_the_networks_worth_a_training(limits, expected):
    assert [found.cut for found in worth_training(CUTS, limits)] == expected


@pytest.mark.parametrize(("kib", "bits", "zeros"), [(20, 8, 0), (2.2, 4, 0), (1.6, 3, 1), (1.1, 2, 2), (0.8, None, 2)])
def test_recipes_for_a_size_fit_and_leave_no_room(kib, bits, zeros, tiny_classifier, digits, tmp_path):
    context = context_for(digits, tmp_path, tiny_classifier)
    limits = Limits(kib)
    found = fitted(tiny_classifier, limits, context)
    assert [steps for steps in found if len(steps) == 1] == ([] if bits is None else [[f"quant=w{bits}a8"]])
    assert sum(steps[0].startswith("prune=") for steps in found) == zeros
    for steps in found:
        point = tiny_classifier
        for step in parse_recipe([*steps, "code=range"]):
            point = step.apply(point, context)
        size = len(mgn.encode(point))
        assert size <= 1.02 * MARGIN * limits.most_bytes
        assert not steps[0].startswith("prune=") or size >= 0.95 * MARGIN * limits.most_bytes


def test_a_size_that_no_share_of_zeros_reaches(tiny_classifier, digits, tmp_path):
    context = context_for(digits, tmp_path, tiny_classifier)
    assert share_that_fits(tiny_classifier, 4, 100, context) is None
    assert fitted(tiny_classifier, Limits(0.1), context) == []
    assert size_of(tiny_classifier, ["prune=0.9"], context) < size_of(tiny_classifier, ["prune=0.5"], context)


def test_a_tune_pays_where_weights_have_few_bits():
    assert gains_from_training(["quant=w4a8"]) and gains_from_training(["prune=0.3", "quant=w3a8"])
    assert not gains_from_training(["quant=w5a8"])


def test_given_weights_are_cut_and_taught_and_the_files_fit(tmp_path, capsys):
    """A made trunk: digits, whose network is then cut for two other classes."""
    trunk = mignon.train("digits-cnn", data="digits", epochs=4, out=tmp_path / "trunk")
    folder = make_pictures(tmp_path / "two", {"dark": 80, "light": 80}, size=8)
    out = tmp_path / "run"
    command = ["build", str(folder), "--from", trunk.run, "--max-kib", "1.5", "--epochs", "2", "--out", str(out)]
    assert run([*command, "--json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert "your images reach about" in said.err and "with a linear head" in result["verdict"]
    assert result["limit_met"] and result["rows"][-1]["size_bytes"] <= 1536
    assert result["rows"][-2]["step"] == "float" and result["rows"][-1]["step"].startswith("digits-cnn")
    assert run([*command, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["rows"] == result["rows"]
