"""`mignon ls` and `mignon rm`."""

import shutil
from pathlib import Path
from typing import Any

from mignon.errors import MignonError
from mignon.files import machine_errors
from mignon.registry import CODERS, MODELS, SOURCES, STEPS
from mignon.runs import find_run, list_runs

KINDS = {"models": MODELS, "steps": STEPS, "coders": CODERS, "sources": SOURCES}


def ls(what: str = "runs") -> list[dict[str, Any]]:
    """Runs (folder, verb, title, status, size, top-1), or registered members (name, summary). Raises MignonError."""
    if what == "runs":
        return [
            {
                "run": str(run.folder),
                "verb": run.info["verb"],
                "title": run.info.get("title", ""),
                "status": run.info.get("status", ""),
                "started": run.info.get("started", ""),
                "size_bytes": (run.info.get("final") or {}).get("size_bytes"),
                "top1": (run.info.get("final") or {}).get("top1"),
            }
            for run in list_runs()
        ]
    if what not in KINDS:
        raise MignonError(f"there is nothing called {what!r} to list", f"use: mignon ls runs|{'|'.join(KINDS)}")
    return [{"name": name, "summary": KINDS[what][name].summary} for name in KINDS[what]]


def rm(names: list[str | Path]) -> list[str]:
    """Remove run folders (only folders that are runs); gives their paths. Raises RunError."""
    if not names:
        raise MignonError("no run is named", "mignon ls runs shows them")
    runs = {run.folder: run for run in map(find_run, names)}
    for run in runs.values():
        run.take_lock()
        with run, machine_errors(run.folder):
            shutil.rmtree(run.folder)
    return [str(folder) for folder in runs]
