"""The rules on the weights of a network: which there are, putting them on, absorbing BatchNorm into them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from mignon.models.graph import Block, blocks, clone
from mignon.rules import Rule


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


def mask_of(module: Any, tensor: str = "weight") -> Tensor | None:
    """Which weights are kept (bool); None when nothing was pruned."""
    rule = weight_rule(module, tensor)
    return None if rule is None or rule.mask is None else rule.mask.bool()


def latent_weight(module: Any, tensor: str = "weight") -> Tensor:
    """The float numbers that training moves, zero where a rule says that nothing is kept."""
    rule = weight_rule(module, tensor)
    if rule is None:
        return getattr(module, tensor).detach()
    return rule.latent(module.parametrizations[tensor].original.detach())


def set_rule(module: Any, rule: Rule, latent: Tensor, tensor: str = "weight") -> None:
    """Put a tensor of one layer under a rule (replacing the one before, whose mask stays); training moves `latent`.

    In a network use `put_rules`, which lets rules find each other too.
    """
    before = weight_rule(module, tensor)
    if before is not None:
        parametrize.remove_parametrizations(module, tensor, leave_parametrized=False)
        if before.mask is not None and rule.mask is None:
            rule.hold_mask(before.mask)
            rule.fit(rule.latent(latent.detach()))
    setattr(module, tensor, nn.Parameter(latent.detach().clone(), requires_grad=True))
    parametrize.register_parametrization(module, tensor, rule.train(module.training), unsafe=True)


def put_rules(network: fx.GraphModule, rules: Mapping[str, tuple[Rule, Tensor]]) -> None:
    """Put tensors under rules, by name (`conv1.weight`), each with the latent tensor that training moves (in place)."""
    for name, (rule, latent) in rules.items():
        layer, _, tensor = name.rpartition(".")
        set_rule(network.get_submodule(layer), rule, latent, tensor)
    connect(network)


def rules_of(network: fx.GraphModule) -> dict[str, Rule]:
    """All rules by the name of their tensor (`conv1.weight`), in the order of the graph."""
    found = {}
    for block in blocks(network):
        for tensor in ("weight", "bias") if block.weighted else ():
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
            if not block.weighted:
                continue
            rule = weight_rule(block.module)
            if rule is not None:
                rule.align(norm_gain(network, block))
                rule.fit(block.module.parametrizations["weight"].original)
            rule = weight_rule(block.module, "bias") if block.module.bias is not None else None
            if rule is not None:
                rule.fit(block.module.parametrizations["bias"].original)


def _absorb_norm(module: Any, norm: Any, gain: Any) -> None:
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


def absorb(network: fx.GraphModule) -> fx.GraphModule:
    """A copy without BatchNorm: its gain goes into the weight's rule or the weight, its shift into the bias."""
    network = clone(network)
    with torch.no_grad():
        for block in blocks(network):
            if block.norm is None or block.module is None:
                continue
            module: Any = block.module
            if latent_weight(module).is_meta:  # no numbers yet, only shapes
                module.bias = nn.Parameter(torch.empty(len(latent_weight(module)), device="meta"))
            else:
                _absorb_norm(module, network.get_submodule(block.norm), norm_gain(network, block))
            node = block.nodes[1]
            node.replace_all_uses_with(block.nodes[0])
            network.graph.erase_node(node)
    network.delete_all_unused_submodules()
    network.recompile()
    connect(network)
    return network.eval()
