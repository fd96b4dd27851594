"""Linear quantizers: the one of MESS as published, and the repaired ones."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mignon.rules.linear import GRIDS, Scale, affine, best, integers, limits, numbers, source, symmetric


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("values", "bits", "step", "q"),
    [
        ([-1, -0.5, 0, 0.5, 1], 8, 2 / 255, [-128, -64, 0, 64, 127]),
        ([-1, -0.5, 0, 0.5, 1], 2, 2 / 3, [-2, -1, 0, 1, 1]),
        ([-0.1, 0, 0.3], 8, 0.4 / 255, [-64, 0, 127]),
        ([0.5, 0.9, 1.5], 8, 1 / 255, [127, 127, 127]),
        ([-1, -0.25, 0.5, 1], 4, 0.1333333, [-8, -2, 4, 7]),
    ],
)
def test_the_source_quantizer_as_published(values, bits, step, q):
    scale = source(doubles(values), bits)
    assert scale.low == 0 and scale.step == pytest.approx(step, abs=1e-7)
    assert integers(doubles(values), scale, bits).tolist() == q


def test_the_source_quantizer_cuts_the_longer_tail_and_the_affine_one_does_not():
    values = doubles([-0.1, 0, 0.3])
    cut = numbers(integers(values, source(values, 8), 8), source(values, 8))
    assert float(cut[2]) == pytest.approx(0.1992, abs=1e-4)
    for grid in (affine, best):
        kept = numbers(integers(values, grid(values, 8), 8), grid(values, 8))
        torch.testing.assert_close(kept, values, rtol=0, atol=0.4 / 255 / 2 + 1e-12)


@pytest.mark.parametrize(
    ("bits", "q"),
    [
        (8, [-127, -1, 0, 0, 64, 30]),
        (4, [-7, 0, 0, 0, 4, 2]),
        (2, [-1, 0, 0, 0, 0, 0]),
        (16, [-32767, -258, 0, 103, 16384, 7740]),
    ],
)
def test_symmetric(bits, q):
    values = doubles([-1.27, -0.01, 0, 0.004, 0.635, 0.3])
    assert integers(values, symmetric(values, bits), bits).tolist() == q


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("value", [0.0, 0.7, -3.0])
def test_a_constant_tensor_keeps_its_value(name, value):
    values = torch.full((5,), value, dtype=torch.float64)
    scale = GRIDS[name](values, 4)
    torch.testing.assert_close(numbers(integers(values, scale, 4), scale), values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.integers(2, 16), st.sampled_from(["affine", "best"]))
def test_repaired_grids_are_within_their_width_and_no_worse_than_the_source(values, bits, name):
    values = doubles(values)
    scale = GRIDS[name](values, bits)
    q = integers(values, scale, bits)
    assert limits(bits)[0] <= int(q.min()) <= int(q.max()) <= limits(bits)[1]
    error = (numbers(q, scale) - values).abs()
    if name == "affine":
        assert float(error.max()) <= 0.5001 * scale.step + 1e-9
    else:
        wide = affine(values, bits)
        rest = numbers(integers(values, wide, bits), wide) - values
        assert float(error.square().sum()) <= float(rest.square().sum()) * (1 + 1e-9) + 1e-12


def test_a_grid_without_a_step_is_one_number():
    assert integers(doubles([1, 2]), Scale(3.0, 0.0), 8).tolist() == [0, 0]
