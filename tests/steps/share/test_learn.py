"""Learned references."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mignon.errors import RecipeError
from mignon.steps.share.learn import learn_shapes, nearest


def rows(seed, count=60, length=9):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, length)))


def test_shapes_that_are_there_are_found_whatever_sign_scale_and_mean():
    shapes = rows(0, 6) * 1.0
    dice = np.random.default_rng(1)
    pick, scale, mean = dice.integers(0, 6, 200), dice.normal(size=200), dice.normal(size=200)
    kernels = shapes[pick] * torch.from_numpy(scale)[:, None] + torch.from_numpy(mean)[:, None]
    found = learn_shapes(kernels, 6, 0)
    assert found.error < 1e-9
    wanted = shapes - shapes.mean(1, keepdim=True)
    wanted = wanted / wanted.norm(dim=1, keepdim=True)
    assert float(nearest(wanted, found.rows)[1].abs().min()) > 1 - 1e-9


@given(st.integers(0, 100), st.integers(1, 12))
def test_shapes_are_unit_and_centered_and_more_of_them_leave_less_error(seed, count):
    few, many = learn_shapes(rows(seed), count, seed), learn_shapes(rows(seed), 4 * count, seed)
    for found in (few, many):
        torch.testing.assert_close(found.rows.norm(dim=1), torch.ones(len(found.rows)).double())
        assert float(found.rows.mean(1).abs().max()) < 1e-12 and 0 <= found.error + 1e-12 < 1
    assert many.error <= few.error * 1.02
    assert torch.equal(learn_shapes(rows(seed), count, seed).rows, few.rows)


def test_constant_kernels_teach_nothing_and_too_few_are_refused():
    kernels = torch.cat([rows(0, 10), torch.full((50, 9), 0.5), torch.zeros(50, 9)])
    assert bool(torch.isfinite(learn_shapes(kernels, 10, 0).rows).all())
    with pytest.raises(RecipeError, match="10 kernels that are not constant cannot teach 11 shapes") as error:
        learn_shapes(kernels, 11, 0)
    assert "shapes=" in str(error.value)
    with pytest.raises(RecipeError):
        learn_shapes(torch.zeros(5, 9), 1, 0)
