"""Which layers take part in sharing, found from the graph."""

import pytest
from torch import nn

from mignon.models import build
from mignon.models.graph import trace
from mignon.models.kernels import kernel_families, stem
from mignon.models.layers import Add, GlobalAverage, conv_bn


def found(name, options=None):
    network = trace(build(name, options or {}, 10, 3))
    return {str(f): f.layers for f in kernel_families(network)}, stem(network)


@pytest.mark.parametrize("shortcut", ["a", "b"])
def test_resnet_shares_all_3x3_and_no_shortcut(shortcut):
    layers, first = found("resnet20-cifar", {"shortcut": shortcut})
    assert list(layers) == ["3 x 3"] and len(layers["3 x 3"]) == 19
    assert layers["3 x 3"][:3] == ("conv1", "layer1.0.conv1", "layer1.0.conv2") and first == "conv1"


def test_mobilenet_shares_depthwise_and_pointwise_but_not_the_stem():
    layers, first = found("mobilenetv1")
    assert {k: len(v) for k, v in layers.items()} == {"3 x 3": 13, "1 x 1": 13}
    assert first not in layers["3 x 3"]


def test_mobilenetv2_shares_no_last_convolution():
    layers, first = found("mobilenetv2-cifar")
    assert {k: len(v) for k, v in layers.items()} == {"3 x 3": 17, "1 x 1": 33}
    assert first == "features.0.0" and "features.18.0" not in layers["1 x 1"]
    assert layers["1 x 1"][:3] == ("features.1.body.1.0", "features.2.body.0.0", "features.2.body.2.0")


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a 1x1 shortcut, as in ResNet-50."""

    def __init__(self, inputs, width):
        super().__init__()
        self.a = nn.Sequential(*conv_bn(inputs, width, 1), nn.ReLU())
        self.b = nn.Sequential(*conv_bn(width, width, 3), nn.ReLU())
        self.c = nn.Sequential(*conv_bn(width, 4 * width, 1))
        self.shortcut = nn.Sequential(*conv_bn(inputs, 4 * width, 1))
        self.add, self.relu = Add(), nn.ReLU()

    def forward(self, x):
        return self.relu(self.add(self.c(self.b(self.a(x))), self.shortcut(x)))


def test_bottlenecks_share_3x3_and_1x1_and_a_5x5_stays_alone():
    network = trace(
        nn.Sequential(
            nn.Conv2d(3, 8, 5), Bottleneck(8, 4), Bottleneck(16, 4), GlobalAverage(), nn.Linear(16, 10)
        )
    )  # fmt: skip
    layers = {str(f): f.layers for f in kernel_families(network)}
    assert layers == {
        "5 x 5": ("0",),
        "1 x 1": ("1.a.0", "1.c.0", "2.a.0", "2.c.0"),
        "3 x 3": ("1.b.0", "2.b.0"),
    }
