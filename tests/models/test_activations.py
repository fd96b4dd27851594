"""Grids of activations: torch's fake quantization is the oracle, for values and for gradients."""

import pytest
import torch

from mignon.models.activations import STEPS, ActivationGrid
from mignon.rules.scales import learned_scale, scale


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.0, 6.0), (-40.0, 0.0)])
def test_values_and_gradients_are_those_of_torch(bits, low, high):
    torch.manual_seed(bits)
    grid, top = ActivationGrid(bits), 2**bits - 1
    grid.cover(low, high)
    size, x = scale(grid.k, STEPS), torch.randn(3, 4, 5, 6) * 4
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    length = size.clone().reshape(1).requires_grad_()
    expected = torch._fake_quantize_learnable_per_tensor_affine(
        theirs, length, grid.zero.float().reshape(1), 0, top, 1.0
    )
    assert torch.equal(torch.fake_quantize_per_tensor_affine(x, size, grid.zero, 0, top), grid.eval()(x))
    assert torch.equal(grid(x), expected)
    gradient = torch.randn_like(x)
    grid(ours).backward(gradient)
    expected.backward(gradient)
    assert torch.equal(ours.grad, theirs.grad)
    grid.learn()
    moving = x.clone().requires_grad_()
    grid.train()(moving).backward(gradient)
    assert float((moving.grad != theirs.grad).float().mean()) < 0.02  # a size of another last bit moves the ends
    factor = (x[0].numel() * top) ** -0.5 / float(size)  # of LSQ, per octave: ln 2 and one size
    assert float(grid.octave.grad) == pytest.approx(float(length.grad) * factor * 0.6931, rel=1e-2, abs=1e-4)


@pytest.mark.parametrize("size", [1e-7, 1e-4, 1e-2, 1.0, 100.0])
def test_a_size_that_is_learned_is_that_of_the_file(size):
    k = torch.round(STEPS * torch.log2(torch.tensor(size))).to(torch.int32)
    moving = learned_scale((k / STEPS).requires_grad_(), STEPS, 1e6, scale(k, STEPS))
    assert float(moving.detach()) == pytest.approx(float(scale(k, STEPS)), rel=1e-6, abs=0)
