"""Rules: weights are a pure function of whole numbers, degenerate weights included."""

from decimal import Decimal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mignon.coding import Layout
from mignon.errors import FormatError
from mignon.models.weights import set_rule
from mignon.registry import RULES
from mignon.rules import Rule, build_rule
from mignon.rules.accumulator import Accumulator
from mignon.rules.float32 import Float32
from mignon.rules.grid import Grid
from mignon.rules.scaled import Scaled
from mignon.rules.scales import mantissas, nearest_step, scale


def latent(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_every_rule_keeps_the_contract(capsys):
    checked = 0
    for name in RULES:
        for rule in RULES[name].examples():
            spec, shape, weight = rule.spec, rule.shape, rule.weight()
            assert spec["rule"] == name and weight.shape == shape and weight.dtype == torch.float32
            assert bool(torch.isfinite(weight).all()) and len(weight.unique()) > 2, "an example holds numbers"
            streams = {k: s.values for k, s in rule.streams().items()}
            layouts = build_rule(spec).all_layouts(spec, shape)
            assert {k: v.shape for k, v in streams.items()} == {k: y.shape for k, y in layouts.items()}
            again = build_rule(spec).from_streams(spec, shape, streams)
            if isinstance(rule, Accumulator):
                again.set_scales(rule.k)  # which stand with the grids
            assert torch.equal(weight, again.weight())
            if rule.mask is not None:
                assert torch.equal(again.mask.bool(), rule.mask.bool()) and not weight[~rule.mask.bool()].any()
            if (form := rule.integers()) is not None:
                q, k, n = form
                assert q.shape == shape and k.shape == shape[:1] and q.dtype == torch.int32
                assert torch.equal(scale(k, n).reshape(-1, *[1] * (len(shape) - 1)) * q, weight)
            _check_gain(rule)
            _check_training(rule)
            checked += 1
    with capsys.disabled():
        print(f"\n{checked} rules keep the contract")
    assert checked >= 12


def _check_gain(rule):
    if len(rule.shape) > 1:
        gain = torch.linspace(-2, 2, rule.shape[0], dtype=torch.float64)
        absorbed = rule.absorb(rule.weight(), gain)
        wanted = rule.weight().double() * gain.reshape(-1, *[1] * (len(rule.shape) - 1))
        step = 2 ** (1 / 32) - 1  # half a step of the coarsest scale grid
        torch.testing.assert_close(absorbed.weight().double(), wanted, rtol=step, atol=1e-6)


def _check_training(rule):
    latent = rule.weight().clone().requires_grad_()
    weight = rule.train()(latent)
    weight.square().sum().backward()
    assert weight.shape == rule.shape and bool(torch.isfinite(weight).all())
    if rule.mask is not None:
        assert not weight[~rule.mask.bool()].any()
        assert latent.grad is None or not latent.grad[~rule.mask.bool()].any()


def test_rules_come_from_this_package_alone(monkeypatch):
    import importlib.metadata

    import mignon.registry as registry

    asked = []
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: asked.append(group) or [])
    assert list(registry.Registry("rule", "mignon.rules", FormatError, closed=True)) == [] and asked == []
    list(registry.Registry("step", "mignon.steps", FormatError))
    assert asked == ["mignon.steps"] and registry.RULES.closed


class Ternary(Rule):
    """A rule as CONTRIBUTING says: it knows nothing of masks. weight = scale[out] * (-1, 0 or 1)."""

    @classmethod
    def layouts(cls, spec, shape):
        return {"size": Layout((shape[0],), "side"), "q": Layout(shape, "weights")}

    def fit(self, latent):
        self.size.copy_((latent.abs().flatten(1).mean(1) * 1024).round().clamp_min(1))
        self.q.copy_(torch.where(latent >= 0, 1, -1))

    def value(self):
        return self.q * (self.size / 1024).reshape(-1, *[1] * (len(self.shape) - 1))


