"""Rows of operations: every claim is tried on the row's own example; what has no row, or loses numbers, is refused."""

import itertools
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from mignon.errors import ModelError
from mignon.models.activations import input_grid, insert_grids
from mignon.models.graph import blocks, trace
from mignon.models.layers import Add, Concat, GlobalAverage, conv_bn
from mignon.models.ops import OPERATIONS, Operation, is_weighted, operation, output_shape, register

SOURCE = Path(__file__).parents[2] / "src" / "mignon"


def made(row):
    torch.manual_seed(0)
    module = row.example().eval()
    flat = isinstance(module, nn.Linear | nn.BatchNorm1d)
    shape = (4,) if flat else (4, 6, 6)
    return module, [torch.randn(2, *shape) for _ in range(row.inputs)]


def test_every_claim_of_every_row_holds(capsys):
    checked = 0
    with torch.no_grad():
        for kind, row in OPERATIONS.items():
            module, inputs = made(row)
            assert operation(module) is row and row.flaw(module) == "", kind
            result = module(*inputs)
            assert output_shape(module, [tuple(x.shape[1:]) for x in inputs]) == tuple(result.shape[1:]), kind
            if row.in_place and row.role != "view":
                assert result.shape == inputs[0].shape, kind
            if row.zero is not None:
                zeros = module(*(torch.zeros_like(x) for x in inputs))
                assert torch.allclose(zeros, torch.full_like(zeros, row.zero)), kind
            for factor in (0.5, 3.0) if row.scales else ():
                torch.testing.assert_close(module(*(factor * x for x in inputs)), factor * result)
            if row.on_grid:
                whole = [torch.round(4 * x) for x in inputs]
                assert torch.equal(module(*whole), torch.round(module(*whole))), kind
                assert all(
                    torch.isin(module(*whole), torch.cat([x.flatten() for x in (*whole, torch.zeros(1))])).flatten()
                )
            _check_ties(kind, row, module, inputs, result)
            checked += 1
    with capsys.disabled():
        print(f"\n{checked} operations keep their claims")
    assert checked >= 18


def _check_ties(kind, row, module, inputs, result):
    """Change one channel of one input and see which channels of the output change."""
    for number, channel in itertools.product(range(len(inputs)), range(4)):
        changed = [x.clone() for x in inputs]
        changed[number][:, channel] += 10 * torch.rand_like(changed[number][:, channel])
        moved = (
            (module(*changed) != result).flatten(2) if result.dim() > 2 else (module(*changed) != result)[:, :, None]
        )
        channels = set(torch.nonzero(moved.any(2).any(0))[:, 0].tolist())
        if row.ties == "same":
            each = result.shape[1] // 4  # a flattened channel is several numbers
            assert channels <= set(range(channel * each, (channel + 1) * each)), kind
        elif row.ties == "stack":
            assert channels <= {4 * number + channel}, kind
        elif row.ties == "pad":
            assert channels <= {module.before + channel}, kind


def test_a_row_with_an_unknown_word_or_a_second_row_is_refused():
    with pytest.raises(ValueError, match="role"):
        Operation("magic", nn.ReLU)
    with pytest.raises(ValueError, match="already"):
        register(nn.ReLU, Operation("activation", nn.ReLU))


def test_a_subclass_that_computes_something_else_is_not_what_it_inherits_from():
    class Double(nn.ReLU):
        def forward(self, x):
            return 2 * super().forward(x)

    class Named(nn.ReLU):
        pass

    assert operation(Double()) is None and operation(Named()) is OPERATIONS[nn.ReLU]


class Lost(nn.Module):
    """A convolution, something, global average, linear layer."""

    def __init__(self, *between, inputs=2):
        super().__init__()
        self.conv, self.between = nn.Conv2d(inputs, 4, 3, padding=1), nn.Sequential(*(between or [nn.ReLU()]))
        self.pool, self.linear = GlobalAverage(), nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(self.pool(self.between(self.conv(x))))


