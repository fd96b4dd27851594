"""What all pruning steps share: which weights are kept so far, which go next, and masks on the layers."""

import torch
from torch import Tensor

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.models.weights import mask_of, put_rules, weight_rule
from mignon.rules import Rule
from mignon.rules.float32 import Float32


def check_share(name: str, share: float) -> None:
    """Raise RecipeError for a share of which nothing would be left, or a negative one."""
    if not 0 <= share < 1:
        raise RecipeError(f"{name}={share:g} is not possible", f"use a share from 0 up to below 1: {name}=0.8")


def kept_masks(classifier: Classifier) -> dict[str, Tensor]:
    """Which weights are kept so far (bool, shape of the weight), by layer. Raises RecipeError for weights that are no
    floats any more."""
    masks = {}
    for name, module in classifier.weighted().items():
        rule = weight_rule(module)
        if rule is not None and not isinstance(rule, Float32):
            raise RecipeError(
                f"the weights of {name} are stored by the rule {rule.spec['rule']!r} and cannot be pruned any more",
                "put pruning before the steps that put weights under other rules",
            )
        mask = mask_of(module)
        masks[name] = torch.ones(module.weight.shape, dtype=torch.bool) if mask is None else mask
    return masks


def lowest_removed(scores: dict[str, Tensor], masks: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """Masks of the layers of `scores` (none negative) of which the `count` lowest weights are removed.

    Weights that are not kept so far are the first of them and stay removed; ties go by position.
    """
    kept = torch.cat([masks[name].flatten() for name in scores])
    flat = torch.cat([score.flatten() for score in scores.values()])
    kept[torch.argsort(flat.where(kept, -1), stable=True)[:count]] = False
    parts = kept.split([score.numel() for score in scores.values()])
    return {name: part.reshape(score.shape) for (name, score), part in zip(scores.items(), parts)}


def put_masks(classifier: Classifier, masks: dict[str, Tensor]) -> None:
    """Keep only the weights where a mask is true, in place."""
    weights = classifier.weights()
    chosen: dict[str, tuple[Rule, Tensor]] = {}
    for name, mask in masks.items():
        rule = Float32.masked(mask)
        rule.fit(weights[name])
        chosen[f"{name}.weight"] = (rule, weights[name] * mask)
    put_rules(classifier.network, chosen)


def without(skip: str, names: list[str], step: str) -> list[str]:
    """The layers that may be pruned: all but those of `skip` (`first`, `last` and names, joined by +).

    Raises RecipeError for a name that no layer has.
    """
    special = {"first": names[0], "last": names[-1]}
    skipped = {special.get(word, word) for word in skip.split("+") if word}
    unknown = sorted(skipped - set(names))
    if unknown:
        raise RecipeError(f"{step}: there is no layer {unknown[0]!r} to skip", f"layers: {', '.join(names)}")
    left = [name for name in names if name not in skipped]
    if not left:
        raise RecipeError(f"{step}: skip={skip} leaves no layer to prune", "skip fewer layers: skip=first+last")
    return left