def test_a_rule_that_knows_no_masks_keeps_pruned_zeros_in_training_and_in_its_streams():
    module, weight = torch.nn.Linear(6, 4, bias=False), latent((4, 6))
    mask = weight.abs() > 0.7
    set_rule(module, Float32.masked(mask), weight * mask)
    rule = Ternary({"rule": "ternary"}, (4, 6))
    rule.fit(weight)
    set_rule(module, rule, weight)
    assert torch.equal(module.weight != 0, mask) and rule.spec == {"rule": "ternary", "masked": True}
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    module.train()
    for _ in range(3):
        module(torch.ones(2, 6)).square().sum().backward()
        optimizer.step()
    module.eval()
    assert torch.equal(module.weight != 0, mask)
    streams = {k: s.values for k, s in rule.streams().items()}
    assert set(streams) == {"size", "q", "mask"}
    assert torch.equal(Ternary.from_streams(rule.spec, (4, 6), streams).weight(), module.weight)
    absorbed = rule.absorb(weight, torch.tensor([2.0, -1.0, 0.5, 1.0], dtype=torch.float64))
    assert torch.equal(absorbed.weight() != 0, mask)


def test_scales_are_exact_octaves_and_right_to_a_ten_millionth():
    k = torch.arange(-60 * 256, 60 * 256 + 1, dtype=torch.int32)
    values = scale(k, 256)
    assert bool(torch.isfinite(values).all()) and bool((values[1:] > values[:-1]).all())
    assert torch.equal(values[::256].double(), 2.0 ** torch.arange(-60, 61).double())
    torch.testing.assert_close(values.double(), 2 ** (k.double() / 256), rtol=1e-7, atol=0)
    assert torch.equal(scale(k[::16] // 16, 16), values[::16])
    assert torch.equal(nearest_step(values, 256), k)
    exact = [int((Decimal(2) ** (23 + Decimal(j) / 256)).to_integral_value()) for j in (0, 1, 128, 255)]
    assert (mantissas()[[0, 1, 128, 255]] * 2**23).int().tolist() == exact


@pytest.mark.parametrize("kind", ["constant", "zero", "one-sided", "single", "tiny", "huge", "mixed"])
@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_degenerate_weights_stay_finite_and_close(kind, bits):
    weight = {
        "constant": torch.full((3, 5), 0.7),
        "zero": torch.zeros(3, 5),
        "one-sided": latent((3, 5)).abs() + 0.5,
        "single": torch.tensor([[-3.0]]),
        "tiny": latent((3, 5)) * 1e-12,
        "huge": latent((3, 5)) * 1e9,
        "mixed": torch.tensor([[0.0, 0, 0], [1e-7, 0, 0], [1, -1, 1e6]]),
    }[kind]
    rule = Grid({"rule": "grid", "bits": bits}, tuple(weight.shape))
    rule.choose_scales(weight, None)
    rule.fit(weight)
    stored = rule.weight()
    assert bool(torch.isfinite(stored).all()) and int(rule.q.abs().max()) <= 2 ** (bits - 1) - 1
    bound = weight.abs().amax(1, keepdim=True) * (0.6 if bits == 2 else 1.2 / (2 ** (bits - 1) - 1) + 0.05)
    assert bool(((stored - weight).abs() <= bound + 1e-12).all())


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_chosen_scales_are_at_least_as_good_as_the_largest_magnitude(bits):
    weight = latent((16, 200))
    rule = Grid({"rule": "grid", "bits": bits}, (16, 200))
    rule.choose_scales(weight, None)
    rule.fit(weight)
    top = 2 ** (bits - 1) - 1
    step = weight.abs().amax(1, keepdim=True) / top
    plain = ((weight / step).round() * step - weight).square().sum()
    assert float((rule.weight() - weight).square().sum()) <= 1.05 * float(plain)


def test_a_grid_absorbs_batchnorm_without_rounding_again():
    weight = latent((4, 3, 3, 3))
    gain = torch.tensor([0.5, -1.7, 0.0, 3.0], dtype=torch.float64)
    rule = Grid({"rule": "grid", "bits": 4}, (4, 3, 3, 3))
    rule.choose_scales(weight, gain)
    rule.fit(weight)
    live = rule.weight().double() * gain.reshape(-1, 1, 1, 1)
    absorbed = rule.absorb(weight, gain)
    torch.testing.assert_close(absorbed.weight().double(), live, rtol=1e-6, atol=0)
    assert torch.equal(absorbed.q.abs()[[0, 1, 3]], rule.q.abs()[[0, 1, 3]])


@pytest.mark.parametrize("kind", ["grid", "scaled"])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_pass_straight_through_but_not_to_pruned_weights(masked, kind):
    module = torch.nn.Linear(6, 4, bias=False)
    weight = latent((4, 6))
    spec = {"rule": kind, "bits": 3} | ({"masked": True} if masked else {})
    rule = build_rule(spec)(spec, (4, 6))
    keep = latent((4, 6), 1) > 0
    if masked:
        rule.mask.copy_(keep)
    if kind == "grid":
        rule.choose_scales(weight, None)
    else:
        rule.set_scale(0.4)
    rule.fit(weight)
    set_rule(module, rule, weight)
    module.train()
    factor = latent((4, 6), 2)
    (module.weight * factor).sum().backward()
    gradient = module.parametrizations["weight"].original.grad
    assert torch.equal(gradient, factor * keep if masked else factor)
    assert not masked or bool((module.weight[~keep] == 0).all())
    module.eval()
    assert torch.equal(module.weight, rule.weight())


def test_float32_is_bit_exact_for_every_kind_of_number():
    numbers = torch.tensor([0.0, -0.0, 1e-45, -1e-40, 3.4e38, -1.5, 2.0**-126])
    rule = Float32({"rule": "float"}, (7,))
    rule.fit(numbers)
    assert rule.weight().numpy().tobytes() == numbers.numpy().tobytes()


def test_a_masked_float_stores_kept_weights_only():
    mask = latent((5, 7)) > 0
    rule = Float32.masked(mask)
    rule.fit(latent((5, 7), 1))
    assert rule.streams()["planes"].values.shape == (4, int(mask.sum()))
    assert torch.equal(rule.weight(), latent((5, 7), 1) * mask)


def test_a_bias_is_whole_numbers_of_the_accumulator():
    rule = Accumulator({"rule": "accumulator", "n": 16}, (3,))
    rule.set_scales(torch.tensor([-160, -80, 0], dtype=torch.int32))
    rule.fit(torch.tensor([0.5, -1.0, 1e12]))
    assert rule.q.tolist() == [512, -32, 2**31 - 1]


@pytest.mark.parametrize(
    "spec",
    [
        None,
        3,
        {},
        {"rule": 1},
        {"rule": "unknown"},
        {"rule": "grid"},
        {"rule": "grid", "bits": 1},
        {"rule": "grid", "bits": 4.0},
        {"rule": "grid", "bits": True},
        {"rule": "grid", "bits": 4, "n": 3},
        {"rule": "grid", "bits": 4, "gain": True},
        {"rule": "float", "kept": -1},
        {"rule": "float", "kept": 99},
        {"rule": "float", "gain": 1},
        {"rule": "scaled"},
        {"rule": "scaled", "bits": 1},
        {"rule": "scaled", "bits": 17},
        {"rule": "scaled", "bits": True},
        {"rule": "scaled", "bits": 8, "masked": 1},
        {"rule": "accumulator", "n": 0},
        {"rule": "accumulator", "n": 16},
    ],
    ids=str,
)
def test_specs_that_make_no_sense_are_refused(spec):
    with pytest.raises(FormatError):
        build_rule(spec)(spec, (2, 3))


@pytest.mark.parametrize(
    ("spec", "streams"),
    [
        ({"rule": "grid", "bits": 3}, {"k": [0, 0], "q": [[4, 0], [0, 0]]}),
        ({"rule": "grid", "bits": 3}, {"k": [10**6, 0], "q": [[1, 0], [0, 0]]}),
        ({"rule": "scaled", "bits": 3}, {"scale": [1], "q": [[4, 0], [0, 0]]}),
        ({"rule": "scaled", "bits": 3}, {"scale": [1], "q": [[-5, 0], [0, 0]]}),
        ({"rule": "scaled", "bits": 3}, {"scale": [0], "q": [[1, 0], [0, 0]]}),
        ({"rule": "scaled", "bits": 3}, {"scale": [-1], "q": [[1, 0], [0, 0]]}),
        ({"rule": "scaled", "bits": 3}, {"scale": [0x7F800000], "q": [[1, 0], [0, 0]]}),
        ({"rule": "float", "kept": 2}, {"mask": [[1, 0], [0, 0]], "planes": np.zeros((4, 2))}),
        ({"rule": "float"}, {"planes": [[127] * 4, [128] * 4, [0] * 4, [0] * 4]}),
    ],
)
def test_numbers_that_break_their_rule_are_refused(spec, streams):
    with pytest.raises(FormatError):
        build_rule(spec).from_streams(spec, (2, 2), {k: np.array(v, np.int32) for k, v in streams.items()})


@st.composite
def weights_and_gains(draw):
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    size = draw(st.sampled_from([1e-20, 1e-3, 1.0, 1e5, 1e30]))
    numbers = st.one_of(st.just(0.0), st.floats(-1, 1, width=32), st.sampled_from([1.0, -1.0]))
    weight = draw(st.lists(numbers, min_size=rows * columns, max_size=rows * columns))
    gains = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-12, -0.37, 900.0])
    gain = draw(st.none() | st.lists(gains, min_size=rows, max_size=rows))
    gain = None if gain is None else torch.tensor(gain, dtype=torch.float64)
    return torch.tensor(weight, dtype=torch.float32).reshape(rows, columns) * size, gain


