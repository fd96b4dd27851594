"""The one value that travels: a network, how to rebuild it, what it expects, what its outputs mean."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, fx
from torch.nn.utils import parametrize

from mignon.data.inputs import InputSpec, to_network
from mignon.data.pictures import read_pixels
from mignon.errors import ModelError
from mignon.models import build
from mignon.models.activations import grids_of
from mignon.models.graph import blocks, clone, place, trace
from mignon.models.narrow import narrow
from mignon.models.weights import latent_weight

T = TypeVar("T", bound="Classifier")


@dataclass(frozen=True)
class Classifier:
    """A network in eval mode with all that is needed to store it and to use it.

    `network` is an fx graph of modules (an `nn.Module`); weights that a step has touched hold a rule. `coder` is how
    its integers are written, `recipe` the steps so far, `origin` where it came from, `widths` what is narrower than the
    family builds it (see `models.narrow`). It is live: training can move it, BatchNorm may still be there; `Settled` is
    exactly what a file holds.
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
        """A live Classifier that shares no tensor with this one."""
        return self._as(Classifier, network=clone(self.network), **changes)

    def settled(self, **changes: Any) -> Settled:
        """The same value as one whose network is, by now, exactly what its file holds."""
        return self._as(Settled, **changes)

    def _as(self, kind: type[T], **changes: Any) -> T:
        return kind(**{**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)}, **changes})

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

        Raises DataError for what is no picture, ModelError when the network overflows.
        """
        from PIL import Image

        single = isinstance(images, (str, Path, Image.Image)) or (isinstance(images, np.ndarray) and images.ndim < 4)
        results = []
        for item in [images] if single else images:
            logits = self.logits(read_pixels(item, self.input)[None])[0]
            if not np.isfinite(logits).all():
                raise ModelError("the answers of the network are not finite numbers", "get the file again")
            scores = torch.softmax(torch.from_numpy(logits), 0).tolist()
            order = sorted(range(len(scores)), key=lambda i: -scores[i])
            results.append(
                {
                    "label": self.classes[order[0]],
                    "probability": scores[order[0]],
                    "scores": {self.classes[i]: scores[i] for i in order},
                }
            )
        return results


@dataclass(frozen=True)
class Settled(Classifier):
    """A Classifier of exactly the numbers that its file holds: BatchNorm absorbed, every tensor under a rule.

    Made by `mgn.settle` and by the decoder; a `copy` of it is live again.
    """


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
