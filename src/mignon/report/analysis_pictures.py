"""The pictures of an analysis, with the same numbers as tables. Imported only where one is asked for."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mignon.report.analysis import Analysis, Histogram, Stage, Table
from mignon.report.pictures import WIDTH, new_figure
from mignon.report.svg import LINE, SERIES, STYLE, SURFACE, TEXT, to_svg
from mignon.report.words import MISSING, percent, short

NARROW = 14  # columns that fit beside another picture


@dataclass(frozen=True)
class Picture:
    """One or several drawings under a heading, what they show, and the numbers where a table can hold them."""

    title: str
    svgs: list[str]
    note: str
    kind: str = ""  # how the page lays it out: "", "large", "panels" or "curves"
    heads: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


def draw(analysis: Analysis, number: int) -> list[Picture]:
    """Everything that there is to show; `number` is the place of the run on the page."""
    pictures: list[tuple[Any, Any]] = [
        (_tuning, analysis.stages),
        (_density, analysis.density),
        (_scales, analysis.scales),
        (_drift, analysis.drift),
        (_correlation, analysis.correlation),
        (_uses, analysis.uses),
        (_weights, analysis.weights),
    ]
    return [picture(part, number) for picture, part in pictures if len(part)]


def _tuning(stages: list[Stage], number: int) -> Picture:
    records = [entry for stage in stages for entry in stage.history]
    starts = np.cumsum([0, *(len(stage.history) for stage in stages)])[:-1]
    svgs = []
    for title, keys, factor in (("loss", ("train_loss", "validation_loss"), 1.0),
                                ("top-1 %", ("train_top1", "validation_top1"), 100.0)):  # fmt: skip
        with rc_context(STYLE):
            figure, axes = new_figure(2.4, 3.7)
            epochs = range(1, len(records) + 1)
            for key, color in zip(keys, SERIES):
                values = [factor * float(np.nan if e.get(key) is None else e[key]) for e in records]
                marker = "o" if len(records) < 12 else ""
                axes.plot(epochs, values, color=color, marker=marker, markersize=3.5, label=key.split("_")[0])
            for start in starts[1:]:
                axes.axvline(start + 0.5, color=TEXT, linewidth=0.8, linestyle=":")
            axes.legend(loc="best")
            axes.set_title(title)
            axes.set_xlabel("epoch, counted over all steps")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            svgs.append(to_svg(figure, f"{title} over the epochs of all steps", f"tuning-{keys[0]}-{number}"))
    rows = [
        [stage.name, str(entry.get("epoch", i + 1)), *_record(entry)]
        for stage in stages
        for i, entry in enumerate(stage.history)
    ]
    heads = ["step", "epoch", "train loss", "validation loss", "train top-1 %", "validation top-1 %"]
    line = " Dotted: where the next one begins." if len(stages) > 1 else ""
    names = ", ".join(short(stage.name, 40) for stage in stages[:6]) + (", ..." if len(stages) > 6 else "")
    return Picture("Epochs of the steps", svgs, f"{names}.{line}", "curves", heads, rows)


def _record(entry: dict[str, Any]) -> list[str]:
    losses = [entry.get(key) for key in ("train_loss", "validation_loss")]
    tops = [percent(entry.get(key)) for key in ("train_top1", "validation_top1")]
    return [*(MISSING if loss is None else f"{loss:.4f}" for loss in losses), *tops]


def _density(density: list[tuple[str, float]], number: int) -> Picture:
    names, shares = [name for name, _ in density], [100 * share for _, share in density]
    with rc_context(STYLE):
        figure, axes = new_figure(0.8 + 0.2 * len(names))
        axes.barh(range(len(names)), shares, height=0.68, color=SERIES[0])
        for place, share in enumerate(shares):
            axes.text(share + 1.5, place, f"{share:.1f}", va="center", fontsize=9)
        axes.set_yticks(range(len(names)), [short(name, 30) for name in names], fontsize=9)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, 115)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("weights that are not zero, %")
        svg = to_svg(figure, "Share of the weights that are not zero, by layer", f"density-{number}")
    rows = [[name, percent(share)] for name, share in density]
    return Picture("Density by layer", [svg], "Weights of the file that are not zero.", "", ["layer", "%"], rows)


def _correlation(table: Table, number: int) -> Picture:
    low, high = np.nanmin(table.values), np.nanmax(table.values)
    strength = (table.values - low) / max(high - low, 1e-9)
    name = f"correlation-{number}"
    svg = _heat(table, strength, "Correlation of kernels between layers", name, "earlier layer", "later layer")
    note = (
        "100 x the mean, over the 3x3 kernels of the later layer, of the largest absolute Pearson correlation with a "
        "kernel of the earlier layer, from the lowest to the highest; more kernels to choose from give larger numbers "
        "by themselves. Before the recipe, where the folder has that network."
    )
    kind = "large" if len(table.columns) > NARROW else ""
    return Picture("Correlation of kernels", [svg], note, kind, ["later \\ earlier", *table.columns], _rows(table))


def _uses(table: Table, number: int) -> Picture:
    shares = np.sqrt(table.values / np.maximum(table.values.max(1, keepdims=True), 1))
    large = len(table.columns) > 2 * NARROW
    with rc_context(STYLE):
        figure, axes = new_figure(0.9 + 0.2 * len(table.rows), 6.4 if large else WIDTH)
        _cells(axes, shares)
        axes.set_yticks(range(len(table.rows)), [short(name, 24) for name in table.rows], fontsize=9)
        every = -(-len(table.columns) // 8)
        places = range(0, len(table.columns), every)
        axes.set_xticks(places, [table.columns[i].split(" ")[0] for i in places], fontsize=9)
        axes.set_xlabel("index")
        svg = to_svg(figure, "How often each layer uses each index", f"uses-{number}")
    ranges = any(" to " in column for column in table.columns)
    note = (
        f"One column {'a range of indices' if ranges else 'an index'}, as strong as the root of its share of the "
        "layer's most frequent one; empty: never used."
    )
    rows = []
    for name, row in zip(table.rows, table.values):
        most, total = int(row.argmax()), max(1.0, row.sum())
        used = f"{int((row > 0).sum())} of {len(row)}"
        rows.append([name, used, f"{int(row.sum()):,}", table.columns[most], percent(row[most] / total)])
    heads = ["layer", "used", "kernels or weights", "most frequent", "its share %"]
    return Picture("Use of references", [svg], note, "large" if large else "", heads, rows)


def _drift(table: Table, number: int) -> Picture:
    svg = _heat(table, table.values, "Indices that changed, by layer and step", f"drift-{number}")
    note = "Percent of the indices of a layer that are others after the step than before it."
    kind = "large" if len(table.columns) > NARROW else ""
    return Picture("Drift of the indices", [svg], note, kind, ["layer", *table.columns], _rows(table))


def _scales(values: np.ndarray, number: int) -> Picture:
    low, high = np.floor(values.min()), np.floor(values.max()) + 1
    edges = np.arange(low, high + 1e-9, 0.25)
    with rc_context(STYLE):
        figure, axes = new_figure(2.6)
        axes.hist(values, edges.tolist(), color=SERIES[0])
        axes.set_xlabel("log2 of the scale")
        axes.set_title("output channels")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        svg = to_svg(figure, "Histogram of the scales", f"scales-{number}")
    note = f"The scales of all {len(values):,} output channels whose weights lie on a grid, four bins an octave."
    return Picture("Scales", [svg], note)


def _weights(histograms: list[Histogram], number: int) -> Picture:
    svgs = [_weight(h, f"weights-{i}-{number}") for i, h in enumerate(histograms)]
    note = "Share of the weights of a layer in each of 61 bins (logarithmic), BatchNorm absorbed."
    if any(h.before is not None for h in histograms):
        note += " Filled: the network before the recipe; line: the decoded file."
    return Picture("Weights by layer", svgs, note, "panels")


def _weight(histogram: Histogram, name: str) -> str:
    with rc_context(STYLE):
        figure, axes = new_figure(1.7, 2.9)
        shares = [s for s in (histogram.before, histogram.after) if s is not None]
        floor = 0.5 * min(float(s[s > 0].min(initial=1)) for s in shares)
        if histogram.before is not None:
            before = np.maximum(histogram.before, floor)
            axes.stairs(before, histogram.edges, baseline=floor, fill=True, color=SERIES[5], alpha=0.45)
        after = np.maximum(histogram.after, floor)
        axes.stairs(after, histogram.edges, baseline=floor, color=SERIES[0], linewidth=1.1)
        axes.set_yscale("log")
        axes.set_ylim(floor, 1.5)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
        axes.yaxis.minorticks_off()
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_title(short(histogram.name, 30))
        return to_svg(figure, f"Weights of {histogram.name}", name)


def _heat(table: Table, strength: np.ndarray, what: str, name: str, xlabel: str = "", ylabel: str = "") -> str:
    rows, columns = ([short(name, 24) for name in names] for names in (table.rows, table.columns))
    longest = max(map(len, [*rows, *columns]))
    width = max(WIDTH, 1.0 + 0.07 * longest + 0.28 * len(columns))
    with rc_context(STYLE):
        figure, axes = new_figure(1.0 + 0.05 * longest + 0.24 * len(rows), width)
        _cells(axes, strength, table.values)
        axes.set_yticks(range(len(rows)), rows, fontsize=9)
        turned: dict[str, Any] = {"rotation": 90, "rotation_mode": "anchor", "ha": "left", "va": "center"}
        axes.set_xticks(range(len(columns)), columns, fontsize=9, **turned)
        axes.tick_params(top=False, labeltop=True, bottom=False, labelbottom=False)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        return to_svg(figure, what, name)


def _cells(axes: Axes, strength: np.ndarray, shares: np.ndarray | None = None) -> None:
    """Boxes as strong as numbers from 0 to 1, none for NaN; shares in percent inside, or none for 0 without shares."""
    for i, j in np.argwhere(np.isfinite(strength) & ((strength > 0) | (shares is not None))):
        strong = float(strength[i, j])
        box = Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=SERIES[0], edgecolor="none", alpha=0.06 + 0.94 * strong)
        axes.add_patch(box)
        if shares is not None:
            ink = SURFACE if strong > 0.45 else TEXT
            axes.text(j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", fontsize=8, color=ink)
    rows, columns = strength.shape
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(True)
    axes.spines[:].set_color(LINE)


def _rows(table: Table) -> list[list[str]]:
    cells = [[f"{100 * v:.1f}" if np.isfinite(v) else "" for v in row] for row in table.values]
    return [[name, *row] for name, row in zip(table.rows, cells)]
