"""Rules: weights are a pure function of whole numbers, degenerate weights included."""

from decimal import Decimal

import numpy as np
import pytest
import torch

from mignon.errors import FormatError
from mignon.models.graph import set_rule
from mignon.registry import RULES
from mignon.rules import build_rule
from mignon.rules.accumulator import Accumulator
from mignon.rules.float32 import Float32
from mignon.rules.grid import Grid
from mignon.rules.scales import mantissas, nearest_step, scale

SPECS = {
    "float": [{"rule": "float"}],
    "grid": [{"rule": "grid", "bits": 4}, {"rule": "grid", "bits": 9, "n": 64}],
    "accumulator": [{"rule": "accumulator", "n": 16}],
}


def latent(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_every_rule_keeps_the_contract(capsys):
    checked = 0
    for name in RULES:
        for spec in SPECS[name]:
            shape = (6,) if name == "accumulator" else (6, 3, 3, 3)
            rule = build_rule(spec)(spec, shape)
            weight = latent(shape)
            if isinstance(rule, Grid):
                rule.choose_scales(weight, None)
            rule.fit(weight)
            streams = {k: s.values for k, s in rule.streams().items()}
            assert {k: v.shape for k, v in streams.items()} == {
                k: y.shape for k, y in rule.layouts(spec, shape).items()
            }
            again = build_rule(spec).from_streams(spec, shape, streams)
            assert torch.equal(rule.weight(), again.weight()) and rule.weight().dtype == torch.float32
            checked += 1
    with capsys.disabled():
        print(f"\n{checked} rules keep the contract")
    assert checked >= 4


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


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_pass_straight_through_but_not_to_pruned_weights(masked):
    module = torch.nn.Linear(6, 4, bias=False)
    weight = latent((4, 6))
    spec = {"rule": "grid", "bits": 3} | ({"masked": True} if masked else {})
    rule = Grid(spec, (4, 6))
    keep = latent((4, 6), 1) > 0
    if masked:
        rule.mask.copy_(keep)
    rule.choose_scales(weight, None)
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
        ({"rule": "float", "kept": 2}, {"mask": [[1, 0], [0, 0]], "planes": np.zeros((4, 2))}),
        ({"rule": "float"}, {"planes": [[127] * 4, [128] * 4, [0] * 4, [0] * 4]}),
    ],
)
def test_numbers_that_break_their_rule_are_refused(spec, streams):
    with pytest.raises(FormatError):
        build_rule(spec).from_streams(spec, (2, 2), {k: np.array(v, np.int32) for k, v in streams.items()})
