"""`mignon ls` and `mignon rm`."""

import shutil
from pathlib import Path
from typing import Any

from mignon.errors import MignonError, RunError
from mignon.files import machine_errors
from mignon.jobs.requests import Ls, Rm, verb
from mignon.progress import Screen
from mignon.registry import CODERS, MODELS, SOURCES, STEPS
from mignon.runs import Run, find_run, list_runs
from mignon.runs.folder import damaged_runs

KINDS = {"models": MODELS, "steps": STEPS, "coders": CODERS, "sources": SOURCES}


@verb(Ls)
def ls(request: Ls, screen: Screen) -> list[dict[str, Any]]:
    """Runs (folder, verb, title, status, size, top-1), or registered members (name, summary). Raises MignonError."""
    what = request.what
    if what == "runs":
        for folder in damaged_runs():
            screen.warn(f"{folder}: its run.json does not read")
        return [
            {
                "run": str(run.folder),
                "verb": run.record.verb,
                "title": run.record.title,
                "status": run.record.status,
                "started": run.record.started,
                "size_bytes": final.get("size_bytes"),
                "top1": final.get("top1"),
            }
            for run in list_runs()
            for final in [run.record.final or {}]
        ]
    if what not in KINDS:
        raise MignonError(f"there is nothing called {what!r} to list", f"use: mignon ls runs|{'|'.join(KINDS)}")
    return [{"name": name, "summary": KINDS[what][name].summary} for name in KINDS[what]]


@verb(Rm)
def rm(request: Rm, screen: Screen) -> list[str]:
    """Remove run folders (only folders that are runs); gives their paths. Raises RunError."""
    if not request.names:
        raise MignonError("no run is named", "mignon ls runs shows them")
    runs = {run.folder: run for run in map(_removable, request.names)}
    for run in runs.values():
        run.take_lock()
        with run, machine_errors(run.folder):
            shutil.rmtree(run.folder)
    return [str(folder) for folder in runs]


def _removable(name: str) -> Run:
    run = find_run(name)
    if Path(name).is_symlink():
        raise RunError(f"{name} is a link", f"name the folder itself: mignon rm {run.folder}")
    foreign = run.foreign()
    if foreign:
        raise RunError(f"{run.folder} also holds what is not of a run: {', '.join(foreign[:3])}", "move that elsewhere")
    if not (run.folder / ".lock").is_file():
        raise RunError(f"{run.folder} was not made by a run here", "remove it by hand")
    return run
