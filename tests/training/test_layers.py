"""Transfer: what is frozen keeps every number, and what trains is what was asked for."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import context_for, make_pictures, opened

from mignon.checkpoint import take
from mignon.classifier import fresh
from mignon.data.imageset import Split
from mignon.data.inputs import InputSpec
from mignon.errors import ModelError
from mignon.importing import give
from mignon.progress import Quiet
from mignon.steps import parse_step
from mignon.training.layers import Layers
from mignon.training.loop import fit
from mignon.training.settings import Options, Settings

SPEC = InputSpec(32, 32, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def small(seed=0):
    return fresh("mobilenetv1", {"width": 0.25}, SPEC, ("no", "yes"), seed)


def sha(classifier, names):
    return {
        name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in classifier.network.state_dict().items()
        if not name.startswith(tuple(names))
    }


def noise(count, label=None, seed=0):
    dice = np.random.default_rng(seed)
    pixels = dice.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = dice.integers(0, 2, count) if label is None else np.full(count, label)
    return Split("train", pixels, labels, [""] * count)


@pytest.mark.parametrize(
    ("text", "count"), [("head", 514), ("last:1", 69_378), ("last:2", 104_066), ("all", 213_586), ("none", 0)]
)
def test_layers_of_mobilenet_hold_these_many_parameters(text, count):
    assert Layers.of(small(), text).parameters == count


def test_what_trains_is_named():
    assert Layers.of(small(), "last:2").line() == (
        "trains features.stage5.unit1, features.stage5.unit2, output: 104,066 of 213,586 parameters"
    )
    assert Layers.of(small(), "all").line().startswith("trains all layers: 213,586")


@pytest.mark.parametrize("text", ["last:0", "last:x", "last", "trunk", ""])
def test_layers_that_are_none_are_refused(text):
    with pytest.raises(ModelError, match=r"last:2"):
        Options(layers=text)


def test_more_units_than_there_are_is_refused():
    with pytest.raises(ModelError, match="13 units"):
        Layers.of(small(), "last:14")


@pytest.mark.parametrize(("text", "moved"), [("head", ["output"]), ("last:1", ["output", "features.stage5.unit2"])])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_frozen_layers_keep_every_bit(text, moved, optimizer, tmp_path):
    classifier, train = small(), noise(32)
    before = sha(classifier, moved)
    settings = Settings(epochs=2, batch=8, layers=text, optimizer=optimizer, lr=0.01, weight_decay=0.1)
    fitted = fit(classifier, train, noise(16, seed=1), settings, 0, "cpu", tmp_path, Quiet(), choose_from=1)
    assert sha(fitted.classifier, moved) == before
    assert sha(fitted.classifier, ()) != sha(small(), ())
    assert all(p.requires_grad for p in fitted.classifier.network.parameters())


def test_400_steps_of_one_class_change_nothing_but_the_head(tmp_path):
    classifier, before = small(), sha(small(), ["output"])
    stream = noise(400, label=1)
    layers = Layers.of(classifier, "head")
    with layers.held():
        optimizer = torch.optim.SGD([p for p in classifier.network.parameters() if p.requires_grad], lr=0.01)
        layers.train_mode()
        for image in range(400):
            logits = classifier.network(torch.from_numpy(stream.take([image])).permute(0, 3, 1, 2).float() / 255)
            torch.nn.functional.cross_entropy(logits, torch.tensor([1])).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert sha(classifier, ["output"]) == before
    assert not torch.equal(classifier.network.output.bias, small().network.output.bias)


def test_no_gradient_is_computed_before_what_trains():
    classifier = small()
    layers = Layers.of(classifier, "last:1")
    with layers.held():
        layers.train_mode()
        seen = []
        classifier.network.features.stage5.unit1.pw_conv.activ.register_forward_hook(lambda *a: seen.append(a[2]))
        classifier.network(torch.randn(2, 3, 32, 32))
    assert not seen[0].requires_grad


def test_nothing_trains_with_none(tmp_path):
    fitted = fit(small(), noise(16), noise(16), Settings(layers="none"), 0, "cpu", tmp_path, Quiet(), choose_from=1)
    assert sha(fitted.classifier, ()) == sha(small(), ()) and fitted.history == []


def test_a_tune_may_train_the_last_layers_of_a_quantized_network(digits, tiny_classifier, tmp_path):
    quantized = parse_step("quant=w4a8").apply(tiny_classifier, context_for(digits, tmp_path / "0"))
    tuned = parse_step("tune=1,share=0.2,layers=head,lr=0.1").apply(quantized, context_for(digits, tmp_path / "1"))
    head = list(tuned.weighted())[-1]
    assert sha(tuned, [head, "grids"]) == sha(quantized, [head, "grids"])


def test_rates_suit_the_weights_at_the_start():
    fresh_one, new_head, whole = (Settings.of(Options(epochs=3), given=given) for given in ("", "trunk", "all"))
    assert (fresh_one.optimizer, fresh_one.lr, fresh_one.trunk, fresh_one.freeze) == ("sgd", 0.2, 1.0, 0.0)
    assert (new_head.optimizer, new_head.lr, new_head.trunk, new_head.freeze) == ("adamw", 0.01, 0.1, 1.0)
    assert (whole.optimizer, whole.lr, whole.trunk) == ("adamw", 0.001, 1.0)
    said = Settings.of(Options(lr=0.5, optimizer="sgd", freeze=0.0), given="trunk")
    assert (said.lr, said.optimizer, said.trunk, said.freeze) == (0.5, "sgd", 0.1, 0.0)


def test_head_and_trunk_have_rates_of_their_own(tmp_path):
    settings = Settings(epochs=1, batch=8, lr=0.1, trunk=0.0, momentum=0.0, weight_decay=0.1, freeze=1.0)
    fitted = fit(small(), noise(16), noise(16), settings, 0, "cpu", tmp_path, Quiet(), choose_from=1)
    assert sha(fitted.classifier, ["output"]) == sha(small(), ["output"])


def test_pretrained_weights_learn_in_four_epochs(shared_data, tmp_path):
    """At the rate of a fresh network this ended at chance."""
    photos = opened(make_pictures(tmp_path / "photos", {"dark": 60, "light": 60}, size=32), spec=SPEC)
    given = give(str(shared_data / "mobilenet-025-imagenet-trunk.safetensors"))
    start, _ = take(given, replace(small(), classes=photos.classes))
    settings = Settings.of(Options(epochs=4, batch=16), given="trunk")
    fitted = fit(start, photos.train, photos.validation, settings, 0, "cpu", tmp_path / "run", Quiet(), choose_from=1)
    assert fitted.best_top1 > 0.9