@given(weights_and_gains(), st.integers(2, 16), st.sampled_from([1, 16, 256]), st.booleans())
def test_any_weight_becomes_scale_times_whole_number_and_comes_back(both, bits, steps, masked):
    weight, gain = both
    shape = tuple(weight.shape)
    spec = {"rule": "grid", "bits": bits, "n": steps} | ({"masked": True} if masked else {})
    rule = Grid(spec, shape)
    if masked:
        rule.mask.copy_(weight != weight[0, 0])
    rule.choose_scales(weight, gain)
    rule.fit(weight)
    assert bool(torch.isfinite(rule.weight()).all()), "also behind a BatchNorm of gain zero"
    stored = rule.absorb(weight, torch.ones(shape[0]).double() if gain is None else gain)
    assert int(stored.q.abs().max()) <= 2 ** (bits - 1) - 1
    assert torch.equal(stored.weight(), scale(stored.k, steps)[:, None] * stored.q)
    assert bool(torch.isfinite(stored.weight()).all())
    assert not masked or bool((stored.weight()[weight == weight[0, 0]] == 0).all())
    again = Grid.from_streams(spec, shape, {k: s.values for k, s in stored.streams().items()})
    assert again.weight().numpy().tobytes() == stored.weight().numpy().tobytes()
    assert again.nonzeros() == int((stored.q != 0).sum())


