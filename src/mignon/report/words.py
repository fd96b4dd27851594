"""Ledger rows and cards in words: the same cells for the page and for Markdown."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """What a reader sees first, and the smaller line below it."""

    main: str
    sub: str = ""


@dataclass(frozen=True)
class Column:
    """A column of the ledger: its two headings and how a row fills it."""

    title: str
    below: str
    fill: Callable[[dict[str, Any]], Cell]


def percent(value: float | None, digits: int = 2) -> str:
    """0.8103 as `81.03`."""
    return MISSING if value is None else f"{100 * value:.{digits}f}"


def points(value: float | None, digits: int = 2) -> str:
    """A change of a fraction in points, with its sign: -0.0030 as `−0.30`."""
    return MISSING if value is None else f"{100 * value:+.{digits}f}".replace("-", "−")


def whole(value: float | None) -> str:
    """With commas."""
    return MISSING if value is None else f"{value:,}"


def figure(value: float | None, form: str) -> str:
    """A number in a format, or a dash."""
    return MISSING if value is None else format(value, form)


def noise(row: dict[str, Any]) -> str:
    """The paired change in words."""
    if row.get("within_noise") is None:
        return ""
    if row.get("lost") == 0 and row.get("gained") == 0:
        return "none flipped"
    return "within noise" if row["within_noise"] else "beyond noise"


def _interval(row: dict[str, Any]) -> str:
    if row.get("top1_low") is None or row.get("top1_high") is None:
        return ""
    return f"{percent(row['top1_low'], 1)}–{percent(row['top1_high'], 1)}"


def _flips(row: dict[str, Any]) -> str:
    if row.get("lost") is None or row.get("gained") is None:
        return ""
    return f"{row['lost']:,} lost, {row['gained']:,} gained"


def _cpu(row: dict[str, Any]) -> str:
    return "" if row.get("cpu_seconds") is None else f"{row['cpu_seconds']:,.1f} cpu"


def _ratio(row: dict[str, Any]) -> str:
    return "" if row.get("ratio") is None else f"{row['ratio']:.1f}×"


def _worst(row: dict[str, Any]) -> Cell:
    return Cell(short(str(row.get("worst_class", MISSING)), 24), points(row.get("worst_class_change"), 1))


def _images(row: dict[str, Any]) -> str:
    return "" if row.get("images") is None else f"{row['images']:,} images"


COLUMNS = [
    Column("step", "", lambda r: Cell(str(r.get("step", MISSING)))),
    Column("split", "", lambda r: Cell(str(r.get("split", MISSING)), _images(r))),
    Column("bytes", "ratio to float32", lambda r: Cell(whole(r.get("size_bytes")), _ratio(r))),
    Column("top-1 %", "Wilson 95 %", lambda r: Cell(percent(r.get("top1")), _interval(r))),
    Column("change, points", "images flipped", lambda r: Cell(points(r.get("top1_change")), _flips(r))),
    Column("p", "McNemar", lambda r: Cell(figure(r.get("p_value"), ".2g"), noise(r))),
    Column("KL", "nats", lambda r: Cell(figure(r.get("kl"), ".4f"))),
    Column("non-zeros", "", lambda r: Cell(whole(r.get("nonzeros")))),
    Column("MACs", "", lambda r: Cell(whole(r.get("macs")))),
    Column("activations", "peak bytes", lambda r: Cell(whole(r.get("peak_activation_bytes")))),
    Column("balanced %", "", lambda r: Cell(percent(r.get("balanced_accuracy")))),
    Column("worst class", "change, points", _worst),
    Column("seconds", "", lambda r: Cell(figure(r.get("seconds"), ",.1f"), _cpu(r))),
]
AUC = Column("ROC AUC", "", lambda r: Cell(figure(r.get("roc_auc"), ".4f")))  # two classes only


def columns_of(rows: list[dict[str, Any]]) -> list[Column]:
    """The columns that these rows need."""
    if any(row.get("roc_auc") is not None for row in rows):
        return [*COLUMNS[:-2], AUC, *COLUMNS[-2:]]
    return COLUMNS


def short(text: str, most: int = 40) -> str:
    """One line of at most so many characters, the middle left out, without control characters."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def card_lines(card: dict[str, Any]) -> list[tuple[str, str]]:
    """The data card as (what, figures)."""
    lines = []

    def add(name: str, key: str, words: Callable[[Any], str]) -> None:
        if card.get(key) not in (None, [], {}):
            lines.append((name, words(card[key])))

    def many(items: list[Any]) -> str:
        rest = f" and {len(items) - 12:,} more" if len(items) > 12 else ""
        return "; ".join(str(item) for item in items[:12]) + rest

    add("source", "source", str)
    add("images", "images", whole)
    add("classes", "classes", whole)
    add("splits", "counts", lambda c: ", ".join(f"{split} {n:,}" for split, n in c.items()))
    add("split rule", "split_rule", str)
    for side in ("width", "height"):
        add(f"{side}, pixels", side, lambda r: f"{r['min']:,} to {r['max']:,}, median {r['median']:,}")
    add("modes", "modes", lambda m: ", ".join(f"{mode} {n:,}" for mode, n in m.items()))
    add("stored as", "stored_as", lambda s: ", ".join(f"{key} {value}" for key, value in s.items()))
    add("repeated images", "repeated", whole)
    add("in two splits", "in_two_splits_count", whole)
    add("the same image", "in_two_splits", lambda groups: many([" = ".join(g) for g in groups]))
    add("left out", "bad", lambda bad: many([": ".join(str(part) for part in b) for b in bad]))
    add("warnings", "warnings", many)
    add("notes", "notes", many)
    add("hash", "hash", str)
    return lines
