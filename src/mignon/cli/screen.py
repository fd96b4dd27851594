"""Drawing: lines and bars on stderr while a job runs, tables on stdout when it is done."""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mignon.errors import MignonError

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

    def record(self, step: int, **numbers: float) -> None:
        """Nothing to draw: the line of the epoch says it."""

    def track(self, items: Iterable[T], total: int, label: str) -> Iterator[T]:
        """A bar that disappears when it is full; nothing where there is no terminal."""
        if not (self.console.is_terminal or self.console.is_jupyter):
            yield from items
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(label, total=total)
            for item in items:
                yield item
                progress.advance(task)


def print_json(value: Any) -> None:
    """One JSON document on stdout, whole or not at all. Raises MignonError for a figure that is not finite."""
    try:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise MignonError("a figure is not a finite number, which JSON cannot hold", "leave --json away") from None
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def print_rows(rows: list[dict[str, Any]]) -> None:
    """The ledger as a table."""
    table = Table(title="measured on the decoded files", title_justify="left")
    for name in ("step", "on", "bytes", "x", "top-1 %", "95 %", "change", "lost/gained", "p", "KL", "s"):
        table.add_column(name, justify="left" if name in ("step", "on") else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["step"],
            f"{row['split'][:5]} {row['images']:,}",
            f"{row['size_bytes']:,}",
            f"{row['ratio']:.1f}",
            f"{100 * row['top1']:.2f}",
            f"{100 * row['top1_low']:.1f}-{100 * row['top1_high']:.1f}",
            f"{100 * row['top1_change']:+.2f}"
            + (" (noise)" if row["within_noise"] and row["lost"] + row["gained"] else ""),
            f"{row['lost']}/{row['gained']}",
            f"{row['p_value']:.2g}",
            f"{row['kl']:.4f}",
            f"{row['seconds']:.1f}",
        )
    _print(table)


def _print(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def print_about(about: dict[str, Any]) -> None:
    """`mignon show`: layers, totals, and the parts of a file."""
    table = Table("layer", "kind", "out (C x H x W)", "parameters", "MACs", "weights not zero")
    for layer in about["layers"]:
        shape = " x ".join(str(n) for n in layer["shape"])
        weights, nonzeros = layer["weights"], layer["nonzeros"]
        density = f"{nonzeros:,} ({100 * nonzeros / weights:.1f} %)" if weights else ""
        table.add_row(layer["name"], layer["kind"], shape, f"{layer['parameters']:,}", f"{layer['macs']:,}", density)
    _print(table)
    print(
        f"{about['family']} {about['options'] or ''}: {about['parameters']:,} parameters, {about['macs']:,} MACs, "
        f"{about['peak_activation_bytes']:,} bytes of activations at most"
    )
    if "file" in about:
        recipe = " ".join(about["recipe"]) or "float32"
        print(f"{about['file']}: {about['size_bytes']:,} bytes as .mgn ({about['ratio']:.1f}x), {recipe}")
    if "parts" in about:
        parts = Table("part", "bytes")
        for part in about["parts"]:
            parts.add_row(part["part"], f"{part['bytes']:,}")
        parts.add_row("sum", f"{sum(part['bytes'] for part in about['parts']):,}")
        _print(parts)
    if "sensitivity" in about:
        table = Table("layer alone quantized", "weights", "KL at 8 bits", "KL at 4 bits", "bytes of a bit")
        for row in about["sensitivity"]:
            kl = (f"{row['kl_8_bits']:.6f}", f"{row['kl_4_bits']:.6f}")
            table.add_row(row["layer"], f"{row['weights']:,}", *kl, f"{row['bytes_a_bit']:,}")
        _print(table)
    if "forms" in about:
        columns = ("values", "indices", "side", "other", "header", "total")
        forms = Table("bytes with weights as", *columns)
        for row in about["forms"]:
            forms.add_row(row["form"], *(f"{row[column]:,}" for column in columns))
        _print(forms)
        for name, reason in about["not_comparable"].items():
            print(f"not compared: {name} ({reason}), counted as other")


def print_card(card: dict[str, Any]) -> None:
    """`mignon data`: the card in lines."""
    table = Table("class", *card["counts"])
    for name, counts in list(card["per_class"].items())[:50]:
        table.add_row(escape(name), *(f"{n:,}" for n in counts.values()))
    table.add_row("all", *(f"{n:,}" for n in card["counts"].values()))
    _print(table)
    width, height = card["width"], card["height"]
    print(f"{card['images']:,} images of {card['classes']} classes; {card['split_rule']}")
    print(
        f"width {width['min']}-{width['max']} (median {width['median']}), height {height['min']}-{height['max']} "
        f"(median {height['median']}), modes {card['modes']}"
    )
    if depth := card["depth"]:
        print(
            f"{depth['pictures']:,} pictures of more than 8 bits hold {depth['least']:.10g} to {depth['most']:.10g}: "
            f"black is {depth['black']:.10g}, white {depth['white']:.10g}"
        )
    print(f"{card['repeated']} images are there more than once, {card['in_two_splits_count']} of them in two splits")
    print(f"{len(card['bad'])} files cannot be decoded" + "".join(f"\n  {n}: {why}" for n, why in card["bad"][:20]))
    for note in card["warnings"] + card["notes"]:
        print(note)
    print("unchanged files are not read again; touch one of them, and all are")
    print(f"contact sheet {card['contact_sheet']}\nrun folder {card['run']}")


def print_entries(entries: list[dict[str, Any]]) -> None:
    """A list of things with the same keys."""
    if not entries:
        print("no runs yet")
        return
    table = Table(*entries[0])
    for entry in entries:
        table.add_row(*("" if value is None else str(value) for value in entry.values()))
    _print(table)
