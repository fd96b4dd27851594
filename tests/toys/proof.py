"""Run by test_house.py with the toys installed beside mignon: they work as members of the house do."""

import json

import numpy as np
import torch
from helpers import context_for
from toys_entry import PACKAGE

from mignon import mgn
from mignon.classifier import fresh
from mignon.cli.start import run
from mignon.data.look import input_spec
from mignon.measure.cost import layers, peak_activation_bytes
from mignon.models.activations import grids_of
from mignon.models.graph import blocks
from mignon.registry import IMPORTERS, MODELS, SCHEDULES, SOURCES, STEPS
from mignon.steps import parse_recipe

SEQUENCES = [
    "equalize=2 quant=w8a8", "prune-channels=0.5 quant=w4a8", "prune=0.5 quant=w4a8 tune=1,share=0.1",
    "ternary tune=1,share=0.1", "prune=0.7 cluster=8", "share=learned,shapes=4,length=4",
]  # fmt: skip


def apply(classifier, recipe, digits, folder):
    for number, step in enumerate(parse_recipe(recipe.split())):
        classifier = step.apply(classifier, context_for(digits, folder / f"{recipe}-{number}", classifier))
    return classifier


def test_the_toys_are_members():
    assert "ternary" in STEPS and "toy-mobilenetv3" in MODELS and "toy-archive" in SOURCES and "halves" in SCHEDULES
    assert "toy-arrays" in IMPORTERS
    assert PACKAGE.is_dir() and len(list(PACKAGE.glob("*.py"))) == 7


def test_a_step_and_a_rule_keep_pruned_zeros_through_training_and_file(tiny_classifier, digits, tmp_path):
    pruned = {n: w == 0 for n, w in apply(tiny_classifier, "prune=0.7", digits, tmp_path).weights().items()}
    tuned = apply(tiny_classifier, "prune=0.7 ternary tune=1,share=0.2,schedule=halves", digits, tmp_path)
    for network in (tuned, mgn.decode(mgn.encode(tuned))):
        assert not any(module.weight[pruned[name]].any() for name, module in network.weighted().items())


def test_a_family_with_an_operation_of_its_own_is_narrowed_equalized_quantized_and_stored(digits, tmp_path):
    spec = input_spec(digits.train, digits.input)
    start = fresh("toy-mobilenetv3", {}, spec, digits.classes, 0)
    with torch.no_grad():
        for name, tensor in start.network.state_dict().items():
            if "running" in name:
                tensor.uniform_(0.2, 1.5)
    pixels = digits.test.take(slice(64))
    float_logits = start.logits(pixels)
    equal = apply(start, "equalize=3", digits, tmp_path).logits(pixels)
    assert np.abs(equal - float_logits).max() <= 1e-4 * np.abs(float_logits).max()
    for recipe in SEQUENCES:
        live = apply(start, recipe, digits, tmp_path)
        settled, decoded = mgn.settle(live), mgn.decode(mgn.encode(live))
        assert np.array_equal(settled.logits(pixels), decoded.logits(pixels)), recipe
        assert np.isfinite(decoded.logits(pixels)).all() and peak_activation_bytes(decoded.network, decoded.size) > 0
        if "a8" in recipe:
            found = blocks(live.network)
            assert len(grids_of(live.network)) == len(found) and {b.kind for b in found} >= {"join", "conv", "linear"}
            assert all(int(grid.k) > -900 for grid in grids_of(live.network).values()), "every grid is calibrated"
    quantized = apply(start, "quant=w8a8", digits, tmp_path).logits(pixels)
    assert np.abs(quantized - float_logits).mean() < 0.1 * float_logits.std()
    narrow = apply(start, "prune-channels=0.5", digits, tmp_path)
    assert sum(r.macs for r in layers(narrow.network, narrow.size)) < 0.5 * sum(
        r.macs for r in layers(start.network, start.size)
    )


def test_an_archive_is_looked_at_like_a_folder(tmp_path, capsys):
    place = SOURCES["toy-archive"].example(tmp_path)
    assert run(["data", place, "--json", "--out", str(tmp_path / "run")]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 24
