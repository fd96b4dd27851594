"""Quantization: integers that beat the nearest ones, means put right, every granularity comes back from its file."""

import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from helpers import context_for
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mignon import mgn
from mignon.checkpoint import rebuild
from mignon.classifier import fresh
from mignon.data.inputs import InputSpec
from mignon.errors import ModelError, RecipeError
from mignon.models.activations import STEPS as GRID_STEPS
from mignon.models.activations import ActivationGrid, grids_of
from mignon.models.weights import latent_weight, norm_gain, weight_rule
from mignon.registry import RULES
from mignon.rules.grid import Grid
from mignon.rules.scales import scale
from mignon.steps import parse_recipe, parse_step
from mignon.steps.quantize.equalize import pairs
from mignon.steps.quantize.ranges import cover_answers, cover_of
from mignon.steps.quantize.rounding import best_integers, gram
from mignon.steps.quantize.sensitivity import layer_divergences, spread_bits
from mignon.training.device import one_thread


@pytest.fixture
def apply(digits, tmp_path, tiny_classifier):
    def go(recipe, classifier=tiny_classifier):
        for number, step in enumerate(parse_recipe(recipe.split())):
            classifier = step.apply(classifier, context_for(digits, tmp_path / str(number), tiny_classifier))
        return classifier

    return go


@pytest.fixture
def trained(apply):
    return apply("tune=6,lr=0.1")


def output_error(rule, rows, moments):
    """Squared error of the layer's output, up to a constant."""
    value = rule.whole().reshape(rows.shape).double() * rule.step().double()
    return float((value * (moments.pull(value) - 2 * moments.linear(rows))).sum())


@given(st.integers(0, 10_000), st.sampled_from([2, 3, 4]), st.booleans())
def test_the_integers_chosen_are_at_least_as_good_as_the_nearest(seed, bits, masked):
    dice = torch.Generator().manual_seed(seed)
    mix = torch.randn(6, 6, generator=dice)
    x = torch.randn(400, 6, generator=dice) @ mix
    own_x = x + 0.1 * torch.randn(400, 6, generator=dice)
    rows = torch.randn(5, 6, generator=dice).double()
    spec = {"rule": "grid", "bits": bits} | ({"masked": True} if masked else {})
    best, nearest = Grid(spec, (5, 6)), Grid(spec, (5, 6))
    if masked:
        for rule in (best, nearest):
            rule.mask.copy_(torch.rand(5, 6, generator=torch.Generator().manual_seed(seed)) < 0.6)
        rows = rows * best.mask
    moments = gram(nn.Linear(6, 5), x, own_x, centered=False)
    best_integers(best, rows, moments)
    nearest.k.copy_(best.k)
    nearest.set_whole(nearest.round_rows(rows))
    assert output_error(best, rows, moments) <= output_error(nearest, rows, moments) + 1e-9
    assert int(best.q.abs().max()) <= best.top
    assert not masked or bool((best.q[~best.mask] == 0).all())


