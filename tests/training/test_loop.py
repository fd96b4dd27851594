"""Training: the schedule is a function of the step, resuming is exact to the bit, validation chooses the epoch."""

import math
import signal
from typing import ClassVar

import numpy as np
import pytest
import torch

from mignon.classifier import fresh
from mignon.data.inputs import to_network
from mignon.data.look import input_spec, neutral_spec
from mignon.errors import MignonError
from mignon.progress import Quiet
from mignon.training.checkpoint import Progress, load_progress, save_progress
from mignon.training.device import pick_device
from mignon.training.loop import fit, learning_rate
from mignon.training.settings import Settings


@pytest.fixture
def start(digits):
    spec = input_spec(digits.train, neutral_spec(8, 1))
    return lambda: fresh("digits-cnn", {}, spec, digits.classes, 0)


def train(start, digits, folder, screen=None, **changes):
    settings = Settings(**{"epochs": 4, "lr": 0.1, "batch": 64, **changes})
    return fit(start(), digits.train, digits.validation, settings, 0, "cpu", folder, screen or Quiet())


def weights(fitted):
    return fitted.classifier.network.state_dict()


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_learning_rate_warms_up_linearly_and_falls_as_a_cosine_to_zero():
    settings = Settings(epochs=1, lr=0.4, warmup=0.25)
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    assert rates[:25] == pytest.approx([0.4 * (i + 1) / 25 for i in range(25)])
    assert rates[25:] == pytest.approx([0.2 * (1 + math.cos(math.pi * i / 75)) for i in range(75)])


def test_equal_seeds_give_equal_bits(start, digits, tmp_path):
    a, b = (train(start, digits, tmp_path / name, epochs=2) for name in "ab")
    assert same(weights(a), weights(b))


@pytest.mark.parametrize("step", [1, 10, 16, 17, 40])
def test_an_interrupted_run_ends_with_the_bits_of_an_uninterrupted_one(start, digits, tmp_path, step):
    whole = train(start, digits, tmp_path / "whole")

    class PressCtrlC(Quiet):
        seen = 0

        def track(self, items, total, label):
            for item in items:
                self.seen += 1
                if self.seen == step:
                    signal.raise_signal(signal.SIGINT)
                yield item

    with pytest.raises(KeyboardInterrupt):
        train(start, digits, tmp_path / "cut", PressCtrlC())
    assert (tmp_path / "cut" / "checkpoint.safetensors").exists()
    resumed = train(start, digits, tmp_path / "cut")
    assert same(weights(whole), weights(resumed))
    assert resumed.best_epoch == whole.best_epoch
    keys = ("lr", "train_loss", "train_top1", "validation_top1", "validation_loss")
    assert [[h[k] for k in keys] for h in resumed.history] == [[h[k] for k in keys] for h in whole.history]


def test_a_checkpoint_of_other_settings_is_not_continued(start, digits, tmp_path):
    train(start, digits, tmp_path, epochs=1)
    other = train(start, digits, tmp_path, epochs=1, lr=0.05)
    clean = train(start, digits, tmp_path / "clean", epochs=1, lr=0.05)
    assert same(weights(other), weights(clean))


def test_the_epoch_that_is_best_on_validation_is_kept(start, digits, tmp_path):
    fitted = train(start, digits, tmp_path, epochs=5)
    scores = [(h["validation_top1"], -h["validation_loss"]) for h in fitted.history]
    assert fitted.best_epoch == scores.index(max(scores)) + 1
    pixels = digits.validation.take(slice(None))
    top1 = (fitted.classifier.logits(pixels).argmax(1) == digits.validation.labels).mean()
    assert top1 == pytest.approx(max(scores)[0])


def test_a_network_learns_and_its_loss_can_fall_below_the_floor_of_a_double_softmax(start, digits, tmp_path):
    fitted = train(start, digits, tmp_path, epochs=12)
    assert fitted.history[-1]["validation_top1"] > 0.9
    assert fitted.history[-1]["validation_loss"] < math.log(math.e + 9) - 1


def test_the_state_of_any_optimizer_is_kept(start, tmp_path):
    def steps(network, optimizer, count, seed):
        dice = torch.Generator().manual_seed(seed)
        for _ in range(count):
            network(torch.randn(4, 1, 8, 8, generator=dice)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    checked = 0
    for make in (torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.NAdam):
        network, other = start().network, start().network
        optimizer, again = (make(n.parameters(), lr=0.01, **({"momentum": 0.9} if make is torch.optim.SGD else {}))
                            for n in (network, other))  # fmt: skip
        steps(network, optimizer, 3, 0)
        save_progress(tmp_path / "x", Progress("key"), network, optimizer)
        assert load_progress(tmp_path / "x", "key", other, again) == Progress("key")
        steps(network, optimizer, 3, 1)
        steps(other, again, 3, 1)
        assert same(network.state_dict(), other.state_dict()), make
        checked += 1
    assert checked == 5


def test_every_epoch_is_recorded_on_the_screen(start, digits, tmp_path):
    class Recorder(Quiet):
        seen: ClassVar = []

        def record(self, step, **numbers):
            self.seen.append((step, numbers))

    fitted = train(start, digits, tmp_path, Recorder(), epochs=2)
    assert [step for step, _ in Recorder.seen] == [16, 32]
    assert [numbers["validation_top1"] for _, numbers in Recorder.seen] == [
        h["validation_top1"] for h in fitted.history
    ]


def test_unknown_devices_are_refused():
    with pytest.raises(MignonError, match="tpu"):
        pick_device("tpu")


def test_input_of_training_and_prediction_is_the_same(start, digits):
    classifier = start()
    pixels = digits.test.take(slice(8))
    with torch.no_grad():
        direct = classifier.network(to_network(torch.from_numpy(pixels), classifier.input)).numpy()
    assert np.array_equal(direct, classifier.logits(pixels))
    labels = [classifier.predict(image)[0]["label"] for image in pixels]
    assert labels == [classifier.classes[i] for i in direct.argmax(1)]
