"""Channel pruning: removed is the same as zeroed, narrow networks travel through files, broken widths do not."""

import dataclasses

import numpy as np
import pytest
import torch
import torch_pruning
from helpers import context_for
from torch import nn

from mignon import mgn
from mignon.checkpoint import load_safetensors, save_safetensors
from mignon.classifier import fresh
from mignon.data.look import neutral_spec
from mignon.errors import FormatError, ModelError, RecipeError
from mignon.measure.cost import layers
from mignon.models.layers import Add, Concat, conv_bn
from mignon.models.narrow import couple, is_depthwise, widths_of
from mignon.progress import Quiet
from mignon.registry import MODELS
from mignon.steps import Context, parse_recipe
from mignon.steps.prune.channels import importance, without_channels


class Branches(nn.Module):
    """Two branches side by side, one of them added to itself after a grouped layer; a linear layer on whole maps."""

    def __init__(self, classes, channels):
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(channels, 6, 3), nn.ReLU())
        self.left, self.right = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 10, 3, padding=1)
        self.concat, self.relu = Concat(), nn.ReLU()
        self.mix = nn.Sequential(*conv_bn(14, 8, 1), nn.ReLU())
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.add, self.pool, self.flat = Add(), nn.MaxPool2d(8), nn.Flatten()
        self.hidden, self.relu2, self.last = nn.Linear(8 * 4 * 4, 12), nn.ReLU(), nn.Linear(12, classes)

    def forward(self, x):
        x = self.stem(x)
        x = self.mix(self.relu(self.concat(self.left(x), self.right(x))))
        x = self.pool(self.add(self.grouped(x), x))
        return self.last(self.relu2(self.hidden(self.flat(x))))


@dataclasses.dataclass(frozen=True)
class BranchesFamily:
    summary = "a toy"
    pixels = 32
    example = ({}, 32)

    def units(self):
        return ["mix", "grouped"]

    def build(self, classes, channels):
        return Branches(classes, channels)


@pytest.fixture(autouse=True)
def branches():
    MODELS.register("branches")(BranchesFamily)
    yield
    MODELS.remove("branches")


NETWORKS = [
    ("digits-cnn", {}),
    ("resnet20-cifar", {"shortcut": "a"}),
    ("resnet20-cifar", {"shortcut": "b"}),
    ("mobilenetv2-cifar", {"width": 0.25, "last": 64}),
    ("mobilenetv1", {"width": 0.125}),
    ("branches", {}),
]
NAMES = [f"{family} {' '.join(map(str, options.values()))}" for family, options in NETWORKS]
CLASSES = tuple("abcdefg")


