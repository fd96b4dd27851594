"""Steps: the contract that every registered one keeps, and what each does."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from helpers import context_for

from mignon.errors import RecipeError
from mignon.models.activations import grids_of
from mignon.models.weights import weight_rule
from mignon.registry import STEPS
from mignon.steps import TRAITS, parse_recipe, parse_step, steps_done, traits_of, write_step


@pytest.fixture
def run(digits, tmp_path, tiny_classifier):
    def go(recipe, classifier):
        done = []
        for number, step in enumerate(parse_recipe(recipe.split())):
            classifier = step.apply(classifier, context_for(digits, tmp_path / f"{recipe}{number}", tiny_classifier))
            done.append(step)
        return classifier

    return go


def test_every_step_keeps_the_contract(run, tiny_classifier, capsys):
    checked = 0
    for name in STEPS:
        text = STEPS[name].examples[0]
        step = parse_step(text)
        assert parse_step(write_step(step)) == step
        assert STEPS[name].summary and isinstance(STEPS[name].version, int)
        before = {k: v.clone() for k, v in tiny_classifier.network.state_dict().items()}
        first, second = run(text, tiny_classifier), run(text, tiny_classifier)
        after = tiny_classifier.network.state_dict()
        assert all(torch.equal(before[k], after[k]) for k in before), f"{name} changed what it was given"
        assert not first.network.training
        a, b = first.network.state_dict(), second.network.state_dict()
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a), f"{name} is not repeatable"
        for other in STEPS[name].examples:
            step = parse_step(other)
            assert set(step.leaves) | set(step.cannot_follow) <= set(TRAITS), name
            assert traits_of(run(other, tiny_classifier)) == set(step.leaves), (
                f"{other} leaves behind what it does not say"
            )
        checked += 1
    with capsys.disabled():
        print(f"\n{checked} steps keep the contract")
    assert checked >= 4


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.97])
def test_prune_removes_exactly_the_share_asked_for(run, tiny_classifier, share):
    total = sum(w.numel() for w in tiny_classifier.weights().values())
    assert run(f"prune={share}", tiny_classifier).nonzeros() == total - round(share * total)


def test_prune_takes_the_smallest_of_the_whole_network(run, tiny_classifier):
    pruned = run("prune=0.4", tiny_classifier)
    kept = torch.cat([m.weight[m.weight != 0].abs() for m in pruned.weighted().values()])
    gone = torch.cat(
        [w[m.weight == 0].abs() for w, m in zip(tiny_classifier.weights().values(), pruned.weighted().values())]
    )
    assert gone.max() <= kept.min()


def test_prune_breaks_ties_by_position(run, tiny_classifier):
    flat = tiny_classifier.copy()
    with torch.no_grad():
        for module in flat.weighted().values():
            module.weight.fill_(0.25)
    total = sum(w.numel() for w in flat.weights().values())
    assert run("prune=0.5", flat).nonzeros() == total - round(total / 2)


@pytest.mark.parametrize("recipe", ["prune=0.7 tune=1", "prune=0.7 quant=w4a8 tune=1"])
def test_pruned_weights_stay_zero_while_tuning(run, tiny_classifier, recipe):
    masks = [m.weight != 0 for m in run("prune=0.7", tiny_classifier).weighted().values()]
    tuned = run(recipe, tiny_classifier).weighted().values()
    assert all(bool((m.weight[~mask] == 0).all()) for m, mask in zip(tuned, masks))
    assert any(bool((m.weight != 0).any()) for m in tuned)


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_quantized_weights_are_few_integers_times_a_scale_a_channel(run, tiny_classifier, bits):
    quantized = run(f"quant=w{bits}", tiny_classifier)
    for module in quantized.weighted().values():
        rule = weight_rule(module)
        assert int(rule.q.abs().max()) <= 2 ** (bits - 1) - 1
        rows = module.weight.reshape(len(module.weight), -1)
        assert all(len(row.unique()) <= 2**bits - 1 for row in rows)
    assert not grids_of(quantized.network)


def test_more_bits_are_closer(run, tiny_classifier):
    def error(bits):
        quantized = run(f"quant=w{bits}", tiny_classifier).weighted()
        return sum(float((quantized[n].weight - w).square().sum()) for n, w in tiny_classifier.weights().items())

    errors = [error(bits) for bits in (2, 3, 4, 6, 8, 12, 16)]
    assert all(a > 1.5 * b for a, b in itertools.pairwise(errors))


def test_degenerate_weights_are_quantized_without_nan(run, tiny_classifier):
    odd = tiny_classifier.copy()
    modules = list(odd.weighted().values())
    with torch.no_grad():
        modules[0].weight.zero_()
        modules[1].weight.fill_(0.5)
        modules[2].weight.abs_()
        modules[2].weight[3] = 0
    quantized = run("quant=w4a4", odd)
    assert all(bool(torch.isfinite(m.weight).all()) for m in quantized.weighted().values())
    assert torch.allclose(list(quantized.weighted().values())[1].weight, torch.tensor(0.5), rtol=0.05)


def test_activations_lie_on_their_grids(run, tiny_classifier, digits):
    quantized = run("quant=w8a3", tiny_classifier)
    grids = grids_of(quantized.network)
    assert list(grids) == ["input", "0", "3", "7", "10", "11"]
    logits = quantized.logits(digits.test.take(slice(100)))
    assert len(np.unique(logits)) <= 8


def test_calibration_sees_training_images_only(tiny_classifier, digits, tmp_path):
    class Forbidden:
        def __getattr__(self, name):
            raise AssertionError("validation images were read")

    parse_step("quant=w4a4").apply(tiny_classifier, context_for(digits, tmp_path, validation=Forbidden()))


@pytest.mark.parametrize(
    ("recipe", "word"),
    [
        ("quant=w8 prune=0.5", "integers"),
        ("cluster=8 prune=0.5", "shared values"),
        ("quant=w8 quant=w4", "already"),
        ("quant-symmetric=w8a8 quant=a8", "grids already"),
        ("quant=a8 quant-symmetric=w8a8", "grids already"),
        ("quant=a8 equalize", "ranges"),
        ("quant-symmetric=w8a8 prune-channels=0.5", "prune-channels before quant-symmetric, or start"),
        ("prune-nm=2:4 share", "filled again"),
        ("share prune=0.5", "whole numbers already"),
        ("prune=0.5 quant-linear=4", "use one of them only"),
        ("prune=1", "share"),
        ("prune=x", "number"),
        ("quant=8", "w8a8"),
        ("quant=w1", "2 to 16"),
        ("quant=w8a17", "2 to 16"),
        ("code=zip", "range"),
        ("prun=0.5", "did you mean 'prune'"),
        ("tune=0", "1 to 10000"),
        ("tune=1,rate=3", "settings"),
        ("tune=1,lr", "key=value"),
        ("tune=1,lr=1,lr=2", "once"),
        ("=3", "name=value"),
        ("tune=2.5", "whole number"),
        ("prune", "value"),
    ],
)
def test_recipes_that_make_no_sense_say_what_to_type(recipe, word):
    with pytest.raises(RecipeError) as error:
        parse_recipe(recipe.split())
    assert word in str(error.value)


def test_a_network_with_whole_weights_and_no_recipe_is_checked_too(run, tiny_classifier):
    given = dataclasses.replace(run("quant=w4a8", tiny_classifier), recipe=())
    assert traits_of(given) == {"whole weights", "grids"}
    for text in ("prune=0.5", "quant=a8", "equalize"):
        with pytest.raises(RecipeError, match="cannot be applied to this network"):
            parse_recipe([text], given.recipe, traits_of(given))
    assert parse_recipe(["tune=1", "code=range"], given.recipe, traits_of(given))


def test_weights_are_quantized_behind_maps_that_are_on_grids_already(run, tiny_classifier):
    maps = grids_of(run("quant=a8", tiny_classifier).network)
    both = run("quant=a8 quant=w4", tiny_classifier)
    assert traits_of(both) == {"whole weights", "grids"}
    assert all(
        int(a.k) == int(b.k) and a.bits == b.bits for a, b in zip(maps.values(), grids_of(both.network).values())
    )


def test_a_recipe_in_a_file_may_have_old_names_and_steps_that_are_not_installed(tiny_classifier):
    done = ("quant-002=w8a8", "somebody-elses=3")
    assert [write_step(step) for step in steps_done(done)] == ["quant-symmetric=w8a8"]
    assert parse_recipe(["tune=1"], done)
    with pytest.raises(RecipeError, match="cannot follow quant-symmetric"):
        parse_recipe(["quant=a8"], done)
    with pytest.raises(RecipeError, match="there is no step"):
        parse_recipe(["quant-002=w8"])
