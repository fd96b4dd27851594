"""Settling: numbers that nothing reads become neutral without any effect, biases beside integers take 16 bits."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from mignon import mgn
from mignon.classifier import fresh
from mignon.data.inputs import InputSpec
from mignon.models.graph import blocks
from mignon.models.reads import read_channels
from mignon.models.weights import set_rule, weight_rule
from mignon.rules.float32 import Float32
from mignon.rules.scaled import Scaled

SPEC = InputSpec(16, 16, 3, (0.5,) * 3, (0.25,) * 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def sparse():
    """A MobileNetV2 with live BatchNorm, as after much pruning: whole kernels and columns are zero."""
    classifier = fresh("mobilenetv2-cifar", {"width": 0.05, "last": 16}, SPEC, ("a", "b", "c"), 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in classifier.network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(-0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.5, 0.5, generator=generator)
                module.running_mean.uniform_(-0.2, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
            elif isinstance(module, torch.nn.Conv2d):
                module.weight[torch.rand(module.weight.shape[:2], generator=generator) < 0.6] = 0
    return classifier


def with_rule(classifier, make):
    result = classifier.copy()
    for module in result.weighted().values():
        latent = module.weight.detach()
        rule = make(latent)
        rule.fit(latent)
        set_rule(module, rule, latent)
    return result


def integers(latent):
    rule = Scaled({"rule": "scaled", "bits": 8, "masked": True}, tuple(latent.shape))
    rule.set_scale(float(latent.abs().max()) / 127)
    rule.mask.copy_(latent != 0)
    return rule


RULES = {"float": lambda latent: Float32.masked(latent != 0), "scaled": integers}


@pytest.mark.parametrize("kind", RULES)
def test_what_nothing_reads_is_neutral_and_the_logits_are_the_same(sparse, kind, monkeypatch):
    classifier = with_rule(sparse, RULES[kind])
    settled = mgn.settle(classifier)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["mignon.mgn.settle"], "read_channels", lambda network, size: _All())
        plain = mgn.settle(classifier)
        larger = len(mgn.encode(dataclasses.replace(classifier, coder="range")))
    read, neutral = read_channels(settled.network, settled.size), 0
    nodes = {block.name: block.end.name for block in blocks(settled.network)}
    for (name, module), before in zip(settled.weighted().items(), plain.weighted().values()):
        unread = ~read[nodes[name]]
        assert not module.bias[unread].any(), name
        rule, other = weight_rule(module), weight_rule(before)
        if kind == "scaled":
            assert torch.equal(rule.q, other.q) and torch.equal(rule.scale, other.scale)
            if "gain" in rule.spec:
                assert not rule.gain[unread].any() and not rule.flip[unread].any()
                live = ~unread & (rule.q.flatten(1) != 0).any(1)
                assert torch.equal(rule.gain[live], other.gain[live])
        else:
            assert torch.equal(module.weight, before.weight)
            assert torch.equal(module.bias[~unread], before.bias[~unread])
        neutral += int((before.bias[unread] != 0).sum())
    assert neutral > 100
    if kind == "float":
        assert np.array_equal(settled.logits(PIXELS), plain.logits(PIXELS))
    else:  # the scale of a bias follows the largest one that is read
        np.testing.assert_allclose(settled.logits(PIXELS), plain.logits(PIXELS), rtol=0, atol=1e-3)
    assert len(mgn.encode(dataclasses.replace(classifier, coder="range"))) < larger - neutral // 2
    assert mgn.encode(mgn.settle(settled)) == mgn.encode(settled) == mgn.encode(classifier)


class _All(dict):
    """Every channel of every node is read."""

    def __missing__(self, key):
        return torch.ones((), dtype=torch.bool)


def test_a_gain_of_a_row_of_zeros_is_neutral_but_its_bias_stays(sparse):
    classifier = with_rule(sparse, integers)
    module = classifier.network.get_submodule("features.18.0")
    weight_rule(module).q[3] = 0
    settled = mgn.settle(classifier).weighted()["features.18.0"]
    rule = weight_rule(settled)
    assert int(rule.gain[3]) == 0 and int(rule.flip[3]) == 0 and float(settled.bias[3]) != 0
    assert int((rule.gain != 0).sum()) > 8


def test_biases_take_16_bits_beside_integers_and_stay_float_beside_floats(sparse):
    classifier = with_rule(sparse, integers)
    settled = mgn.settle(classifier)
    exact = mgn.settle(with_rule(sparse, RULES["float"]))
    assert all(type(weight_rule(m, "bias")) is Float32 for m in exact.weighted().values())
    for name, module in settled.weighted().items():
        rule = weight_rule(module, "bias")
        assert type(rule) is Scaled and rule.spec == {"rule": "scaled", "bits": 16}
        largest = float(module.bias.abs().max())
        other = exact.weighted()[name].bias
        assert largest == pytest.approx(float(other.abs().max()), rel=1e-6)
        assert float((module.bias - other).abs().max()) <= 0.51 * largest / 32767 + 1e-9
    decoded = mgn.decode(mgn.encode(classifier))
    assert np.array_equal(decoded.logits(PIXELS), settled.logits(PIXELS))


def test_biases_that_are_all_zero_or_tiny_are_stored(sparse):
    classifier = with_rule(sparse, integers)
    module = classifier.weighted()["classifier"]
    for bias in (torch.zeros(3), torch.tensor([1e-44, 0, 0]), torch.tensor([1e30, -1.0, 0])):
        with torch.no_grad():
            module.bias.copy_(bias)
        stored = mgn.decode(mgn.encode(classifier)).weighted()["classifier"].bias
        torch.testing.assert_close(stored, bias, rtol=1e-6, atol=max(float(bias.abs().max()) / 60000, 1e-38))
