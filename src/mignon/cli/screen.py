"""Drawing: lines and bars on stderr while a job runs, tables on stdout when it is done."""

import json
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mignon.errors import MignonError, printable

T = TypeVar("T")
WIDTH = 150  # of tables where there is no terminal
SHORTEST = 8  # characters that a column of words keeps
LEDGER = "measured on the decoded files"


class Terminal:
    """Progress on stderr: a bar with the time left on a terminal or in a notebook, plain lines elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
        self.warnings: list[str] = []

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(printable(text), markup=False)

    def warn(self, text: str) -> None:
        """One line, kept for --json."""
        self.warnings.append(text)
        self.console.print(f"warning: {printable(text)}", style="yellow", markup=False)

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
    text = re.sub("[\x7f-\x9f\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)  # of terminals, halves
    sys.stdout.write(text + "\n")


def tell(text: object) -> None:
    """A line on stdout; what a terminal would act on is spelled out."""
    print(printable(text))


def print_rows(rows: list[dict[str, Any]]) -> None:
    """The ledger as a table."""
    cells = [
        {
            "step": row["step"],
            "on": f"{row['split'][:5]} {row['images']:,}",
            "bytes": f"{row['size_bytes']:,}",
            "x": f"{row['ratio']:.1f}",
            "top-1 %": f"{100 * row['top1']:.2f}",
            "95 %": f"{100 * row['top1_low']:.1f}-{100 * row['top1_high']:.1f}",
            "change": f"{100 * row['top1_change']:+.2f}"
            + (" (noise)" if row["within_noise"] and row["lost"] + row["gained"] else ""),
            "lost/gained": f"{row['lost']}/{row['gained']}",
            "p": f"{row['p_value']:.2g}",
            "KL": f"{row['kl']:.4f}",
            "s": f"{row['seconds']:.1f}",
        }
        for row in rows
    ]
    print_table(cells, ("step",), ("s", "lost/gained", "p", "KL", "x", "95 %", "on", "change"), LEDGER)


def print_cuts(cuts: list[dict[str, Any]], curve: list[dict[str, Any]], judged: str) -> None:
    """`mignon probe`: a row a cut, and a line for the learning curve of the best one."""
    cells = [
        {
            "network up to": "all" if row["cut"] is None else f"cut={row['cut']}",
            "parameters": f"{row['parameters']:,}",
            "top-1 %": f"{100 * row['top1']:.1f}",
            "95 %": f"{100 * row['low']:.1f}-{100 * row['high']:.1f}",
            "": "<- best" if row["best"] else "",
        }
        for row in cuts
    ]
    print_table(cells, ("network up to", ""), (), f"linear heads on frozen features, {judged}")
    for row in curve:
        tell(
            f"with {row['images']} images a class {100 * row['top1']:.1f} % "
            f"({100 * row['least']:.1f} to {100 * row['most']:.1f})"
        )


def columns() -> int:
    """Characters of a line on this screen."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH


def print_table(
    rows: list[dict[str, str]], words: tuple[str, ...], spare: tuple[str, ...] = (), title: str | None = None
) -> None:
    """Rows with the same keys. On a narrow screen `words` wrap and columns of `spare` are left out, the first one
    first; figures are never cut."""
    width = columns()
    rows = [{printable(name): printable(cell) for name, cell in row.items()} for row in rows]
    longest = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    need = {name: min(size, SHORTEST) if name in words else size for name, size in longest.items()}
    for name in spare:
        if sum(need.values()) + 3 * len(need) + 1 > width:
            need.pop(name, None)
    table = Table(title=title, title_justify="left")
    for name in need:
        form: dict[str, Any] = {"overflow": "fold"} if name in words else {"no_wrap": True, "min_width": need[name]}
        side: Any = "left" if name in words or name == "on" else "right"
        table.add_column(Text(name), justify=side, **form)
    for row in rows:
        table.add_row(*(Text(row[name]) for name in need))
    Console(width=width).print(table)
    left = [name for name in longest if name not in need]
    if left:
        print(f"left out for want of room: {', '.join(left)} (--json has everything)")


