"""Drawing: lines and bars on stderr while a job runs, tables on stdout when it is done."""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

T = TypeVar("T")


class Terminal:
    """Progress on stderr: a bar with the time left on a terminal or in a notebook, plain lines elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.warnings: list[str] = []

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """One line, kept for --json."""
        self.warnings.append(text)
        self.console.print(f"warning: {text}", style="yellow", markup=False)

    def track(self, items: Iterable[T], total: int, label: str) -> Iterator[T]:
        """A bar that disappears when it is full; nothing where there is no terminal."""
        if not (self.console.is_terminal or self.console.is_jupyter):
            yield from items
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(label, total=total)
            for item in items:
                yield item
                progress.advance(task)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    json.dump(value, sys.stdout, indent=1, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def print_rows(rows: list[dict[str, Any]]) -> None:
    """The ledger as a table."""
    split = rows[-1]["split"] if rows else "test"
    table = Table(title=f"measured on the decoded files, {rows[-1]['images']:,} {split} images", title_justify="left")
    for name in ("step", "bytes", "x", "top-1 %", "95 %", "change", "lost/gained", "p", "KL", "s"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for row in rows:
        table.add_row(
            row["step"],
            f"{row['size_bytes']:,}",
            f"{row['ratio']:.1f}",
            f"{100 * row['top1']:.2f}",
            f"{100 * row['top1_low']:.1f}-{100 * row['top1_high']:.1f}",
            f"{100 * row['top1_change']:+.2f}" + (" (noise)" if row["within_noise"] and row["lost"] else ""),
            f"{row['lost']}/{row['gained']}",
            f"{row['p_value']:.2g}",
            f"{row['kl']:.4f}",
            f"{row['seconds']:.1f}",
        )
    Console(soft_wrap=False, width=None if sys.stdout.isatty() else 110).print(table)


