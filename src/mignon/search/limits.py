"""What was asked for, and the point that answers it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DEFAULT_DROP = 1.0  # points, when no limit is given


@dataclass(frozen=True)
class Limits:
    """max_kib: largest size of the file. max_drop: most points below the float network; 1.0 where nothing is asked."""

    max_kib: float | None = None
    max_drop: float | None = None

    @classmethod
    def of(cls, max_kib: float | None, max_drop: float | None) -> "Limits":
        """As asked for."""
        return cls(max_kib, DEFAULT_DROP if max_kib is None and max_drop is None else max_drop)

    @property
    def most_bytes(self) -> float:
        """Of the file."""
        return math.inf if self.max_kib is None else self.max_kib * 1024

    @property
    def least_change(self) -> float:
        """Of top-1, as a fraction."""
        return -math.inf if self.max_drop is None else -self.max_drop / 100

    def __str__(self) -> str:
        limits = {"--max-kib": self.max_kib, "--max-drop": self.max_drop}
        return " and ".join(f"{flag} {value:g}" for flag, value in limits.items() if value is not None)


def choose(rows: Sequence[dict[str, Any]], limits: Limits, guess: float) -> tuple[int, bool]:
    """The row to keep, judged on validation, and whether it meets the limits and beats `guess` (the share of the
    largest class) by more than noise.

    With a size limit only: of those that fit and are at most a standard error less accurate than the best one, the
    closest to the float network (KL tells apart what so few images cannot). Else the smallest whose drop is allowed.
    When nothing meets them: the smallest that breaks only the drop, then the one that misses by least.
    """
    indices = range(len(rows))
    fitting = [i for i in indices if rows[i]["size_bytes"] <= limits.most_bytes]
    close = [i for i in indices if rows[i]["top1_change"] >= limits.least_change - 1e-12]
    both = [i for i in fitting if i in close and rows[i]["top1_low"] > guess]
    if both and limits.max_drop is None:
        best = max(rows[i]["top1"] for i in both)
        noise = math.sqrt(best * (1 - best) / rows[0]["images"])
        return min((i for i in both if rows[i]["top1"] >= best - noise), key=lambda i: rows[i]["kl"]), True
    if both:
        return min(both, key=lambda i: rows[i]["size_bytes"]), True
    if fitting:
        return max(fitting, key=lambda i: rows[i]["top1"]), False
    if limits.max_kib is not None:
        return min(indices, key=lambda i: rows[i]["size_bytes"]), False
    return max(indices, key=lambda i: rows[i]["top1"]), False
