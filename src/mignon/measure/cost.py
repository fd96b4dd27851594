"""What a network costs: parameters, multiply-accumulates, memory for maps."""

import math
from dataclasses import dataclass
from typing import Any

from torch import fx

from mignon.models.graph import blocks, shapes
from mignon.models.ops import operation, role


@dataclass(frozen=True)
class Layer:
    """One line of `mignon show MODEL`."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    weights: int
    nonzeros: int


def layers(network: fx.GraphModule, size: tuple[int, int, int]) -> list[Layer]:
    """All blocks with output shape (C x H x W), parameters (BatchNorm included), multiply-accumulates (of zero weights
    too), weights and how many of them are not zero."""
    known = shapes(network, *size)
    rows = []
    for block in blocks(network):
        shape = known[block.end.name]
        parameters = macs = weights = nonzeros = 0
        if block.weighted:
            weight = block.module.weight
            weights = nonzeros = weight.numel()
            if not weight.is_meta:  # there are numbers to look at
                nonzeros = int((weight != 0).sum())
            parameters = weights + (block.module.bias.numel() if block.module.bias is not None else 0)
            positions = math.prod(known[block.nodes[0].name][1:]) if block.kind == "conv" else 1
            macs = weights * positions
        if block.norm is not None:
            parameters += sum(p.numel() for p in network.get_submodule(block.norm).parameters())
        rows.append(Layer(block.name, block.kind, shape, parameters, macs, weights, nonzeros))
    return rows


def peak_activation_bytes(network: fx.GraphModule, size: tuple[int, int, int], bits: int = 32) -> int:
    """Most memory that maps take at one time: layer by layer, activations in place, a map lives until its last use."""
    known = shapes(network, *size)
    nodes = list(network.graph.nodes)
    modules = dict(network.named_modules())

    def in_place(node: fx.Node) -> bool:
        row = operation(modules.get(str(node.target)))
        return row is not None and row.in_place

    def grid_bits(node: fx.Node) -> int:
        behind: list[Any] = [modules.get(str(user.target)) for user in node.users]
        return next((m.bits for m in behind if role(m) == "grid"), bits)

    owner: dict[fx.Node, fx.Node] = {}
    last: dict[fx.Node, int] = {}
    position = {node: i for i, node in enumerate(nodes)}

    def waited_for(root: fx.Node, after: int) -> bool:
        return any(position[user] > after for n, o in owner.items() if o is root for user in n.users)

    for i, node in enumerate(nodes):
        root = owner[node.all_input_nodes[0]] if in_place(node) else node
        view = role(modules.get(str(node.target))) == "view"
        owner[node] = root if root is node or view or not waited_for(root, i) else node
        for source in node.all_input_nodes:
            last[owner[source]] = i
    alive: dict[fx.Node, int] = {}
    peak = 0
    for i, node in enumerate(nodes):
        if node.op == "output":
            break
        if owner[node] is node:
            alive[node] = -(-math.prod(known[node.name]) * grid_bits(node) // 8)
        peak = max(peak, sum(alive.values()))
        alive = {n: size for n, size in alive.items() if last.get(n, -1) > i}
    return peak
