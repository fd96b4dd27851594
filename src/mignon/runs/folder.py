"""A run: `run.json`, `ledger.jsonl`, `model.safetensors` (before any step), `steps/`, `model.mgn`, `log.txt`,
`report.html`; `checkpoint.safetensors` and `history.json` of a training, here or in the folder of a step.

The same request finds the same folder again (its name ends in the request's key), so a command that is repeated goes on
where it stopped.
"""

import dataclasses
import json
import os
import platform
import re
import time
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from mignon.errors import RunError
from mignon.files import digest, machine_errors, parse_untrusted, write_atomic, write_json
from mignon.runs.record import Record, plain, read_record, to_dict
from mignon.settings import fits

try:
    import fcntl
except ImportError:  # Linux and macOS are meant; elsewhere two processes in one folder are not kept apart
    fcntl = None  # type: ignore[assignment]

RECORD = "run.json"
OWN = {
    RECORD, "ledger.jsonl", "model.safetensors", "model.mgn", "steps", "students", "teacher", "log.txt", "report.html",
    "report.md", "checkpoint.safetensors", "history.json", "flips.npz", "card.json", "contact-sheet.png", ".lock",
}  # fmt: skip
LIBRARIES = ("mignon", "torch", "numpy", "pillow")


def runs_root() -> Path:
    """Where runs go when no --out is given: $MIGNON_RUNS or ./runs."""
    return Path(os.environ.get("MIGNON_RUNS", "runs")).expanduser().resolve()


class Asked(Protocol):
    """What a run is told of its request."""

    verb: ClassVar[str]

    def record(self) -> dict[str, Any]:
        """What was asked for, for JSON."""

    def line(self) -> str:
        """The command that repeats it."""


class Run:
    """An open run folder. Only one process may work in it at a time."""

    def __init__(self, folder: Path, record: Record):
        self.folder = folder
        self.record = record
        self._lock: Any = None

    @classmethod
    def start(cls, request: Asked, title: str, settings: dict[str, Any], out: str | None = None) -> Self:
        """The folder of this request, new or continued; `settings`: all that its result depends on.

        Raises RunError when it belongs to another request.
        """
        from importlib.metadata import version  # 40 ms

        key = digest(request.verb, settings)[:12]
        name = re.sub(r"[^\w.-]+", "-", f"{request.verb}-{title}")[:60].strip("-")
        folder = Path(out) if out else runs_root() / f"{name}-{key[:6]}"
        known = read_record(folder / RECORD)
        if known is None and folder.exists() and (not folder.is_dir() or any(_visible(folder))):
            what = (
                f"{RECORD} in {folder} does not read"
                if _is_there(folder / RECORD)
                else (f"{folder} is there already and is no run of mignon")
            )
            raise RunError(what, "give an empty or new folder with --out")
        if known is not None and known.key != key:
            raise RunError(
                f"{folder} holds another run ({known.verb} {known.title})",
                f"give another folder with --out, or remove it: mignon rm {folder}",
            )
        fresh = Record(
            verb=request.verb,
            key=key,
            title=title,
            settings=settings,
            versions={name: version(name) for name in LIBRARIES} | {"python": platform.python_version()},
            started=time.strftime("%Y-%m-%d %H:%M:%S"),
            status="running",
        )
        run = cls(folder, known or fresh)
        with machine_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        run.take_lock()
        try:
            # who held the lock a moment ago may have changed it
            run.record = read_record(folder / RECORD) or run.record
            for left in folder.rglob(".*.part"):  # of a process that was killed while it wrote
                left.unlink(missing_ok=True)
            run.update(request=request.record(), command=request.line())
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
            if fcntl is not None:
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

    def foreign(self) -> list[str]:
        """What lies in the folder and is not of a run."""
        return sorted({path.name for path in self.folder.iterdir() if not path.match(".*.part")} - OWN)

    def update(self, **changes: Any) -> None:
        """Change entries of run.json, atomically."""
        self.record = dataclasses.replace(self.record, **changes)
        write_json(self.folder / RECORD, to_dict(self.record))

    def log(self, text: str) -> None:
        """A line with the time into log.txt."""
        with machine_errors(self.folder), (self.folder / "log.txt").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def rows(self) -> list[dict[str, Any]]:
        """The ledger: {"key", "row"} each; lines that do not read are left out."""
        with machine_errors(self.folder):
            path = self.folder / "ledger.jsonl"
            lines = path.read_bytes().splitlines() if path.is_file() else []
        return [entry for line in lines if (entry := _entry(line)) is not None]

    def row(self, key: str) -> dict[str, Any] | None:
        """The row with this key."""
        return next((entry["row"] for entry in self.rows() if entry["key"] == key), None)

    def add_row(self, key: str, row: dict[str, Any]) -> None:
        """Append to the ledger (the whole file is renamed into place, so no line is ever half there)."""
        lines = [*(entry for entry in self.rows() if entry["key"] != key), {"key": key, "row": plain(row)}]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_atomic(self.folder / "ledger.jsonl", text.encode())


def _visible(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if not p.name.startswith(".")]


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = parse_untrusted(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and fits(entry.get("key"), str) and fits(entry.get("row"), dict) else None


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def find_run(name: str | Path) -> Run:
    """A run by its folder or by its name under the runs root. Raises RunError."""
    for folder in (Path(name), runs_root() / str(name)):
        record = read_record(folder / RECORD)
        if record is not None:
            return Run(folder.resolve(), record)
        if folder.is_dir() and _is_there(folder / RECORD):
            raise RunError(
                f"{RECORD} in {folder} does not read: it is no run, or damaged", "repeat the command of the run"
            )
    raise RunError(f"there is no run {str(name)!r}", "mignon ls runs shows the runs under ./runs (or $MIGNON_RUNS)")


def list_runs(root: Path | None = None) -> list[Run]:
    """All runs under the root, newest first."""
    root = root or runs_root()
    folders = [folder for folder in root.iterdir() if folder.is_dir()] if root.is_dir() else []
    records = [(folder, read_record(folder / RECORD)) for folder in folders]
    runs = [Run(folder, record) for folder, record in records if record is not None]
    return sorted(runs, key=lambda run: run.record.started, reverse=True)


def damaged_runs(root: Path | None = None) -> list[Path]:
    """Folders under the root with a record that does not read."""
    root = root or runs_root()
    folders = [folder for folder in root.iterdir() if folder.is_dir()] if root.is_dir() else []
    return sorted(f for f in folders if _is_there(f / RECORD) and read_record(f / RECORD) is None)
