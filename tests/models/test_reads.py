"""Channels that nothing reads: what is called unread can be anything without changing the logits."""

import pytest
import torch
from torch import nn

from mignon.models import build
from mignon.models.activations import insert_grids
from mignon.models.graph import blocks, trace
from mignon.models.layers import Add, Concat, PadShortcut
from mignon.models.ops import is_weighted
from mignon.models.reads import read_channels
from mignon.models.weights import absorb
from mignon.registry import MODELS


class Every(nn.Module):
    """Each operation that passes channels on, in one network."""

    def __init__(self):
        super().__init__()
        self.stem, self.relu = nn.Conv2d(2, 6, 3, padding=1), nn.ReLU6()
        self.depthwise, self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Conv2d(6, 4, 1, groups=2)
        self.pad, self.side, self.add = PadShortcut(1, 2), nn.Conv2d(4, 6, 1, 2), Add()
        self.left, self.right, self.concat = nn.Conv2d(6, 3, 1), nn.Conv2d(6, 2, 3, padding=1), Concat()
        self.pool, self.drop, self.flat = nn.MaxPool2d(2, ceil_mode=True), nn.Dropout(), nn.Flatten()
        self.last = nn.Linear(20, 3)

    def forward(self, x):
        x = self.grouped(self.relu(self.depthwise(self.relu(self.stem(x)))))
        x = self.add(self.pad(x), self.side(x))
        x = self.pool(self.concat(self.relu(self.left(x)), self.right(x)))
        return self.last(self.flat(self.drop(x)))


def thin(network, seed, share=0.8):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if is_weighted(module):
                module.weight[torch.rand(module.weight.shape, generator=generator) < share] = 0
                if module.bias is not None:
                    module.bias.uniform_(-1, 1, generator=generator)
    return network


def check_unread(network, size, images):
    """Replace all that only unread channels hold by noise; gives how many channels that were."""
    read, count = read_channels(network, size), 0
    with torch.no_grad():
        before = network(images)
        for block in blocks(network):
            if block.weighted:
                unread = ~read[block.end.name]
                count += int(unread.sum())
                block.module.weight[unread] = torch.randn(block.module.weight[unread].shape) * 3
                if block.module.bias is not None:
                    block.module.bias[unread] = torch.randn(int(unread.sum())) * 3
        assert torch.equal(network(images), before)
    return count


@pytest.mark.parametrize("seed", range(8))
def test_what_is_unread_changes_nothing_through_every_operation(seed):
    torch.manual_seed(seed)
    network = thin(trace(Every()), seed)
    count = check_unread(network, (2, 8, 8), torch.randn(3, 2, 8, 8))
    assert count > 0


@pytest.mark.parametrize("seed", range(3))
def test_a_single_weight_that_is_not_zero_makes_its_whole_way_read(seed):
    network = trace(Every())
    with torch.no_grad():
        for module in (network.stem, network.depthwise, network.grouped, network.left, network.right, network.side):
            module.weight.fill_(0.1)
        network.last.weight.zero_()
        read = read_channels(network, (2, 8, 8))
        assert not any(read[name].any() for name in ("stem", "left", "right", "grouped", "x"))
        network.last.weight[seed, 4 * 3] = 1  # the first position of channel 3: channel 0 of the right part
        network.right.weight[0].zero_()
        network.right.weight[0, 1, 2, 2] = -1  # it reads channel 1 of the sum: channel 0 before the padding
    read = read_channels(network, (2, 8, 8))
    assert read["concat"].tolist() == [False, False, False, True, False]
    assert read["left"].sum() == 0 and read["right"].tolist() == [True, False]
    assert read["add"].tolist() == [False, True, False, False, False, False]
    assert read["side"].tolist() == read["add"].tolist()
    assert bool(read["grouped"].all()), "the side convolution reads all four"
    with torch.no_grad():
        network.side.weight.zero_()
    read = read_channels(network, (2, 8, 8))
    assert read["grouped"].tolist() == [True, False, False, False]
    assert read["depthwise"].tolist() == read["stem"].tolist() == [True] * 3 + [False] * 3, "the first group"
    assert read["x"].tolist() == [True, True]


def test_a_channel_that_only_a_dead_depthwise_kernel_reads_is_unread():
    network = trace(nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU6(), nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 2, 1)))
    with torch.no_grad():
        network.get_submodule("2").weight[1] = 0
        network.get_submodule("3").weight[:, 2] = 0
    read = read_channels(network, (1, 5, 5))
    assert read["_0"].tolist() == [True, False, False]
    assert read["_2"].tolist() == [True, True, False], "what a zero kernel leaves, its bias, is read"


@pytest.mark.parametrize("family", ["mobilenetv2-cifar", "resnet20-cifar", "squeezenet1_1", "vgg11-bn-cifar"])
def test_unread_channels_of_the_families(family):
    torch.manual_seed(0)
    network = absorb(thin(trace(build(family, {}, 5, 3)), 0, 0.97))
    assert check_unread(network, (3, 32, 32), torch.randn(2, 3, 32, 32)) > 0


def test_a_whole_network_is_read_and_grids_pass_channels_on():
    for family in MODELS:
        if family.endswith("14-cifar") or family in ("digits-cnn", "mobilenetv1"):
            network = trace(build(family, {}, 5, 3))
            insert_grids(network, 8)
            assert all(bool(channels.all()) for channels in read_channels(network, (3, 32, 32)).values())
