"""Checkpoints and given weights from outside: refused with a line that names file and tensor, or understood."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from helpers import context_for
from safetensors.torch import load_file, save_file

from mignon import mgn
from mignon.checkpoint import content_hash, load_safetensors, save_safetensors, with_new_head
from mignon.classifier import Classifier, Settled, fresh
from mignon.data.inputs import InputSpec
from mignon.errors import MignonError, ModelError
from mignon.steps import parse_recipe

SPEC = InputSpec(8, 8, 1, (0.3,), (0.3,))


@pytest.fixture
def kept(tiny_classifier, digits, tmp_path):
    """A checkpoint with masks, grids and a bias: its path, header and tensors, and a function that writes others."""
    classifier = tiny_classifier
    for number, step in enumerate(parse_recipe(["prune=0.5", "quant=w4a8"])):
        classifier = step.apply(classifier, context_for(digits, tmp_path / str(number)))
    path = tmp_path / "kept.safetensors"
    save_safetensors(classifier, path)
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["mignon"])

    def write(header=header, **changes):
        tensors = {k: v for k, v in {**load_file(path), **changes}.items() if v is not None}
        other = tmp_path / "other.safetensors"
        save_file(tensors, other, {"mignon": header if isinstance(header, str) else json.dumps(header)})
        return other

    return write, header, load_file(path)


@pytest.mark.parametrize(
    "change",
    [
        {"rules": []}, {"rules": 3}, {"rules": "x"}, {"rules": {"3.weight": 3}},
        {"rules": {"3.weight": {"rule": "magic"}}},
        {"rules": {"3.bias": {"rule": "float"}}}, {"rules": {"nowhere.weight": {"rule": "float"}}},
        {"recipe": 3}, {"recipe": [3]}, {"recipe": "prune=0.5"}, {"recipe": ["x"] * 2000}, {"origin": 3},
        {"origin": ["a"]}, {"classes": []}, {"classes": ["a", "a"]}, {"classes": ["a", 3]}, {"classes": "ab"},
        {"classes": ["x" * 900_000, "b"]}, {"family": 3}, {"family": "resnet9"}, {"options": {"width": "1.0"}},
        {"options": []}, {"options": {"width": True}}, {"input": 3}, {"input": {"height": 8}},
        {"activation_bits": 99}, {"activation_bits": "8"}, {"activation_bits": None},
        {"other_activation_bits": {"nowhere": 8}}, {"other_activation_bits": 8}, {"widths": {"3": 99}}, {"widths": 7},
        {"coder": 7},
    ],
)  # fmt: skip
def test_headers_of_other_types_are_refused_in_one_bounded_line(kept, change):
    write, header, _ = kept
    with pytest.raises(MignonError) as error:
        load_safetensors(write({**header, **change}))
    assert all(len(line) <= 400 and line.isprintable() for line in str(error.value).split("\n"))
    assert str(error.value).count("\n") <= 1


@pytest.mark.parametrize(
    "text",
    [
        "[" * 990 + "]" * 990, '{"a": ' * 990 + "1" + "}" * 990, '{"family": "x", "family": "y"}', '{"a": 1e999}',
        '{"a": NaN}',
        '{"a": ' + "9" * 5000 + "}", '{"a": "\\ud800"}', '{"\\ud800": 1}', "{", "null", "3", '"x"', "[]",
    ],
)  # fmt: skip
def test_json_that_is_not_plain_is_refused(kept, text):
    with pytest.raises(ModelError) as error:
        load_safetensors(kept[0](text))
    assert len(str(error.value)) < 800


@pytest.mark.parametrize(
    ("tensor", "change", "word"),
    [
        ("3.parametrizations.weight.0.q", lambda t: t + 100, "does not fit into 4 bits"),
        ("3.parametrizations.weight.0.q", lambda t: t.float(), "another kind"),
        ("3.parametrizations.weight.0.q", lambda t: t[:1], "expected"),
        ("3.parametrizations.weight.0.k", lambda t: t + 10**6, "out of range"),
        ("3.parametrizations.weight.0.k", lambda t: t.long() + 2**40, "do not fit"),
        ("3.parametrizations.weight.0.live_gain", lambda t: t * 0 + 1e-300, "not finite"),
        ("4.running_var", lambda t: t - 5, "4.running_var holds a negative variance"),
        ("4.bias", lambda t: t * float("nan"), "4.bias holds numbers that are not finite"),
        ("4.bias", lambda t: None, "lacks '4.bias'"),
        ("11.bias", lambda t: t.to(torch.complex64), "another kind"),
    ],
)
def test_numbers_that_no_file_could_hold_are_refused_by_name(kept, tensor, change, word):
    write, _, tensors = kept
    with pytest.raises(ModelError) as error:
        load_safetensors(write(**{tensor: change(tensors[tensor])}))
    assert word in str(error.value) and "other.safetensors" in str(error.value)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_names_of_training_tools_are_understood(tmp_path, prefix):
    classifier = fresh("digits-cnn", {}, SPEC, ("a", "b"), 0)
    save_safetensors(classifier, tmp_path / "plain.safetensors")
    header = {"family": "digits-cnn", "classes": ["a", "b"], "input": SPEC.to_dict()}
    tensors = {prefix + name: tensor for name, tensor in load_file(tmp_path / "plain.safetensors").items()}
    tensors |= {f"{prefix}1.num_batches_tracked": torch.tensor(7)}
    save_file(tensors, tmp_path / "tool.safetensors", {"mignon": json.dumps(header)})
    pixels = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    assert np.array_equal(load_safetensors(tmp_path / "tool.safetensors").logits(pixels), classifier.logits(pixels))


def test_other_number_types_of_the_same_kind_are_taken(tmp_path, tiny_classifier):
    save_safetensors(tiny_classifier, tmp_path / "a.safetensors")
    header = {
        "family": "digits-cnn",
        "classes": list(tiny_classifier.classes),
        "input": tiny_classifier.input.to_dict(),
    }
    for kind in (torch.float64, torch.bfloat16):
        tensors = {name: tensor.to(kind) for name, tensor in load_file(tmp_path / "a.safetensors").items()}
        save_file(tensors, tmp_path / "b.safetensors", {"mignon": json.dumps(header)})
        loaded = load_safetensors(tmp_path / "b.safetensors")
        assert all(p.dtype == torch.float32 for p in loaded.network.parameters())


def test_a_settled_classifier_says_so_and_its_copies_are_live_again(tiny_classifier):
    settled, decoded = mgn.settle(tiny_classifier), mgn.decode(mgn.encode(tiny_classifier))
    assert type(settled) is type(decoded) is Settled and type(tiny_classifier) is Classifier
    assert mgn.settle(settled) is settled and type(decoded.copy()) is Classifier
    assert type(dataclasses.replace(decoded, coder="range")) is Settled
    assert mgn.encode(decoded) == mgn.encode(decoded.copy()) == mgn.encode(tiny_classifier)


def test_a_hash_of_the_content_sees_every_number_but_not_where_it_came_from(tiny_classifier, kept, tmp_path):
    same = tiny_classifier.copy(origin={"seconds": 3.0})
    assert content_hash(same) == content_hash(tiny_classifier)
    assert content_hash(tiny_classifier.copy(recipe=("tune=1",))) != content_hash(tiny_classifier)
    with torch.no_grad():
        same.network.get_submodule("4").running_var[3] += 1e-6
    assert content_hash(same) != content_hash(tiny_classifier)
    loaded = load_safetensors(kept[0]())
    assert content_hash(loaded) == content_hash(load_safetensors(kept[0]()))


def test_loading_and_decoding_leave_the_random_state_alone(kept, tiny_classifier):
    data, path = mgn.encode(tiny_classifier), kept[0]()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    mgn.decode(data)
    load_safetensors(path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_other_classes_mean_a_new_head_and_all_before_it_is_as_given(kept, tiny_classifier):
    other = with_new_head(tiny_classifier, ("x", "y", "z"), 1)
    ours, theirs = tiny_classifier.network.state_dict(), other.network.state_dict()
    changed = {
        name for name in ours if ours[name].shape != theirs[name].shape or not torch.equal(ours[name], theirs[name])
    }
    assert changed == {"11.weight", "11.bias"} and other.classes == ("x", "y", "z")
    again = with_new_head(tiny_classifier, tuple("ABCDEFGHIJ"), 1).network.state_dict()
    assert not torch.equal(again["11.weight"], ours["11.weight"]), "as many classes, but others"
    for compressed in (load_safetensors(kept[0]()), mgn.decode(mgn.encode(tiny_classifier))):
        with pytest.raises(ModelError, match="compressed"):
            with_new_head(compressed, ("x", "y"), 0)
