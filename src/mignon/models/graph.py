"""One view of a network as a plain list of fused blocks; rules, activation grids, cost and export share it."""

import bisect
import copy
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from mignon.errors import ModelError
from mignon.models.ops import is_convolution, operation, output_shape, role

LARGEST_SIDE = 4096


class _Tracer(fx.Tracer):
    """Every module without children is one operation."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return operation(m) is not None or not any(True for _ in m.children())


def trace(network: nn.Module) -> fx.GraphModule:
    """The network as a list of module calls; the names of its weights stay.

    Raises ModelError for what is no module call, a module whose meaning `ops.py` does not know, and numbers that no
    block would store.
    """
    graph = _Tracer().trace(network)
    modules = dict(network.named_modules())
    for node in graph.nodes:
        if node.op not in ("placeholder", "call_module", "output"):
            raise ModelError(
                f"the network uses {node.name} outside of a module", "use the modules of mignon.models.layers"
            )
        if node.op == "call_module":
            _check_known(str(node.target), modules[str(node.target)])
    traced = fx.GraphModule(network, graph, type(network).__name__).eval()
    _check_stored(network, traced)
    return traced


def _check_known(name: str, module: nn.Module) -> None:
    kind, row = type(module).__name__, operation(module)
    if row is None:
        raise ModelError(
            f"{name} is a {kind}, which is not known here", "use the modules of mignon.models.ops, or add a row there"
        )
    if row.flaw(module):
        raise ModelError(f"{name} ({kind}) cannot be used: {row.flaw(module)}", "use it as mignon.models.layers does")


def _check_stored(network: nn.Module, traced: fx.GraphModule) -> None:
    """Raise ModelError for a parameter or buffer of `network` that the blocks of the trace do not store."""
    found = blocks(traced)
    names = Counter(name for block in found for name in (block.name, block.norm) if name)
    for name, times in names.items():
        if times > 1 and any(True for _ in traced.get_submodule(name).parameters()):
            raise ModelError(f"{name} is used {times} times, but stored once for each", "give each use its own module")
    stored = {n for b in found if b.weighted for n in (b.name, b.norm)}
    for name, module in network.named_modules():
        passing = module._non_persistent_buffers_set
        own = [n for n, _ in module.named_parameters(recurse=False)]
        own += [n for n, _ in module.named_buffers(recurse=False) if n not in passing]
        if own and name not in stored and not _inside_rule(name, stored):
            kind = type(module).__name__
            raise ModelError(
                f"no file would store {f'{name}.' if name else ''}{own[0]} ({kind})",
                "numbers are stored of convolutions and linear layers, and of a BatchNorm that alone follows one",
            )


def _inside_rule(name: str, stored: set[str | None]) -> bool:
    return name.partition(".parametrizations.")[0] in stored


@dataclass
class Block:
    """The input, or a convolution, linear layer, join, average or lone activation, with BatchNorm and activation."""

    name: str  # of the main module; "input" for the input
    kind: str  # conv, linear, join, activation, input
    module: Any  # the main module; None for the input
    nodes: list[fx.Node]  # main, then BatchNorm and activation where there are
    norm: str | None = None
    activation: nn.Module | None = None
    sources: list[fx.Node] = field(default_factory=list)

    @property
    def end(self) -> fx.Node:
        """The node whose value leaves the block."""
        return self.nodes[-1]

    @property
    def weighted(self) -> bool:
        """Whether it is a convolution or linear layer."""
        return self.kind in ("conv", "linear")


def blocks(network: fx.GraphModule) -> list[Block]:
    """The fused blocks in order: whatever makes values that lie on no grid of its inputs begins one.

    Maximum, reshape and padding stay outside.
    """
    modules = dict(network.named_modules())
    found, fused = [], set()
    for node in network.graph.nodes:
        if node.op == "placeholder":
            found.append(Block("input", "input", None, [node]))
        if node.op != "call_module" or node in fused:
            continue
        module = modules[node.target]
        kind = _kind(module)
        if kind is None:
            continue
        block = Block(node.target, kind, module, [node], sources=list(node.all_input_nodes))
        for wanted in ("norm", "activation"):
            follower = _only_user(block.end)
            if follower is None or follower.op != "call_module" or kind == "activation":
                break
            candidate = modules[follower.target]
            if role(candidate) == wanted and (wanted == "activation" or block.weighted):
                block.nodes.append(follower)
                fused.add(follower)
                if wanted == "norm":
                    block.norm = str(follower.target)
                else:
                    block.activation = candidate
        found.append(block)
    return found


def module_of(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls; None for the input and the output."""
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


