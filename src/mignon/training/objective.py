"""What a training step minimizes: cross-entropy, a teacher's answers, further terms on the weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from mignon.classifier import Classifier
from mignon.data.inputs import to_network
from mignon.errors import ModelError, RecipeError
from mignon.models.ops import is_convolution, is_weighted

Loss = Callable[..., Tensor]  # of pixels, logits, labels, and a teacher's answers where they are known


class Term(Protocol):
    """A scalar that is added to the loss at every step; `key` names it and its settings."""

    @property
    def key(self) -> str:
        """Its name and settings."""
        ...

    def __call__(self, network: fx.GraphModule) -> Tensor:
        """A differentiable number from the network's weights."""


@dataclass(frozen=True)
class Teacher:
    """Distillation (Hinton 2015): (1 - share) CE + share T KL(teacher || student) of logits softened by T.

    The factor is T where Hinton has T^2, so that one rate serves every teacher: the gradient of T KL with respect to
    an image's logits is q - p, student minus teacher, both softened. It is cross-entropy's with another target: its
    entries add up to at most 2 whatever T and however sure the teacher is. T^2 KL is T times as steep (at T = 4 a sure
    teacher's loss began at 14 where cross-entropy began at 0.2, and a rate made for the one diverged with the other).

    `copies`: every image is seen in so many fixed changes only, for which the teacher answers once (see
    training/course.py); 0: it answers at every step. `features` weighs the squared distance of what enters the last
    linear layer (FitNets' hint), relative to its size.
    """

    classifier: Classifier
    share: float = 0.9
    temperature: float = 4.0
    features: float = 0.0
    copies: int = 0

    def check(self, student: Classifier, name: str) -> None:
        """Raise RecipeError when the student sees other images than the teacher, which the user knows as `name`."""
        if self.classifier.classes != student.classes or self.classifier.size != student.size:
            raise RecipeError(
                f"the teacher {name} has other classes or another picture size",
                "give one that was trained on the same images",
            )


def lesson(master: Classifier) -> Teacher:
    """The teacher that a network with a linear head is (`mignon probe`), as in the try-outs on photos of cats and dogs:
    70 % of the loss at temperature 2, four fixed changes of every image."""
    return Teacher(master.copy(), 0.7, 2.0, copies=4)


@dataclass(frozen=True)
class Objective:
    """Cross-entropy, and what is added to it."""

    teacher: Teacher | None = None
    terms: tuple[Term, ...] = field(default=())

    def key(self) -> list[Any]:
        """Names everything in it, for checkpoints."""
        teacher = self.teacher
        about = teacher and [
            teacher.share,
            teacher.temperature,
            teacher.features,
            teacher.copies,
            *teacher.classifier.recipe,
        ]
        return [about, [term.key for term in self.terms]]

    @contextmanager
    def bind(self, network: fx.GraphModule, device: Any) -> Iterator[Loss]:
        """While training: a function (uint8 pixels, logits, labels, the teacher's answers or None) -> loss, for a
        network that has just run on them. Labels may be shares of classes, N x classes.

        Raises ModelError when teacher and student cannot be compared.
        """
        teacher = self.teacher
        if teacher is None:

            def plain(pixels: Tensor, logits: Tensor, labels: Tensor, answers: Tensor | None = None) -> Tensor:
                return self._add(F.cross_entropy(logits, labels), network)

            yield plain
            return
        master = teacher.classifier.network.to(device)
        ours, theirs = (_Feature(net) for net in (network, master)) if teacher.features else (None, None)
        if ours is not None and theirs is not None and ours.width != theirs.width:
            raise ModelError(
                f"the teacher's features have {theirs.width} numbers, the student's {ours.width}",
                "leave features out: logits can always be compared",
            )

        def loss(pixels: Tensor, logits: Tensor, labels: Tensor, answers: Tensor | None = None) -> Tensor:
            if answers is None:
                with torch.no_grad():
                    answers = master(to_network(pixels, teacher.classifier.input)).float()
            hot = teacher.temperature
            soft = F.kl_div(
                F.log_softmax(logits / hot, 1), F.log_softmax(answers / hot, 1), reduction="batchmean", log_target=True
            )
            total = (1 - teacher.share) * F.cross_entropy(logits, labels) + teacher.share * hot * soft
            if ours is not None and theirs is not None:
                target = theirs.value.float()
                distance = (ours.value.float() - target).square().mean() / target.square().mean().clamp_min(1e-12)
                total = total + teacher.features * distance
            return self._add(total, network)

        try:
            yield loss
        finally:
            for feature in (ours, theirs):
                if feature is not None:
                    feature.handle.remove()

    def _add(self, loss: Tensor, network: fx.GraphModule) -> Tensor:
        for term in self.terms:
            loss = loss + term(network)
        return loss


class _Feature:
    """Keeps what entered the last linear layer (N x features) of the latest pass."""

    value: Tensor

    def __init__(self, network: fx.GraphModule):
        last: list[Any] = [m for m in network.modules() if is_weighted(m) and not is_convolution(m)]
        if not last:
            raise ModelError("a network without a linear layer has no features to compare", "leave features out")
        self.width = last[-1].in_features
        self.handle = last[-1].register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.value = inputs[0]
