"""Import of somebody else's integers: names, numbers bit for bit, what is refused."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mignon import mgn
from mignon.checkpoint import as_given, load_safetensors, save_safetensors
from mignon.classifier import fresh
from mignon.data.inputs import InputSpec
from mignon.errors import ModelError
from mignon.importing.int8 import INTEGERS
from mignon.importing.torchvision import mobilenetv2_name
from mignon.models.weights import weight_rule

NORM = ("weight", "bias", "running_mean", "running_var")


def torchvision_names(blocks: int = 17) -> dict[str, str]:
    """torchvision's module names of a MobileNetV2 to ours, written out block by block."""
    names = {"features.0.0": "features.0.0", "features.0.1": "features.0.1"}
    for n in range(1, blocks + 1):
        theirs = ["0.0", "0.1", "1", "2"] if n == 1 else ["0.0", "0.1", "1.0", "1.1", "2", "3"]
        ours = ["0.0", "0.1", "1.0", "1.1"] if n == 1 else ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]
        names |= {f"features.{n}.conv.{a}": f"features.{n}.body.{b}" for a, b in zip(theirs, ours)}
    return names | {"features.18.0": "features.18.0", "features.18.1": "features.18.1", "classifier.1": "classifier"}


OPTIONS = {"width": 0.05, "last": 16}
HEADER = {
    "family": "mobilenetv2",
    "options": OPTIONS,
    "classes": ["a", "b", "c"],
    "input": {"height": 16, "width": 16, "channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3, "resize": "none"},
    "source": "made",
    "weights": INTEGERS,
}


@pytest.fixture
def made(tmp_path):
    """A pruned int8 network in the layout of system 002's file, and the float network that it stands for."""
    spec = InputSpec.from_dict(HEADER["input"])
    options = {**OPTIONS, "reduction": 4}
    reference = fresh("mobilenetv2-cifar", options, spec, ("a", "b", "c"), 0)
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    with torch.no_grad():
        for theirs, ours in torchvision_names().items():
            module = reference.network.get_submodule(ours)
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(-0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.5, 0.5, generator=generator)
                module.running_mean.uniform_(-0.2, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                tensors |= {f"{theirs}.{kind}": getattr(module, kind).clone() for kind in NORM}
                continue
            integers = torch.randint(-128, 128, module.weight.shape, generator=generator)
            integers[torch.rand(integers.shape, generator=generator) < 0.6] = 0
            tensors[f"{theirs}.weight"] = integers.to(torch.int8)
            tensors[f"{theirs}.scale"] = torch.tensor(0.011 / integers[0].numel() ** 0.5)
            module.weight.copy_(integers * tensors[f"{theirs}.scale"])
            if module.bias is not None:
                module.bias.uniform_(-0.1, 0.1, generator=generator)
                tensors[f"{theirs}.bias"] = module.bias.clone()

    def write(header=HEADER, **changes):
        changed = {k: v for k, v in {**tensors, **changes}.items() if v is not None}
        save_file(changed, tmp_path / "made.safetensors", {"mignon": json.dumps(header)})
        return tmp_path / "made.safetensors"

    return write, reference, tensors


def check_integers(classifier, tensors):
    """Every integer and every scale is the one of the file, bit for bit."""
    modules, checked = classifier.weighted(), 0
    for theirs, ours in torchvision_names().items():
        if f"{theirs}.scale" in tensors:
            rule = weight_rule(modules[ours])
            assert torch.equal(rule.q, tensors[f"{theirs}.weight"].int())
            assert rule.step.numpy().tobytes() == tensors[f"{theirs}.scale"].numpy().tobytes()
            checked += 1
    assert checked == len(modules) == 53


def test_an_imported_network_computes_what_its_numbers_say(made):
    write, reference, tensors = made
    imported = load_safetensors(write())
    assert imported.family == "mobilenetv2-cifar" and imported.options["reduction"] == 4
    assert imported.origin == {"source": "made"} and imported.input.resize == "crop"
    check_integers(imported, tensors)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    assert np.array_equal(imported.logits(pixels), reference.logits(pixels))


@pytest.mark.parametrize("coder", ["packed", "huffman", "range"])
def test_integers_are_untouched_in_the_decoded_file(made, coder):
    write, reference, tensors = made
    imported = dataclasses.replace(load_safetensors(write()), coder=coder)
    data = mgn.encode(imported)
    decoded = mgn.decode(data)
    check_integers(decoded, tensors)
    assert mgn.encode(decoded) == data
    pixels = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), dtype=np.uint8)
    expected, found = reference.logits(pixels), decoded.logits(pixels)
    assert np.abs(expected - found).mean() < 0.02 * expected.std()


