"""One view of a network as a plain list of fused blocks; folding, activation grids, cost and export share it."""

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from mignon.errors import ModelError
from mignon.models.layers import Add, Concat, GlobalAverage
from mignon.rules import Rule

ACTIVATIONS = (nn.ReLU, nn.ReLU6)
WEIGHTED = (nn.Conv2d, nn.Linear)
VIEWS = (nn.Identity, nn.Flatten, nn.Dropout)
JOINS = (Add, Concat, GlobalAverage, nn.AdaptiveAvgPool2d, nn.AvgPool2d)


class _Tracer(fx.Tracer):
    """Every module without children is one operation."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(True for _ in m.children())


def trace(network: nn.Module) -> fx.GraphModule:
    """The network as a list of module calls; the names of its weights stay. Raises ModelError for other operations."""
    graph = _Tracer().trace(network)
    for node in graph.nodes:
        if node.op not in ("placeholder", "call_module", "output"):
            raise ModelError(
                f"the network uses {node.name} outside of a module", "use the modules of mignon.models.layers"
            )
    return fx.GraphModule(network, graph, type(network).__name__).eval()


@dataclass
class Block:
    """A convolution, linear layer, add, concat or average, with its BatchNorm and activation; or the input."""

    name: str  # of the main module; "input" for the input
    kind: str  # conv, linear, join, input
    module: Any  # the main module; None for the input
    nodes: list[fx.Node]  # main, then BatchNorm and activation where there are
    norm: str | None = None
    activation: nn.Module | None = None
    sources: list[fx.Node] = field(default_factory=list)

    @property
    def end(self) -> fx.Node:
        """The node whose value leaves the block."""
        return self.nodes[-1]


def blocks(network: fx.GraphModule) -> list[Block]:
    """The fused blocks in order. Max-pool, reshape and padding stay outside."""
    modules = dict(network.named_modules())
    found = []
    for node in network.graph.nodes:
        if node.op == "placeholder":
            found.append(Block("input", "input", None, [node]))
        if node.op != "call_module":
            continue
        module = modules[node.target]
        kind = (
            "conv"
            if isinstance(module, nn.Conv2d)
            else "linear"
            if isinstance(module, nn.Linear)
            else "join"
            if isinstance(module, JOINS)
            else None
        )
        if kind is None:
            continue
        block = Block(node.target, kind, module, [node], sources=list(node.all_input_nodes))
        for wanted in (nn.BatchNorm2d, ACTIVATIONS):
            follower = _only_user(block.end)
            if follower is None or follower.op != "call_module":
                break
            candidate = modules[follower.target]
            if isinstance(candidate, wanted) and not (wanted is nn.BatchNorm2d and kind == "join"):
                block.nodes.append(follower)
                if wanted is nn.BatchNorm2d:
                    block.norm = str(follower.target)
                else:
                    block.activation = candidate
        found.append(block)
    return found


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def norm_gain(network: fx.GraphModule, block: Block) -> Tensor | None:
    """gamma / sqrt(var + eps) of the block's BatchNorm in double precision, or None."""
    if block.norm is None:
        return None
    norm: Any = network.get_submodule(block.norm)
    return norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)


def weight_rule(module: Any, tensor: str = "weight") -> Rule | None:
    """The rule on a weight, or None for a plain float tensor."""
    if parametrize.is_parametrized(module, tensor):
        return module.parametrizations[tensor][0]
    return None


def latent_weight(module: Any, tensor: str = "weight") -> Tensor:
    """The float numbers that training moves, zero where a rule says that nothing is kept."""
    rule = weight_rule(module, tensor)
    if rule is None:
        return getattr(module, tensor).detach()
    return rule.latent(module.parametrizations[tensor].original.detach())


def set_rule(module: Any, rule: Rule, latent: Tensor, tensor: str = "weight") -> None:
    """Put a weight under a rule (replacing the one before); `latent` is what training will move."""
    if parametrize.is_parametrized(module, tensor):
        parametrize.remove_parametrizations(module, tensor, leave_parametrized=False)
    setattr(module, tensor, nn.Parameter(latent.detach().clone(), requires_grad=True))
    parametrize.register_parametrization(module, tensor, rule.train(module.training), unsafe=True)


