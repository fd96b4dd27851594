"""EfficientNet-Lite: padding as TensorFlow has it, the network of the package that its weights are made for."""

import pytest
import torch
from torch import nn

from mignon.models import build
from mignon.models.graph import shapes, trace
from mignon.models.layers import SamePad


@pytest.mark.parametrize(("kernel", "even"), [(3, (0, 1)), (5, (1, 2))])
def test_same_padding_is_that_of_tensorflow(kernel, even):
    pad, convolution = SamePad(kernel, 2), nn.Conv2d(1, 1, kernel, 2)
    for height, width in ((8, 11), (7, 6), (1, 2)):
        map_ = torch.rand(1, 1, height, width)
        padded = pad(map_)
        before = [even[0] if side % 2 == 0 else kernel // 2 for side in (height, width)]
        assert torch.equal(padded[0, 0, before[0] : before[0] + height, before[1] : before[1] + width], map_[0, 0])
        assert padded.shape[2:] == tuple(side + sum(even) + side % 2 for side in (height, width))
        assert convolution(padded).shape[2:] == tuple(-(-side // 2) for side in (height, width))


@pytest.mark.parametrize("pixels", [24, 33, 128, 224, 511])
def test_any_size_is_taken(pixels):
    with torch.device("meta"):
        known = shapes(trace(build("efficientnet-lite0", {}, 10, 3)), 3, pixels, pixels)
    assert known["_conv_head"] == (1280, -(-pixels // 32), -(-pixels // 32))


@pytest.mark.parametrize(("number", "pixels"), [(0, 128), (0, 224), (1, 96), (2, 96)])
def test_logits_are_those_of_the_package_that_the_weights_are_made_for(number, pixels):
    theirs = pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")
    name = f"efficientnet-lite{number}"
    torch.manual_seed(0)
    other = theirs.EfficientNet.from_name(name, image_size=pixels).eval()
    ours = build(name, {}, 1000, 3).eval()
    for module in other.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    assert ours.load_state_dict(other.state_dict()) and len(ours.state_dict()) == {0: 296, 1: 386, 2: 386}[number]
    with torch.no_grad():
        images = torch.randn(2, 3, pixels, pixels)
        expected = other(images)
        assert float((ours(images) - expected).abs().max()) <= 1e-4 * float(expected.abs().max())