def test_the_integers_are_near_the_best_of_all():
    dice = torch.Generator().manual_seed(3)
    x = torch.randn(500, 3, generator=dice) @ torch.randn(3, 3, generator=dice)
    rows = torch.randn(4, 3, generator=dice).double()
    rule = Grid({"rule": "grid", "bits": 3}, (4, 3))
    moments = gram(nn.Linear(3, 4), x, x, centered=False)
    best_integers(rule, rows, moments)
    linear, smallest = moments.linear(rows), 0.0
    for row, step in zip(linear, rule.step()):
        values = torch.tensor(list(itertools.product(range(-3, 4), repeat=3))).double() * step
        smallest += float((values * (moments.pull(values) - 2 * row)).sum(1).min())
    energy = float((rows * moments.linear(rows)).sum())  # of the output itself, about
    assert output_error(rule, rows, moments) - smallest <= 0.01 * energy


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_moments_are_those_of_the_patches(groups):
    conv = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=groups, bias=False)
    x = torch.randn(2, 4, 8, 8)
    moments = gram(conv, x, x, centered=False)
    rows = conv.weight.detach().reshape(8, -1).double()
    energy = float((rows * moments.pull(rows)).sum()) * 32
    assert energy == pytest.approx(float(conv(x).detach().square().sum()), rel=0.03)
    assert moments.own.shape == (groups, 36 // groups, 36 // groups)


@pytest.mark.parametrize(
    "recipe",
    [
        "quant=w3a8", "quant=w3a8,per=9", "quant=w3a8,affine=true", "quant=w3a8,first=8,last=6",
        "quant=w3a8,per=tensor,affine=true,round=nearest", "quant=w3,range=minmax,round=nearest",
        "quant=w5,per=4,affine=true", "quant=w3a8,per=tensor",
        "quant=a6", "quant=w3a8 tune=1,scales=false", "quant=w3a5 tune=1", "quant=w4a8,range=p99.9,correct=false",
        "prune=0.5 quant=w3a8", "quant=w3a8,per=7,affine=true tune=1", "cluster=8 quant=a8",
    ],
)  # fmt: skip
def test_what_was_measured_comes_back_from_the_file(apply, digits, recipe):
    live = apply(recipe)
    data = mgn.encode(live)
    decoded = mgn.decode(data)
    assert mgn.encode(decoded) == data
    pixels = digits.test.take(slice(60))
    grids = list(grids_of(live.network).values())
    step = float(scale(grids[-1].k, GRID_STEPS)) if grids else 1e-3
    # once BatchNorm is absorbed, a number at the edge of two steps may fall on either side, in earlier grids too
    apart = np.abs(decoded.logits(pixels) - live.logits(pixels)) / step
    assert apart.max() < 4.01 and (apart > 1.01).mean() < 0.03


def test_layerwise_is_better_than_nearest_and_the_means_are_right(apply, digits, trained):
    pixels = digits.validation.take(slice(None))
    wanted = trained.logits(pixels)

    def distance(text):
        return float(np.square(apply(text, trained).logits(pixels) - wanted).mean())

    assert distance("quant=w3") < 0.6 * distance("quant=w3,round=nearest,correct=false")
    assert distance("quant=w3,round=nearest") < distance("quant=w3,round=nearest,correct=false")


def test_first_and_last_have_their_own_bits(apply):
    rules = [weight_rule(m).spec["bits"] for m in apply("quant=w3a8,first=8,last=6").weighted().values()]
    assert (rules[0], rules[-1]) == (8, 6) and set(rules[1:-1]) == {3}
    live = apply("quant=w3a4,first=8,last=6")
    decoded = mgn.decode(mgn.encode(live))
    grids = [grid.bits for grid in grids_of(decoded.network).values()]
    assert (grids[0], grids[-1]) == (8, 6) and set(grids[1:-1]) == {4}
    assert decoded.activation_bits == 4 and decoded.other_activation_bits == {"input": 8, "11": 6}


@pytest.mark.parametrize("others", [{"nowhere": 8}, {"input": 1}, {"input": True}, ["input"], 8])
def test_impossible_widths_of_grids_are_refused(apply, others):
    live = apply("quant=w3a4,first=8")
    header = json.loads(json.dumps({"activation_bits": 4, "other_activation_bits": others}))
    with pytest.raises(ModelError, match="not possible"):
        rebuild(
            {
                "family": live.family, "options": live.options, "classes": list(live.classes),
                "input": asdict(live.input), "absorbed": True, **header,
            },
            "the header",
        )  # fmt: skip


def test_only_activations(apply, tiny_classifier):
    result = apply("quant=a5")
    assert all(weight_rule(m) is None for m in result.weighted().values())
    assert {grid.bits for grid in grids_of(result.network).values()} == {5}


def test_tune_moves_scales_and_leaves_them_on_their_grid(apply):
    def scales(classifier):
        rules = [weight_rule(m).k for m in classifier.weighted().values()]
        return torch.cat(rules), torch.stack([g.k for g in grids_of(classifier.network).values()])

    before, held = scales(apply("quant=w2a4")), scales(apply("quant=w2a4 tune=2,lr=0.1,scales=false"))
    after = apply("quant=w2a4 tune=2,lr=0.1")
    assert torch.equal(before[1], held[1])
    assert not torch.equal(before[0], scales(after)[0]) and not torch.equal(before[1], scales(after)[1])
    assert not any("octave" in name for name, _ in after.network.named_parameters())


def test_one_thread_and_two_give_the_same_bytes(apply, trained):
    threads = torch.get_num_threads()
    try:
        files = []
        for count in (1, 2):
            torch.set_num_threads(count)
            files.append(mgn.encode(apply("quant=w3a6", trained)))
            with one_thread():
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert files[0] == files[1]


@pytest.mark.parametrize(("name", "low", "high"), [("minmax", -1, 9), ("p99", -0.5, 5), ("mse", -1, 9)])
def test_ranges(name, low, high):
    sample = torch.cat([torch.linspace(0, 1, 10_000), torch.tensor([9.0, -1.0])])
    grid = ActivationGrid(8)
    cover_of(name)(grid, sample)
    step = float(2 ** (grid.k.double() / 16))
    reached = (-int(grid.zero) * step, (255 - int(grid.zero)) * step)
    assert reached[0] >= low * 1.1 - 0.05 and reached[1] <= high * 1.1 + 0.05
    assert name == "minmax" or reached[1] < 9.5


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("quant=w8,per=0", "per=channel"), ("quant=w8,per=row", "per=channel"), ("quant=w8,round=up", "layerwise"),
        ("quant=w8a8,range=p101", "percentile"), ("quant=w8,first=1", "2 to 16"), ("quant=", "w8a8"),
        ("quant=a1", "2 to 16"),
    ],
)  # fmt: skip
def test_wrong_settings_say_what_to_type(text, word):
    with pytest.raises(RecipeError) as error:
        parse_step(text)
    assert word in str(error.value)


