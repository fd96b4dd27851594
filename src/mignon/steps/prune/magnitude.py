"""One-shot pruning of single weights: the least important of the network, or of each layer, become zero.

By magnitude (Han et al. 2015), or by sensitivity: weight^2 times gradient^2, the diagonal second-order saliency of
Optimal Brain Damage (LeCun et al. 1990) with the empirical Fisher information as curvature (Theis et al. 2018).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from mignon.classifier import Classifier
from mignon.data.imageset import Split
from mignon.data.inputs import to_network
from mignon.errors import RecipeError
from mignon.registry import STEPS
from mignon.steps import FLOAT_WEIGHTS, Context, Step
from mignon.steps.calibration import draw
from mignon.steps.prune.masks import check_share, kept_masks, lowest_removed, put_masks, without
from mignon.training.device import one_thread

FISHER_IMAGES = 256  # training images


@STEPS.register("prune")
@dataclass(frozen=True)
class MagnitudePrune(Step):
    """`prune=0.8`: zero this share of all convolution and linear weights, kept zero from here on.

    scope: `global`, or `layer` for the same share of each layer. by: `magnitude`, or `sensitivity`, which looks at the
    gradients of 256 training images *with their labels*. skip: layers that stay as they are (`first+last`, or names
    joined by +). Exactly round(share x n) of the n weights that may go are zero then; ties go by position; what was
    pruned before stays pruned and counts.
    """

    share: float
    scope: str = "global"
    by: str = "magnitude"
    skip: str = ""

    summary: ClassVar[str] = "zero the least important weights of the network: prune=0.8"
    version: ClassVar[int] = 2
    examples: ClassVar[tuple[str, ...]] = ("prune=0.5", "prune=0", "prune=0.9")
    leaves: ClassVar[tuple[str, ...]] = ("zeros",)
    cannot_follow: ClassVar[Mapping[str, str]] = FLOAT_WEIGHTS

    def __post_init__(self) -> None:
        check_share("prune", self.share)
        for value, known in ((self.scope, ("global", "layer")), (self.by, ("magnitude", "sensitivity"))):
            if value not in known:
                raise RecipeError(f"prune cannot go by {value!r}", f"use {' or '.join(known)}")

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """Masks on the convolution and linear weights (O x I x kh x kw or O x I)."""
        masks = kept_masks(classifier)
        names = without(self.skip, list(masks), "prune")
        if self.by == "sensitivity":
            scores = fisher_saliency(classifier, context.train, context.seed)
        else:
            scores = {name: weight.abs() for name, weight in classifier.weights().items()}
        result = classifier.copy()
        for part in [names] if self.scope == "global" else [[name] for name in names]:
            chosen = {name: scores[name] for name in part}
            total = sum(score.numel() for score in chosen.values())
            put_masks(result, lowest_removed(chosen, masks, round(self.share * total)))
        return result


def fisher_saliency(classifier: Classifier, train: Split, seed: int, images: int = FISHER_IMAGES) -> dict[str, Tensor]:
    """weight^2 times the mean over images of (dLoss/dweight)^2, by layer; BatchNorm in eval mode, true labels.

    The loss increase of removing a weight, to second order and up to the factor 1/2. Computed by one thread, image by
    image, so that any number of threads gives the same numbers.
    """
    plain = classifier.copy()
    weights = plain.weights()
    for name, module in plain.weighted().items():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
        module.weight = nn.Parameter(weights[name].clone())
    parameters = {name: module.weight for name, module in plain.weighted().items()}
    squares = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    chosen = draw(train, seed, images)
    with one_thread():
        for index in chosen:
            pixels = to_network(train.take(slice(index, index + 1)), plain.input)
            loss = F.cross_entropy(plain.network(pixels), torch.from_numpy(train.labels[index : index + 1]))
            for name, gradient in zip(parameters, torch.autograd.grad(loss, list(parameters.values()))):
                squares[name] += gradient.square()
    return {name: weights[name].square() * squares[name] / len(chosen) for name in parameters}
