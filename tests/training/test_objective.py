"""Distillation and terms: what is minimized is the formula, and they work in a training run."""

import math

import pytest
import torch
from helpers import context_for
from torch.nn import functional as F

from mignon.classifier import fresh
from mignon.errors import ModelError, RecipeError
from mignon.progress import Quiet
from mignon.steps import parse_step
from mignon.training.loop import fit
from mignon.training.objective import Objective, Teacher
from mignon.training.settings import Settings


class Shrink:
    """A toy term: the sum of squares of the first weight."""

    key = "shrink"

    def __call__(self, network):
        return next(network.parameters()).square().sum()


def other(classifier, seed):
    return fresh(classifier.family, classifier.options, classifier.input, classifier.classes, seed)


def test_the_loss_is_hintons_with_the_temperature_once(tiny_classifier, digits):
    teacher = other(tiny_classifier, 5)
    pixels = torch.from_numpy(digits.train.take(slice(32)))
    labels = torch.from_numpy(digits.train.labels[:32])
    logits = torch.from_numpy(tiny_classifier.logits(pixels.numpy()))
    answers = torch.from_numpy(teacher.logits(pixels.numpy()))
    p, q = torch.softmax(answers / 3, 1), torch.softmax(logits / 3, 1)
    expected = 0.4 * F.cross_entropy(logits, labels) + 0.6 * 3 * (p * (p / q).log()).sum(1).mean()
    with Objective(Teacher(teacher, 0.6, 3.0)).bind(tiny_classifier.network, "cpu") as loss:
        assert float(loss(pixels, logits, labels)) == pytest.approx(float(expected), rel=1e-5)


def test_features_and_terms_are_added(tiny_classifier, digits):
    pixels = torch.from_numpy(digits.train.take(slice(8)))
    labels = torch.from_numpy(digits.train.labels[:8])
    objective = Objective(Teacher(other(tiny_classifier, 5), 0.0, features=2.0), (Shrink(),))
    with objective.bind(tiny_classifier.network, "cpu") as loss:
        logits = torch.from_numpy(tiny_classifier.logits(pixels.numpy()))
        extra = float((loss(pixels, logits, labels) - F.cross_entropy(logits, labels)).detach())
    assert extra > float(Shrink()(tiny_classifier.network).detach())
    assert not any(m._forward_pre_hooks for m in tiny_classifier.network.modules())


def test_features_of_different_widths_are_refused(tiny_classifier):
    wide = fresh("mobilenetv1", {"width": 0.25}, tiny_classifier.input, tiny_classifier.classes, 0)
    with (
        pytest.raises(ModelError, match="features"),
        Objective(Teacher(wide, features=1.0)).bind(tiny_classifier.network, "cpu"),
    ):
        pass


def test_a_term_changes_what_training_finds(tiny_classifier, digits, tmp_path):
    def first_weight(objective, folder):
        settings = Settings(epochs=1, lr=0.05)
        fitted = fit(
            tiny_classifier.copy(), digits.train, digits.validation, settings, 0, "cpu", folder, Quiet(), objective,
            choose_from=1,
        )  # fmt: skip
        return float(next(fitted.classifier.network.parameters()).detach().square().sum())

    assert first_weight(Objective(terms=(Shrink(),)), tmp_path / "a") < 0.7 * first_weight(Objective(), tmp_path / "b")


def test_a_student_comes_closer_to_its_teacher(tiny_classifier, digits, tmp_path):
    teacher = parse_step("tune=8,lr=0.1").apply(tiny_classifier, context_for(digits, tmp_path / "teacher"))
    step = parse_step("tune=8,lr=0.4,teacher=parent,weight=1")
    student = step.apply(other(tiny_classifier, 9), context_for(digits, tmp_path / "student", teacher))
    pixels = digits.validation.take(slice(None))
    agree = (student.logits(pixels).argmax(1) == teacher.logits(pixels).argmax(1)).mean()
    assert agree > 0.7  # a tenth by chance


def test_the_epoch_hook_runs_before_the_epoch_is_judged(tiny_classifier, digits, tmp_path):
    seen = []

    def zero(classifier, epoch):
        seen.append(epoch)
        with torch.no_grad():
            for parameter in classifier.network.parameters():
                parameter.zero_()

    fitted = fit(
        tiny_classifier.copy(), digits.train, digits.validation, Settings(epochs=2), 0, "cpu", tmp_path, Quiet(),
        after_epoch=zero,
    )  # fmt: skip
    assert seen == [1, 2]
    assert fitted.history[0]["validation_loss"] == pytest.approx(math.log(10), rel=1e-5)


def test_batchnorm_keeps_its_statistics_at_the_end(tiny_classifier, digits, tmp_path):
    frozen = parse_step("tune=4,lr=0.1,freeze=0.999").apply(tiny_classifier, context_for(digits, tmp_path / "a"))
    moved = parse_step("tune=4,lr=0.1,freeze=0").apply(tiny_classifier, context_for(digits, tmp_path / "b"))
    assert not torch.equal(next(frozen.network.parameters()), next(tiny_classifier.network.parameters()))

    def statistics(classifier):
        return torch.cat([v for k, v in classifier.network.state_dict().items() if "running_mean" in k])

    assert torch.equal(statistics(frozen), statistics(tiny_classifier))
    assert not torch.equal(statistics(moved), statistics(tiny_classifier))


@pytest.mark.parametrize("text", ["tune=1,weight=2", "tune=1,temperature=0", "tune=1,features=-1"])
def test_wrong_settings_are_named(text):
    with pytest.raises(RecipeError):
        parse_step(text)
