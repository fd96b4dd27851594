"""`mignon report RUN...`: one offline page from run folders."""

from pathlib import Path

from mignon.errors import RunError
from mignon.jobs.requests import Report, verb
from mignon.progress import Screen
from mignon.report.page import write_report
from mignon.runs import find_run


@verb(Report)
def report(request: Report, screen: Screen) -> Path:
    """Write one HTML page (and the same as Markdown beside it); the path of the page. Raises RunError.

    `out`: the page; by default `report.html` in the folder of the only run, `./report.html` for several.
    `analysis`: also pictures of kernels, indices, weights and of the epochs of each step.
    """
    if not request.runs:
        raise RunError("no run is named", "mignon ls runs shows them")
    found = [find_run(name) for name in request.runs]
    default = found[0].folder / "report.html" if len(found) == 1 else Path("report.html")
    path = (Path(request.out) if request.out else default).resolve()
    if path.suffix != ".html":
        raise RunError(f"{path} does not end in .html", "give a page: --out report.html")
    write_report(found, path, request.analysis)
    return path
