"""A run: `run.json`, `ledger.jsonl`, `model.safetensors` (before any step), `steps/`, `model.mgn`, `log.txt`,
`report.html`; `checkpoint.safetensors` and `history.json` of a training, here or in the folder of a step.

The same request finds the same folder again (its name ends in the request's key), so a command that is repeated goes on
where it stopped.
"""

import fcntl
import json
import os
import platform
import re
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from mignon.errors import RunError
from mignon.files import digest, machine_errors, read_json, write_atomic, write_json

LIBRARIES = ("mignon", "torch", "numpy", "pillow")


def runs_root() -> Path:
    """Where runs go when no --out is given: $MIGNON_RUNS or ./runs."""
    return Path(os.environ.get("MIGNON_RUNS", "runs")).expanduser().resolve()


class Run:
    """An open run folder. Only one process may work in it at a time."""

    def __init__(self, folder: Path, info: dict[str, Any]):
        self.folder = folder
        self.info = info
        self._lock: Any = None

    @classmethod
    def start(
        cls, verb: str, title: str, settings: dict[str, Any], out: str | Path | None = None, **notes: Any
    ) -> Self:
        """The folder of this request, new or continued; `notes` are further entries of run.json.

        Raises RunError when it belongs to another request.
        """
        key = digest(verb, settings)[:12]
        name = re.sub(r"[^\w.-]+", "-", f"{verb}-{title}")[:60].strip("-")
        folder = Path(out).expanduser().resolve() if out else runs_root() / f"{name}-{key[:6]}"
        info = read_json(folder / "run.json")
        if info is None and folder.exists() and (not folder.is_dir() or any(_visible(folder))):
            raise RunError(
                f"{folder} is there already and is no run of mignon", "give an empty or new folder with --out"
            )
        if info is not None and info.get("key") != key:
            raise RunError(
                f"{folder} holds another run ({info.get('verb')} {info.get('title')})",
                f"give another folder with --out, or remove it: mignon rm {folder}",
            )
        if info is None:
            info = {
                "verb": verb,
                "title": title,
                "key": key,
                "settings": settings,
                "versions": {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()},
                "started": time.strftime("%Y-%m-%d %H:%M:%S"),
                "status": "running",
            }
        run = cls(folder, info)
        with machine_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        run.take_lock()
        try:
            run.info = read_json(folder / "run.json") or info  # who held the lock a moment ago may have changed it
            for left in folder.rglob(".*.part"):  # of a process that was killed while it wrote
                left.unlink(missing_ok=True)
            run.update(**notes)
        except BaseException:
            run.close()
            raise
        return run

    def take_lock(self) -> None:
        """Keep other processes out of this folder. Raises RunError when one is in it."""
        path = self.folder / ".lock"
        with machine_errors(path):
            self._lock = path.open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise RunError(
                f"another mignon is working in {self.folder}", "wait for it, or give another folder with --out"
            ) from None

    def close(self) -> None:
        """Let another process work here."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, **changes: Any) -> None:
        """Change entries of run.json, atomically."""
        self.info.update(changes)
        write_json(self.folder / "run.json", self.info)

    def log(self, text: str) -> None:
        """A line with the time into log.txt."""
        with machine_errors(self.folder), (self.folder / "log.txt").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def rows(self) -> list[dict[str, Any]]:
        """The ledger: {"key", "row"} each."""
        try:
            lines = (self.folder / "ledger.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def row(self, key: str) -> dict[str, Any] | None:
        """The row with this key."""
        return next((entry["row"] for entry in self.rows() if entry["key"] == key), None)

    def add_row(self, key: str, row: dict[str, Any]) -> None:
        """Append to the ledger (the whole file is renamed into place, so no line is ever half there)."""
        lines = [*self.rows(), {"key": key, "row": row}]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_atomic(self.folder / "ledger.jsonl", text.encode())


def _visible(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if not p.name.startswith(".")]


def find_run(name: str | Path) -> Run:
    """A run by its folder or by its name under the runs root. Raises RunError."""
    for folder in (Path(name).expanduser(), runs_root() / str(name)):
        info = read_json(folder / "run.json") if folder.is_dir() else None
        if isinstance(info, dict) and {"verb", "key", "settings"} <= set(info):
            return Run(folder.resolve(), info)
    raise RunError(f"there is no run {str(name)!r}", "mignon ls runs shows the runs under ./runs (or $MIGNON_RUNS)")


def list_runs(root: Path | None = None) -> list[Run]:
    """All runs under the root, newest first."""
    root = root or runs_root()
    found = []
    for folder in root.iterdir() if root.is_dir() else []:
        info = read_json(folder / "run.json") if folder.is_dir() else None
        if isinstance(info, dict) and "key" in info:
            found.append(Run(folder, info))
    return sorted(found, key=lambda run: run.info.get("started", ""), reverse=True)
