"""The report as Markdown: pictures become tables."""

import re
from collections.abc import Iterable
from typing import Any

from mignon.errors import printable
from mignon.report.content import MATRIX, Content, totals
from mignon.report.words import percent, short


def to_markdown(title: str, contents: list[Content], analyses: list[list[Any]]) -> str:
    """The whole page; `analyses` has the analysis pictures of each run."""
    several = len(contents) > 1
    blocks = [f"# {escape(title)}"]
    blocks += [
        f"{f'**{escape(c.name)}** ({escape(c.folder)}): ' if several else ''}{escape(c.verdict)}" for c in contents
    ]
    for content in contents:
        blocks += [_heading("Ledger", content, several), ledger(content)]
    points = [(c, p) for c in contents for p in c.points]
    if points:
        rows = [
            [c.folder, p["recipe"], f"{p['size_bytes']:,}", percent(p["top1"]), "yes" if p.get("chosen") else ""]
            for c, p in points
        ]
        blocks += ["## Accuracy against bytes", table(["run", "recipe", "bytes", "validation top-1 %", "chosen"], rows)]
    for number, content in enumerate(contents):
        blocks += _details(content, several)
        for picture in analyses[number]:
            if picture.rows:
                blocks += [_heading(picture.title, content, several), table(picture.heads, picture.rows), picture.note]
    return "\n\n".join(blocks) + "\n"


def ledger(content: Content) -> str:
    """The table of rows."""
    if not content.rows:
        return "Nothing is measured yet."
    heads = [f"{c.title} ({c.below})" if c.below else c.title for c in content.columns]
    return table(heads, [[f"{c.main} ({c.sub})" if c.sub else c.main for c in row] for row in content.cells])


def _details(content: Content, several: bool) -> Iterable[str]:
    if content.layers:
        yield _heading("Bytes by layer", content, several)
        yield table(["layer", "bytes"], [[name, f"{size:,}"] for name, size in content.layers])
        yield totals(content) + "."
    if content.history:
        yield _heading("Training", content, several)
        heads = ["epoch", "lr", "train loss", "validation loss", "train top-1 %", "validation top-1 %", "seconds"]
        yield table(heads, content.epochs)
        if content.best_epoch is not None:
            yield f"Best on validation: epoch {content.best_epoch}."
    if content.confusion.size:
        yield _heading("Confusion on test", content, several)
        if len(content.confusion) <= MATRIX:
            names = [content.label(i) for i in range(len(content.confusion))]
            rows = [[name, *map(str, counts)] for name, counts in zip(names, content.confusion)]
            yield table(["true \\ predicted", *names], rows)
        else:
            yield table(["true", "predicted", "images"], [[a, b, str(n)] for a, b, n in content.confused])
    if content.flips:
        yield _heading("Flipped images", content, several)
        flips = [[f.name, f.true, f.before, f.after, "lost" if f.lost else "gained"] for f in content.flips]
        yield table(["image", "true", "float network", "this file", ""], flips)
    if content.card:
        yield _heading("Data", content, several)
        yield _list(content.card)
    yield _heading("Provenance", content, several)
    yield _list(content.provenance)
    if content.command:
        command = "\n".join(map(printable, content.command.split("\n")))
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", content.command)), default=0))
        yield f"Repeat it with\n\n{fence}\n{command}\n{fence}"


def _heading(name: str, content: Content, several: bool) -> str:
    return f"## {name}: {escape(content.folder)}" if several else f"## {name}"


def _list(lines: list[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {escape(short(value, 600))}" for name, value in lines)


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A pipe table; every cell is escaped."""
    lines = [heads, *rows]
    text = ["| " + " | ".join(escape(str(cell)) for cell in line) + " |" for line in lines]
    return "\n".join([text[0], "|" + " --- |" * len(heads), *text[1:]])


def escape(text: str) -> str:
    """Text from outside as Markdown that shows just that, on one line."""
    text = printable(re.sub(r"\s+", " ", text))
    text = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
