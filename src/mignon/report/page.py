"""The page."""

from pathlib import Path

from mignon.runs import Run


def write_report(runs: list[Run], path: Path) -> None:
    """Stub until slice 5."""