class Parameter(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.scale


@pytest.mark.parametrize(
    ("between", "named"),
    [
        ((nn.PReLU(4),), "between.0 is a PReLU"),
        ((nn.GroupNorm(2, 4),), "between.0 is a GroupNorm"),
        ((nn.LayerNorm(4),), "between.0 is a LayerNorm"),
        ((nn.ReLU(), nn.BatchNorm2d(4)), "between.1.weight (BatchNorm2d)"),
        ((nn.BatchNorm2d(4), nn.BatchNorm2d(4)), "between.1.weight (BatchNorm2d)"),
        ((nn.MaxPool2d(2), nn.BatchNorm2d(4)), "between.1.weight (BatchNorm2d)"),
        ((nn.BatchNorm2d(4, affine=False),), "between.0 (BatchNorm2d) cannot be used"),
        ((nn.BatchNorm2d(4, track_running_stats=False),), "between.0 (BatchNorm2d) cannot be used"),
        ((nn.Conv2d(4, 4, 3, padding="same"),), "between.0 (Conv2d) cannot be used"),
        ((nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),), "between.0 (Conv2d) cannot be used"),
        ((nn.ConvTranspose2d(4, 4, 3),), "between.0 is a ConvTranspose2d"),
        ((Parameter(),), "between.0 is a Parameter"),
        ((nn.Tanh(),), "between.0 is a Tanh"),
    ],
)
def test_numbers_that_no_file_would_store_are_refused_by_name(between, named):
    with pytest.raises(ModelError) as error:
        trace(Lost(*between))
    assert named in str(error.value)


def test_batchnorm_before_a_convolution_and_unused_or_shared_layers_are_refused_by_name():
    with pytest.raises(ModelError, match=r"0\.weight \(BatchNorm2d\)"):
        trace(nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 1), GlobalAverage()))
    unused = Lost()
    unused.extra = nn.Linear(3, 3)
    with pytest.raises(ModelError, match=r"extra\.weight \(Linear\)"):
        trace(unused)
    buffered = Lost()
    buffered.register_buffer("table", torch.zeros(3))
    with pytest.raises(ModelError, match="would store table"):
        trace(buffered)
    shared = nn.Conv2d(4, 4, 1)
    with pytest.raises(ModelError, match="used 2 times"):
        trace(Lost(shared, nn.ReLU(), shared))
    assert len(blocks(trace(Lost(nn.ReLU(), nn.MaxPool2d(2), nn.ReLU())))) == 4, "what has no numbers may be used twice"


def test_a_value_that_leaves_its_grid_gets_a_grid_of_its_own_and_none_is_walked_through():
    network = trace(Lost(nn.ReLU(), nn.MaxPool2d(2), nn.Hardswish(), nn.Conv2d(4, 4, 1), nn.Hardswish(), nn.ReLU6()))
    grids = insert_grids(network, 8)
    kinds = {block.name: (block.kind, type(block.activation).__name__) for block in blocks(network) if block.module}
    assert list(grids) == ["input", "conv", "between.2", "between.3", "between.5", "pool", "linear"]
    assert kinds["between.2"][0] == kinds["between.5"][0] == "activation"
    readers = {block.name: input_grid(network, block.sources[0]) for block in blocks(network) if block.weighted}
    assert readers == {"conv": grids["input"], "between.3": grids["between.2"], "linear": grids["pool"]}
    assert input_grid(network, next(b for b in blocks(network) if b.name == "between.2").sources[0]) is grids["conv"]


def test_the_grid_of_hard_swish_lies_behind_it():
    network = trace(Lost(nn.BatchNorm2d(4), nn.Hardswish()))
    insert_grids(network, 8)
    order = [str(node.target) for node in network.graph.nodes if node.op == "call_module"]
    assert order[:5] == ["grids.input", "conv", "between.0", "between.1", "grids.conv"]


def test_joins_that_are_joined_again_are_blocks_of_their_own():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Sequential(*conv_bn(2, 4, 3)), nn.Sequential(*conv_bn(2, 4, 3))
            self.add, self.concat, self.relu, self.pool = Add(), Concat(), nn.ReLU(), GlobalAverage()

        def forward(self, x):
            a, b = self.a(x), self.b(x)
            return self.pool(self.relu(self.concat(self.add(a, b), b)))

    assert [b.kind for b in blocks(trace(Twice()))] == ["input", "conv", "conv", "join", "join", "join"]


def test_nobody_else_asks_what_a_module_is(capsys):
    """Types of torch's layers are compared in ops.py only (families build them)."""
    pattern = r"isinstance\([^)]*nn\.(Conv|Linear|BatchNorm|ReLU|MaxPool|Dropout|Identity)|type\(.*\)\.__name__ == "
    done = subprocess.run(["grep", "-rnE", pattern, str(SOURCE), "--include=*.py"], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if "/models/layers.py" not in line]
    assert not lines, "\n".join(lines)
    with capsys.disabled():
        print(f"\n{sum(1 for _ in SOURCE.rglob('*.py'))} files compare no type of a module")


@pytest.mark.parametrize("module", [nn.Conv2d(2, 3, 1), nn.Linear(2, 3)])
def test_layers_under_a_rule_are_still_what_they_are(module):
    from torch.nn.utils import parametrize

    parametrize.register_parametrization(module, "weight", nn.Identity())
    assert is_weighted(module)
