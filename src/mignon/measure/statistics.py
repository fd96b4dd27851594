"""Intervals and tests of counted things; scipy is the oracle in the tests."""

import math

import numpy as np

Z95 = 1.959963984540054


def wilson(right: int, total: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if total == 0:
        return 0.0, 1.0
    p, z2 = right / total, Z95 * Z95
    center = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 * math.sqrt(p * (1 - p) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    return max(0.0, center - half), min(1.0, center + half)


def largest_class(labels: np.ndarray) -> tuple[int, float]:
    """The class that most labels have, and its share: what always answering it would get right."""
    counts = np.bincount(labels)
    return int(counts.argmax()), float(counts.max() / len(labels))


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p of a paired change (McNemar 1947): the flips are fair coins under "no change"."""
    flips, few = lost + gained, min(lost, gained)
    if lost == gained:
        return 1.0
    logs = [math.lgamma(flips + 1) - math.lgamma(i + 1) - math.lgamma(flips - i + 1) for i in range(few + 1)]
    top = max(logs)
    tail = sum(math.exp(x - top) for x in logs) * math.exp(top - flips * math.log(2))
    return min(1.0, 2 * tail)


def kl_divergence(reference: np.ndarray, logits: np.ndarray) -> float:
    """Mean over images of KL(softmax reference || softmax logits) in nats; N x classes each."""
    a, b = _log_softmax(reference), _log_softmax(logits)
    return float(np.mean(np.sum(np.exp(a) * (a - b), axis=1)))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def second_class_probability(logits: np.ndarray) -> np.ndarray:
    """Of class 1 of two: N from N x 2 logits, without overflow."""
    logits = logits.astype(np.float64)
    return 1 / (1 + np.exp(np.clip(logits[:, 0] - logits[:, 1], -500, 500)))


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve of class 1 by ranks (Mann-Whitney), ties count half."""
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def best_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    """The threshold on class 1's probability with the highest balanced accuracy; chosen on validation only."""
    candidates = np.unique(scores)
    middles = np.concatenate([[0.5], (candidates[1:] + candidates[:-1]) / 2])
    order = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    hits = 1 - np.searchsorted(order[0], middles, side="left") / max(1, len(order[0]))
    rejected = np.searchsorted(order[1], middles, side="left") / max(1, len(order[1]))
    return float(middles[np.argmax(hits + rejected)])
