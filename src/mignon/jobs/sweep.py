"""Several trainings of one request: other rates, other seeds; each in a run folder of its own, ending in a table.

The rate is chosen on validation; every run reads test for its own row, which decides nothing.
"""

import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mignon.jobs.requests import Train
from mignon.jobs.result import Result
from mignon.progress import Screen
from mignon.runs import find_run


def sweep(request: Train, train: Callable[[Train], Result], screen: Screen) -> Result:
    """Train with every rate and seed (from that of the request on); rows, one a run, of the rate that is best on
    validation by its median over the seeds.
    """
    rates = request.rates() if len(request.rates()) > 1 else []
    seeds = range(request.seed, request.seed + request.seeds)
    found: dict[str | None, list[tuple[float, Result]]] = {}
    asked: list[str | None] = [f"{rate:g}" for rate in rates] or [request.lr]
    for rate in asked:
        for seed in seeds:
            name = "-".join(([f"lr-{rate}"] if rates else []) + [f"seed-{seed}"])
            out = str(Path(request.out) / name) if request.out else None
            result = train(replace(request, lr=rate, seed=seed, seeds=1, out=out))
            history = find_run(result.run).record.history
            found.setdefault(rate, []).append((max(h["validation_top1"] or 0.0 for h in history), result))
    for tried, runs in found.items():
        seen = [100 * top1 for top1, _ in runs]
        screen.say(f"{'' if tried is None else f'lr {tried}: '}validation {_spread(seen)}")
    best = max(found, key=lambda one: statistics.median(top1 for top1, _ in found[one]))
    chosen = [result for _, result in found[best]]
    rows = [{**row, "step": f"seed {seed}"} for seed, result in zip(seeds, chosen) for row in result.rows]
    kept = max(found[best], key=lambda run: run[0])[1]
    which = f"lr {best}, best of {len(found)} on validation; " if rates else ""
    sentence = f"{which}test {_spread([100 * row['top1'] for row in rows])}; kept: the best run on validation"
    return Result(kept.run, kept.file, sentence, True, rows, list(screen.warnings))


def _spread(values: list[float]) -> str:
    """The median, and the range where there are several."""
    if len(values) == 1:
        return f"{values[0]:.1f} %"
    return f"median {statistics.median(values):.1f} % ({min(values):.1f} to {max(values):.1f}, {len(values)} seeds)"
