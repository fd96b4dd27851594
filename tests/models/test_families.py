"""The contract of every family, on its own small example: sizes, gradients, files, steps, classes, cuts."""

import os

import numpy as np
import pytest
import torch
from helpers import context_for, lively, make_pictures, opened, smallest
from torch import nn

from mignon import mgn
from mignon.checkpoint import load_safetensors, save_safetensors, with_new_head
from mignon.classifier import fresh, parameter_count
from mignon.data.look import neutral_spec
from mignon.measure.cost import layers
from mignon.models import build, units
from mignon.models.graph import blocks, trace
from mignon.models.weights import absorb
from mignon.registry import MODELS
from mignon.steps import parse_recipe

SMALLER = "prune-channels=0.3 prune=0.5 quant=w8a8,round=nearest,range=minmax code=range"


def applied(classifier, recipe, images, folder):
    for step in parse_recipe(recipe.split()):
        classifier = step.apply(classifier, context_for(images, folder))
    return classifier


def keeps_the_contract(name, folder):
    family = MODELS[name]
    options, pixels = family.example
    assert family.summary and len(family.summary) <= 100
    images = opened(make_pictures(folder / "data", {"a": 12, "b": 12}, pixels), spec=neutral_spec(pixels, 3))
    start = fresh(name, options, images.input, ("a", "b"), 0)
    lively(start.network)
    seen = images.train.take(slice(8))
    float_logits = start.logits(seen)
    assert float_logits.shape == (8, 2) and np.isfinite(float_logits).all() and float_logits.std() > 0

    # shapes and gradients: another size, one channel, every parameter moves
    network = trace(build(name, options, 5, 1)).train()
    logits = network(torch.randn(2, 1, pixels + 9, pixels + 9))
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())

    # blocks: all numbers are in them, BatchNorm goes into weights
    rows, found = layers(start.network, start.size), blocks(start.network)
    assert sum(row.parameters for row in rows) == start.parameters == parameter_count(name, options, 2, 3)
    assert found[0].kind == "input" and [n.op for n in found[-1].end.users] == ["output"]
    absorbed = absorb(start.network)
    assert not any(isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d) for m in absorbed.modules())
    assert sum(row.macs for row in layers(absorbed, start.size)) == sum(row.macs for row in rows)

    # files: the same numbers back
    save_safetensors(start, folder / "a.safetensors")
    assert np.array_equal(load_safetensors(folder / "a.safetensors").logits(seen), float_logits)
    largest = np.abs(float_logits).max()
    assert np.abs(mgn.decode(mgn.encode(start)).logits(seen) - float_logits).max() <= 1e-3 * largest
    equal = applied(start, "equalize=2", images, folder)
    assert np.abs(equal.logits(seen) - float_logits).max() <= 1e-3 * largest
    live = applied(start, SMALLER, images, folder)
    settled, decoded = mgn.settle(live), mgn.decode(mgn.encode(live))
    assert np.array_equal(settled.logits(seen), decoded.logits(seen)) and np.isfinite(decoded.logits(seen)).all()
    assert sum(row.macs for row in layers(decoded.network, start.size)) < sum(row.macs for row in rows)

    # other classes, and a cut behind a block in the middle
    other = with_new_head(start, ("x", "y", "z"), 1)
    assert other.logits(seen).shape == (8, 3)
    names = units(name, options)
    middle = len(names) // 2
    short = fresh(name, {**options, "cut": middle}, images.input, ("a", "b"), 0)
    kept = [n for n in short.weighted() if not n.startswith("head.")]
    assert kept == [*start.weighted()][: len(kept)] and any(f"{n}.".startswith(f"{names[middle]}.") for n in kept)
    assert not any(f"{n}.".startswith(f"{later}.") for n in kept for later in names[middle + 1 :])
    decoded = mgn.decode(mgn.encode(short))
    assert decoded.options == short.options and np.isfinite(decoded.logits(seen)).all()


def test_every_family_keeps_the_contract(tmp_path, capsys):
    names = smallest()
    for name in names:
        keeps_the_contract(name, tmp_path / name)
    with capsys.disabled():
        print(f"\n{len(names)} networks keep the contract")
    assert len(names) >= (1 if "MIGNON_ONLY" in os.environ else 17)


@pytest.mark.slow
def test_every_network_keeps_the_contract(tmp_path, capsys):
    names = list(MODELS)
    for name in names:
        keeps_the_contract(name, tmp_path / name)
    with capsys.disabled():
        print(f"\nall {len(names)} networks keep the contract")
