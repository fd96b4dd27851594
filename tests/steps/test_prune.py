"""Pruning of single weights: how many go, which, what stays, and what is said."""

import numpy as np
import pytest
import torch
from helpers import Listening, context_for
from hypothesis import given
from hypothesis import strategies as st

from mignon import mgn
from mignon.errors import RecipeError
from mignon.measure.cost import layers
from mignon.progress import Quiet
from mignon.steps import parse_recipe
from mignon.steps.prune.gradual import sparsity
from mignon.steps.prune.magnitude import fisher_saliency
from mignon.steps.prune.masks import lowest_removed
from mignon.steps.prune.pattern import pattern_mask
from mignon.steps.prune.rounds import remaining


@pytest.fixture
def run(digits, tmp_path):
    def go(recipe, classifier, screen=None):
        for number, step in enumerate(parse_recipe(recipe.split())):
            context = context_for(digits, tmp_path / f"{recipe}{number}", screen=screen or Quiet())
            classifier = step.apply(classifier, context)
        return classifier

    return go


def sizes(classifier):
    return {name: w.numel() for name, w in classifier.weights().items()}


def zeros(classifier):
    return {name: int((m.weight == 0).sum()) for name, m in classifier.weighted().items()}


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=4), st.data())
def test_exactly_the_lowest_go_and_what_is_gone_stays_gone(rows, data):
    scores = {str(i): torch.tensor(row, dtype=torch.float32) for i, row in enumerate(rows)}
    masks = {
        name: torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(s), max_size=len(s))))
        for name, s in scores.items()
    }
    total = sum(len(s) for s in scores.values())
    amount = data.draw(st.integers(0, total))
    result = lowest_removed(scores, masks, amount)
    flat, before = torch.cat(list(scores.values())), torch.cat(list(masks.values()))
    after = torch.cat(list(result.values()))
    assert not bool((after & ~before).any())
    assert int((~after).sum()) == max(amount, int((~before).sum()))
    gone, kept = flat[before & ~after], flat[after]
    assert not len(gone) or not len(kept) or gone.max() <= kept.min()
    places = torch.arange(total)
    for value in gone.unique():  # among equals the first go
        equal = before & (flat == value)
        assert not bool(after[equal].any()) or places[equal & after].min() > places[equal & ~after].max()


@pytest.mark.parametrize("by", ["magnitude", "sensitivity"])
def test_each_layer_loses_the_same_share(run, tiny_classifier, by):
    pruned = run(f"prune=0.3,scope=layer,by={by}", tiny_classifier)
    assert zeros(pruned) == {name: round(0.3 * n) for name, n in sizes(tiny_classifier).items()}


def test_skipped_layers_stay_whole_and_do_not_count(run, tiny_classifier):
    total = sizes(tiny_classifier)
    for skip, names in (("first+last", ("0", "11")), ("3", ("3",)), ("first+3+0", ("0", "3"))):
        gone = zeros(run(f"prune=0.5,skip={skip}", tiny_classifier))
        assert all(gone[name] == 0 for name in names)
        assert sum(gone.values()) == round(0.5 * sum(n for name, n in total.items() if name not in names))


def test_an_unknown_layer_is_named_with_those_that_there_are(run, tiny_classifier):
    with pytest.raises(RecipeError, match=r"'4x'(.|\n)*layers: 0, 3, 7, 11"):
        run("prune=0.5,skip=first+4x", tiny_classifier)
    with pytest.raises(RecipeError, match="no layer to prune"):
        run("prune=0.5,skip=0+3+7+11", tiny_classifier)


@pytest.mark.parametrize("second", ["prune=0.8", "prune=0.8,by=sensitivity", "prune=0.2", "prune=0.8,scope=layer"])
def test_what_was_pruned_stays_pruned(run, tiny_classifier, second):
    once = run("prune=0.5", tiny_classifier)
    twice = run(f"prune=0.5 {second}", tiny_classifier)
    for a, b in zip(once.weighted().values(), twice.weighted().values()):
        assert bool((b.weight[a.weight == 0] == 0).all())
    if second == "prune=0.8":
        assert sum(zeros(twice).values()) == round(0.8 * sum(sizes(twice).values()))
    if second == "prune=0.2":
        assert zeros(twice) == zeros(once)


def test_sensitivity_is_squared_weight_times_mean_squared_gradient(tiny_classifier, digits):
    saliency = fisher_saliency(tiny_classifier, digits.train, 0, images=5)
    chosen = np.sort(np.random.default_rng(0).choice(len(digits.train), 5, replace=False))
    weight = tiny_classifier.weights()["7"]
    place, step = (2, 3, 1, 1), 1e-2
    slopes = []
    for index in chosen:
        losses = []
        for sign in (1, -1):
            moved = tiny_classifier.copy()
            with torch.no_grad():
                moved.weighted()["7"].weight[place] += sign * step
            scores = torch.from_numpy(moved.logits(digits.train.take(slice(index, index + 1)))).double()
            losses.append(-float(torch.log_softmax(scores, 1)[0, digits.train.labels[index]]))
        slopes.append((losses[0] - losses[1]) / (2 * step))
    expected = float(weight[place]) ** 2 * np.mean(np.square(slopes))
    assert float(saliency["7"][place]) == pytest.approx(expected, rel=0.02)


