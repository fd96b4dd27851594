"""Recipes that may meet a limit: integers of fewer and fewer bits, then more and more zeros."""

import dataclasses

from mignon import mgn
from mignon.classifier import Classifier
from mignon.search.limits import Limits
from mignon.steps import Context, parse_recipe

PLAIN = (8, 6, 4)  # bits of weights that need no training afterwards
SHARES = (0.5, 0.8)  # of weights that become zero, where no size is asked for
PRUNED = (4, 3)  # bits of the weights that stay
MARGIN = 0.96  # of the size that is asked for: grids of activations, and what training moves
STRONGEST = 0.97  # of the weights
SKETCH = 8  # images that are enough where only the size of a recipe is asked for
QUICK = "round=nearest,correct=false"


def ladder(tune: str) -> list[list[str]]:
    """The recipes where no size is known, from the largest file to the smallest; the float network teaches where they
    tune.

    It does so after it was taught by a wider one too: on the digits (three seeds) the cross-entropy on validation is
    0.024 where the float network teaches and 0.037 where the wider one does.
    """
    plain = [[f"quant=w{bits}a8", "code=range"] for bits in PLAIN]
    return plain + [[f"prune={share:g}", "quant=w4a8", f"{tune},teacher=parent", "code=range"] for share in SHARES]


def fitted(classifier: Classifier, limits: Limits, tune: str, context: Context) -> list[list[str]]:
    """The recipes for a size: the plain one with the most bits that fits, and where that has few bits, weights of which
    so many become zero that the rest fits.
    """
    most = MARGIN * limits.most_bytes
    found = []
    for bits in PLAIN:
        if size_of(classifier, [f"quant=w{bits},{QUICK}"], context) <= most:
            found.append([f"quant=w{bits}a8", "code=range"])
            break
    if not found or found[0][0] == f"quant=w{PLAIN[-1]}a8":
        for bits in PRUNED:
            share = share_that_fits(classifier, bits, most, context)
            if share is not None:
                zeros = [f"prune={share:g}"] if share else []
                found.append([*zeros, f"quant=w{bits}a8", f"{tune},teacher=parent", "code=range"])
    return found


def share_that_fits(classifier: Classifier, bits: int, most_bytes: float, context: Context) -> float | None:
    """The smallest share of zeros, to a hundredth, with which the file is at most so large; None where none is."""
    low, high = -1, round(100 * STRONGEST)

    def fits(share: int) -> bool:
        steps = [f"prune={share / 100:g}", f"quant=w{bits},{QUICK}"]
        return size_of(classifier, steps, context) <= most_bytes

    if not fits(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high / 100


def size_of(classifier: Classifier, steps: list[str], context: Context) -> int:
    """About how many bytes the file of a recipe has, without the few for its activation grids."""
    few = dataclasses.replace(context.train, labels=context.train.labels[:SKETCH], names=context.train.names[:SKETCH])
    sketch = dataclasses.replace(context, train=few)
    for step in parse_recipe([*steps, "code=range"]):
        classifier = step.apply(classifier, sketch)
    return len(mgn.encode(classifier))
