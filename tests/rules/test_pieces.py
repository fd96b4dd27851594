"""How weights are cut into pieces, references into windows, and what transforms do."""

import pytest
import torch

from mignon.rules.pieces import count_windows, cut, permutations, split, windows


@pytest.mark.parametrize(
    ("shape", "length", "rows", "pieces", "last"),
    [
        ((16, 3, 3, 3), 9, 16, 3, 9),
        ((16, 3, 3, 3), 18, 16, 2, 9),
        ((32, 1, 3, 3), 9, 1, 32, 9),
        ((33, 1, 3, 3), 18, 1, 17, 9),
        ((16, 32, 1, 1), 8, 16, 4, 8),
        ((16, 11, 1, 1), 8, 16, 2, 3),
        ((16, 5, 1, 1), 8, 16, 1, 5),
        ((10, 64), 8, 10, 8, 8),
    ],
)
def test_pieces_cover_the_weight(shape, length, rows, pieces, last):
    parts = cut(shape, length)
    assert (parts.rows, parts.pieces, parts.last) == (rows, pieces, last)
    weight = torch.arange(torch.Size(shape).numel()).reshape(shape)
    body, rest = split(weight, length)
    assert body.shape == (rows, parts.whole, length) and (rest is None) == (last == length)
    flat = body.reshape(rows, -1) if rest is None else torch.cat([body.reshape(rows, -1), rest], 1)
    assert torch.equal(flat.reshape(shape), weight)


def test_a_reference_kernel_is_counted_over_output_then_input_channels():
    weight = torch.randn(16, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    kernels = windows(weight, 9)
    assert len(kernels) == 48 == count_windows((16, 3, 3, 3), 9)  # out x C_out + in would reach 242
    assert all(torch.equal(kernels[o * 3 + i], weight[o, i].flatten()) for o in range(16) for i in range(3))


def test_bound_reference_kernels_leave_out_a_rest():
    weight = torch.arange(5 * 9.0).reshape(5, 1, 3, 3)
    assert windows(weight, 18).tolist() == [list(range(18)), list(range(18, 36))]


@pytest.mark.parametrize(
    ("shape", "counts"),
    [
        ((64, 32, 1, 1), (1600, 832, 448, 256)),
        ((16, 32, 1, 1), (400, 208, 112, 64)),
        ((64, 64, 1, 1), (3648, 1856, 960, 512)),
    ],
)
def test_windows_of_the_first_pointwise_layers(shape, counts):
    for stride, count in zip((1, 2, 4, 8), counts):
        assert count_windows(shape, 8, stride) == count == len(windows(torch.zeros(shape), 8, stride))


def test_a_window_at_the_end_where_the_stride_does_not_reach_it():
    weight = torch.arange(22.0).reshape(2, 11, 1, 1)
    found = windows(weight, 4, 3)
    assert found[:, 0].tolist() == [0, 3, 6, 7, 11, 14, 17, 18] and count_windows((2, 11, 1, 1), 4, 3) == 8
    assert count_windows((2, 3, 1, 1), 4) == 0


def test_transforms_of_a_square_kernel():
    kernel = torch.arange(9.0)
    for kind, count in (("none", 1), ("square", 8), ("shifts", 9), ("all", 72)):
        table = permutations(kind, 9, 9)
        assert table.shape == (count, 9) and torch.equal(kernel[table[0]], kernel)
        assert len({tuple(row) for row in table.tolist()}) == count
        assert all(sorted(row) == list(range(9)) for row in table.tolist())
    grid = kernel.reshape(3, 3)
    turns = [kernel[t].reshape(3, 3) for t in permutations("square", 9, 9)]
    assert torch.equal(turns[1], torch.rot90(grid)) and torch.equal(turns[4], grid.flip(1))
    shifts = [kernel[t].reshape(3, 3) for t in permutations("shifts", 9, 9)]
    assert torch.equal(shifts[5], torch.roll(grid, (1, 2), (0, 1)))
    both = permutations("all", 9, 9)
    assert torch.equal(kernel[both[4 * 9 + 5]].reshape(3, 3), torch.roll(grid.flip(1), (1, 2), (0, 1)))


def test_transforms_of_a_window_and_of_bound_kernels():
    assert permutations("all", 4, 1).tolist()[:5] == [
        [0, 1, 2, 3],
        [3, 0, 1, 2],
        [2, 3, 0, 1],
        [1, 2, 3, 0],
        [3, 2, 1, 0],
    ]
    assert permutations("square", 4, 1).tolist() == [[0, 1, 2, 3], [3, 2, 1, 0]]
    assert len(permutations("shifts", 8, 1)) == 8
    pair = permutations("square", 18, 9)
    assert torch.equal(pair[:, :9], permutations("square", 9, 9)) and torch.equal(pair[:, 9:], pair[:, :9] + 9)
