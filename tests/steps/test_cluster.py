"""`cluster`: exact k-means in one dimension, codebooks on weights, masks kept, centroids trained by `tune`."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import context_for
from hypothesis import given
from hypothesis import strategies as st

from mignon import mgn
from mignon.checkpoint import load_safetensors, save_safetensors
from mignon.errors import RecipeError
from mignon.measure.forms import entropy_bits
from mignon.models.weights import weight_rule
from mignon.steps import parse_recipe, parse_step
from mignon.steps.cluster.kmeans import STARTS, kmeans, nearest


@pytest.fixture
def run(digits, tmp_path):
    def go(recipe, classifier, seed=0):
        for number, step in enumerate(parse_recipe(recipe.split())):
            classifier = step.apply(classifier, context_for(digits, tmp_path / f"{recipe}{number}", seed=seed))
        return classifier

    return go


def rules(classifier):
    return [weight_rule(m) for m in classifier.weighted().values()]


def squared_error(values, centers):
    return float(((values - centers[nearest(values, centers)]) ** 2).sum())


def plain_lloyd_step(values, centers):
    codes = np.abs(values[:, None] - centers).argmin(1)
    return np.array([values[codes == i].mean() if (codes == i).any() else c for i, c in enumerate(centers)])


@pytest.mark.parametrize("start", sorted(STARTS))
@pytest.mark.parametrize("k", [2, 5, 16, 100])
def test_lloyd_ends_where_another_step_changes_nothing(start, k):
    values = np.random.default_rng(0).normal(0, 1, 3000) ** 3  # long tails: a linear start has empty clusters
    centers = kmeans(values, k, start, [0])
    assert len(centers) == k and bool((np.diff(centers) > 0).all())
    assert set(nearest(values, centers)) == set(range(k)), "no cluster is empty"
    np.testing.assert_allclose(plain_lloyd_step(values, centers), centers, rtol=1e-9, atol=1e-9)
    assert np.array_equal(centers, kmeans(values[::-1], k, start, [0])), "the order of the weights does not matter"


@given(
    st.lists(st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-30, 1e20, 3.0, 3.0000001]) | st.floats(-2, 2), max_size=60),
    st.integers(1, 12),
    st.sampled_from(sorted(STARTS)),
)
def test_any_numbers_get_ascending_centers_without_an_empty_cluster(numbers, k, start):
    values = np.array(numbers, np.float64)
    centers = kmeans(values, k, start, [1])
    distinct = np.unique(values)
    assert len(centers) <= min(k, len(distinct)) and bool((np.diff(centers) > 0).all())
    if len(distinct) <= k:
        assert np.array_equal(centers, distinct)
    elif len(centers):
        assert distinct[0] <= centers[0] and centers[-1] <= distinct[-1]


def test_two_groups_are_found_exactly():
    values = np.array([-5.0, -4, -6, 10, 11, 12, 11])
    for start in STARTS:
        assert kmeans(values, 2, start, [0]).tolist() == [-5, 11]


def test_more_centers_and_better_starts_cost_less():
    values = np.random.default_rng(3).laplace(0, 1, 20_000)
    errors = [squared_error(values, kmeans(values, k, "linear", [0])) for k in (2, 4, 8, 16, 64)]
    assert all(a > 2 * b for a, b in itertools.pairwise(errors))
    uniform = np.linspace(values.min(), values.max(), 16)
    assert squared_error(values, kmeans(values, 16, "linear", [0])) < 0.5 * squared_error(values, uniform)


@pytest.mark.parametrize("k", [2, 16, 256])
def test_every_weight_becomes_one_of_k_values(run, tiny_classifier, k):
    clustered = run(f"cluster={k}", tiny_classifier)
    for (name, module), weight in zip(clustered.weighted().items(), tiny_classifier.weights().values()):
        values = module.weight.detach()
        assert len(values.unique()) <= min(k, weight.numel()), name
        assert float((values - weight).square().sum()) < float(weight.square().sum())
        others = (weight.flatten()[:, None] - values.unique()).abs().amin(1)  # none would have been nearer
        assert bool(((weight - values).abs().flatten() <= others + 1e-3 * weight.abs().max()).all())


def test_layers_of_both_kinds_have_their_own_number_of_values(run, tiny_classifier):
    clustered = run("cluster=64,linear=4", tiny_classifier)
    for module in clustered.weighted().values():
        count = len(module.weight.unique())
        assert count <= 4 if isinstance(module, torch.nn.Linear) else 4 < count <= 64


def test_one_codebook_for_the_network(run, tiny_classifier):
    clustered = run("cluster=8,shared=true", tiny_classifier)
    assert len(torch.cat([m.weight.flatten() for m in clustered.weighted().values()]).unique()) <= 8
    first, *others = rules(clustered)
    assert all(rule.source is first for rule in others)
    decoded = rules(mgn.decode(mgn.encode(clustered)))
    assert all(rule.source is decoded[0] for rule in decoded[1:])


@pytest.mark.parametrize("shared", ["", ",shared=true"])
@pytest.mark.parametrize("coder", ["packed", "huffman", "range"])
def test_the_file_holds_the_same_weights(run, tiny_classifier, digits, shared, coder):
    clustered = run(f"prune=0.5 cluster=16{shared} code={coder}", tiny_classifier)
    data = mgn.encode(clustered)
    decoded = mgn.decode(data)
    assert mgn.encode(decoded) == data, "settling twice changes nothing"
    pixels = digits.test.take(slice(64))
    np.testing.assert_allclose(decoded.logits(pixels), clustered.logits(pixels), rtol=0.02, atol=0.02)
    assert decoded.nonzeros() == clustered.nonzeros()


@pytest.mark.parametrize("shared", ["", ",shared=true"])
def test_a_checkpoint_brings_everything_back(run, tiny_classifier, tmp_path, shared):
    clustered = run(f"prune=0.5 cluster=16{shared} tune=1,share=0.2", tiny_classifier)
    save_safetensors(clustered, tmp_path / "x.safetensors")
    back = load_safetensors(tmp_path / "x.safetensors")
    assert mgn.encode(back) == mgn.encode(clustered)
    a, b = run("tune=1,share=0.2", back), run("tune=1,share=0.2", clustered)
    assert mgn.encode(a) == mgn.encode(b), "and training goes on in the same way"


@pytest.mark.parametrize("recipe", ["cluster=8", "cluster=8,shared=true", "prune=0.6 cluster=8,shared=true"])
def test_tune_moves_centroids_and_leaves_indices_and_zeros(run, tiny_classifier, recipe):
    before, after = run(recipe, tiny_classifier), run(f"{recipe} tune=4,lr=0.1", tiny_classifier)
    moved = False
    for a, b in zip(rules(before), rules(after)):
        assert torch.equal(a.index, b.index)
        assert not a.masked or torch.equal(a.weight() == 0, b.weight() == 0)
        assert len(b.weight().unique()) <= 8
        moved |= not torch.equal(a.weight(), b.weight())
    assert moved
    for rule, weight in zip(rules(after), after.weights().values()):
        assert torch.equal(rule.weight(), weight), "weights() is what the centroids became"
    copied = after.copy()
    assert all(r.source is rules(copied)[0] for r in rules(copied)[1:] if "from" in r.spec)


def test_tuning_centroids_helps_a_trained_network(run, tiny_classifier, digits):
    def right(classifier):
        pixels = digits.validation.take(slice(None))
        return (classifier.logits(pixels).argmax(1) == digits.validation.labels).mean()

    trained = run("tune=8,lr=0.1", tiny_classifier)
    clustered, tuned = run("cluster=2", trained), run("cluster=2 tune=4", trained)
    assert right(tuned) > right(clustered) + 0.02


@pytest.mark.parametrize("shared", ["false", "true"])
def test_pruned_weights_are_index_zero_and_no_other_is(run, tiny_classifier, shared):
    pruned = run("prune=0.8", tiny_classifier)
    clustered = run(f"prune=0.8 cluster=4,shared={shared}", tiny_classifier)
    for rule, module in zip(rules(clustered), pruned.weighted().values()):
        assert torch.equal(rule.index == 0, weight_rule(module).mask == 0)
        assert len(rule.weight()[rule.index != 0].unique()) <= 3, "zero is one of the values"


def test_degenerate_weights_are_clustered_without_nan(run, tiny_classifier):
    odd = tiny_classifier.copy()
    modules = list(odd.weighted().values())
    with torch.no_grad():
        modules[0].weight.zero_()
        modules[1].weight.fill_(0.5)
        modules[2].weight.abs_()
        modules[2].weight[0] = 1e-20
    for recipe in ("cluster=16", "cluster=16,shared=true", "prune=0.3 cluster=16", "prune=0.3 cluster=2,shared=true"):
        clustered = run(recipe, odd)
        assert all(bool(torch.isfinite(m.weight).all()) for m in clustered.weighted().values())
        if recipe != "cluster=16,shared=true":  # there a zero weight is the shared value nearest to 0
            assert bool((next(iter(clustered.weighted().values())).weight == 0).all())
        assert mgn.decode(mgn.encode(clustered)).nonzeros() == clustered.nonzeros()
    constant = list(run("cluster=16", odd).weighted().values())[1].weight
    torch.testing.assert_close(constant, torch.full_like(constant, 0.5), rtol=1e-3, atol=0)


def test_the_seed_matters_only_where_something_is_drawn(run, tiny_classifier):
    def data(start, seed):
        return mgn.encode(run(f"cluster=8,start={start}", tiny_classifier, seed))

    assert data("linear", 0) == data("linear", 1) and data("density", 0) == data("density", 1)
    assert data("random", 0) == data("random", 0) != data("random", 1)
    assert data("kmeans++", 0) == data("kmeans++", 0) != data("kmeans++", 1)


def test_threads_do_not_matter(run, tiny_classifier):
    one = mgn.encode(run("prune=0.5 cluster=16,start=kmeans++", tiny_classifier))
    torch.set_num_threads(2)
    try:
        assert mgn.encode(run("prune=0.5 cluster=16,start=kmeans++", tiny_classifier)) == one
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("recipe", "word"),
    [
        ("cluster=1", "2 to 4096"),
        ("cluster=5000", "2 to 4096"),
        ("cluster=16,linear=1", "2 to 4096"),
        ("cluster=16,start=middle", "density"),
        ("cluster=16,shared=true,linear=8", "one number"),
        ("cluster=16 cluster=8", "start from the float file"),
        ("quant=w8 cluster=8", "use one of them only"),
        ("cluster=8 prune=0.5", "put prune before cluster"),
    ],
)
def test_recipes_that_make_no_sense_say_what_to_type(recipe, word):
    with pytest.raises(RecipeError) as error:
        parse_recipe(recipe.split())
    assert word in str(error.value)


def test_deep_compression_is_one_recipe(run, tiny_classifier):
    recipe = "prune=0.6 tune=1,share=0.2 cluster=32,linear=16 tune=1,share=0.2 code=huffman"
    small = run(recipe, tiny_classifier)
    assert parse_step("cluster=256,linear=16").start == "linear", "the start that its authors found best"
    assert len(mgn.encode(small)) < 0.16 * 4 * sum(w.numel() for w in small.weights().values())


@pytest.mark.parametrize(
    ("recipe", "huffman", "range_"),
    [("cluster=16", 1.02, 1.0), ("cluster=256,linear=16", 1.02, 1.0), ("cluster=16,shared=true", 1.02, 1.0)],
)
def test_indices_of_a_real_network_take_what_their_entropy_says(shared_data, run, recipe, huffman, range_):
    clustered = run(recipe, load_safetensors(shared_data / "resnet20-cifar10-jpeg.safetensors"))
    bound = sum(entropy_bits(rule.index.numpy()) for rule in rules(clustered)) / 8
    for coder, most in [("huffman", huffman), ("range", range_)]:
        parts = mgn.parts(mgn.encode(replace(clustered, coder=coder)))
        assert sum(size for name, size in parts if name.endswith(" index")) <= most * bound
        assert sum(size for name, size in parts if name.endswith(" centroids")) < 0.035 * bound
