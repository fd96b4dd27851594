"""Which layers of a network train. The others are frozen: they keep every number, and nothing is computed backward
through them.

A network that is put into training mode moves the statistics of its BatchNorm whether or not its weights may move: 400
passes over images of one class take a frozen MobileNet from 89.6 to 49.2 % right. So frozen layers stay in evaluation
mode (no dropout either), and a hash of all their numbers is the same afterwards, or the training is no result.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, fx, nn

from mignon.classifier import Classifier
from mignon.errors import MignonError, ModelError
from mignon.models import units
from mignon.models.graph import between
from mignon.training.settings import check_layers


@dataclass(frozen=True)
class Layers:
    """The modules of a network that train and those before them, which are frozen; both in the order of the graph."""

    network: fx.GraphModule
    nodes: list[fx.Node]  # that train
    frozen: list[str]
    names: list[str]  # of what trains, for the user: units, and layers that are in none

    @classmethod
    def of(cls, classifier: Classifier, text: str) -> "Layers":
        """`all`, `head` (the last layer with weights), `last:K` (the last K units of the family, and what follows them)
        or `none`. Raises ModelError."""
        count, network = check_layers(text), classifier.network
        known = units(classifier.family, classifier.options)
        calls = [node for node in network.graph.nodes if node.op == "call_module"]
        head = list(classifier.weighted())[-1]
        if count is not None and count > len(known):
            raise ModelError(
                f"{classifier.family} has {len(known)} units, not {count}", f"use last:{len(known)} at most, or all"
            )
        first = {"all": 0, "none": len(calls)}.get(text)
        if first is None:
            wanted = head if count is None else known[-count]
            first = next(i for i, node in enumerate(calls) if _inside(str(node.target), wanted))
        nodes = calls[first:]
        weighted = [name for name in classifier.weighted() if name in {str(node.target) for node in nodes}]
        names = [next((unit for unit in known if _inside(name, unit)), name) for name in weighted]
        return cls(network, nodes, [str(node.target) for node in calls[:first]], list(dict.fromkeys(names)))

    @property
    def parameters(self) -> int:
        """Numbers that train."""
        modules = {str(node.target): self.network.get_submodule(str(node.target)) for node in self.nodes}
        return sum(p.numel() for module in modules.values() for p in module.parameters())

    @property
    def border(self) -> list[fx.Node]:
        """The values that come from frozen layers (or are the input) and are read by those that train."""
        own = set(self.nodes)
        return list(dict.fromkeys(value for node in self.nodes for value in node.all_input_nodes if value not in own))

    @property
    def trained(self) -> fx.GraphModule:
        """The part of the network that trains, from its border on."""
        (output,) = (node for node in self.network.graph.nodes if node.op == "output")
        return between(self.network, self.border, output.all_input_nodes) if self.frozen else self.network

    def train_mode(self) -> None:
        """The network in training mode, its frozen layers in evaluation mode."""
        self.network.train()
        for module in self._frozen():
            module.eval()

    @contextmanager
    def held(self) -> Iterator[None]:
        """While training: frozen parameters need no gradient. Raises MignonError when one of their numbers changed."""
        before, parameters = self._fingerprint(), [p for module in self._frozen() for p in module.parameters()]
        needed = [p for p in parameters if p.requires_grad]
        for parameter in needed:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in needed:
                parameter.requires_grad_(True)
        if self._fingerprint() != before:
            raise MignonError("a layer that is frozen was changed by a step of the recipe", "train layers=all with it")

    def line(self) -> str:
        """What trains, for the screen."""
        total = sum(p.numel() for p in self.network.parameters())
        names = ", ".join(self.names) if self.frozen and self.names else "all layers" if self.names else "no layer"
        return f"trains {names}: {self.parameters:,} of {total:,} parameters"

    def _frozen(self) -> list[nn.Module]:
        return [self.network.get_submodule(name) for name in self.frozen]

    def _fingerprint(self) -> str:
        return fingerprint([tensor for module in self._frozen() for tensor in module.state_dict().values()])


def fingerprint(tensors: list[Tensor]) -> str:
    """SHA-256 of the bytes of tensors."""
    seen = hashlib.sha256()
    for tensor in tensors:
        seen.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return seen.hexdigest()


def _inside(name: str, unit: str) -> bool:
    return name == unit or name.startswith(f"{unit}.")
