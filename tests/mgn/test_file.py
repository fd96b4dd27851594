"""The file: what is decoded is what was stored, every byte is accounted for, nothing wrong gets through."""

import dataclasses
import time

import bench_mutants as mutants
import numpy as np
import pytest
import torch
from bench_mutants import split_header, with_header
from helpers import context_for, smallest

from mignon import mgn
from mignon.checkpoint import load_safetensors, save_safetensors
from mignon.classifier import fresh
from mignon.coding import MAX_PER_BYTE
from mignon.data.inputs import InputSpec
from mignon.errors import FormatError, ModelError
from mignon.models.narrow import narrow, widths_of
from mignon.registry import CODERS, MODELS
from mignon.steps import parse_recipe

RECIPES = [
    [],
    ["prune=0.6"],
    ["quant=w4"],
    ["quant=w8a8"],
    ["prune=0.5", "quant=w3a4"],
    ["prune=0.5", "quant=w4a8", "tune=1"],
    ["cluster=16"],
    ["prune=0.5", "cluster=8,shared=true", "tune=1"],
    ["prune-channels=0.5", "prune=0.5", "quant=w4a8"],
]


@pytest.fixture
def apply(digits, tmp_path):
    def go(classifier, recipe):
        for number, step in enumerate(parse_recipe(recipe)):
            classifier = step.apply(classifier, context_for(digits, tmp_path / str(number)))
        return dataclasses.replace(classifier, recipe=tuple(recipe))

    return go