def print_about(about: dict[str, Any]) -> None:
    """`mignon show`: layers, totals, and the parts of a file."""
    rows = []
    for layer in about["layers"]:
        weights, nonzeros = layer["weights"], layer["nonzeros"]
        density = f"{nonzeros:,} ({100 * nonzeros / weights:.1f} %)" if weights else ""
        shape = " x ".join(str(n) for n in layer["shape"])
        counts = {"parameters": f"{layer['parameters']:,}", "MACs": f"{layer['macs']:,}", "weights not zero": density}
        rows.append({"layer": layer["name"], "kind": layer["kind"], "out (C x H x W)": shape, **counts})
    print_table(rows, ("layer", "kind", "out (C x H x W)"), ("weights not zero", "kind", "out (C x H x W)"))
    tell(
        f"{about['family']} {about['options'] or ''}: {about['parameters']:,} parameters, {about['macs']:,} MACs, "
        f"{about['peak_activation_bytes']:,} bytes of activations at most"
    )
    if "file" in about:
        recipe = " ".join(about["recipe"]) or "float32"
        tell(f"{about['file']}: {about['size_bytes']:,} bytes as .mgn ({about['ratio']:.1f}x), {recipe}")
    if "parts" in about:
        parts = [{"part": part["part"], "bytes": f"{part['bytes']:,}"} for part in about["parts"]]
        total = {"part": "sum", "bytes": f"{sum(part['bytes'] for part in about['parts']):,}"}
        print_table([*parts, total], ("part",))
    if "sensitivity" in about:
        rows = [
            {
                "layer alone quantized": row["layer"],
                "weights": f"{row['weights']:,}",
                "KL at 8 bits": f"{row['kl_8_bits']:.6f}",
                "KL at 4 bits": f"{row['kl_4_bits']:.6f}",
                "bytes of a bit": f"{row['bytes_a_bit']:,}",
            }
            for row in about["sensitivity"]
        ]
        print_table(rows, ("layer alone quantized",), ("bytes of a bit", "weights", "KL at 8 bits"))
    if "forms" in about:
        kinds = ("values", "indices", "side", "other", "header", "total")
        rows = [{"form": row["form"]} | {column: f"{row[column]:,}" for column in kinds} for row in about["forms"]]
        print_table(rows, ("form",), ("side", "header", "other", "indices", "values"), "bytes with weights as")
        for name, reason in about["not_comparable"].items():
            tell(f"not compared: {name} ({reason}), counted as other")


def print_card(card: dict[str, Any]) -> None:
    """`mignon data`: the card in lines."""
    counts = [*list(card["per_class"].items())[:50], ("all", card["counts"])]
    print_table([{"class": n} | {split: f"{k:,}" for split, k in c.items()} for n, c in counts], ("class",))
    width, height = card["width"], card["height"]
    tell(f"{card['images']:,} images of {card['classes']} classes; {card['split_rule']}")
    tell(
        f"width {width['min']}-{width['max']} (median {width['median']}), height {height['min']}-{height['max']} "
        f"(median {height['median']}), modes {card['modes']}"
    )
    if depth := card["depth"]:
        tell(
            f"{depth['pictures']:,} pictures of more than 8 bits hold {depth['least']:.10g} to {depth['most']:.10g}: "
            f"black is {depth['black']:.10g}, white {depth['white']:.10g}"
        )
    tell(f"{card['repeated']} images are there more than once, {card['in_two_splits_count']} of them in two splits")
    tell(f"{len(card['bad'])} files cannot be decoded")
    for name, why in card["bad"][:20]:
        tell(f"  {name}: {why}")
    for note in card["warnings"] + card["notes"]:
        tell(note)
    tell("unchanged files are not read again; touch one of them, and all are")
    tell(f"contact sheet {card['contact_sheet']}")
    tell(f"run folder {card['run']}")


def print_entries(entries: list[dict[str, Any]]) -> None:
    """A list of things with the same keys."""
    if not entries:
        print("no runs yet")
        return
    rows = [{key: "" if value is None else str(value) for key, value in entry.items()} for entry in entries]
    figures = ("size_bytes", "top1")
    print_table(rows, tuple(key for key in rows[0] if key not in figures), ("started", "status", "title", "verb"))


def print_removed(folders: list[str]) -> None:
    """`mignon rm`: what is gone."""
    for folder in folders:
        tell(f"removed {folder}")