def test_sensitivity_is_the_same_with_two_threads_and_after_a_mask(run, tiny_classifier, digits):
    one = fisher_saliency(tiny_classifier, digits.train, 0, images=8)
    torch.set_num_threads(2)
    try:
        two = fisher_saliency(tiny_classifier, digits.train, 0, images=8)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(one[name], two[name]) for name in one)
    masked = fisher_saliency(run("prune=0", tiny_classifier), digits.train, 0, images=8)
    assert all(torch.equal(one[name], masked[name]) for name in one)


def test_the_layers_say_how_many_weights_are_not_zero(run, tiny_classifier):
    pruned = run("prune=0.7", tiny_classifier)
    rows = layers(mgn.decode(mgn.encode(pruned)).network, pruned.size)
    assert sum(row.nonzeros for row in rows) == pruned.nonzeros()
    gone = zeros(pruned)
    assert {row.name: row.weights - row.nonzeros for row in rows if row.weights} == gone


def test_remaining_weights_of_system_002_round_by_round():
    left = remaining(2_202_560, 0.2, 15)
    assert left == [
        1_762_048, 1_409_639, 1_127_712, 902_170, 721_736, 577_389, 461_912, 369_530, 295_624, 236_500, 189_200,
        151_360, 121_088, 96_871, 77_497,
    ]  # fmt: skip
    for number, count in enumerate(left, 1):
        assert 1 - count / 2_202_560 == pytest.approx(1 - 0.8**number, abs=1e-5)
    assert remaining(6, 0.2, 9) == [5, 4]
    assert remaining(4, 0.2, 9) == []


def test_every_round_removes_the_smallest_and_says_so(run, tiny_classifier):
    screen = Listening()
    pruned = run("prune-rounds=0.5,rounds=3,epochs=1,drop=100", tiny_classifier, screen)
    total = sum(sizes(tiny_classifier).values())
    left = remaining(total, 0.5, 3)
    assert pruned.nonzeros() == left[-1]
    said = [line for line in screen.lines if line.startswith("round ")]
    assert len(said) == 3
    for line, count in zip(said, left):
        assert f"{100 * (1 - count / total):.2f} % zero" in line and "threshold" in line and "validation" in line
    first = run("prune-rounds=0.5,rounds=1,epochs=1,drop=100", tiny_classifier)
    for a, b in zip(first.weighted().values(), pruned.weighted().values()):
        assert bool((b.weight[a.weight == 0] == 0).all())


def test_rounds_after_pruning_go_on_from_its_zeros(run, tiny_classifier):
    half = run("prune=0.5", tiny_classifier)
    more = run("prune=0.5 prune-rounds=0.2,rounds=1,epochs=1,drop=100", tiny_classifier)
    assert more.nonzeros() == half.nonzeros() - int(0.2 * half.nonzeros())


def test_a_round_that_loses_too_much_is_not_kept(run, tiny_classifier):
    trained = run("tune=4,lr=0.1", tiny_classifier)
    screen = Listening()
    pruned = run("prune-rounds=0.95,rounds=3,epochs=1,lr=1e-6,drop=5", trained, screen)
    assert pruned.nonzeros() == trained.nonzeros()
    assert screen.warnings == ["prune-rounds: round 1 loses more than 5 points; nothing is pruned"]
    state, same = pruned.network.state_dict(), trained.network.state_dict()
    assert all(torch.equal(state[name], same[name]) for name in same)


class StopsAt(Quiet):
    """Interrupts at a line, as Ctrl-C would between two rounds."""

    def __init__(self, start):
        super().__init__()
        self.start, self.lines = start, []

    def say(self, text):
        self.lines.append(text)
        if text.startswith(self.start):
            raise KeyboardInterrupt


def test_an_interrupted_step_goes_on_at_its_round(run, tiny_classifier):
    recipe = "prune-rounds=0.5,rounds=3,epochs=2,drop=100"
    expected = run("prune-rounds=0.5,rounds=3,epochs=2,drop=100.0", tiny_classifier).network.state_dict()
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tiny_classifier, StopsAt("round 2/3"))
    screen = Listening()
    found = run(recipe, tiny_classifier, screen).network.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert len([line for line in screen.lines if line.startswith("epoch ")]) == 2  # those of round 3 only


