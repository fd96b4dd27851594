"""What a job that measures gives back: the same for the API, the screen and --json."""

from dataclasses import dataclass, field
from typing import Any

from mignon.data.imageset import ImageSet, Split
from mignon.measure.statistics import largest_class


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


def is_useful(row: dict[str, Any], split: Split) -> bool:
    """Whether a row beats the answer "always the largest class" on its split by more than noise (Wilson, 95 %)."""
    return row["top1_low"] > largest_class(split.labels)[1]


def verdict(name: str, row: dict[str, Any], images: ImageSet, reference: str = "the float network") -> str:
    """The sentence of the design, from a row on the decoded file and the images that it was measured on; `reference`
    is what the row is compared with."""
    points = 100 * row["top1_change"]
    if row["lost"] == row["gained"] == 0:
        change = f"the same images as {reference}"
    else:
        noise = "within noise" if row["within_noise"] else f"p = {row['p_value']:.2g}"
        side = "below" if points < 0 else "above"
        change = f"{abs(points):.1f} points {side} {reference} ({noise})"
        if row["lost"] == row["gained"]:
            change = f"as many as {reference} ({noise})"
    split = next(part for part in images.splits if part.name == row["split"])
    largest, share = largest_class(split.labels)
    useless = (
        ""
        if is_useful(row, split)
        else f". That is no better than always answering {images.classes[largest]} ({100 * share:.1f} %)"
    )
    return (
        f"{name}: {row['size_bytes']:,} bytes, {row['ratio']:.1f}x smaller than float32; "
        f"{100 * row['top1']:.1f} % of the {row['images']:,} {row['split']} images right, {change}; "
        f"decoded from the file and measured{useless}"
    )
