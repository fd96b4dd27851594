"""One offline HTML page, and the same as Markdown, from run folders alone."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from mignon.errors import printable
from mignon.files import write_atomic
from mignon.runs import Run

THUMBNAIL = 160  # pixels; larger images are stored at this side


def write_report(runs: list[Run], path: Path, analysis: bool = False) -> None:
    """Write the page to `path` and Markdown beside it, both atomically.

    `analysis` adds pictures of kernels, indices and weights. Runs that are not finished are shown as far as they are.
    Raises MachineError when the disk refuses.
    """
    from mignon.report.content import read
    from mignon.report.markdown import to_markdown

    contents = [read(run, number) for number, run in enumerate(runs)]
    title = f"mignon {contents[0].name}" if len(contents) == 1 else f"mignon: {len(contents)} runs"
    analyses = [_analysis(run, number) if analysis else [] for number, run in enumerate(runs)]
    html = _render(title=title, contents=contents, analysis=analysis, analyses=analyses, **_pictures(contents))
    write_atomic(path, html.encode("utf-8", "replace"))
    write_atomic(path.with_suffix(".md"), to_markdown(title, contents, analyses).encode("utf-8", "replace"))


def _analysis(run: Run, number: int) -> list[Any]:
    from mignon.report.analysis import analyze
    from mignon.report.analysis_pictures import draw

    return draw(analyze(run), number)


def _pictures(contents: list[Any]) -> dict[str, Any]:
    from mignon.report import pictures
    from mignon.report.content import MATRIX, totals

    def matrix(content: Any) -> str:
        return pictures.confusion_matrix(content) if 0 < len(content.confusion) <= MATRIX else ""

    return {
        "overview": pictures.accuracy_against_bytes(contents),
        "bars": [pictures.bytes_by_layer(content) for content in contents],
        "curves": [pictures.training_curves(content) for content in contents],
        "matrices": [matrix(content) for content in contents],
        "totals": totals,
    }


def _render(**values: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mignon.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: _shown(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["png"] = data_uri
    return environment.get_template("page.html").render(**values)


def data_uri(pixels: np.ndarray) -> str:
    """A uint8 H x W x C image (1 or 3 channels) as a PNG inside an address."""
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode()


def _shown(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))
