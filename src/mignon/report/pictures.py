"""The pictures of the report, each one `<svg>` as text. Imported only while a report is written: matplotlib is slow."""

from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mignon.report.content import Content
from mignon.report.svg import LINE, SERIES, STYLE, SURFACE, TEXT, to_svg
from mignon.report.words import percent, short

WIDTH = 4.4  # inches; narrow, so that text stays readable on a telephone


def accuracy_against_bytes(contents: list[Content]) -> str:
    """Top-1 against file size, one color a run; test filled, validation hollow. "" when nothing was measured."""
    if not any(c.rows or c.points for c in contents):
        return ""
    with rc_context(STYLE):
        figure, axes = new_figure(3.1)
        sizes = [s for number, content in enumerate(contents) for s in _series(axes, content, number, len(contents))]
        if not sizes:
            return ""
        axes.set_xscale("log")
        low, high = min(sizes), max(sizes)
        axes.set_xlim(low / 1.35, high * 1.35)
        subs = (1.0, 2.0, 5.0) if high / low < 100 else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=9))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: _bytes(size)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title("top-1 % of the decoded file")
        axes.set_xlabel("size of the file, bytes (logarithmic)")
        rows = -(-len(axes.get_legend_handles_labels()[0]) // 2)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=1 if rows > 2 else 2, handlelength=1.6)
        return to_svg(figure, "Top-1 accuracy against the size of the file", "overview")


def _series(axes: Axes, content: Content, number: int, runs: int) -> list[float]:
    color = SERIES[number % len(SERIES)]
    prefix = f"{short(content.folder, 28)}, " if runs > 1 else ""
    seen = {(point.get("recipe"), point.get("size_bytes")) for point in content.points}
    sizes: list[float] = []
    for split, face in (("validation", SURFACE), ("test", color)):
        drawn = [r for r in content.rows if r.get("split") == split and r.get("top1") is not None]
        if split == "validation":  # the points of a build are rows of validation too
            drawn = [r for r in drawn if (r.get("step"), r.get("size_bytes")) not in seen]
            drawn += [{**p, "step": p.get("recipe")} for p in content.points if p.get("top1") is not None]
        drawn = [row for row in drawn if row.get("size_bytes")]
        if not drawn:
            continue
        x = [row["size_bytes"] for row in drawn]
        y = [100 * row["top1"] for row in drawn]
        sizes += x
        style = "-" if split == "test" else ":"
        axes.plot(x, y, style, color=color, linewidth=1.1, alpha=0.7)
        if split == "test":
            for row, at in zip(drawn, x):
                ends = [100 * row.get(key, row["top1"]) for key in ("top1_low", "top1_high")]
                axes.plot([at, at], ends, "-", color=color, linewidth=1, alpha=0.45)
        axes.plot(x, y, "o", color=color, markerfacecolor=face, markersize=5.5, label=f"{prefix}{split}")
        chosen = [row for row in drawn if row.get("chosen")]
        if chosen:
            axes.plot(
                [row["size_bytes"] for row in chosen],
                [100 * row["top1"] for row in chosen],
                "o",
                color=TEXT,
                markerfacecolor="none",
                markersize=11,
                label=f"{prefix}chosen on validation",
            )
    return sizes


def bytes_by_layer(content: Content) -> str:
    """Horizontal bars in the order of the file."""
    if not content.layers:
        return ""
    with rc_context(STYLE):
        figure, axes = new_figure(0.8 + 0.2 * len(content.layers))
        names, sizes = [short(name, 30) for name, _ in content.layers], [size for _, size in content.layers]
        places = np.arange(len(names))
        axes.barh(places, sizes, height=0.68, color=SERIES[0])
        for place, size in enumerate(sizes):
            axes.text(size + 0.015 * max(sizes), place, f"{size:,}", va="center", fontsize=9)
        axes.set_yticks(places, names, fontsize=9)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, 1.22 * max(sizes) or 1)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: _bytes(size)))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("bytes")
        return to_svg(figure, "Bytes of the file by layer", f"bytes-{content.number}")


