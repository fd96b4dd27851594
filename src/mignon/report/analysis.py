"""What the networks in a run folder say about themselves: kernels, indices, weights, scales, and how they changed."""

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mignon import mgn
from mignon.checkpoint import load_safetensors
from mignon.classifier import Classifier
from mignon.errors import MignonError
from mignon.models.weights import rules_of
from mignon.report.content import BARS
from mignon.runs import Run
from mignon.runs.record import read_document
from mignon.settings import fits

SAMPLE = 2048  # kernels of a layer that are compared, evenly spread, where it has more
BINS = 61  # of a histogram of weights; the middle one holds the zeros
REFERENCES = 64  # columns in the picture of indices
DENSE = 0.999


@dataclass(frozen=True)
class Table:
    """Numbers by row and column; NaN where there is none."""

    rows: list[str]
    columns: list[str]
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


EMPTY = Table([], [], np.zeros((0, 0)))


@dataclass(frozen=True)
class Histogram:
    """Shares of all weights in each bin, before the recipe (None when that network is not kept) and in the file."""

    name: str
    edges: np.ndarray
    before: np.ndarray | None
    after: np.ndarray


@dataclass(frozen=True)
class Stage:
    """A step that trained (or one of its rounds), with a record an epoch."""

    name: str
    history: list[dict[str, Any]]


@dataclass(frozen=True)
class Analysis:
    """All of it; every part is empty where there is nothing to show."""

    correlation: Table = EMPTY  # later layer x earlier layer
    uses: Table = EMPTY  # layer x index (or a range of indices): how many
    weights: list[Histogram] = field(default_factory=list)
    scales: np.ndarray = field(default_factory=lambda: np.zeros(0))  # log2, one an output channel
    density: list[tuple[str, float]] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    drift: Table = EMPTY  # layer x step: share of the indices that changed


def analyze(run: Run) -> Analysis:
    """Read `model.safetensors` (before), `steps/` and `model.mgn` (after) of a run; what is not there is left out."""
    before, after = _before(run.folder), _after(run.folder)
    steps = _steps(run.folder, after)
    weights = {} if after is None else after.weights()
    old = {} if before is None else mgn.settle(before).weights()
    density = {name: float((weight != 0).float().mean()) for name, weight in weights.items()}
    return Analysis(
        correlation=correlation(old or weights),
        uses=EMPTY if after is None else uses(_indices(after)),
        weights=histograms(old, weights),
        scales=np.zeros(0) if after is None else scales(after),
        density=[(label(n), d) for n, d in density.items()] if min(density.values(), default=1) < DENSE else [],
        stages=[stage for _, folder, name in steps for stage in _stages(folder, name)],
        drift=drift([(name, indices) for indices, _, name in steps]),
    )


def correlation(weights: dict[str, Tensor]) -> Table:
    """For each pair of layers with 3x3 kernels: the mean, over the kernels of the later one, of the largest absolute
    Pearson correlation with a kernel of the earlier one. Constant kernels count as 0."""
    units = {}
    for name, weight in weights.items():
        if weight.dim() == 4 and weight.shape[2:] == (3, 3):
            rows = weight.reshape(-1, 9).double()
            rows = rows[torch.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).round().long()]
            rows = rows - rows.mean(1, keepdim=True)
            norm = rows.norm(dim=1, keepdim=True)
            units[name] = torch.where(norm > 1e-12, rows / norm.clamp_min(1e-12), 0.0)
    names = list(units)
    if len(names) < 2:
        return EMPTY
    values = np.full((len(names) - 1, len(names) - 1), np.nan)
    for i, later in enumerate(names[1:]):
        for j, earlier in enumerate(names[: i + 1]):
            values[i, j] = float((units[later] @ units[earlier].T).abs().amax(1).mean())
    return Table([label(n) for n in names[1:]], [label(n) for n in names[:-1]], values)