@given(weights_and_gains())
def test_a_weight_is_at_most_half_a_step_from_the_one_wanted(both):
    weight, _ = both
    rule = Grid({"rule": "grid", "bits": 8}, tuple(weight.shape))
    rule.choose_scales(weight, None)
    rule.fit(weight)
    step = scale(rule.k, 16)[:, None]
    inside = rule.q.abs() < 127
    assert bool(((rule.weight() - weight).abs() <= 0.5001 * step)[inside].all())


def test_a_grid_follows_the_gain_of_its_batchnorm():
    weight, rule = latent((4, 9)), Grid({"rule": "grid", "bits": 6}, (4, 9))
    rule.choose_scales(weight, torch.tensor([1.0, 0.5, 2.0, 1.0], dtype=torch.float64))
    rule.fit(weight)
    before = rule.weight().clone()
    rule.align(torch.tensor([1.3, 0.5, -8.0, 0.01], dtype=torch.float64))
    half = 2 ** (0.5 / 16) - 1
    assert bool(((rule.weight() - before).abs() <= before.abs() * half * 1.001).all())
    rule.fit(weight)
    torch.testing.assert_close(rule.weight(), weight, rtol=0, atol=0.1)


def test_pruned_floats_stay_zero_in_training_and_get_no_gradient():
    module, weight, mask = torch.nn.Linear(7, 5, bias=False), latent((5, 7), 1), latent((5, 7)) > 0
    rule = Float32.masked(mask)
    rule.fit(weight)
    set_rule(module, rule, weight)
    module.train()
    assert torch.equal(module.weight, weight * mask)
    (module.weight * latent((5, 7), 2)).sum().backward()
    assert torch.equal(module.parametrizations["weight"].original.grad, latent((5, 7), 2) * mask)


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30), st.integers(0, 99)
)
def test_masked_floats_come_back_bit_for_bit(numbers, seed):
    weight = torch.tensor(numbers, dtype=torch.float32)
    mask = torch.rand(len(numbers), generator=torch.Generator().manual_seed(seed)) < 0.6
    rule = Float32.masked(mask)
    rule.fit(weight)
    again = Float32.from_streams(rule.spec, rule.shape, {k: s.values for k, s in rule.streams().items()})
    assert again.weight()[mask].numpy().tobytes() == weight[mask].numpy().tobytes()
    assert again.weight()[~mask].numpy().tobytes() == bytes(4 * int((~mask).sum())) and torch.equal(
        again.weight(), rule.weight()
    )


