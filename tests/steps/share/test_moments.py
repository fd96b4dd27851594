"""Choosing references on training images: second moments of the inputs, and errors passed on."""

import itertools

import numpy as np
import pytest
import torch
from helpers import context_for

from mignon.classifier import fresh
from mignon.data.imageset import Split
from mignon.data.inputs import InputSpec, to_network
from mignon.rules.linear import Scale, affine
from mignon.rules.pieces import unit
from mignon.steps.share.matching import match
from mignon.steps.share.moments import choose, second_moments

FLOAT = (Scale(0.0, 0.0), 32)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rebuilt(chosen, table, shape):
    """The weight of whole pieces."""
    return (table[chosen.reference] * chosen.a[..., None] + chosen.m[..., None]).reshape(shape)


def test_moments_are_those_of_the_patches_that_an_output_reads(tmp_path):
    spec = InputSpec(height=16, width=16, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    classifier = fresh("mobilenetv1", {"width": 0.1}, spec, ("a", "b"), 0)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    split = Split("train", pixels, np.zeros(3, np.int64), ["a", "b", "c"])
    images = type("Images", (), {"train": split, "validation": split})
    names = ["features.stage1.unit1.dw_conv.conv", "features.stage1.unit1.pw_conv.conv"]
    found = second_moments(classifier, names, context_for(images, tmp_path))
    with torch.no_grad():
        stem = classifier.network.get_submodule("features.init_block")
        x = torch.relu(stem.bn(stem.conv(to_network(torch.from_numpy(pixels), spec))))
        padded = torch.nn.functional.pad(x, (1, 1, 1, 1)).double()
        for channel in range(x.shape[1]):
            places = itertools.product(range(3), range(x.shape[2]), range(x.shape[3]))
            rows = torch.stack([padded[n, channel, i : i + 3, j : j + 3].flatten() for n, i, j in places])
            torch.testing.assert_close(found[names[0]][channel].double(), rows.T @ rows / 3, rtol=1e-4, atol=1e-4)
        unit1 = classifier.network.get_submodule("features.stage1.unit1")
        y = torch.relu(unit1.dw_conv.bn(unit1.dw_conv.conv(x))).double().permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        torch.testing.assert_close(found[names[1]][0].double(), y.T @ y / 3, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (8, 1, 3, 3)])
def test_inputs_without_correlation_give_the_nearest_reference(shape):
    weight, table = random(*shape), unit(random(20, 9, seed=1))
    groups = 8 if shape[1] == 1 else 1
    size = weight.numel() // (groups * (shape[0] // groups))
    moment = torch.eye(size, dtype=torch.float64).repeat(groups, 1, 1)
    chosen = choose(weight, moment, table, FLOAT, FLOAT)
    plain = match(weight.reshape(-1, 9), table, "l2")
    assert torch.equal(chosen.reference.flatten(), plain.reference)
    torch.testing.assert_close(chosen.a.flatten(), plain.alpha)
    torch.testing.assert_close(chosen.m.flatten(), plain.beta)


@pytest.mark.parametrize("bits", [4, 32])
def test_correlated_inputs_are_used_to_bring_the_outputs_closer(bits):
    inputs = random(400, 36, seed=2) @ random(36, 36, seed=3) + 1
    moment = (inputs.T @ inputs / len(inputs))[None]
    weight, table = random(10, 4, 3, 3), unit(random(16, 9, seed=1))
    plain = match(weight.reshape(-1, 9), table, "l2")
    grids = [(affine(x, bits), bits) if bits < 32 else FLOAT for x in (plain.alpha, plain.beta)]

    def error(found):
        return float((inputs @ (found - weight).reshape(10, -1).T).square().mean())

    fitted = (table[plain.reference] * plain.alpha[:, None] + plain.beta[:, None]).reshape(weight.shape)
    chosen = choose(weight, moment, table, *grids)
    assert error(rebuilt(chosen, table, weight.shape)) < 0.8 * error(fitted)


def test_shorter_last_pieces_and_dead_inputs():
    weight, table = random(5, 11, 1, 1), unit(random(12, 4, seed=1))
    chosen = choose(weight, torch.zeros(1, 11, 11), table, FLOAT, FLOAT)
    assert chosen.reference.shape == (5, 3)
    last = match(weight.reshape(5, 11)[:, 8:], unit(table[:, :3]), "l2")
    assert torch.equal(chosen.reference[:, 2], last.reference)
    torch.testing.assert_close(chosen.a[:, 2], last.alpha)
