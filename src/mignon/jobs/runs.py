"""`mignon ls` and `mignon rm`."""

import contextlib
import importlib.util
import shutil
import warnings
from pathlib import Path
from typing import Any

from mignon.data.sealed import read_sealed, write_sealed
from mignon.errors import MachineError, MignonError, RunError
from mignon.files import cache_folder, digest, machine_errors
from mignon.jobs.requests import Ls, Rm, verb
from mignon.progress import Screen
from mignon.registry import CODERS, IMPORTERS, MODELS, SOURCES, STEPS, Registry
from mignon.runs import Run, find_run, list_runs
from mignon.runs.folder import damaged_runs

KINDS = {"models": MODELS, "steps": STEPS, "coders": CODERS, "sources": SOURCES, "importers": IMPORTERS}


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
    return _members(KINDS[what])


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


def _members(registry: Registry) -> list[dict[str, str]]:
    """Name and summary of each; to import them takes seconds, so they are kept until a file or a plugin changes."""
    if not registry.untouched:
        return _look_up(registry)
    path = cache_folder() / "members" / f"{registry.kind}-{_stamp(registry)[:24]}.json"
    known = read_sealed(path)
    if known is not None:
        return known["members"]
    with warnings.catch_warnings(record=True) as told:
        members = _look_up(registry)
    for warning in told:
        warnings.warn(warning.message, stacklevel=2)
    if not told:
        with contextlib.suppress(MachineError):
            write_sealed(path, {"members": members})
    return members


def _look_up(registry: Registry) -> list[dict[str, str]]:
    return [{"name": name, "summary": registry[name].summary} for name in registry]


def _stamp(registry: Registry) -> str:
    """Changes whenever a file of mignon or of a package with plugins does."""
    plugins = registry.plugins()
    found = [importlib.util.find_spec(name) for name in {"mignon", *(entry.module.split(".")[0] for entry in plugins)}]
    files: list[Path] = []
    for spec in filter(None, found):
        folders = spec.submodule_search_locations
        files += (
            [path for folder in folders for path in Path(folder).rglob("*.py")] if folders else [Path(str(spec.origin))]
        )
    stats = sorted((str(path), stat.st_size, stat.st_mtime_ns) for path in files for stat in [path.stat()])
    return digest([(entry.name, entry.value) for entry in plugins], stats)
