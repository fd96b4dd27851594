"""One line of the ledger: what a decoded file measures on a split."""

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from mignon.classifier import Classifier
from mignon.data.batches import in_order, views_of
from mignon.data.imageset import Split
from mignon.errors import ModelError
from mignon.measure.cost import layers, peak_activation_bytes
from mignon.measure.statistics import best_threshold, kl_divergence, mcnemar, roc_auc, second_class_probability, wilson
from mignon.progress import Screen
from mignon.settings import known

VERSION = 1  # of Row and of how it is measured: raise it when a row of today would come out otherwise
NOISE = 0.05  # p above which a change is called noise


@dataclass(frozen=True)
class Row:
    """Keys as in section 7 of the design; accuracies are fractions, times are seconds.

    `parameters` and `macs` are those of the network as it is, without pruned channels; `ratio` is 4 bytes times the
    parameters of the network as its family builds it, over the bytes of the file.
    """

    step: str
    split: str
    images: int
    top1: float
    top1_low: float
    top1_high: float
    top5: float
    top1_change: float
    lost: int
    gained: int
    p_value: float
    within_noise: bool
    kl: float
    size_bytes: int
    ratio: float
    parameters: int
    nonzeros: int
    macs: int
    peak_activation_bytes: int
    balanced_accuracy: float
    worst_class: str
    worst_class_change: float
    roc_auc: float | None
    threshold: float | None
    seconds: float
    cpu_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def is_row(value: dict[str, Any]) -> bool:
    """Whether something from a ledger is a whole row."""
    return known(Row, value).keys() == {field.name for field in fields(Row)}


def all_logits(classifier: Classifier, split: Split, screen: Screen, label: str, views: int = 1) -> np.ndarray:
    """float32 N x classes of a split, the mean over views. Raises ModelError when the network overflows."""
    batch = 500 if classifier.input.height * classifier.input.width <= 64 * 64 else 100
    batches = screen.track(in_order(split, batch), -(-len(split) // batch), label)
    logits = np.concatenate(
        [np.mean([classifier.logits(view) for view in views_of(pixels, views)], 0) for pixels in batches]
    )
    if not np.isfinite(logits).all():
        raise ModelError(
            f"the answers of {classifier.family} are not finite numbers: its weights overflow",
            "train it with a smaller rate, or get the file again",
        )
    return logits


def measure(
    step: str,
    decoded: Classifier,
    size_bytes: int,
    split: Split,
    logits: np.ndarray,
    reference: np.ndarray,
    seconds: float,
    cpu_seconds: float,
    threshold: float | None = None,
) -> Row:
    """The row of a decoded file, from its logits and those of the float parent on the same split.

    `threshold` (two classes only) was chosen on validation; None chooses it here, for a row on validation.
    """
    labels = split.labels
    right, before = logits.argmax(1) == labels, reference.argmax(1) == labels
    lost, gained = int((before & ~right).sum()), int((~before & right).sum())
    low, high = wilson(int(right.sum()), len(labels))
    top5 = np.argpartition(-logits, min(4, logits.shape[1] - 1), axis=1)[:, :5]
    present = np.unique(labels)
    by_class = np.array([right[labels == c].mean() for c in present])
    change = by_class - np.array([before[labels == c].mean() for c in present])
    worst = int(change.argmin())
    auc = None
    if len(decoded.classes) == 2:
        scores = second_class_probability(logits)
        auc = roc_auc(labels, scores) if len(present) == 2 else None  # None: no number without both classes
        threshold = best_threshold(labels, scores) if threshold is None else threshold
    else:
        threshold = None
    p = mcnemar(lost, gained)
    return Row(
        step=step,
        split=split.name,
        images=len(labels),
        top1=float(right.mean()),
        top1_low=low,
        top1_high=high,
        top5=float((top5 == labels[:, None]).any(1).mean()),
        top1_change=float(right.mean() - before.mean()),
        lost=lost,
        gained=gained,
        p_value=p,
        within_noise=p > NOISE,
        kl=kl_divergence(reference, logits),
        size_bytes=size_bytes,
        ratio=4 * decoded.full_parameters / size_bytes,
        parameters=decoded.parameters,
        nonzeros=decoded.nonzeros(),
        macs=sum(layer.macs for layer in layers(decoded.network, decoded.size)),
        peak_activation_bytes=peak_activation_bytes(decoded.network, decoded.size, decoded.activation_bits or 32),
        balanced_accuracy=float(by_class.mean()),
        worst_class=decoded.classes[int(present[worst])],
        worst_class_change=float(change[worst]),
        roc_auc=auc,
        threshold=threshold,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
    )
