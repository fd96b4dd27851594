"""A step that trains never ends worse than it began, whatever the rate and the teacher."""

import math

import pytest
import torch
from helpers import context_for

from mignon import mgn
from mignon.errors import MignonError
from mignon.progress import Quiet
from mignon.steps import parse_recipe
from mignon.training.loop import fit
from mignon.training.objective import Objective, Teacher
from mignon.training.settings import Settings


@pytest.fixture
def trained(tiny_classifier, digits, tmp_path):
    settings = Settings(epochs=12, batch=64)
    return fit(tiny_classifier, digits.train, digits.validation, settings, 0, "cpu", tmp_path / "0", Quiet()).classifier


def sure(classifier, times):
    """The same answers, so many times as sure."""
    classifier = classifier.copy()
    head = list(classifier.weighted().values())[-1]
    with torch.no_grad():
        head.weight.mul_(times)
        head.bias.mul_(times)
    return classifier


def right(classifier, split):
    return float((mgn.decode(mgn.encode(classifier)).logits(split.take(slice(None))).argmax(1) == split.labels).mean())


def run(recipe, classifier, digits, folder, parent=None, screen=None):
    for number, step in enumerate(parse_recipe(recipe.split())):
        context = context_for(digits, folder / str(number), parent, screen=screen or Quiet())
        classifier = step.apply(classifier, context)
    return classifier


@pytest.mark.parametrize("recipe", ["tune=2,lr=10", "quant=w4a8 tune=2,lr=3,clip=1e6", "prune=0.5 tune=1,lr=10"])
def test_a_tune_that_goes_wrong_gives_back_what_it_was_given(recipe, trained, digits, tmp_path):
    *before, tune = recipe.split()
    given = run(" ".join(before), trained, digits, tmp_path / "before") if before else trained
    tuned = run(tune, given, digits, tmp_path / "tune")
    assert right(tuned, digits.validation) >= right(given, digits.validation)
    if right(tuned, digits.validation) == right(given, digits.validation):
        assert mgn.encode(tuned) == mgn.encode(given)


def test_rounds_of_pruning_may_keep_the_pruned_state_itself(trained, digits, tmp_path):
    screen = Quiet()
    result = run("prune-rounds=0.05,rounds=1,epochs=1,lr=10,drop=5", trained, digits, tmp_path, screen=screen)
    assert result.nonzeros() < trained.nonzeros()
    assert right(result, digits.validation) >= right(trained, digits.validation) - 0.05


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
@pytest.mark.parametrize("times", [1, 100])
def test_no_teacher_pulls_harder_than_labels_can(trained, digits, temperature, times):
    pixels, labels = torch.from_numpy(digits.train.take(slice(64))), torch.from_numpy(digits.train.labels[:64])
    student = torch.randn(64, 10, generator=torch.Generator().manual_seed(0)) * 50

    def pull(objective):
        logits = student.clone().requires_grad_()
        with objective.bind(trained.network, "cpu") as loss:
            (gradient,) = torch.autograd.grad(loss(pixels, logits, labels), logits)
        return 64 * gradient.abs().sum(1).max()

    assert float(pull(Objective(Teacher(sure(trained, times), 1.0, temperature)))) <= 2 + 1e-5
    assert float(pull(Objective())) <= 2 + 1e-5


@pytest.mark.parametrize("times", [1, 10, 100])
def test_a_rate_does_not_depend_on_how_sure_a_teacher_is(trained, digits, tmp_path, times):
    teacher = sure(trained, times)
    recipe = "prune=0.8 quant=w4a8 tune=4,teacher=parent"
    tuned = run(recipe, teacher, digits, tmp_path, teacher)
    assert right(tuned, digits.validation) >= 0.9


class Grows:
    """A term that is ten times as large at every step."""

    key, calls = "grows", 0

    def __call__(self, network):
        self.calls += 1
        return torch.tensor(10.0**self.calls)


def test_a_loss_far_above_where_it_began_ends_the_step_with_a_sentence(trained, digits, tmp_path):
    screen = Quiet()
    objective = Objective(terms=(Grows(),))
    settings = Settings(epochs=4, lr=1e-9)
    fitted = fit(trained.copy(), digits.train, digits.validation, settings, 0, "cpu", tmp_path / "x", screen, objective)
    (warning,) = screen.warnings
    assert "the loss ran away in epoch 1" in warning and "smaller rate" in warning
    assert "the state before it is kept" in warning and fitted.best_epoch == 0 and not fitted.history
    assert mgn.encode(fitted.classifier) == mgn.encode(trained)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_so_does_a_loss_that_is_no_number(trained, digits, tmp_path, value):
    class Broken(Grows):
        def __call__(self, network):
            return torch.tensor(value)

    screen = Quiet()
    objective = Objective(terms=(Broken(),))
    fitted = fit(trained.copy(), digits.train, digits.validation, Settings(epochs=2), 0, "cpu", tmp_path / "x", screen,
                 objective)  # fmt: skip
    assert "ran away" in screen.warnings[0] and mgn.encode(fitted.classifier) == mgn.encode(trained)


def test_a_fresh_network_whose_loss_runs_away_is_an_error(tiny_classifier, digits, tmp_path):
    objective = Objective(terms=(Grows(),))
    with pytest.raises(MignonError, match="ran away") as error:
        fit(tiny_classifier, digits.train, digits.validation, Settings(epochs=4), 0, "cpu", tmp_path, Quiet(),
            objective, choose_from=1)  # fmt: skip
    assert "smaller rate" in error.value.instead
