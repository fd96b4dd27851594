"""Which networks are worth a training: places to cut a pretrained trunk, by what a linear head reaches there."""

from collections.abc import Sequence

from mignon.search.limits import Limits
from mignon.training.probe import Cut

LEAN, RICH = 2.9, 5.5  # bits a weight: what is trained on, and what is as good as float
GAIN = 0.03  # of top-1 that training adds to a linear head behind a cut


def worth_training(cuts: Sequence[Cut], limits: Limits) -> list[Cut]:
    """At most two of the cuts, the more promising one first.

    With a size limit those with the lowest loss that fit with few and with more bits a weight. Else the smallest one
    that may come within the drop of the best, and the next one that reaches more.
    """
    if limits.max_kib is not None:
        found = [
            _best([cut for cut in cuts if cut.parameters * bits / 8 <= limits.most_bytes]) for bits in (LEAN, RICH)
        ]
        chosen = [cut for cut in found if cut is not None]
        return list(dict.fromkeys(chosen)) or [min(cuts, key=lambda cut: cut.parameters)]
    target = max(cut.top1 for cut in cuts) + limits.least_change - GAIN
    near = sorted((cut for cut in cuts if cut.top1 >= target), key=lambda cut: cut.parameters)
    return near[:1] + [cut for cut in near[1:] if cut.top1 > near[0].top1][:1]


def _best(cuts: Sequence[Cut]) -> Cut | None:
    return min(cuts, key=lambda cut: cut.loss, default=None)
