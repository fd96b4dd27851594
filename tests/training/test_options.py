"""Options of a training: each does what its paper says, and an interrupted run with all of them ends the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import Listening, PressCtrlC, make_pictures, opened
from torch.nn import functional as F

from mignon.classifier import fresh
from mignon.data.imageset import Split
from mignon.data.look import input_spec
from mignon.errors import ModelError
from mignon.progress import Quiet
from mignon.training import course
from mignon.training.course import fixed
from mignon.training.loop import CROSS_ENTROPY, fit
from mignon.training.objective import Objective, Teacher
from mignon.training.settings import Options, Settings
from mignon.training.targets import class_weights, mixed, soft


@pytest.fixture
def start(digits):
    spec = input_spec(digits.train, digits.input)
    return lambda seed=0: fresh("digits-cnn", {}, spec, digits.classes, seed)


def train(start, digits, folder, screen=None, objective=CROSS_ENTROPY, **changes):
    settings = Settings(**{"epochs": 3, "lr": 0.1, "batch": 64, **changes})
    return fit(
        start(), digits.train, digits.validation, settings, 0, "cpu", folder, screen or Quiet(), objective,
        choose_from=1,
    )  # fmt: skip


def weights(fitted):
    return torch.cat([t.flatten().double() for t in fitted.classifier.network.state_dict().values()])


def test_an_interrupted_run_with_every_option_ends_with_the_same_bits(start, digits, tmp_path):
    options = {
        "mixup": 0.2, "smoothing": 0.1, "ema": 0.9, "accumulate": 3, "balance": "sampling", "clip": 1.0,
        "augment": "random-resized-crop", "schedule": "one-cycle", "layers": "last:1",
    }  # fmt: skip
    whole = train(start, digits, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        train(start, digits, tmp_path / "cut", PressCtrlC(7), **options)
    assert torch.equal(weights(train(start, digits, tmp_path / "cut", **options)), weights(whole))


def test_so_does_one_that_learns_from_fixed_copies(start, digits, tmp_path):
    objective = Objective(Teacher(start(5), copies=2))
    whole = train(start, digits, tmp_path / "whole", objective=objective)
    with pytest.raises(KeyboardInterrupt):
        train(start, digits, tmp_path / "cut", PressCtrlC(7), objective=objective)
    assert torch.equal(weights(train(start, digits, tmp_path / "cut", objective=objective)), weights(whole))


def test_a_teacher_of_fixed_copies_is_asked_once_for_each(start, digits, tmp_path, monkeypatch):
    monkeypatch.setenv("MIGNON_CACHE", str(tmp_path / "cache"))
    seen, teacher = [], start(5)
    teacher.network.register_forward_hook(lambda *given: seen.append(len(given[2])))
    train(start, digits, tmp_path / "a", objective=Objective(Teacher(teacher, copies=2)), epochs=3)
    assert sum(seen) == 2 * len(digits.train) + 2  # one image each tells the shape
    train(start, digits, tmp_path / "b", objective=Objective(Teacher(teacher, copies=2)), epochs=3)
    assert sum(seen) == 2 * len(digits.train) + 2


def test_answers_that_were_kept_are_those_of_the_moment(start, digits, tmp_path, monkeypatch):
    objective = Objective(Teacher(start(5), copies=2))
    kept = train(start, digits, tmp_path / "kept", objective=objective, augment="crop-flip")
    usual = course.course_for

    def asking(*given):
        return replace(usual(*given), answers=[])

    monkeypatch.setattr("mignon.training.loop.course_for", asking)
    asked = train(start, digits, tmp_path / "asked", objective=objective, augment="crop-flip")
    losses = [[h["train_loss"] for h in fitted.history] for fitted in (kept, asked)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_fixed_copy_does_not_depend_on_the_batch(digits):
    copy = fixed("auto", digits.input, 0, 1)
    chosen = np.array([5, 3, 9])
    assert (copy.take(digits.train, chosen)[1:] == copy.take(digits.train, chosen[1:])).all()
    assert (copy.take(digits.train, chosen) != fixed("auto", digits.input, 0, 2).take(digits.train, chosen)).any()


def test_smoothed_and_weighed_targets_are_those_of_torch():
    logits = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 0, 0, 1, 0, 0])
    assert torch.allclose(
        F.cross_entropy(logits, soft(labels, 4, 0.1)), F.cross_entropy(logits, labels, label_smoothing=0.1)
    )
    weights = class_weights(labels.numpy(), 4)
    assert float(weights[labels].mean()) == pytest.approx(1)
    assert [float(weights[c] * (labels == c).sum()) for c in range(4)] == pytest.approx([9 / 4] * 4)
    assert torch.allclose(
        F.cross_entropy(logits, soft(labels, 4, 0.0, weights)), F.cross_entropy(logits, labels, weight=weights)
    )
    assert class_weights(np.array([0, 0]), 2).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_the_share_of_a_mixed_image_is_its_share_of_the_pixels(mixup, cutmix):
    pixels = np.repeat(np.arange(8, dtype=np.uint8)[:, None] * 30, 20 * 20 * 3, 1).reshape(8, 20, 20, 3)
    for seed in range(5):
        made, other, share = mixed(pixels, Settings(mixup=mixup, cutmix=cutmix), np.random.default_rng(seed))
        expected = share * pixels[:, 0, 0, 0] + (1 - share) * pixels[other, 0, 0, 0]
        assert np.abs(made.mean((1, 2, 3)) - expected).max() <= 0.51
        assert made.dtype == np.uint8 and 0 <= share <= 1


def test_parts_of_a_step_are_the_step(start, digits, tmp_path):
    settings = {"epochs": 1, "freeze": 1.0, "lr": 0.01}
    one, parts = (train(start, digits, tmp_path / str(n), accumulate=n, **settings) for n in (1, 4))
    assert torch.allclose(weights(one), weights(parts), atol=1e-5)


def test_the_running_mean_is_that_of_all_steps(start, digits, tmp_path):
    plain, mean = (train(start, digits, tmp_path / str(ema), ema=ema, epochs=1, lr=0.3) for ema in (0.0, 0.8))
    far = (weights(plain) - torch.cat([t.flatten().double() for t in start().network.state_dict().values()])).norm()
    assert 0 < (weights(mean) - weights(plain)).norm() < far
    assert mean.history[0]["train_loss"] == plain.history[0]["train_loss"]
    assert mean.history[0]["validation_loss"] != plain.history[0]["validation_loss"]


def test_training_ends_when_validation_does_not_become_better(start, digits, tmp_path):
    screen = Listening()
    fitted = train(start, digits, tmp_path, screen, epochs=40, lr=1e-9, patience=2, freeze=1.0)
    assert len(fitted.history) < 10 and "no better epoch" in screen.lines[-1]
    again = train(start, digits, tmp_path, epochs=40, lr=1e-9, patience=2, freeze=1.0)
    assert len(again.history) == len(fitted.history)


def test_balanced_sampling_shows_every_class_equally_often():
    labels = np.array([0] * 90 + [1] * 10)
    split = Split("train", np.zeros((100, 2, 2, 1), np.uint8), labels, [""] * 100)
    balanced = course.Course(None, labels, split, None, 10, 10, 0, sampled=True)
    shown = np.concatenate([labels[balanced.order(epoch)] for epoch in range(20)])
    assert 0.45 < shown.mean() < 0.55
    plain = course.Course(None, labels, split, None, 10, 10, 0)
    assert sorted(plain.order(3)) == list(range(100))


def test_weights_of_classes_act_in_a_training(tmp_path):
    images = opened(make_pictures(tmp_path / "p", {"few": 20, "many": 200}, spread=25))
    start = fresh("digits-cnn", {}, input_spec(images.train, images.input), images.classes, 0)

    def found(balance):
        settings = Settings(epochs=1, batch=32, lr=0.05, balance=balance)
        folder = tmp_path / balance
        return fit(start.copy(), images.train, images.validation, settings, 0, "cpu", folder, Quiet(), choose_from=1)

    logits = [found(balance).classifier.logits(images.train.take(slice(None))) for balance in ("weights", "none")]
    likely = [torch.softmax(torch.from_numpy(one), 1)[:, 0].mean() for one in logits]
    assert likely[0] > likely[1]


def test_a_balance_that_is_none_is_refused():
    with pytest.raises(ModelError, match="--balance"):
        Options(balance="all")
