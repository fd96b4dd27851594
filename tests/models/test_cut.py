"""Networks that end early: `cut=K` for every family, numbered as its blocks are."""

import pytest
import torch

from mignon import mgn
from mignon.checkpoint import load_safetensors, save_safetensors
from mignon.classifier import fresh, parameter_count
from mignon.data.look import neutral_spec
from mignon.errors import ModelError
from mignon.models import build, parse_model, units
from mignon.models.graph import trace


@pytest.mark.parametrize(
    ("family", "block", "parameters"),
    [("efficientnet-lite0", 5, 87_906), ("efficientnet-lite0", 8, 360_738), ("mobilenetv1", 12, 3_209_026 + 2 * 1_024)],
)
def test_parameters_up_to_a_block_and_of_a_head_for_mean_and_maximum(family, block, parameters):
    assert parameter_count(family, {"cut": block}, 2, 3) == parameters


def test_what_is_kept_has_its_names_and_numbers_and_the_head_is_fresh():
    torch.manual_seed(0)
    whole = build("resnet20-cifar", {}, 10, 3)
    torch.manual_seed(0)
    short = trace(build("resnet20-cifar", {"cut": 4}, 10, 3)).state_dict()
    kept = {name for name in short if not name.startswith("head.")}
    assert kept == {n for n in whole.state_dict() if n.startswith(("conv1", "bn1", "layer1", "layer2.0", "layer2.1"))}
    assert all(torch.equal(short[name], whole.state_dict()[name]) for name in kept)
    assert short["head.linear.weight"].shape == (10, 64)


def test_units_are_named_in_order_and_end_where_the_network_is_cut():
    assert units("resnet20-cifar", {})[2:4] == ["layer1.2", "layer2.0"]
    assert units("efficientnet-lite0", {"cut": 2}) == ["_blocks.0", "_blocks.1", "_blocks.2"]
    assert parse_model("efficientnet-lite0,cut=8") == ("efficientnet-lite0", {"cut": 8})


@pytest.mark.parametrize("block", ["16", "-1", "x"])
def test_a_block_that_is_not_there_is_refused(block):
    with pytest.raises(ModelError, match=r"cut=15|whole number"):
        parse_model(f"efficientnet-lite0,cut={block}")


@pytest.mark.parametrize("value", ["8", True, 2.0, None, 99])
def test_a_header_may_say_only_a_block_that_is_there(value):
    with pytest.raises(ModelError):
        build("efficientnet-lite0", {"cut": value}, 2, 3)


def test_a_cut_network_keeps_its_cut_in_checkpoint_and_file(tmp_path):
    classifier = fresh("mobilenetv1", {"width": 0.25, "cut": 3}, neutral_spec(32, 3), ("a", "b"), 0)
    save_safetensors(classifier, tmp_path / "a.safetensors")
    for other in (load_safetensors(tmp_path / "a.safetensors"), mgn.decode(mgn.encode(classifier))):
        assert other.options == classifier.options and other.parameters == classifier.parameters
        assert [*other.weighted()] == [*classifier.weighted()]