def test_a_float_absorbs_a_gain_with_one_rounding():
    weight, gain = latent((3, 4)), torch.tensor([0.1, -3.0, 0.0], dtype=torch.float64)
    rule = Float32.masked(torch.ones(3, 4, dtype=torch.bool))
    rule.fit(weight)
    assert torch.equal(rule.absorb(weight, gain).weight(), (weight.double() * gain[:, None]).float())


def test_a_rule_of_somebody_else_gets_its_gain_stored_beside_it():
    class Halves(Rule):
        @classmethod
        def layouts(cls, spec, shape):
            return {"h": Layout(shape, "weights")}

        def value(self):
            return self.h * 0.5

        def fit(self, latent):
            self.h.copy_(torch.round(latent * 2))

    rule = Halves({"rule": "halves"}, (3, 4))
    rule.fit(latent((3, 4)))
    gain = torch.tensor([2.0, -0.5, 0.3], dtype=torch.float64)
    absorbed = rule.absorb(latent((3, 4)), gain)
    torch.testing.assert_close(absorbed.weight().double(), rule.weight() * gain[:, None], rtol=2e-3, atol=0)
    assert torch.equal(absorbed.weight()[:2], (rule.weight() * gain[:, None]).float()[:2]), "powers of two are exact"
    streams = {k: s.values for k, s in absorbed.streams().items()}
    assert set(streams) == {"h", "gain", "flip"}
    assert torch.equal(Halves.from_streams(absorbed.spec, (3, 4), streams).weight(), absorbed.weight())


def test_a_bias_whose_scale_is_out_of_range_is_refused():
    rule = Accumulator({"rule": "accumulator", "n": 16}, (2,))
    rule.set_scales(torch.tensor([2 * 60 * 16, -2 * 60 * 16], dtype=torch.int32))
    assert bool(torch.isfinite(rule.weight()).all())
    with pytest.raises(FormatError):
        rule.set_scales(torch.tensor([2 * 60 * 16 + 1, 0], dtype=torch.int32))


@given(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3))
def test_a_bias_is_right_to_half_a_unit_of_the_accumulator(numbers):
    rule = Accumulator({"rule": "accumulator", "n": 16}, (3,))
    rule.set_scales(torch.tensor([-160, -163, -40], dtype=torch.int32))
    bias = torch.tensor(numbers, dtype=torch.float32)
    rule.fit(bias)
    unit = scale(rule.k, 16)
    assert bool(((rule.weight() - bias).abs() <= 0.5001 * unit + 1e-6 * bias.abs()).all())
    assert torch.equal(rule.weight(), unit * rule.q)


