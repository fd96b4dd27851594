"""The one value that travels: a network, how to rebuild it, what it expects, what its outputs mean."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, fx
from torch.nn.utils import parametrize

from mignon.data.inputs import InputSpec, to_network
from mignon.data.pictures import read_pixels
from mignon.errors import FormatError, ModelError
from mignon.files import machine_errors, write_atomic
from mignon.importing import adapt
from mignon.models import build
from mignon.models.activations import grids_of, insert_grids
from mignon.models.graph import blocks, clone, place, trace
from mignon.models.narrow import initialized, narrow
from mignon.models.weights import absorb, connect, latent_weight, rules_of, set_rule
from mignon.rules import build_rule, current_spec

ALIASES = {"mobilenet": "mobilenetv1"}


@dataclass(frozen=True)
class Classifier:
    """A network in eval mode with all that is needed to store it and to use it.

    `network` is an fx graph of modules (an `nn.Module`); weights that a step has touched hold a rule. `coder` is how
    its integers are written, `recipe` the steps so far, `origin` where it came from, `widths` what is narrower than the
    family builds it (see `models.narrow`).
    """

    family: str
    options: dict[str, Any]
    input: InputSpec
    classes: tuple[str, ...]
    network: fx.GraphModule
    coder: str = "packed"
    recipe: tuple[str, ...] = ()
    origin: dict[str, Any] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height, width of the input."""
        return self.input.channels, self.input.height, self.input.width

    @property
    def activation_bits(self) -> int | None:
        """The usual width of the activation grids, or None for float activations."""
        widths = [grid.bits for grid in grids_of(self.network).values()]
        return max(widths, key=widths.count) if widths else None

    @property
    def other_activation_bits(self) -> dict[str, int]:
        """Widths of the activation grids that have another one, by name."""
        usual = self.activation_bits
        return {name: grid.bits for name, grid in grids_of(self.network).items() if grid.bits != usual}

    @property
    def parameters(self) -> int:
        """Trainable numbers of the float network, without channels that were removed."""
        return parameter_count(self.family, self.options, len(self.classes), self.input.channels, self.widths)

    @property
    def full_parameters(self) -> int:
        """The same of the network as its family builds it: what every `ratio` is against."""
        return parameter_count(self.family, self.options, len(self.classes), self.input.channels)

    def copy(self, **changes: Any) -> Classifier:
        """A Classifier that shares no tensor with this one."""
        return replace(self, network=clone(self.network), **changes)

    def weighted(self) -> dict[str, Any]:
        """The convolutions and linear layers by name, in the order of the graph."""
        return {b.name: b.module for b in blocks(self.network) if b.weighted}

    def weights(self) -> dict[str, Tensor]:
        """Their weights (out x in x kh x kw or out x in) before any rounding; pruned ones are zero."""
        return {name: latent_weight(module) for name, module in self.weighted().items()}

    def nonzeros(self) -> int:
        """Weights of convolutions and linear layers that are not zero."""
        return sum(int((module.weight != 0).sum()) for module in self.weighted().values())

    def logits(self, pixels: np.ndarray, device: str | torch.device = "cpu") -> np.ndarray:
        """float32 N x classes for uint8 N x H x W x C; in one pass, so keep N to a few hundred."""
        with torch.no_grad(), parametrize.cached():
            batch = to_network(torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(device), self.input)
            return self.network(batch).float().cpu().numpy()

    def predict(self, images: Any) -> list[dict[str, Any]]:
        """For each path, PIL image or uint8 array (H x W or H x W x C): label, probability, all probabilities.

        Raises DataError for what is no picture.
        """
        from PIL import Image

        single = isinstance(images, (str, Path, Image.Image)) or (isinstance(images, np.ndarray) and images.ndim < 4)
        results = []
        for item in [images] if single else images:
            pixels = read_pixels(item, self.input)
            scores = torch.softmax(torch.from_numpy(self.logits(pixels[None])[0]), 0).tolist()
            order = sorted(range(len(scores)), key=lambda i: -scores[i])
            results.append(
                {
                    "label": self.classes[order[0]],
                    "probability": scores[order[0]],
                    "scores": {self.classes[i]: scores[i] for i in order},
                }
            )
        return results


def parameter_count(
    family: str, options: dict[str, Any], classes: int, channels: int, widths: dict[str, int] | None = None
) -> int:
    """Trainable numbers of the float network as built (with these widths): the one definition of `parameters`."""
    with torch.device("meta"):
        network = build(family, options, classes, channels)
        if widths:
            network = narrow(trace(network), widths, channels)
    return sum(p.numel() for p in network.parameters())