def test_whole_numbers_are_not_quantized_again(apply):
    for recipe in ("cluster=4 quant=w8", "quant=w8 quant=w4", "quant=w8a8 quant=a4"):
        with pytest.raises(RecipeError):
            apply(recipe)


@pytest.mark.parametrize(
    "spec",
    [
        {"bits": 4, "per": "row"}, {"bits": 4, "per": 0}, {"bits": 4, "per": True}, {"bits": 4, "affine": 1},
        {"bits": 4, "per": 1.0}, {"bits": 4, "per": []},
    ],
)  # fmt: skip
def test_impossible_grids_are_refused(spec):
    from mignon.errors import FormatError

    with pytest.raises(FormatError):
        RULES["grid"].layouts({"rule": "grid", **spec}, (4, 6))


def test_bits_go_where_the_answers_suffer_most(apply, trained):
    result = apply("quant=w4a8,bits=auto", trained)
    bits = {name: weight_rule(m).spec["bits"] for name, m in result.weighted().items()}
    sizes = {name: w.numel() for name, w in result.weights().items()}
    assert sum(bits[n] * sizes[n] for n in bits) <= 4 * sum(sizes.values())
    assert len(set(bits.values())) > 1 and all(2 <= b <= 8 for b in bits.values())


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 1000)), min_size=1, max_size=8), st.integers(3, 8))
def test_spread_bits_keep_the_budget_and_prefer_the_sensitive(layers, average):
    divergences = {str(i): kl for i, (kl, _) in enumerate(layers)}
    sizes = {str(i): n for i, (_, n) in enumerate(layers)}
    bits = spread_bits(divergences, sizes, average)
    assert sum(bits[n] * sizes[n] for n in bits) <= average * sum(sizes.values())
    for a, b in itertools.permutations(bits, 2):
        if sizes[a] == sizes[b] and divergences[a] > 4.1 * divergences[b]:
            assert bits[a] >= bits[b]


def test_a_layer_without_weights_that_matter_costs_nothing(trained, digits):
    quiet = trained.copy()
    first = next(iter(quiet.weighted()))
    with torch.no_grad():
        quiet.weighted()[first].weight.zero_()
    pixels = digits.validation.take(slice(64))
    assert layer_divergences(quiet, 3, pixels)[first] == 0
    loud, soft = layer_divergences(trained, 2, pixels), layer_divergences(trained, 6, pixels)
    assert all(loud[name] > soft[name] >= -1e-9 for name in loud)


