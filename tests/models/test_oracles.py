"""Networks of pytorchcv with the same weights give the same logits; by name where names are theirs, else by order."""

import importlib

import pytest
import torch
from helpers import lively

from mignon.importing.transfer import transfer
from mignon.models import build
from mignon.models.graph import trace


@pytest.mark.parametrize(
    ("module", "name", "family", "options", "pixels", "match"),
    [
        ("mobilenet", "mobilenet_wd4", "mobilenetv1", {"width": 0.25}, 224, "name"),
        ("fdmobilenet", "fdmobilenet_wd4", "fdmobilenet", {"width": 0.25}, 224, "name"),
        ("resnet", "resnet18", "resnet18", {}, 224, "order"),
        ("resnet_cifar", "resnet20_cifar10", "resnet20-cifar", {}, 32, "order"),
        ("squeezenet", "squeezenet_v1_1", "squeezenet1_1", {}, 224, "order"),
        ("squeezenet", "squeezeresnet_v1_0", "squeezenet1_0", {"bypass": "simple"}, 224, "order"),
    ],
)
def test_the_same_weights_give_the_same_logits_as_in_pytorchcv(module, name, family, options, pixels, match):
    try:
        theirs = importlib.import_module(f"pytorchcv.models.{module}")
    except ImportError as error:
        pytest.skip(f"pytorchcv cannot be imported ({error})")
    torch.manual_seed(0)
    other = lively(getattr(theirs, name)()).eval()
    tensors = {n: t for n, t in other.state_dict().items() if not n.endswith("num_batches_tracked")}
    classes = tensors[[*tensors][-1]].shape[0]
    ours = trace(build(family, options, classes, 3))
    moves = transfer(tensors, ours, match)
    assert all(move.to for move in moves), next(move for move in moves if not move.to)
    with torch.no_grad():
        images = torch.randn(2, 3, pixels, pixels)
        expected = other(images)
        assert float((ours(images) - expected).abs().max()) <= 1e-4 * float(expected.abs().max())
