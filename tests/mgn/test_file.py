"""The file: what is decoded is what was stored, every byte is accounted for, nothing wrong gets through."""

import dataclasses
import json
import random
import resource
import time
import zlib

import numpy as np
import pytest
import torch
from helpers import context_for

from mignon import mgn
from mignon.checkpoint import load_safetensors, save_safetensors
from mignon.coding import MAX_PER_BYTE
from mignon.errors import FormatError
from mignon.mgn.layout import DICTIONARY, MAGIC, deflate
from mignon.registry import CODERS
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


def resealed(data: bytes) -> bytes:
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def split_header(data: bytes) -> tuple[dict, bytes]:
    position, length, shift = len(MAGIC) + 1, 0, 0
    while True:
        byte = data[position]
        length |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            break
    text = zlib.decompressobj(-15, zdict=DICTIONARY).decompress(data[position : position + length])
    return json.loads(text), data[position + length :]


def with_header(data: bytes, header: dict) -> bytes:
    packed = deflate(header)
    size, out = len(packed), bytearray(data[: len(MAGIC) + 1])
    while size >= 128:
        out.append(size & 127 | 128)
        size >>= 7
    out.append(size)
    return resealed(bytes(out) + packed + split_header(data)[1])


VALUES = [
    None, True, -1, 0, 1, 2, 3, 17, 255, 10**6, 10**9, 2**31, 2**63, 10**30, 0.5, 1e300, "", "range", "huffman",
    "packed", "float", "grid", "a", [], {}, [[]], [0] * 50, ["x"] * 3, {"rule": "float"}, {"rule": "grid", "bits": 16},
    {"rule": "float", "kept": 10**12}, "resnet20-cifar", "mobilenetv2-cifar", "mobilenetv1", {"width": 4.0},
]  # fmt: skip


def edit(value, dice: random.Random):
    """One field somewhere inside, replaced, removed or doubled."""
    if isinstance(value, dict) and value and dice.random() < 0.8:
        key = dice.choice(sorted(value))
        changed = dict(value)
        if dice.random() < 0.1:
            del changed[key]
        elif dice.random() < 0.1:
            changed[key + "x"] = value[key]
        else:
            changed[key] = edit(value[key], dice)
        return changed
    if isinstance(value, list) and value and dice.random() < 0.7:
        place = dice.randrange(len(value))
        changed = list(value)
        changed[place : place + 1] = [edit(value[place], dice)] * dice.choice([0, 1, 1, 1, 2, 100])
        return changed
    if isinstance(value, int) and dice.random() < 0.5:
        return value + dice.choice([-1, 1, 100, 10**6])
    return dice.choice(VALUES)


def mutant(data: bytes, dice: random.Random) -> bytes:
    kind = dice.randrange(6)
    if kind == 0:
        return data[: dice.randrange(len(data))]
    if kind == 1:
        return resealed(data[: dice.randrange(12, len(data))] + b"\0\0\0\0")
    if kind == 2:
        flipped = bytearray(data)
        for _ in range(dice.randint(1, 8)):
            flipped[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        return bytes(flipped) if dice.random() < 0.2 else resealed(bytes(flipped))
    if kind == 3:
        place = dice.randrange(len(data))
        return resealed(data[:place] + dice.randbytes(dice.randint(1, 64)) + data[place:])
    header = split_header(data)[0]
    for _ in range(dice.randint(1, 2)):
        header = edit(header, dice)
    return with_header(data, header if isinstance(header, dict) else {"x": header})


def check_mutants(files: list[bytes], count: int, seed: int) -> dict[str, float]:
    """Every mutant is refused with a line or decodes to the same model; figures of the worst."""
    dice = random.Random(seed)
    good = [{name: t.clone() for name, t in tensors(mgn.decode(data)).items()} for data in files]
    slowest, refused, same = 0.0, 0, 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(count):
        number = dice.randrange(len(files))
        broken = mutant(files[number], dice)
        started = time.process_time()  # other programs may hold the core
        try:
            decoded = mgn.decode(broken)
        except FormatError as error:
            refused += 1
            assert error.what.startswith("not a valid .mgn file: ") and "\n" not in error.what and error.instead
        else:
            same += 1
            found = tensors(decoded)
            assert all(torch.equal(found[n], good[number][n]) for n in good[number])
            assert decoded.classes == mgn.decode(files[number]).classes
        slowest = max(slowest, time.process_time() - started)
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"refused": refused, "same": same, "slowest": slowest, "extra_mb": extra}


def mutant_files(classifier, apply) -> list[bytes]:
    recipes = [
        [], ["prune=0.6"], ["quant=w4a8"], ["prune=0.5", "quant=w3"], ["prune=0.5", "cluster=8,shared=true"],
        ["prune-channels=0.5"], ["quant=w3a8,per=9,affine=true"],
    ]  # fmt: skip
    return [
        mgn.encode(dataclasses.replace(apply(classifier, recipe), coder=coder))
        for recipe in recipes
        for coder in ("packed", "huffman", "range")
    ]


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutants_are_refused_or_are_the_same_model(lively, apply, count, capsys):
    figures = check_mutants(mutant_files(lively, apply), count, seed=count)
    with capsys.disabled():
        print(f"\n{count} mutants: {figures}")
    assert figures["slowest"] < 1.0 and figures["extra_mb"] < 200


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
