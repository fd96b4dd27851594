"""What a run folder says, as plain values that the page and the Markdown share."""

import re
import zipfile
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from mignon.measure.row import Row
from mignon.report.words import Cell, Column, card_lines, columns_of, percent, short, whole
from mignon.runs import Run
from mignon.settings import known

BARS = 30  # layers shown one by one in the picture of bytes
MATRIX = 40  # classes up to which the confusion matrix is a picture


@dataclass(frozen=True)
class Flip:
    """A test image that is right in one of the two networks only; uint8 H x W x C."""

    pixels: np.ndarray
    name: str
    true: str
    before: str
    after: str
    lost: bool


@dataclass(frozen=True)
class Point:
    """A recipe that a build has tried, measured on validation."""

    recipe: str
    size_bytes: int
    top1: float
    chosen: bool = False


@dataclass(frozen=True)
class Content:
    """One run. Every part is empty where the folder does not have it (yet)."""

    number: int  # on the page
    name: str
    folder: str
    verdict: str
    rows: list[dict[str, Any]]
    final: dict[str, Any] | None
    points: list[dict[str, Any]]
    parts: list[tuple[str, int]]
    layers: list[tuple[str, int]]
    history: list[dict[str, Any]]
    best_epoch: int | None
    rates: list[list[float | None]]
    confusion: np.ndarray  # classes x classes, rows = true class; 0 x 0 when there is none
    classes: list[str]
    flips: list[Flip]
    card: list[tuple[str, str]]
    provenance: list[tuple[str, str]]
    command: str

    @property
    def columns(self) -> list[Column]:
        """The columns of the ledger."""
        return columns_of(self.rows)

    @property
    def cells(self) -> list[list[Cell]]:
        """The ledger, one list a row."""
        return [[column.fill(row) for column in self.columns] for row in self.rows]

    @property
    def size_bytes(self) -> int:
        """What the parts of the file add up to."""
        return sum(size for _, size in self.parts)

    @property
    def part_lines(self) -> list[tuple[str, str]]:
        """Every part of the file in words."""
        return [(name, whole(size)) for name, size in self.parts]

    @property
    def confused(self) -> list[tuple[str, str, int]]:
        """The ten most frequent confusions: true class, predicted class, images."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:10]
        cells = [np.unravel_index(int(i), wrong.shape) for i in order]
        return [(self.label(i), self.label(j), int(wrong[i, j])) for i, j in cells if wrong[i, j]]

    @property
    def epochs(self) -> list[list[str]]:
        """The history as words, one list an epoch."""
        return [
            [
                str(e.get("epoch", "")),
                f"{_number(e, 'lr'):.4g}",
                f"{_number(e, 'train_loss'):.4f}",
                f"{_number(e, 'validation_loss'):.4f}",
                percent(e.get("train_top1")),
                percent(e.get("validation_top1")),
                f"{_number(e, 'seconds'):.1f}",
            ]
            for e in self.history
        ]

    def label(self, number: Any) -> str:
        """The name of a class."""
        return _label(self.classes, int(number))


def read(run: Run, number: int = 0) -> Content:
    """All that the folder of a run says; `number` is its place on the page."""
    record = run.record
    parts = [(str(name), int(size)) for name, size in record.bytes]
    rows = [row for entry in run.rows() if "step" in (row := known(Row, entry["row"]))]
    verdict = record.verdict or (
        f"This run is not finished (status: {record.status or 'unknown'}); what it has measured so far stands below"
    )
    confusion = np.array(record.confusion or np.zeros((0, 0)), int)
    return Content(
        number=number,
        name=short(" ".join(filter(None, (record.verb, record.title))) or run.folder.name, 90),
        folder=run.folder.name,
        verdict=verdict.rstrip(".") + ".",
        # What was chosen on comes first, then the test rows; each from the float network on.
        rows=sorted(rows, key=lambda row: (row.get("split") == "test", row.get("step") != "float")),
        final=known(Row, record.final) if record.final else None,
        points=[point for point in record.points if {"recipe", "size_bytes", "top1"} <= known(Point, point).keys()],
        parts=parts,
        layers=by_layer(parts),
        history=record.history,
        best_epoch=record.best_epoch,
        rates=record.rates,
        confusion=confusion if confusion.ndim == 2 else np.zeros((0, 0), int),
        classes=record.classes,
        flips=_flips(run),
        card=card_lines(record.card),
        provenance=_provenance(run),
        command=record.command,
    )


def by_layer(parts: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The parts of a file summed by layer, in the order of the file; the smallest of very many as one rest."""
    sums: dict[str, int] = {}
    for part, size in parts:
        name = part.split(" ")[0] if re.match(r"\S*\.\S*", part) else part
        name = re.sub(r"\.(weight|bias)$", "", name)
        name = f"layer {name}" if name.isdigit() else name
        sums[name] = sums.get(name, 0) + size
    if len(sums) <= BARS:
        return list(sums.items())
    large = set(sorted(sums, key=lambda name: -sums[name])[: BARS - 1])
    rest = [size for name, size in sums.items() if name not in large]
    shown = [(name, size) for name, size in sums.items() if name in large]
    return [*shown, (f"rest ({len(rest)} parts)", sum(rest))]


def _provenance(run: Run) -> list[tuple[str, str]]:
    record = run.record
    card, settings = record.card, record.settings
    versions = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    lines = [
        ("status", record.status),
        ("started", record.started),
        ("versions", versions),
        ("data hash", card.get("hash") or settings.get("data")),
        ("seed", settings.get("seed")),
        ("key", record.key),
        ("run folder", run.folder.name),
        ("settings", ", ".join(f"{name} {_setting(value)}" for name, value in settings.items() if value is not None)),
    ]
    return [(name, str(value)) for name, value in lines if value not in (None, "")]


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items() if item is not None)
    return " ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _flips(run: Run) -> list[Flip]:
    names, classes = run.record.flip_names, run.record.classes
    try:
        with np.load(BytesIO((run.folder / "flips.npz").read_bytes()), allow_pickle=False) as file:
            images, labels, before, after = (file[key] for key in ("images", "labels", "before", "after"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return []
    return [
        Flip(
            pixels=images[i],
            name=str(names[i]) if i < len(names) else f"image {i + 1}",
            true=_label(classes, int(labels[i])),
            before=_label(classes, int(before[i])),
            after=_label(classes, int(after[i])),
            lost=bool(before[i] == labels[i]),
        )
        for i in range(len(images))
    ]


def _label(classes: list[str], number: int) -> str:
    return classes[number] if 0 <= number < len(classes) else f"class {number}"


def _number(entry: dict[str, Any], key: str) -> float:
    value = entry.get(key)
    return float("nan") if value is None else float(value)


def totals(content: Content) -> str:
    """The caption of the bytes."""
    return f"{whole(content.size_bytes)} bytes in all; the parts add up to the size of the file"
