"""Networks: exact counts, the contract of every family, absorbing, memory."""

import numpy as np
import pytest
import torch
from torch import nn

from mignon.classifier import parameter_count
from mignon.errors import ModelError
from mignon.models import build
from mignon.models.graph import absorb, blocks, clone, layers, peak_activation_bytes, set_rule, shapes, trace
from mignon.models.layers import Add
from mignon.registry import MODELS
from mignon.rules.grid import Grid

COUNTS = [  # family, options, classes, channels, parameters
    ("digits-cnn", {}, 10, 1, 3_778),
    ("resnet20-cifar", {}, 10, 3, 272_474),
    ("resnet20-cifar", {"shortcut": "a"}, 10, 3, 269_722),
    ("mobilenetv2-cifar", {"width": 0.35, "last": 448}, 10, 3, 305_770),
    ("mobilenetv1", {"width": 1.0}, 1000, 3, 4_231_976),
    ("mobilenetv1", {"width": 0.75}, 1000, 3, 2_585_560),
    ("mobilenetv1", {"width": 0.5}, 1000, 3, 1_331_592),
    ("mobilenetv1", {"width": 0.25}, 1000, 3, 470_072),
    ("mobilenetv1", {"width": 1.0}, 2, 3, 3_209_026),
    ("mobilenetv1", {"width": 0.75}, 2, 3, 1_818_098),
    ("mobilenetv1", {"width": 0.5}, 2, 3, 819_618),
    ("mobilenetv1", {"width": 0.25}, 2, 3, 213_586),
]
MACS = [  # family, options, classes, pixels, multiply-accumulates
    ("resnet20-cifar", {}, 10, 32, 40_813_184),
    ("mobilenetv1", {"width": 1.0}, 1000, 224, 568_740_352),
    ("mobilenetv1", {"width": 0.5}, 2, 128, 48_649_216),
    ("mobilenetv1", {"width": 0.25}, 2, 224, 40_774_784),
    ("mobilenetv1", {"width": 0.25}, 2, 128, 13_314_560),
    ("mobilenetv1", {"width": 0.25}, 2, 96, 7_489_664),
    ("mobilenetv1", {"width": 0.75}, 1000, 128, 106_770_432),
]


@pytest.mark.parametrize(("family", "options", "classes", "channels", "expected"), COUNTS)
def test_parameters_are_those_of_the_papers(family, options, classes, channels, expected):
    assert parameter_count(family, options, classes, channels) == expected


@pytest.mark.parametrize(("family", "options", "classes", "pixels", "expected"), MACS)
def test_multiply_accumulates_are_those_of_the_papers(family, options, classes, pixels, expected):
    network = trace(build(family, options, classes, 3))
    assert sum(layer.macs for layer in layers(network, (3, pixels, pixels))) == expected


def lively(network):
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.weight[0] = 0.0
                module.weight[-1] = -0.8
                module.bias.uniform_(-0.3, 0.3, generator=generator)
                module.running_mean.uniform_(-0.3, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
    return network


def test_every_family_keeps_the_contract(capsys):
    checked = 0
    for family in MODELS:
        pixels = min(MODELS[family].pixels, 64)
        for channels in (1, 3):
            torch.manual_seed(0)
            network = lively(trace(build(family, {}, 7, channels)))
            images = torch.randn(2, channels, pixels, pixels)
            with torch.no_grad():
                before = network(images)
                absorbed = absorb(network)
                after = absorbed(images)
            assert before.shape == (2, 7)
            assert not any(isinstance(m, nn.BatchNorm2d) for m in absorbed.modules())
            torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3 * float(before.std()))
            found = blocks(network)
            assert found[0].kind == "input" and found[-1].kind == "linear"
            weighted = sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in network.modules())
            assert sum(b.kind in ("conv", "linear") for b in found) == weighted
            assert MODELS[family].summary
            checked += 1
    with capsys.disabled():
        print(f"\n{checked} networks keep the contract")
    assert checked >= 8


def test_a_copy_shares_nothing_with_what_it_was_copied_from():
    network = trace(build("digits-cnn", {}, 10, 1))
    module = network.get_submodule("3")
    rule = Grid({"rule": "grid", "bits": 4}, tuple(module.weight.shape))
    rule.choose_scales(module.weight, None)
    rule.fit(module.weight)
    set_rule(module, rule, module.weight)
    expected = module.weight.clone()
    for copied in (clone(network), absorb(network)):
        other = copied.get_submodule("3")
        other.parametrizations["weight"][0].q.zero_()
        set_rule(other, Grid({"rule": "grid", "bits": 2}, tuple(rule.shape)), torch.zeros(rule.shape))
        if other.bias is not None:
            set_rule(other, Grid({"rule": "grid", "bits": 2}, tuple(other.bias.shape)), other.bias, "bias")
        assert torch.equal(module.weight, expected) and module.bias is None


def test_peak_memory_counts_what_lives_at_one_time():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.relu, self.b = nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1)
            self.add, self.flat, self.last = Add(), nn.Flatten(), nn.Linear(32, 3)

        def forward(self, x):
            x = self.relu(self.a(x))
            return self.last(self.flat(self.add(self.b(x), x)))

    network = trace(Small())
    # at the add: its two inputs of 2 x 4 x 4 and its output live
    assert peak_activation_bytes(network, (1, 4, 4)) == 3 * 32 * 4
    assert peak_activation_bytes(network, (1, 4, 4), bits=8) == 3 * 32


@pytest.mark.parametrize(
    ("family", "options", "classes", "channels"),
    [
        ("resnet21", {}, 10, 3),
        ("resnet20-cifar", {"shortcut": "c"}, 10, 3),
        ("resnet20-cifar", {"width": 2}, 10, 3),
        ("mobilenetv1", {"width": 0}, 10, 3),
        ("mobilenetv1", {"width": 1e9}, 10, 3),
        ("mobilenetv1", {"width": float("nan")}, 10, 3),
        ("mobilenetv2-cifar", {"last": 10**9}, 10, 3),
        ("mobilenetv2-cifar", {"last": 2.5}, 10, 3),
        ("digits-cnn", {}, 0, 3),
        ("digits-cnn", {}, 10, 2),
    ],
)
def test_networks_that_make_no_sense_are_refused(family, options, classes, channels):
    with pytest.raises(ModelError):
        build(family, options, classes, channels)


def test_pictures_that_are_too_small_are_refused():
    with pytest.raises(ModelError, match="1 x 1"):
        shapes(trace(build("digits-cnn", {}, 10, 1)), 1, 1, 1)


def test_given_weights_load_and_trunks_say_what_to_type(shared_data):
    from mignon.classifier import fresh, load_safetensors, load_trunk
    from mignon.data.look import neutral_spec

    for name in ("resnet20-cifar10", "resnet20-cifar10-jpeg", "mobilenetv2-035-cifar10-jpeg"):
        given = load_safetensors(shared_data / f"{name}.safetensors")
        assert given.classes[0] == "airplane" and np.isfinite(given.logits(np.zeros((1, 32, 32, 3), np.uint8))).all()
    trunk = shared_data / "mobilenet-025-imagenet-trunk.safetensors"
    with pytest.raises(ModelError, match="trunk"):
        load_safetensors(trunk)
    start = fresh("mobilenetv1", {"width": 0.25}, neutral_spec(64, 3), ("a", "b"), 0)
    loaded, copied, skipped = load_trunk(trunk, start)
    assert len(copied) == 135 and skipped == []
    assert not torch.equal(
        loaded.network.state_dict()[copied[0]].float(), start.network.state_dict()[copied[0]].float()
    )
