"""Recipes that may meet a limit: integers of fewer and fewer bits, then more and more zeros."""

import dataclasses

from mignon import mgn
from mignon.classifier import Classifier
from mignon.search.limits import Limits
from mignon.steps import Context, parse_recipe
from mignon.steps.quantize.uniform import Quantize

SHARES = (0.5, 0.8)  # of weights that become zero, where no size is asked for
BITS = (8, 6, 5, 4, 3, 2)  # of a weight, where a size is
PRUNED = (4, 3)  # bits of the weights that stay beside zeros
MARGIN = 0.96  # of the size that is asked for: grids of activations, and what training moves
STRONGEST = 0.97  # of the weights
SMALLEST = ["prune=0.9", "quant=w3a8"]  # what is left to try where nothing fits
SKETCH = 8  # images that are enough where only the size of a recipe is asked for
QUICK = "round=nearest,correct=false"


def ladder(tune: str) -> list[list[str]]:
    """The recipes where no size is known, from the largest file to the smallest; the float network teaches where they
    tune.

    It does so after it was taught by a wider one too: on the digits (three seeds) the cross-entropy on validation is
    0.024 where the float network teaches and 0.037 where the wider one does.
    """
    plain = [["quant=w8a8"], ["quant=w6a8"], ["quant=w4a8"]]
    return plain + [[f"prune={share:g}", "quant=w4a8", taught(tune)] for share in SHARES]


def by_bits(tune: str) -> list[list[str]]:
    """The recipes for a network that has no weights to spare, where no size is known: fewer and fewer bits.

    Cut trunks are such: half of the weights of EfficientNet-Lite0 behind block 6 to zero took 89 % to 26 %.
    """
    plain = [[f"quant=w{bits}a8"] for bits in BITS if bits >= 4]
    return plain + [[f"quant=w{bits}a8", taught(tune)] for bits in (4, 3)]


def taught(tune: str) -> str:
    """The step that tunes, with the float network as teacher."""
    return f"{tune},teacher=parent"


def fitted(classifier: Classifier, limits: Limits, context: Context) -> list[list[str]]:
    """The recipes for a size, before any training: the most bits with which all weights fit, and fewer weights of more
    bits, of which so many become zero that the rest fits. Which of them suffers less depends on the network.
    """
    most = MARGIN * limits.most_bytes
    whole = next((bits for bits in BITS if size_of(classifier, [f"quant=w{bits},{QUICK}"], context) <= most), None)
    found = [] if whole is None else [[f"quant=w{whole}a8"]]
    for bits in PRUNED if whole is None else (bits for bits in PRUNED if bits > whole):
        share = share_that_fits(classifier, bits, most, context)
        if share is not None:
            found.append([f"prune={share:g}", f"quant=w{bits}a8"])
    return found


def share_that_fits(classifier: Classifier, bits: int, most_bytes: float, context: Context) -> float | None:
    """The smallest share of zeros, to a hundredth, with which the file is at most so large; None where none is."""
    low, high = 0, round(100 * STRONGEST)

    def fits(share: int) -> bool:
        return size_of(classifier, [f"prune={share / 100:g}", f"quant=w{bits},{QUICK}"], context) <= most_bytes

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


def gains_from_training(recipe: list[str]) -> bool:
    """Whether a tune behind it pays: weights of five bits and more are as good as float ones."""
    widths = [step.widths_of()[0] for step in parse_recipe(recipe) if isinstance(step, Quantize)]
    return any(bits is not None and bits < 5 for bits in widths)
