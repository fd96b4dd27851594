"""Activation grids: after every fused block the map lies on an affine integer grid, as in integer hardware."""

import operator
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from mignon.models.graph import blocks
from mignon.models.ops import Operation, operation, register
from mignon.models.weights import rules_of
from mignon.rules.scales import LARGEST_OCTAVE, learned_scale, scale

PREFIX = "grids"
STEPS = 16


class _OnGrid(torch.autograd.Function):
    """size * clamp(round(x / size), low, high); straight through inside, and LSQ's gradient for the size.

    The same numbers as torch's fake quantization, in passes over whole maps that its kernels are four times slower for.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: Tensor, low: int, high: int) -> Tensor:
        y = (x * size.reciprocal()).round_().clamp_(low, high).mul_(size)
        ctx.save_for_backward(x, y, size)
        ctx.ends = (low, high)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None, None]:  # type: ignore[override]
        x, y, size = ctx.saved_tensors
        ends = [(end + side) * float(size) for end, side in zip(ctx.ends, (-0.5, 0.5))]
        inside = torch.ops.aten.hardtanh_backward(gradient, x, *ends)
        if not ctx.needs_input_grad[1]:
            return inside, None, None, None
        return inside, (gradient * y).addcmul_(inside, x, value=-1).sum() / size, None, None


class ActivationGrid(nn.Module):
    """x -> 2^(k/16) (clamp(round(x / 2^(k/16)) + zero, 0, 2^bits - 1) - zero), gradient straight through inside."""

    k: Tensor
    zero: Tensor
    octave: nn.Parameter | None

    def __init__(self, bits: int):
        super().__init__()
        self.bits = bits
        self.register_buffer("k", torch.zeros((), dtype=torch.int32))
        self.register_buffer("zero", torch.zeros((), dtype=torch.int32))
        self.register_parameter("octave", None)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape, on the grid."""
        top, size = 2**self.bits - 1, scale(self.k, STEPS)
        if self.octave is not None and self.training:
            size = learned_scale(self.octave, STEPS, x[0].numel() * top, size)
        low = -int(self.zero)
        return _OnGrid.apply(x, size, low, low + top)

    def learn(self) -> None:
        """Until `finish`, training moves the scale too (LSQ, Esser et al. 2020)."""
        self.octave = nn.Parameter(self.k / STEPS)

    def follow(self) -> None:
        """Take the scale that training has reached."""
        if self.octave is not None:
            bound = LARGEST_OCTAVE * STEPS
            self.k.copy_(torch.round(self.octave.detach() * STEPS).clamp(-bound, bound))

    def finish(self) -> None:
        """The scale is fixed where training has left it."""
        self.octave = None

    def cover(self, low: float, high: float) -> None:
        """Choose scale and zero point for a range; 0 is always a point of the grid."""
        low, high = min(low, 0.0), max(high, 0.0)
        levels = 2**self.bits - 1
        width = max(high - low, 1e-12)
        k = torch.ceil(STEPS * torch.log2(torch.tensor(width / levels, dtype=torch.float64)))
        bound = LARGEST_OCTAVE * STEPS
        self.k.fill_(int(k.clamp(-bound, bound)))
        self.zero.fill_(max(0, min(levels, round(-low / float(scale(self.k, STEPS))))))


register(ActivationGrid, Operation("grid", lambda: ActivationGrid(8), integer="grid"))


def insert_grids(network: fx.GraphModule, bits: int) -> dict[str, ActivationGrid]:
    """Add an (uncalibrated) grid behind the input and every fused block, in place; by name of the block."""
    grids: dict[str, ActivationGrid] = {}
    for block in blocks(network):
        key = block.name.replace(".", "_")
        grid = ActivationGrid(bits)
        network.add_submodule(f"{PREFIX}.{key}", grid)
        with network.graph.inserting_after(block.end):
            node = network.graph.call_module(f"{PREFIX}.{key}", (block.end,))
        block.end.replace_all_uses_with(node, delete_user_cb=partial(operator.is_not, node))
        grids[block.name] = grid
    network.recompile()
    return grids


def remove_grids(network: fx.GraphModule) -> None:
    """Take all activation grids out, in place."""
    for node in list(network.graph.nodes):
        if node.op == "call_module" and str(node.target).startswith(PREFIX + "."):
            node.replace_all_uses_with(node.args[0])
            network.graph.erase_node(node)
    network.delete_all_unused_submodules()
    network.recompile()


def grids_of(network: fx.GraphModule) -> dict[str, ActivationGrid]:
    """The grids in the order of the graph, by name of their block (dots as underscores)."""
    found: dict[str, Any] = {}
    for node in network.graph.nodes:
        if node.op == "call_module" and str(node.target).startswith(PREFIX + "."):
            found[str(node.target)[len(PREFIX) + 1 :]] = network.get_submodule(node.target)
    return found


def input_grid(network: fx.GraphModule, source: fx.Node) -> ActivationGrid | None:
    """The grid that the values of a node lie on: the nearest one before it, through what keeps values on their grid."""
    while source.op == "call_module":
        module = network.get_submodule(str(source.target))
        if isinstance(module, ActivationGrid):
            return module
        row = operation(module)
        if row is None or not row.on_grid or len(source.all_input_nodes) != 1:
            return None
        source = source.all_input_nodes[0]
    return None


def learn_scales(network: fx.GraphModule) -> None:
    """Training begins: the scales of all grids become parameters, of activations and of weights."""
    for grid in _grids_and_rules(network):
        grid.learn()


def finish_scales(network: fx.GraphModule) -> None:
    """Training is over: the scales are fixed."""
    for grid in _grids_and_rules(network):
        grid.finish()


def _grids_and_rules(network: fx.GraphModule) -> list[Any]:
    return [*grids_of(network).values(), *rules_of(network).values()]