def training_curves(content: Content) -> list[str]:
    """Loss, accuracy and learning rate over the epochs."""
    if not content.history:
        return []
    panels = [
        ("loss", ["train_loss", "validation_loss"], 1.0),
        ("top-1 %", ["train_top1", "validation_top1"], 100.0),
        ("learning rate", ["lr"], 1.0),
    ]
    return [_curve(content, title, keys, factor) for title, keys, factor in panels] + _rates(content)


def _rates(content: Content) -> list[str]:
    """The loss of the range test against the rate, where there was one."""
    points = [point for point in content.rates if len(point) == 2 and None not in point]
    if not points:
        return []
    with rc_context(STYLE):
        figure, axes = new_figure(2.4, 3.7)
        axes.plot(*zip(*points), color=SERIES[0])
        axes.set_xscale("log")
        axes.set_title("loss of the range test")
        axes.set_xlabel("learning rate (logarithmic)")
        return [to_svg(figure, "Loss against the learning rate", f"rates-{content.number}")]


def _curve(content: Content, title: str, keys: list[str], factor: float) -> str:
    with rc_context(STYLE):
        figure, axes = new_figure(2.4, 3.7)
        epochs = [entry.get("epoch", i + 1) for i, entry in enumerate(content.history)]
        marker = "o" if len(epochs) < 12 else ""
        for key, color in zip(keys, SERIES):
            values = [_value(entry, key) * factor for entry in content.history]
            label = key.split("_")[0] if len(keys) > 1 else None
            axes.plot(epochs, values, color=color, marker=marker, markersize=3.5, label=label)
        if content.best_epoch is not None and content.best_epoch in epochs and len(keys) > 1:
            axes.axvline(content.best_epoch, color=TEXT, linewidth=0.8, linestyle=":")
        if len(keys) > 1:
            axes.legend(loc="best")
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if title != "loss":
            axes.set_ylim(bottom=0 if title == "learning rate" else None)
        return to_svg(figure, f"{title} over the epochs", f"{keys[-1]}-{content.number}")


def confusion_matrix(content: Content) -> str:
    """Rows are true classes; a cell is as strong as its share of the row."""
    count = len(content.confusion)
    with rc_context(STYLE):
        side = WIDTH if count <= 14 else 1.6 + 0.21 * count
        figure, axes = new_figure(side, side)
        size = 9 if count <= 14 else 8
        totals = np.maximum(content.confusion.sum(1), 1)
        for i, j in np.argwhere(content.confusion):
            share = content.confusion[i, j] / totals[i]
            color = SERIES[0] if i == j else SERIES[1]
            box = Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=color, edgecolor="none", alpha=0.12 + 0.88 * share)
            axes.add_patch(box)
            ink = SURFACE if share > 0.45 else TEXT
            axes.text(
                j, i, f"{content.confusion[i, j]:,}", ha="center", va="center", fontsize=size - (count > 14), color=ink
            )
        names = [short(content.label(i), 20) for i in range(count)]
        turned: dict[str, Any] = {"rotation": 90, "rotation_mode": "anchor", "ha": "left", "va": "center"}
        axes.set_xticks(range(count), names, fontsize=size, **turned)
        axes.set_yticks(range(count), names, fontsize=size)
        axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
        axes.set_xlim(-0.5, count - 0.5)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.grid(visible=False)
        axes.spines[["top", "right", "left", "bottom"]].set_visible(True)
        axes.spines[:].set_color(LINE)
        axes.set_ylabel("true class")
        axes.set_xlabel("predicted class")
        return to_svg(
            figure,
            f"Confusion matrix of {count} classes, top-1 {percent(_right(content), 1)} %",
            f"matrix-{content.number}",
        )


def _right(content: Content) -> float:
    return float(np.trace(content.confusion)) / max(1, int(content.confusion.sum()))


def new_figure(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """A figure of so many inches with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _value(entry: dict[str, Any], key: str) -> float:
    return float("nan") if entry.get(key) is None else float(entry[key])


def _bytes(size: float) -> str:
    for unit, name in ((1e9, " GB"), (1e6, " MB"), (1e3, " kB")):
        if size >= unit:
            return f"{size / unit:g}{name}"
    return f"{size:g}"