def fresh(family: str, options: dict[str, Any], spec: InputSpec, classes: tuple[str, ...], seed: int) -> Classifier:
    """A randomly initialized Classifier; equal seeds give equal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = trace(build(family, options, len(classes), spec.channels))
    return Classifier(family, options, spec, classes, place(network))


# ---- safetensors: checkpoints of ours, and weights from elsewhere that carry the same header ----


def to_safetensors(classifier: Classifier) -> bytes:
    """All numbers of the live network (latent weights, rules, BatchNorm, grids) and how to rebuild it."""
    network = classifier.network
    rules = {name: rule.spec for name, rule in rules_of(network).items()}
    state = {
        name: value.detach().contiguous().cpu()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    header = {
        "family": classifier.family,
        "options": classifier.options,
        "classes": list(classifier.classes),
        "input": classifier.input.to_dict(),
        "coder": classifier.coder,
        "recipe": list(classifier.recipe),
        "origin": classifier.origin,
        "rules": rules,
        "activation_bits": classifier.activation_bits,
        "absorbed": all(b.norm is None for b in blocks(network)),
        **({"widths": classifier.widths} if classifier.widths else {}),
        **({"other_activation_bits": other} if (other := classifier.other_activation_bits) else {}),
    }
    return save(state, metadata={"mignon": json.dumps(header, ensure_ascii=False)})


def save_safetensors(classifier: Classifier, path: Path) -> None:
    """Write the checkpoint atomically."""
    write_atomic(path, to_safetensors(classifier))


def load_safetensors(path: Path) -> Classifier:
    """A Classifier from a checkpoint of ours or from given weights with a `mignon` header. Raises ModelError."""
    header, tensors = read_safetensors(path)
    if header.get("trunk_only"):
        raise ModelError(
            f"{path} holds a trunk without a classifier",
            f"train one on it: mignon train {ALIASES.get(str(header.get('family')), 'MODEL')} -d D --from {path}",
        )
    header, tensors = adapt(header, tensors, path)
    classifier = rebuild(header, path)
    network = classifier.network
    rules = header.get("rules") or {}
    modules = classifier.weighted()
    for key, spec in rules.items():
        name, _, tensor = key.rpartition(".")
        if name not in modules or tensor not in ("weight", "bias"):
            raise ModelError(f"{path} has a rule for {key!r}, which the network does not have")
        module, spec = modules[name], current_spec(spec)
        latent = getattr(module, tensor).detach()
        try:
            rule = build_rule(spec)(spec, tuple(latent.shape))
        except FormatError as error:
            raise ModelError(f"{path} is damaged: {error.what}") from None
        set_rule(module, rule, latent, tensor)
    wanted = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        what = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r}"
        raise ModelError(
            f"{path} does not fit {classifier.family}: it {what} ({len(missing)} missing, {len(extra)} too many)"
        )
    for name, tensor in wanted.items():
        if tensor.shape != tensors[name].shape:
            raise ModelError(f"{path}: {name} is {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}")
    network.load_state_dict(tensors, strict=False)
    try:
        connect(network)
    except FormatError as error:
        raise ModelError(f"{path} is damaged: {error.what}") from None
    network.eval().requires_grad_(True)
    return classifier


def load_trunk(path: Path, classifier: Classifier) -> tuple[Classifier, list[str], list[str]]:
    """A fresh Classifier with what fits of given weights by name and shape; the names copied and skipped.

    Raises ModelError when nothing fits.
    """
    header, tensors = read_safetensors(path)
    if header.get("weights"):
        raise ModelError(f"{path} stores {header['weights']}: nothing to start a training from", "give float32 weights")
    result = classifier.copy(origin={"from": path.name})
    state = result.network.state_dict()
    copied = [n for n, t in tensors.items() if n in state and state[n].shape == t.shape]
    skipped = sorted(tensors.keys() - set(copied))
    if not any(n.endswith("weight") for n in copied):
        raise ModelError(f"no tensor of {path} fits {classifier.family}", "give weights of the same network")
    result.network.load_state_dict({n: tensors[n] for n in copied}, strict=False)
    return result, copied, skipped


def read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The `mignon` header and the tensors. Raises ModelError when it is no such file."""
    with machine_errors(path):
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                header = json.loads(metadata.get("mignon", "null"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError, ValueError) as error:
            raise ModelError(
                f"{path} is not a whole safetensors file ({str(error)[:80]})", "get the file again"
            ) from None
    if not isinstance(header, dict):
        raise ModelError(
            f"{path} does not say which network it is for",
            'its safetensors metadata needs an entry "mignon" with family, options, classes and input',
        )
    return header, tensors


def rebuild(header: dict[str, Any], where: Any) -> Classifier:
    """The network that a header describes, without its numbers: with grids and absorbed BatchNorm where it says so."""
    family, options, classes = header.get("family"), header.get("options", {}), header.get("classes")
    if not isinstance(family, str) or not isinstance(options, dict):
        raise ModelError(f"{where} does not say which network it is for")
    if not isinstance(classes, list) or not all(isinstance(c, str) for c in classes) or not classes:
        raise ModelError(f"{where} has no list of class names")
    spec = InputSpec.from_dict(header.get("input"))
    family = ALIASES.get(family, family)
    widths = header.get("widths", {})
    if not isinstance(widths, dict):
        raise ModelError(f"{where} has widths that are no list of layers")
    if widths:
        with torch.device("meta"):  # no memory for what is not there any more
            network = narrow(trace(build(family, options, len(classes), spec.channels)), widths, spec.channels)
        network = initialized(network)
    else:
        network = trace(build(family, options, len(classes), spec.channels))
    if header.get("absorbed"):
        network = absorb(network)
    bits = header.get("activation_bits")
    if bits is None and header.get("other_activation_bits"):
        raise ModelError(f"{where} has widths of activation grids, but no grids")
    if bits is not None:
        if type(bits) is not int or not 2 <= bits <= 16:
            raise ModelError(f"{where}: activations of {bits!r} bits are not possible")
        insert_grids(network, bits)
        _set_other_bits(network, header.get("other_activation_bits", {}), where)
    return Classifier(
        family,
        options,
        spec,
        tuple(classes),
        place(network),
        coder=str(header.get("coder", "packed")),
        recipe=tuple(str(s) for s in header.get("recipe", ())),
        origin=dict(header.get("origin") or {k: header[k] for k in ("source", "licence") if k in header}),
        widths=widths,
    )


def _set_other_bits(network: fx.GraphModule, others: Any, where: Any) -> None:
    grids = grids_of(network)
    for name, bits in others.items() if isinstance(others, dict) else [("", others)]:
        if name not in grids or type(bits) is not int or not 2 <= bits <= 16:
            raise ModelError(f"{where}: activations of {bits!r} bits behind {str(name)[:40]!r} are not possible")
        grids[name].bits = bits