@pytest.mark.parametrize("family", ["digits-cnn", "mobilenetv1", "vgg11-cifar"])
def test_equalizing_changes_ranges_and_nothing_else(family, digits, tmp_path):
    spec = InputSpec(32, 32, 3, (0.5,) * 3, (0.25,) * 3) if family != "digits-cnn" else digits.input
    before = fresh(family, {"width": 0.25} if family == "mobilenetv1" else {}, spec, digits.classes, 1)
    dice = torch.Generator().manual_seed(2)
    for module in before.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.copy_(torch.exp(torch.randn(module.weight.shape, generator=dice)))
            module.bias.data.copy_(0.3 * torch.randn(module.bias.shape, generator=dice))
    after = parse_step("equalize=3").apply(before, context_for(digits, tmp_path))
    shape = (4, spec.height, spec.width, spec.channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    a, b = before.logits(pixels), after.logits(pixels)
    np.testing.assert_allclose(b, a, rtol=2e-3, atol=2e-3 * np.abs(a).max())

    def unevenness(classifier):
        worst = 0.0
        for first, _ in pairs(classifier.network):
            gain = norm_gain(classifier.network, first)
            ranges = latent_weight(first.module).flatten(1).abs().amax(1) * (1 if gain is None else gain.abs())
            worst = max(worst, float(ranges.max() / ranges[ranges > 0].min()))
        return worst

    assert pairs(before.network) and unevenness(after) < unevenness(before)


def test_nothing_is_equalized_across_relu6():
    spec = InputSpec(32, 32, 3, (0.5,) * 3, (0.25,) * 3)
    network = fresh("mobilenetv2-cifar", {"width": 0.25}, spec, ("a", "b"), 0).network
    assert not any(isinstance(first.activation, nn.ReLU6) for first, _ in pairs(network))


def test_system_002_is_symmetric_per_tensor(apply, trained):
    result = apply("quant-symmetric=w4a8", trained)
    for module, weight in zip(result.weighted().values(), trained.weights().values()):
        expected = torch.round(weight / (float(weight.abs().max()) / 7)).clamp(-8, 7)
        assert torch.equal(weight_rule(module).q.float(), expected)
    assert {int(g.zero) for g in grids_of(result.network).values()} == {128}


@pytest.mark.parametrize("grid", ["source", "affine", "symmetric", "best"])
def test_system_001_as_published_and_repaired(apply, trained, grid):
    result = apply(f"quant-linear=4,grid={grid},all=true", trained)
    for module, weight in zip(result.weighted().values(), trained.weights().values()):
        low, high = float(weight.min()), float(weight.max())
        step = (high - low) / 15
        stored = module.weight.detach()
        if grid == "source":
            expected = (weight.double() / step).round().clamp(-8, 7) * step
        elif grid == "affine":
            expected = low + ((weight.double() - low) / step).round() * step
        elif grid == "symmetric":
            top = float(weight.abs().max()) / 7
            expected = (weight.double() / top).round() * top
        else:
            affine = low + ((weight.double() - low) / step).round() * step
            assert (stored - weight).square().sum() <= (affine - weight).square().sum() * 1.0001
            continue
        torch.testing.assert_close(stored.double(), expected, rtol=1e-5, atol=1e-6)


def test_system_001_takes_the_layers_that_are_shared(apply):
    rules = [weight_rule(m) for m in apply("quant-linear=8").weighted().values()]
    assert [rule is not None for rule in rules] == [True, True, True, False]
    with pytest.raises(RecipeError, match="pruned"):
        apply("prune=0.5 quant-linear=8")


@pytest.mark.parametrize("bits", [4, 8])
def test_the_range_of_the_logits_keeps_the_answers(bits):
    dice = torch.Generator().manual_seed(1)
    logits = 4 * torch.randn(400, 10, generator=dice) - 6
    logits[torch.arange(400), torch.randint(0, 10, (400,), generator=dice)] += 12
    exact = torch.softmax(logits, 1)

    def distance(cover):
        grid = ActivationGrid(bits)
        cover(grid, logits)
        return float((exact * (exact.log() - torch.log_softmax(grid(logits), 1))).sum(1).mean())

    assert distance(cover_answers) < 0.6 * distance(cover_of("mse"))


def test_a_group_larger_than_the_inputs_takes_no_memory():
    spec = {"rule": "grid", "bits": 4, "per": 10**12}
    rule = Grid.from_streams(spec, (3, 2), {"k": np.zeros((3, 1)), "q": np.ones((3, 2))})
    assert torch.equal(rule.weight(), torch.ones(3, 2))
    rule.choose_scales(torch.randn(3, 2), None)