@pytest.fixture
def lively(tiny_classifier):
    """With BatchNorm statistics as after training, a dead and a negative channel among them."""
    classifier = tiny_classifier.copy()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for module in classifier.network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.weight[:2] = torch.tensor([0.0, -0.7])
                module.bias.uniform_(-0.5, 0.5, generator=generator)
                module.running_mean.uniform_(-0.5, 0.5, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
    return classifier


def tensors(classifier):
    return {
        f"{name}.{kind}": getattr(module, kind).detach()
        for name, module in classifier.weighted().items()
        for kind in ("weight", "bias")
    }


@pytest.mark.parametrize("recipe", RECIPES, ids=" ".join)
@pytest.mark.parametrize("coder", ["packed", "huffman", "range"])
def test_decoded_numbers_are_those_of_the_checkpoint_bit_for_bit(lively, apply, recipe, coder, tmp_path, digits):
    classifier = dataclasses.replace(apply(lively, recipe), coder=coder)
    save_safetensors(classifier, tmp_path / "model.safetensors")
    restored = load_safetensors(tmp_path / "model.safetensors")
    data = mgn.encode(classifier)
    assert mgn.encode(restored) == data
    decoded = mgn.decode(data)
    assert mgn.encode(decoded) == data
    expected, found = tensors(mgn.settle(restored)), tensors(decoded)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert decoded.classes == classifier.classes and decoded.input == classifier.input
    pixels = digits.test.take(slice(50))
    same = mgn.settle(restored).logits(pixels), decoded.logits(pixels)
    assert np.array_equal(*same)


@pytest.mark.parametrize("recipe", RECIPES, ids=" ".join)
def test_live_and_decoded_network_say_the_same(lively, apply, recipe, digits):
    classifier = apply(lively, recipe)
    pixels = digits.test.take(slice(200))
    live, stored = classifier.logits(pixels), mgn.decode(mgn.encode(classifier)).logits(pixels)
    gains = any(step.startswith("cluster") for step in recipe)  # their BatchNorm is rounded to 1/256 octave
    tolerance = 0.2 if classifier.activation_bits else 2e-3 if gains else 2e-4
    assert np.abs(live - stored).mean() < tolerance * live.std()


def test_every_family_says_the_same_live_settled_and_decoded(capsys):
    """An eighth of the channels, so that the largest take no time; BatchNorm as after training."""
    checked = 0
    for family in smallest():
        options, pixels = MODELS[family].example
        spec = InputSpec(pixels, pixels, 3, (0.5,) * 3, (0.25,) * 3)
        whole = fresh(family, options, spec, ("a", "b", "c"), 0)
        last = [*whole.weighted()][-1]
        widths = {n: max(1, w // 8) for n, w in widths_of(whole.network).items() if n != last and w > 8}
        widths = {n: w for n, w in widths.items() if not n.endswith((".before", ".after"))}
        try:
            network = narrow(whole.network, widths, 3)
        except ModelError:  # shortcuts without weights keep their widths
            widths, network = {}, whole.network
        live = mutants.lively(dataclasses.replace(whole, network=network, widths=widths))
        images = np.random.default_rng(0).integers(0, 256, (3, pixels, pixels, 3), dtype=np.uint8)
        settled, decoded = mgn.settle(live), mgn.decode(mgn.encode(live))
        before = live.logits(images)
        assert np.abs(settled.logits(images) - before).max() <= 1e-4 * np.abs(before).max(), family
        assert np.array_equal(settled.logits(images), decoded.logits(images)), family
        checked += 1
    with capsys.disabled():
        print(f"\n{checked} families say the same live, settled and decoded")
    assert checked >= 17


def test_registered_coders_all_write_files(lively, capsys):
    sizes = {coder: len(mgn.encode(dataclasses.replace(lively, coder=coder))) for coder in CODERS}
    with capsys.disabled():
        print(f"\n{len(sizes)} coders wrote the same network: {sizes}")
    assert len(sizes) >= 3


@pytest.mark.parametrize("coder", ["packed", "huffman", "range"])
def test_parts_add_up_to_the_size_of_the_file(lively, apply, coder):
    data = mgn.encode(dataclasses.replace(apply(lively, ["quant=w4a8"]), coder=coder))
    parts = mgn.parts(data)
    assert sum(size for _, size in parts) == len(data)
    assert all(size >= 0 for _, size in parts)
    assert {"magic, version", "header", "0.weight q", "11.bias q", "fingerprint, checksum"} <= {n for n, _ in parts}


def test_labels_may_be_any_text(lively):
    names = ("café", "日本", "a,b", '"quoted"', "<b>", "", " ", "x" * 500, "\n", "10")
    renamed = dataclasses.replace(lively, classes=names)
    assert mgn.decode(mgn.encode(renamed)).classes == names


@pytest.fixture(scope="module")
def made():
    return mutants.files()


@pytest.mark.parametrize("count", [800, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutants_of_files_are_refused_in_a_line_or_make_finite_weights(made, count, capsys):
    figures = mutants.attack_files(made, count, seed=count)
    with capsys.disabled():
        print(f"\n{count} mutants of {len(made)} files: {figures}")
    assert not figures.wrong and figures.counts["refused"] > count / 2 and figures.counts["accepted"] > 5
    assert figures.slowest < 1.0 and figures.extra_mb < 200


@pytest.mark.parametrize("count", [300, pytest.param(3_000, marks=pytest.mark.slow)])
def test_mutants_of_checkpoints_are_refused_in_a_line_or_can_be_encoded(made, count, capsys):
    figures = mutants.attack_checkpoints(made, count, seed=count)
    with capsys.disabled():
        print(f"\n{count} mutants of checkpoints: {figures}")
    assert not figures.wrong and figures.counts["refused"] > count / 4 and figures.counts["accepted"] > 5
    assert figures.slowest < 1.0 and figures.extra_mb < 200


def test_a_small_file_cannot_ask_for_a_large_network(lively):
    data = mgn.encode(lively)
    header, _ = split_header(data)
    header["family"], header["options"] = "mobilenetv1", {"width": 4.0}
    header["input"] |= {"channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}
    started = time.perf_counter()
    with pytest.raises(FormatError):
        mgn.decode(with_header(data[:200] + data[-8:], header))
    assert time.perf_counter() - started < 1
    assert MAX_PER_BYTE <= 1024