def test_a_checkpoint_of_an_imported_network_holds_the_same(made, tmp_path):
    imported = load_safetensors(made[0]())
    save_safetensors(imported, tmp_path / "kept.safetensors")
    kept = load_safetensors(tmp_path / "kept.safetensors")
    check_integers(kept, made[2])
    before, after = imported.network.state_dict(), kept.network.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert mgn.encode(kept) == mgn.encode(imported)


def test_pruned_weights_stay_zero_when_the_imported_network_is_trained_on(made):
    write, _, tensors = made
    network = load_safetensors(write()).network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        network(torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))).square().sum().backward()
        optimizer.step()
    zero = tensors["features.18.0.weight"] == 0
    weight = network.get_submodule("features.18.0").weight.detach()
    step = tensors["features.18.0.scale"]
    assert bool((weight[zero] == 0).all())
    assert not torch.equal(weight, step * tensors["features.18.0.weight"]), "it has learned"
    assert torch.equal(torch.round(weight / step) * step, weight) and float((weight / step).abs().max()) <= 128.01


def test_names_follow_torchvision():
    for theirs, ours in torchvision_names().items():
        assert mobilenetv2_name(f"{theirs}.weight") == f"{ours}.weight"


@pytest.mark.parametrize(
    ("header", "changes", "reason"),
    [
        ({"weights": "int4 in pairs"}, {}, "cannot be imported"),
        ({}, {"features.0.0.scale": None}, "no scale"),
        ({}, {"features.0.0.weight": None}, "features.0.0"),
        ({}, {"features.0.0.weight": torch.zeros(8, 3, 3, 3)}, "features.0.0"),
        ({}, {"features.0.0.scale": torch.tensor(float("nan"))}, "finite"),
        ({}, {"features.0.0.scale": torch.tensor(0.0)}, "above zero"),
        ({}, {"features.0.0.scale": torch.ones(8)}, "features.0.0"),
        ({}, {"features.0.0.weight": torch.zeros(8, 3, 3, 2, dtype=torch.int8)}, "expected"),
        ({}, {"features.5.conv.3.bias": None}, "features.5.body.2.1.bias"),
        ({"options": {"width": "wide"}}, {}, "width"),
        ({"options": 3}, {}, "options"),
    ],
)
def test_files_that_do_not_hold_what_they_say_are_refused(made, header, changes, reason):
    path = made[0]({**HEADER, **header}, **changes)
    with pytest.raises(ModelError, match=reason):
        load_safetensors(path)


def test_integers_are_no_start_for_a_training(made):
    with pytest.raises(ModelError, match="nothing to start"):
        as_given(load_safetensors(made[0]()), "made")


def test_the_network_of_system_002_keeps_its_integers_and_costs_less_than_their_entropy(shared_data):
    path = shared_data / "mobilenetv2-002-pruned-int8.safetensors"
    imported = dataclasses.replace(load_safetensors(path), coder="range")
    assert imported.nonzeros() == 96_871
    data = mgn.encode(imported)
    check_integers(mgn.decode(data), load_file(path))
    coded = sum(size for name, size in mgn.parts(data) if name.endswith("weight q"))
    assert coded < 118_000 and len(data) < 140_000