def uses(indices: dict[str, np.ndarray]) -> Table:
    """How often each layer uses each index; neighbors are added up where there are very many."""
    if not indices:
        return EMPTY
    low = min(0, *(int(index.min(initial=0)) for index in indices.values()))
    count = 1 + max(int(index.max(initial=0)) for index in indices.values()) - low
    width = -(-count // REFERENCES)
    bins = -(-count // width)
    values = [np.bincount((index.ravel() - low) // width, minlength=bins) for index in indices.values()]
    starts = [low + i * width for i in range(bins)]
    columns = [str(i) if width == 1 else f"{i} to {min(i + width, low + count) - 1}" for i in starts]
    return Table([label(n) for n in indices], columns, np.array(values, float))


def histograms(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[Histogram]:
    """One a layer, in the order of the network; of very many layers the largest."""
    largest = set(sorted(after, key=lambda name: -after[name].numel())[:BARS])
    found = []
    for name, weight in after.items():
        if name not in largest:
            continue
        old = before.get(name)
        top = max(float(w.abs().max()) for w in (weight, old) if w is not None) or 1.0
        edges = np.linspace(-top, top, BINS + 1) * (1 + 1e-6)
        old_shares = None if old is None else _shares(old, edges)
        found.append(Histogram(label(name), edges, old_shares, _shares(weight, edges)))
    return found


def _shares(weight: Tensor, edges: np.ndarray) -> np.ndarray:
    return np.histogram(weight.numpy().ravel(), edges)[0] / max(1, weight.numel())


def scales(classifier: Classifier) -> np.ndarray:
    """log2 of the scale of every output channel whose weight lies on a grid."""
    forms = [rule.integers() for name, rule in rules_of(classifier.network).items() if name.endswith(".weight")]
    found = [form[1].numpy().ravel() / form[2] for form in forms if form is not None]
    return np.concatenate(found) if found else np.zeros(0)


def drift(steps: list[tuple[str, dict[str, np.ndarray]]]) -> Table:
    """The share of a layer's indices that a step changed; steps that changed none are left out."""
    names = list(dict.fromkeys(name for _, indices in steps for name in indices))
    columns, values = [], []
    for (_, old), (step, new) in pairwise(steps):
        both = [n in old and n in new and old[n].shape == new[n].shape for n in names]
        shares = [float((old[n] != new[n]).mean()) if b else np.nan for n, b in zip(names, both)]
        if any(share > 0 for share in shares):
            columns.append(step)
            values.append(shares)
    return Table([label(n) for n in names], columns, np.array(values).T) if columns else EMPTY


def label(name: str) -> str:
    """A layer as the report calls it."""
    return f"layer {name}" if name.isdigit() else name


def _before(folder: Path) -> Classifier | None:
    try:
        return load_safetensors(folder / "model.safetensors")
    except MignonError:
        return None


def _after(folder: Path) -> Classifier | None:
    try:
        return mgn.decode((folder / "model.mgn").read_bytes())
    except (OSError, MignonError):
        return None


def _indices(classifier: Classifier) -> dict[str, np.ndarray]:
    """The indices of every weight whose rule has a stream `index`, or its bytes `index0`, `index1`, lowest first."""
    found: dict[str, np.ndarray] = {}
    for name, rule in rules_of(classifier.network).items():
        for stream, content in rule.streams().items():
            match = re.fullmatch(r"index(\d*)", stream)
            if match:
                part = np.asarray(content.values, np.int64) << 8 * int(match[1] or 0)
                layer = name.removesuffix(".weight")
                found[layer] = found[layer] + part if layer in found else part
    return found


def _steps(folder: Path, after: Classifier | None) -> list[tuple[dict[str, np.ndarray], Path, str]]:
    """Indices, folder and name of the kept steps that led to the file (or to the longest recipe so far)."""
    kept = []
    for path in sorted((folder / "steps").glob("*.safetensors")):
        try:
            classifier = load_safetensors(path)
        except MignonError:
            continue
        kept.append((classifier.recipe, _indices(classifier), path.with_suffix("")))
    recipe = max((r for r, _, _ in kept), key=len, default=()) if after is None else after.recipe
    chain = sorted((k for k in kept if k[0] == recipe[: len(k[0])]), key=lambda k: len(k[0]))
    return [(indices, path, steps[-1]) for steps, indices, path in chain]


def _stages(folder: Path, step: str) -> list[Stage]:
    """The histories that a step left, its rounds in their order."""

    def order(path: Path) -> list[tuple[int, str]]:
        return [(int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", str(path))]

    found = []
    for path in sorted(folder.rglob("history.json"), key=order):
        history = read_document(path)
        if history and fits(history, list[dict[str, float | None]]):
            inner = " ".join(path.parent.relative_to(folder).parts)
            found.append(Stage(f"{step} {inner}".strip(), history))
    return found