def test_the_share_grows_by_the_cubic_of_the_paper():
    for start, target, epochs in ((0.0, 0.9, 6), (0.5, 0.8, 4), (0.2, 0.2, 3)):
        for epoch in range(epochs + 1):
            expected = target + (start - target) * (1 - epoch / epochs) ** 3
            assert sparsity(start, target, epoch / epochs) == pytest.approx(expected)
        assert sparsity(start, target, 0) == pytest.approx(start) and sparsity(start, target, 1) == target


def test_zeros_grow_while_training_and_only_full_epochs_are_chosen(run, tiny_classifier):
    trained = run("tune=6,lr=0.1", tiny_classifier)
    screen = Listening()
    pruned = run("prune=0.3 prune-gradually=0.95,epochs=5,lr=1e-6", trained, screen)
    total = sum(sizes(trained).values())
    expected = [round(sparsity(round(0.3 * total) / total, 0.95, i / 3) * total) for i in (1, 2, 3)]
    assert [line for line in screen.lines if line.startswith("after")] == [
        f"after epoch {i}: {100 * n / total:.2f} % zero" for i, n in enumerate(expected, 1)
    ]
    accuracy = [line.split("validation ")[1].split(" %")[0] for line in screen.lines if line.startswith("epoch")]
    assert float(accuracy[0]) > max(map(float, accuracy[2:])) + 5  # the first epoch would be the best one
    assert total - pruned.nonzeros() == round(0.95 * total)
    for a, b in zip(run("prune=0.3", trained).weighted().values(), pruned.weighted().values()):
        assert bool((b.weight[a.weight == 0] == 0).all())
    assert mgn.decode(mgn.encode(pruned)).nonzeros() == pruned.nonzeros()


@pytest.mark.parametrize("line", ["epoch 1/4", "epoch 2/4", "epoch 3/4"])
def test_interrupted_gradual_pruning_goes_on_where_it_was(run, tiny_classifier, line):
    expected = run("prune-gradually=0.90,epochs=4", tiny_classifier).network.state_dict()
    with pytest.raises(KeyboardInterrupt):
        run("prune-gradually=0.9,epochs=4", tiny_classifier, StopsAt(line))
    screen = Listening()
    found = run("prune-gradually=0.9,epochs=4", tiny_classifier, screen).network.state_dict()
    assert any(line.startswith("continuing at epoch") for line in screen.lines[:2])
    assert expected.keys() == found.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@given(st.integers(1, 7), st.integers(1, 4), st.integers(2, 5), st.data())
def test_of_every_group_of_inputs_the_largest_stay(inputs, outputs, group, data):
    keep = data.draw(st.integers(1, group - 1))
    count = outputs * inputs * 2
    scores = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))).float()
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    scores, mask = (x.reshape(outputs, inputs, 1, 2) for x in (scores, mask))
    result = pattern_mask(scores, mask, keep, group)
    for o in range(outputs):
        for x in range(2):
            for first in range(0, inputs, group):
                members = range(first, min(first + group, inputs))
                quota = int(np.ceil(len(members) * keep / group))
                alive = [i for i in members if mask[o, i, 0, x]]
                best = sorted(alive, key=lambda i: -scores[o, i, 0, x])[:quota]
                assert [i for i in members if result[o, i, 0, x]] == sorted(best)


def test_two_of_four_in_the_layers_that_have_four_inputs(run, tiny_classifier):
    screen = Listening()
    pruned = run("prune-nm=2:4", tiny_classifier, screen)
    total = sizes(tiny_classifier)
    assert zeros(pruned) == {name: 0 if name == "0" else n // 2 for name, n in total.items()}
    assert screen.lines == ["prune-nm: left alone for fewer than 4 inputs: 0"]
    assert zeros(run("prune-nm=1:3", tiny_classifier))["3"] == 16 * 9 * (8 - 3)
    tuned = run("prune-nm=2:4 tune=1", tiny_classifier)
    assert zeros(tuned) == zeros(pruned)


@pytest.mark.parametrize(
    ("recipe", "word"),
    [
        ("prune=0.5,scope=channel", "global or layer"),
        ("prune=0.5,by=gradient", "magnitude or sensitivity"),
        ("prune=-0.1", "share"),
        ("prune-rounds=1", "more than 0"),
        ("prune-rounds=0.2,rounds=0", "1 to 1000"),
        ("prune-gradually=1", "share"),
        ("prune-gradually=0.5,epochs=0", "1 to 10000"),
        ("prune-nm=4:4", "N below M"),
        ("prune-nm=2", "prune-nm=2:4"),
        ("prune-nm=0:4", "N below M"),
        ("quant=w8 prune-rounds=0.2", "integers"),
    ],
)
def test_settings_that_make_no_sense_say_what_to_type(recipe, word):
    with pytest.raises(RecipeError) as error:
        parse_recipe(recipe.split())
    assert word in str(error.value)