def lively(family, options):
    """A network whose BatchNorm is as after training."""
    classifier = fresh(family, options, neutral_spec(32, 3), CLASSES, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in classifier.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.3, 0.3, generator=generator)
                module.running_mean.uniform_(-0.3, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
    return classifier


def images(count=4):
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def prune(classifier, *texts, screen=None):
    for step in parse_recipe(texts):
        classifier = step.apply(classifier, Context(None, None, 0, "cpu", screen or Quiet(), None, None))
    return dataclasses.replace(classifier, recipe=texts)


def silenced(classifier, coupling, keep):
    """The full network in which every removed channel is zero wherever it appears."""
    result = classifier.copy()
    with torch.no_grad():
        for name, numbers in coupling.outputs.items():
            module = result.network.get_submodule(name)
            gone = ~keep[numbers]
            for tensor in ("weight", "bias"):
                if getattr(module, tensor, None) is not None:
                    getattr(module, tensor)[gone] = 0
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean[gone] = 0
    return result


@pytest.mark.parametrize(("family", "options"), NETWORKS, ids=NAMES)
def test_removed_channels_are_as_good_as_zero_ones(family, options):
    classifier = lively(family, options)
    coupling = couple(classifier.network, 3)
    generator = torch.Generator().manual_seed(1)
    keep = torch.ones(1 + max(int(n.max()) for n in coupling.outputs.values()), dtype=torch.bool)
    for group in coupling.groups:
        keep[group[torch.randperm(len(group), generator=generator)[: (len(group) - 1) * 2 // 3]]] = False
    smaller = without_channels(classifier, coupling, keep)
    assert smaller.parameters < 0.6 * classifier.parameters
    expected, found = silenced(classifier, coupling, keep).logits(images()), smaller.logits(images())
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("family", "options"), NETWORKS, ids=NAMES)
def test_narrow_networks_travel_through_files(family, options, tmp_path):
    full = lively(family, options)
    state = {name: value.clone() for name, value in full.network.state_dict().items()}
    pruned = prune(full, "prune-channels=0.4,by=l1")
    assert all(torch.equal(value, state[name]) for name, value in full.network.state_dict().items())
    rows = layers(pruned.network, pruned.size)
    assert sum(row.parameters for row in rows) == pruned.parameters < full.parameters == pruned.full_parameters
    assert sum(row.macs for row in rows) < 0.75 * sum(row.macs for row in layers(full.network, full.size))
    save_safetensors(pruned, tmp_path / "narrow.safetensors")
    restored = load_safetensors(tmp_path / "narrow.safetensors")
    assert restored.widths == pruned.widths
    assert np.array_equal(restored.logits(images()), pruned.logits(images()))
    data = mgn.encode(pruned)
    decoded = mgn.decode(data)
    assert mgn.encode(restored) == mgn.encode(decoded) == data
    assert len(data) < 0.8 * len(mgn.encode(full))
    assert decoded.widths == pruned.widths and decoded.parameters == pruned.parameters
    assert np.array_equal(mgn.settle(pruned).logits(images()), decoded.logits(images()))
    twice = prune(prune(decoded, "prune-channels=0.5"), "prune=0.5")
    again = mgn.decode(mgn.encode(twice))
    assert again.parameters < decoded.parameters and again.widths == twice.widths
    assert np.array_equal(again.logits(images()), mgn.settle(twice).logits(images()))


@pytest.mark.parametrize("share", [0, 0.3, 0.5, 0.99])
def test_so_many_channels_of_every_group_go(share):
    full = lively("mobilenetv2-cifar", {"width": 0.25, "last": 64})
    pruned = prune(full, f"prune-channels={share}")
    before, after = widths_of(full.network), widths_of(pruned.network)
    last = list(full.weighted())[-1]
    for name, width in before.items():
        assert after[name] == (width if name == last else width - min(width - 1, round(share * width)))
    assert pruned.widths == {name: after[name] for name in before if after[name] != before[name]}


def test_the_weakest_channels_go_and_the_screen_says_what_is_left():
    full = lively("digits-cnn", {})
    with torch.no_grad():
        full.network.get_submodule("0").weight[[1, 4]] *= 1e-3
        full.network.get_submodule("3").weight[:, [1, 4]] *= 1e-3
        full.network.get_submodule("4").weight[:4] = torch.tensor([0.01, -0.02, 0.03, -9.0])
    lines = []
    screen = Quiet()
    screen.say = lines.append
    pruned = prune(full, "prune-channels=0.25", screen=screen)
    weight = full.network.get_submodule("0").weight
    assert torch.equal(pruned.network.get_submodule("0").weight, weight[[0, 2, 3, 5, 6, 7]])
    assert len(lines) == 1 and f"{full.parameters:,} -> {pruned.parameters:,} parameters" in lines[0]
    assert f"-> {sum(row.macs for row in layers(pruned.network, pruned.size)):,} MACs" in lines[0]
    gamma = prune(full, "prune-channels=0.19,by=bn-gamma").network.get_submodule("4").weight
    assert torch.equal(gamma, full.network.get_submodule("4").weight[3:])


def test_without_batchnorm_there_are_no_gammas_to_go_by():
    for classifier in (lively("branches", {}), mgn.decode(mgn.encode(lively("digits-cnn", {})))):
        with pytest.raises(RecipeError, match="by=l2"):
            prune(classifier, "prune-channels=0.5,by=bn-gamma")


def test_masks_are_cut_with_their_channels():
    full = lively("resnet20-cifar", {"shortcut": "a"})
    masked = prune(full, "prune=0.6")
    pruned = prune(masked, "prune-channels=0.5")
    coupling = couple(masked.network, 3)
    assert pruned.nonzeros() < masked.nonzeros()
    assert torch.equal(importance(full.network, coupling, "l1") > 0, importance(masked.network, coupling, "l1") > 0)
    decoded = mgn.decode(mgn.encode(pruned))
    for name, module in pruned.weighted().items():
        assert torch.equal(module.weight != 0, module.parametrizations["weight"][0].mask.bool()), name
    assert decoded.nonzeros() == pruned.nonzeros()


def test_a_narrow_network_can_be_tuned_and_quantized(digits, tiny_classifier, tmp_path):
    classifier = tiny_classifier
    for number, step in enumerate(parse_recipe(["prune-channels=0.5", "tune=2", "quant=w4a8", "tune=1", "code=range"])):
        classifier = step.apply(classifier, context_for(digits, tmp_path / str(number)))
    decoded = mgn.decode(mgn.encode(classifier))
    assert decoded.widths == {"0": 4, "3": 8, "7": 8}
    pixels = digits.test.take(slice(100))
    assert np.array_equal(decoded.logits(pixels), mgn.settle(classifier).logits(pixels))


def test_integers_are_not_cut(tiny_classifier):
    with pytest.raises(RecipeError, match="quant"):
        parse_recipe(["quant=w8", "prune-channels=0.5"])
    with pytest.raises(RecipeError, match="l2, l1, bn-gamma"):
        parse_recipe(["prune-channels=0.5,by=hope"])


@pytest.mark.parametrize(
    ("family", "options"), [n for n in NETWORKS if n[1].get("shortcut") != "a" and n[0] != "branches"]
)
def test_groups_are_those_of_torch_pruning(family, options):
    """Its graph comes from autograd; it does not see that padding shifts channels (option A), and counts depthwise
    weights for both of their sides."""
    classifier = lively(family, options)
    network, coupling = classifier.network, couple(classifier.network, 3)
    names = {module: name for name, module in network.named_modules()}
    last = list(classifier.weighted().values())[-1]
    graph = torch_pruning.DependencyGraph().build_dependency(network, torch.zeros(1, 3, 32, 32))
    theirs, scores = {}, {}
    measure = torch_pruning.importance.GroupMagnitudeImportance(
        p=2, group_reduction="sum", normalizer=None, target_types=[nn.Conv2d, nn.Linear]
    )
    for group in graph.get_all_groups(ignored_layers=[last], root_module_types=(nn.Conv2d, nn.Linear)):
        members = frozenset(
            names[dep.target.module]
            for dep, _ in group
            if isinstance(dep.target.module, (nn.Conv2d, nn.BatchNorm2d)) and "out" in dep.handler.__name__
        )
        theirs[members] = len(group[0].idxs)
        scores[members] = measure(group)
    ours = {}
    own = importance(network, coupling, "l2")
    for group in coupling.groups:
        members = frozenset(name for name, numbers in coupling.outputs.items() if int(group[0]) in numbers.tolist())
        ours[members] = len(group)
        if not any(is_depthwise(network.get_submodule(name)) for name in members):
            torch.testing.assert_close(own[group].float(), scores[members], rtol=1e-4, atol=1e-6)
    assert ours == theirs


BROKEN = [
    {"conv1": 0}, {"conv1": 17}, {"conv1": -3}, {"conv1": 15}, {"conv1": True}, {"conv1": 8.0}, {"conv1": "8"},
    {"conv1": None}, {"conv1": [8]}, {"conv1": 10**30}, {"conv2": 8}, {"bn1": 8}, {"": 1}, {"linear": 6},
    {"linear": 8}, {"layer2.0.shortcut.before": -1}, {"layer2.0.shortcut.before": 9}, {"layer2.0.shortcut.before": 8},
    {"layer2.0.shortcut": 4}, {"layer1.0.conv2": 5}, {"x" * 5000: 1}, {"layer1.0.conv1": 16}, [["conv1", 8]], "conv1",
    8, True,
]  # fmt: skip


@pytest.fixture(scope="module")
def pruned():
    return prune(lively("resnet20-cifar", {"shortcut": "a"}), "prune-channels=0.5")


@pytest.mark.parametrize("widths", BROKEN, ids=lambda w: str(w)[:30])
def test_broken_widths_are_refused(widths, pruned, tmp_path):
    assert pruned.widths["layer2.0.shortcut.before"] + pruned.widths["layer2.0.shortcut.after"] == 8
    changed = {**pruned.widths, **widths} if isinstance(widths, dict) else widths
    broken = dataclasses.replace(pruned, widths=changed)
    with pytest.raises(FormatError, match=r"not a valid \.mgn file") as error:
        mgn.decode(mgn.encode(broken))
    assert len(error.value.what) < 200
    save_safetensors(broken, tmp_path / "broken.safetensors")
    with pytest.raises(ModelError):
        load_safetensors(tmp_path / "broken.safetensors")


def test_a_narrow_network_takes_no_memory_for_what_is_gone():
    """Without its widths the same file would be refused, for it is too small for the full network."""
    pruned = prune(lively("mobilenetv1", {"width": 1.0}), "prune-channels=0.99")
    data = mgn.encode(pruned)
    assert pruned.full_parameters > 100 * pruned.parameters
    assert mgn.decode(data).parameters == pruned.parameters
    small = mgn.encode(prune(pruned, "prune=0.9", "cluster=2", "code=range"))
    assert mgn.decode(small).parameters == pruned.parameters
    with pytest.raises(FormatError, match="cannot hold"):
        mgn.decode(mgn.encode(dataclasses.replace(prune(pruned, "cluster=2", "code=range"), widths={})))
