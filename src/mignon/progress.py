"""What a job tells while it runs. The command line draws it; the Python API is quiet unless given a screen."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Screen(Protocol):
    """Where a job reports to; `mignon.cli.screen` has the drawing ones. `warnings`: all that were given so far."""

    warnings: list[str]

    def say(self, text: str) -> None:
        """One line for the user."""

    def warn(self, text: str) -> None:
        """One line that also ends in `warnings` of --json."""

    def record(self, step: int, **numbers: float) -> None:
        """Numbers of a running training after so many of its steps, once an epoch (loss, lr, top-1 as a fraction)."""

    def track(self, items: Iterable[T], total: int, label: str) -> Iterator[T]:
        """Pass the items on, with a bar and the time left on a terminal."""


class Quiet:
    """Says nothing, remembers the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def say(self, text: str) -> None:
        """Drop the line."""

    def warn(self, text: str) -> None:
        """Keep the warning."""
        self.warnings.append(text)

    def record(self, step: int, **numbers: float) -> None:
        """Drop the numbers."""

    def track(self, items: Iterable[T], total: int, label: str) -> Iterator[T]:
        """Pass the items on."""
        yield from items