def _kind(module: nn.Module) -> str | None:
    """What a block that this module begins is called; None for what begins none."""
    row = operation(module)
    if row is None or row.on_grid or row.role in ("norm", "grid"):
        return None
    if row.role == "weights":
        return "conv" if is_convolution(module) else "linear"
    return "activation" if row.role == "activation" else "join"


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def place(network: fx.GraphModule, device: str | torch.device = "cpu") -> fx.GraphModule:
    """Move to a device, convolution weights with channels last in memory (in place)."""
    network.to(device)
    for module in network.modules():
        if is_convolution(module):
            for parameter in module.parameters(recurse=True):
                if parameter.dim() == 4:
                    parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return network


def between(network: fx.GraphModule, starts: list[fx.Node], ends: list[fx.Node]) -> fx.GraphModule:
    """The part that makes the values of `ends` (a tuple of more than one) out of those of `starts`; it shares the
    modules of the network, under their names.
    """
    wanted, waiting = set(starts), [end for end in ends if end not in starts]
    while waiting:
        node = waiting.pop()
        if node not in wanted:
            wanted.add(node)
            waiting += node.all_input_nodes
    graph = fx.Graph()
    known = {node: graph.placeholder(node.name) for node in starts}
    for node in network.graph.nodes:
        if node in wanted and node not in known:
            known[node] = graph.node_copy(node, known.__getitem__)
    graph.output(known[ends[0]] if len(ends) == 1 else tuple(known[end] for end in ends))
    return fx.GraphModule(network, graph)


def clone(network: fx.GraphModule) -> fx.GraphModule:
    """A copy that shares nothing. `deepcopy` leaves parametrized modules with a common class, on which PyTorch keeps
    the properties that stand for their tensors; each copy gets a class of its own."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if parametrize.is_parametrized(module):
            shared = type(module)
            body = {k: v for k, v in vars(shared).items() if k not in ("__dict__", "__weakref__")}
            module.__class__ = type(shared.__name__, shared.__bases__, body)
    return network


def shapes(network: fx.GraphModule, channels: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Output shape of every node for one image, without N, by node name. Nothing is computed.

    Raises ModelError when the picture is too small; it names the smallest that is not.
    """
    try:
        return _shapes(network, channels, height, width)
    except RuntimeError as error:
        least = _smallest(network, channels)
        raise ModelError(
            f"the network cannot take pictures of {height} x {width} ({error})",
            f"use --image {least} or more" if least else "no other size is possible either",
        ) from None


def _shapes(network: fx.GraphModule, channels: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
    modules = dict(network.named_modules())
    known: dict[str, tuple[int, ...]] = {}
    for node in network.graph.nodes:
        inputs = [known[source.name] for source in node.args if isinstance(source, fx.Node)]
        if node.op == "call_module":
            try:
                known[node.name] = output_shape(modules[str(node.target)], inputs)
            except RuntimeError as error:
                raise RuntimeError(f"{node.target}: {str(error).splitlines()[0]}") from None
        else:
            known[node.name] = inputs[0] if inputs else (channels, height, width)
    return known


def _smallest(network: fx.GraphModule, channels: int) -> int | None:
    """The smallest side of a square picture that the network takes."""

    def fits(side: int) -> bool:
        try:
            return bool(_shapes(network, channels, side, side))
        except RuntimeError:
            return False

    side = bisect.bisect_left(range(LARGEST_SIDE + 1), True, key=fits)
    return side if side <= LARGEST_SIDE else None