def test_zeros_of_a_pruned_grid_stay_zero_after_it_was_read_from_a_file():
    spec = {"rule": "grid", "bits": 4, "masked": True}
    rule = Grid.from_streams(spec, (2, 3), {"k": np.zeros(2), "q": np.array([[0, 3, 0], [-2, 0, 1]])})
    module = torch.nn.Linear(3, 2, bias=False)
    set_rule(module, rule, latent((2, 3)) * 5)
    module.train()
    assert (module.weight == 0).tolist() == [[True, False, True], [False, True, False]]


SYMMETRIC = [  # the quantizer of system 002 on (-1.27, -0.01, 0, 0.004, 0.635, 0.3)
    (8, [-127, -1, 0, 0, 64, 30]),
    (4, [-7, 0, 0, 0, 4, 2]),
    (2, [-1, 0, 0, 0, 0, 0]),
    (16, [-32767, -258, 0, 103, 16384, 7740]),
]


@pytest.mark.parametrize(("bits", "expected"), SYMMETRIC)
def test_integers_under_a_covering_scale_are_those_of_system_002(bits, expected):
    weight = torch.tensor([-1.27, -0.01, 0, 0.004, 0.635, 0.3])
    rule = Scaled.covering(weight, bits)
    rule.fit(weight)
    assert rule.q.tolist() == expected


def test_a_scaled_rule_uses_the_whole_range_and_ties_go_to_even():
    rule = Scaled({"rule": "scaled", "bits": 8}, (5,))
    rule.set_scale(1 / 128)
    rule.fit(torch.tensor([-1, -0.5, 0, 0.5, 1]))
    assert rule.q.tolist() == [-128, -64, 0, 64, 127]
    rule.set_scale(2.0)
    rule.fit(torch.tensor([1.0, 3.0, 5.0, -1.0, -300.0]))
    assert rule.q.tolist() == [0, 2, 2, 0, -128]


@given(st.floats(2.0**-126, 2.0**100, width=32), st.integers(2, 16), st.integers(0, 99), st.booleans())
def test_a_float_scale_and_its_integers_come_back_bit_for_bit(step, bits, seed, masked):
    spec = {"rule": "scaled", "bits": bits} | ({"masked": True} if masked else {})
    q = np.random.default_rng(seed).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (3, 4)).astype(np.int32)
    rule = Scaled({**spec}, (3, 4))
    rule.set_scale(step)
    streams = {"scale": rule.streams()["scale"].values, "q": q}
    again = Scaled.from_streams(spec, (3, 4), streams)
    assert torch.equal(again.weight(), torch.tensor(step) * torch.tensor(q))
    again.fit(again.weight())
    assert np.array_equal(again.streams()["q"].values, q)
    absorbed = again.absorb(again.weight(), torch.tensor([2.0, -0.5, 0.0], dtype=torch.float64))
    assert np.array_equal(absorbed.streams()["q"].values, q) and absorbed.scale.equal(again.scale)
    assert torch.equal(absorbed.weight()[:2], again.weight()[:2] * torch.tensor([[2.0], [-0.5]]))
    assert not masked or torch.equal(absorbed.mask, again.mask)


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf"), 1e-60])
def test_a_scale_that_is_not_finite_and_above_zero_is_refused(step):
    with pytest.raises(FormatError):
        Scaled({"rule": "scaled", "bits": 8}, (2,)).set_scale(step)


def test_released_gains_are_neutral_and_those_of_zero_rows_too():
    rule = Scaled.from_streams({"rule": "scaled", "bits": 8}, (4, 2), {"scale": [2**29], "q": [[1, 2]] * 3 + [[0, 0]]})
    absorbed = rule.absorb(rule.weight(), torch.tensor([3.0, -3.0, -0.2, -3.0], dtype=torch.float64))
    before = absorbed.weight()
    absorbed.release(torch.tensor([False, True, False, False]))
    assert (absorbed.gain == 0).tolist() == [False, True, False, True] and absorbed.flip.tolist() == [0, 0, 1, 0]
    assert torch.equal(absorbed.weight()[[0, 2, 3]], before[[0, 2, 3]])