def rules_of(network: fx.GraphModule) -> dict[str, Rule]:
    """All rules by the name of their tensor (`conv1.weight`), in the order of the graph."""
    found = {}
    for block in blocks(network):
        for tensor in ("weight", "bias") if isinstance(block.module, WEIGHTED) else ():
            rule = weight_rule(block.module, tensor)
            if rule is not None:
                found[f"{block.name}.{tensor}"] = rule
    return found


def connect(network: fx.GraphModule) -> None:
    """Let every rule find the rules that it reads from; after rules were put on or replaced."""
    rules = rules_of(network)
    for rule in rules.values():
        rule.connect(rules)


def refit(network: fx.GraphModule) -> None:
    """Make the stored numbers follow the latent weights and the BatchNorm of this moment (after training steps)."""
    with torch.no_grad():
        for module in network.modules():
            follow: Any = getattr(module, "follow", None)
            if follow is not None:
                follow()
        for block in blocks(network):
            if block.module is None or block.kind == "join":
                continue
            rule = weight_rule(block.module)
            if rule is not None:
                rule.align(norm_gain(network, block))
                rule.fit(block.module.parametrizations["weight"].original)
            rule = weight_rule(block.module, "bias") if block.module.bias is not None else None
            if rule is not None:
                rule.fit(block.module.parametrizations["bias"].original)


def place(network: fx.GraphModule, device: str | torch.device = "cpu") -> fx.GraphModule:
    """Move to a device, convolution weights with channels last in memory (in place)."""
    network.to(device)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            for parameter in module.parameters(recurse=True):
                if parameter.dim() == 4:
                    parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return network


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


def absorb(network: fx.GraphModule) -> fx.GraphModule:
    """A copy without BatchNorm: its gain goes into the weight's rule or the weight, its shift into the bias."""
    network = clone(network)
    with torch.no_grad():
        for block in blocks(network):
            if block.norm is None or block.module is None:
                continue
            module: Any = block.module
            norm: Any = network.get_submodule(block.norm)
            gain = norm_gain(network, block)
            assert gain is not None, "a block with BatchNorm has a gain"
            bias = norm.bias.double() - norm.running_mean.double() * gain
            if module.bias is not None:
                bias = bias + module.bias.double() * gain
            rule, latent = weight_rule(module), latent_weight(module)
            scaled = (latent.double() * gain.reshape(-1, *[1] * (latent.dim() - 1))).float()
            if rule is None:
                module.weight = nn.Parameter(scaled)
            else:
                set_rule(module, rule.absorb(latent, gain), scaled)
            if weight_rule(module, "bias") is not None:
                parametrize.remove_parametrizations(module, "bias")
            module.bias = nn.Parameter(bias.float())
            node = block.nodes[1]
            node.replace_all_uses_with(block.nodes[0])
            network.graph.erase_node(node)
    network.delete_all_unused_submodules()
    network.recompile()
    connect(network)
    return network.eval()


class _Shapes(fx.Interpreter):
    def __init__(self, network: fx.GraphModule):
        super().__init__(network)
        self.shapes: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.shapes[n.name] = tuple(result.shape[1:])
        return result


def shapes(network: fx.GraphModule, channels: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Output shape of every node for one image, without N. Raises ModelError when the picture is too small."""
    runner = _Shapes(network)
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            runner.run(torch.zeros(1, channels, height, width, device=next(network.parameters()).device))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"the network cannot take pictures of {height} x {width} ({reason})", "use a larger --image"
        ) from None
    finally:
        network.train(training)
    return runner.shapes


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
        if isinstance(block.module, WEIGHTED):
            weight = block.module.weight
            weights, nonzeros = weight.numel(), int((weight != 0).sum())
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
        module = modules.get(str(node.target))
        return (
            node.op == "call_module"
            and not isinstance(module, (*WEIGHTED, *JOINS, nn.MaxPool2d))
            and (type(module).__name__ != "PadShortcut")
        )

    def grid_bits(node: fx.Node) -> int:
        behind: list[Any] = [modules.get(str(user.target)) for user in node.users]
        return next((m.bits for m in behind if type(m).__name__ == "ActivationGrid"), bits)

    owner: dict[fx.Node, fx.Node] = {}
    last: dict[fx.Node, int] = {}
    position = {node: i for i, node in enumerate(nodes)}

    def waited_for(root: fx.Node, after: int) -> bool:
        return any(position[user] > after for n, o in owner.items() if o is root for user in n.users)

    for i, node in enumerate(nodes):
        root = owner[node.all_input_nodes[0]] if in_place(node) else node
        view = isinstance(modules.get(str(node.target)), VIEWS)
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
