"""The safetensors form of a Classifier: our own checkpoints, and weights from elsewhere under the same header.

What a header may say is checked here for `.mgn` files too.
"""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, fx

from mignon.classifier import Classifier, fresh
from mignon.coding import check_streams
from mignon.data.inputs import InputSpec
from mignon.errors import FormatError, ModelError
from mignon.files import write_atomic
from mignon.importing import Given, adapt, read_tensors
from mignon.importing.transfer import Move, transfer
from mignon.models import MAX_CLASSES, build
from mignon.models.activations import grids_of, insert_grids
from mignon.models.graph import blocks, place, trace
from mignon.models.narrow import narrow
from mignon.models.weights import absorb, connect, rules_of, set_rule
from mignon.rules import Rule, build_rule, current_spec

MAX_STEPS = 1000  # of a recipe
MAX_WORD = 10_000  # characters of a name in a header
LARGEST_INPUT = 1 << 24  # numbers of one picture


def content_hash(classifier: Classifier) -> str:
    """SHA-256 in hex of all that makes the answers, and of coder and recipe; not of where it came from."""
    header = _header(classifier)
    del header["origin"]
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(_state(classifier.network).items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def to_safetensors(classifier: Classifier) -> bytes:
    """All numbers of the network (latent weights, rules, BatchNorm, grids) and how to rebuild it."""
    return save(_state(classifier.network), metadata={"mignon": json.dumps(_header(classifier), ensure_ascii=False)})


def save_safetensors(classifier: Classifier, path: Path) -> None:
    """Write the checkpoint atomically."""
    write_atomic(path, to_safetensors(classifier))


def _state(network: fx.GraphModule) -> dict[str, Tensor]:
    return {
        name: value.detach().contiguous().cpu()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def _header(classifier: Classifier) -> dict[str, Any]:
    network = classifier.network
    other = classifier.other_activation_bits
    return {
        "family": classifier.family,
        "options": classifier.options,
        "classes": list(classifier.classes),
        "input": classifier.input.to_dict(),
        "coder": classifier.coder,
        "recipe": list(classifier.recipe),
        "origin": classifier.origin,
        "rules": {name: rule.spec for name, rule in rules_of(network).items()},
        "activation_bits": classifier.activation_bits,
        "absorbed": _absorbed(classifier),
        **({"widths": classifier.widths} if classifier.widths else {}),
        **({"other_activation_bits": other} if other else {}),
    }


def load_safetensors(path: Path) -> Classifier:
    """A Classifier from a checkpoint of ours or from given weights with a `mignon` header. Raises ModelError."""
    header, tensors = read_tensors(path)
    if header.get("trunk_only"):
        raise ModelError(
            f"{path} holds a trunk without a classifier",
            f"train one on it: mignon train {header.get('family') or 'MODEL'} -d D --from {path}",
        )
    header, tensors = adapt(header, tensors, path)
    classifier = rebuild(header, path)
    try:
        _fill(classifier, header.get("rules", {}), tensors)
    except ModelError as error:
        raise ModelError(f"{path} does not fit {classifier.family}: {error.what}", error.instead) from None
    except FormatError as error:
        raise ModelError(f"{path} is damaged: {error.what}", "get the file again") from None
    return classifier


def _fill(classifier: Classifier, specs: Any, tensors: dict[str, Tensor]) -> None:
    """Put rules and numbers into a network that `rebuild` has made (in place). Raises ModelError, FormatError."""
    network, modules = classifier.network, classifier.weighted()
    if not isinstance(specs, dict):
        raise FormatError("its rules are not by tensor")
    for key, spec in specs.items():
        name, _, tensor = key.rpartition(".")
        if name not in modules or tensor not in ("weight", "bias") or getattr(modules[name], tensor) is None:
            raise ModelError(f"it has a rule for {key!r}, which the network does not have")
        latent, spec = getattr(modules[name], tensor), current_spec(spec)
        set_rule(modules[name], build_rule(spec)(spec, tuple(latent.shape)), latent, tensor)
    wanted = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        what = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r}"
        raise ModelError(f"it {what} ({len(missing)} missing, {len(extra)} too many)")
    for name, tensor in wanted.items():
        kept = name.endswith(".planes") and tensors[name].shape[:-1] == tensor.shape[:-1]  # as many as its mask keeps
        if tensor.shape != tensors[name].shape and not kept:
            raise ModelError(f"{name} is {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}")
    network.load_state_dict({n: _as(t, wanted[n].dtype, n) for n, t in tensors.items()}, strict=False, assign=True)
    furnish(network)
    rules = rules_of(network)
    for name, rule in rules.items():
        try:
            check_streams(list(rule.streams().values()))
        except ValueError as error:
            raise FormatError(f"{name}: {error}") from None
        rule.check()
    connect(network)
    for name, rule in rules.items():
        check_weight(name, rule)
    network.eval().requires_grad_(True)


def _as(tensor: Tensor, kind: torch.dtype, name: str) -> Tensor:
    """The same numbers as the network has them. Raises FormatError where they cannot be."""
    if tensor.dtype.is_complex or tensor.dtype.is_floating_point != kind.is_floating_point:
        raise FormatError(f"{name} holds numbers of another kind ({tensor.dtype})")
    result = tensor.to(kind)
    if not kind.is_floating_point and not torch.equal(result.to(tensor.dtype), tensor):
        raise FormatError(f"{name} holds numbers that do not fit into {kind}")
    return result


def check_weight(name: str, rule: Rule) -> None:
    """Raise FormatError when the stored numbers of a rule make no finite weight of its shape."""
    weight = rule.weight()
    if weight.shape != rule.shape or not bool(torch.isfinite(weight).all()):
        raise FormatError(f"{name} is not finite")


def take(given: Given, start: Classifier, match: str = "name") -> tuple[Classifier, list[Move]]:
    """A Classifier with what fits of given weights, and what became of each tensor (see `importing.transfer`).

    Raises ModelError when nothing fits.
    """
    classifier = start.copy(origin={"from": given.source})
    moves = transfer(given.tensors, classifier.network, match)
    if not any(move.to.endswith("weight") for move in moves):
        other = "--match order" if match == "name" else f"--model {given.family or 'MODEL'}"
        of = f"{given.source} ({given.family})" if given.family not in (None, given.source) else given.source
        raise ModelError(
            f"no tensor of {of} fits {start.family}", f"give weights of that network with --from, or {other}"
        )
    return classifier, moves


def as_given(classifier: Classifier, source: str) -> Given:
    """The numbers of a float Classifier for another network. Raises ModelError for one that is compressed."""
    if rules_of(classifier.network) or grids_of(classifier.network):
        raise ModelError(f"{source} is compressed: nothing to start another network from", "give the training run")
    normal = classifier.input.mean, classifier.input.std
    return Given(source, dict(classifier.network.state_dict()), classifier.family, classifier.options, normal)


def with_new_head(given: Classifier, classes: tuple[str, ...], seed: int) -> Classifier:
    """The same network for other classes: its last layer is fresh, all before it is as given.

    Raises ModelError for a network whose weights are not float any more, or whose BatchNorm is absorbed.
    """
    start = fresh(given.family, given.options, given.input, classes, seed)
    if rules_of(given.network) or grids_of(given.network) or given.widths or _absorbed(given) != _absorbed(start):
        raise ModelError(
            f"a new head for {len(classes)} classes needs the float network; this one is compressed",
            "give the training run or its .safetensors with --from",
        )
    start = replace(start, origin={**given.origin, "new head": f"{len(classes)} classes"})
    head = [*given.weighted()][-1]
    transfer({n: t for n, t in given.network.state_dict().items() if not n.startswith(f"{head}.")}, start.network)
    return start


def _absorbed(classifier: Classifier) -> bool:
    return all(b.norm is None for b in blocks(classifier.network))


def rebuild(header: dict[str, Any], where: Any) -> Classifier:
    """The network that a header describes, with grids and absorbed BatchNorm where it says so, without its numbers:
    its tensors are on the meta device and take no memory. Raises ModelError."""
    check_header(header, where)
    family, options, classes = header["family"], header.get("options", {}), header["classes"]
    spec = InputSpec.from_dict(header.get("input"))
    if math.prod((spec.height, spec.width, spec.channels)) > LARGEST_INPUT:
        raise ModelError(f"the input of {where} is too large")
    widths = header.get("widths", {})
    with torch.device("meta"):
        network = trace(build(family, options, len(classes), spec.channels))
        if widths:
            network = narrow(network, widths, spec.channels)
        if header.get("absorbed"):
            network = absorb(network)
    if header.get("activation_bits") is not None:
        insert_grids(network, header["activation_bits"])
        _set_other_bits(network, header.get("other_activation_bits", {}), where)
    return Classifier(
        family,
        options,
        spec,
        tuple(classes),
        network,
        coder=header.get("coder", "packed"),
        recipe=tuple(header.get("recipe", ())),
        origin=header.get("origin") or {k: header[k] for k in ("source", "licence") if k in header},
        widths=widths,
    )


def check_header(header: Any, where: Any) -> None:
    """Raise ModelError when a header does not say what a network is, or says it in other types than it must."""

    def demand(right: bool, what: str) -> None:
        if not right:
            raise ModelError(f"{where} {what}", "get the file again from where it came from")

    demand(isinstance(header, dict), "does not say which network it is for")
    family, options, classes = header.get("family"), header.get("options", {}), header.get("classes")
    demand(isinstance(family, str) and isinstance(options, dict), "does not say which network it is for")
    demand(_words(classes, MAX_CLASSES) and len(classes) > 0, "has no list of class names")
    demand(len(set(classes)) == len(classes), "has two classes of the same name")
    demand(_words(header.get("recipe", []), MAX_STEPS), "has a recipe that is no list of steps")
    demand(_words([header.get("coder", "packed")], 1), "has a coder that is no name")
    demand(isinstance(header.get("origin") or {}, dict), "has an origin that is no table")
    bits, others = header.get("activation_bits"), header.get("other_activation_bits", {})
    demand(bits is None or _bits(bits), f"has activations of {bits!r} bits, which is not possible")
    demand(isinstance(others, dict), "has widths of activation grids that are not possible")
    demand(bits is not None or not others, "has widths of activation grids, but no grids")
    demand(isinstance(header.get("widths", {}), dict), "has widths that are no list of layers")


def _words(values: Any, most: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= most
        and all(isinstance(word, str) and len(word) <= MAX_WORD for word in values)
    )


def _bits(value: Any) -> bool:
    return type(value) is int and 2 <= value <= 16


def _set_other_bits(network: fx.GraphModule, others: dict[str, Any], where: Any) -> None:
    grids = grids_of(network)
    for name, bits in others.items():
        if name not in grids or not _bits(bits):
            raise ModelError(f"{where}: activations of {bits!r} bits behind {name!r} are not possible")
        grids[name].bits = bits


def furnish(network: fx.GraphModule) -> fx.GraphModule:
    """Give what `rebuild` made the rest once it has its numbers: counters that no file has, memory layout."""
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(module, name, torch.zeros(buffer.shape, dtype=buffer.dtype))
    return place(network)
