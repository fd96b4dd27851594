"""What a job that measures gives back: the same for the API, the screen and --json."""

import shlex
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Result:
    """Absolute paths, the verdict in a sentence, whether the limit asked for was met, the ledger, warnings."""

    run: str
    file: str
    verdict: str
    limit_met: bool = True
    rows: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    best: str = ""  # the recipe that was kept, where there was a choice

    def to_json(self) -> dict[str, Any]:
        """The document of --json."""
        return {
            "run": self.run,
            "file": self.file,
            "verdict": self.verdict,
            "limit_met": self.limit_met,
            "rows": self.rows,
            "warnings": self.warnings,
        }


def verdict(name: str, row: dict[str, Any]) -> str:
    """The sentence of the design, from a row on the decoded file."""
    points = 100 * row["top1_change"]
    if row["lost"] == row["gained"] == 0:
        change = "the same images as the float network"
    else:
        noise = "within noise" if row["within_noise"] else f"p = {row['p_value']:.2g}"
        side = "below" if points < 0 else "above"
        change = f"{abs(points):.1f} points {side} the float network ({noise})"
        if row["lost"] == row["gained"]:
            change = f"as many as the float network ({noise})"
    return (
        f"{name}: {row['size_bytes']:,} bytes, {row['ratio']:.1f}x smaller than float32; "
        f"{100 * row['top1']:.1f} % of the {row['images']:,} {row['split']} images right, {change}; "
        "decoded from the file and measured"
    )


def command_line(verb: str, *words: object, **flags: object) -> str:
    """The line that repeats a run: flags that were not given are left out."""
    parts = ["mignon", verb, *(shlex.quote(str(w)) for w in words if w is not None)]
    for name, value in flags.items():
        if value is not None:
            text = f"{value:g}" if isinstance(value, float) else str(value)
            parts += [f"--{name.replace('_', '-')}", shlex.quote(text)]
    return " ".join(parts)
