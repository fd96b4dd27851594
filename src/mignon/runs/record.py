"""The record of a run, `run.json`: what was asked for, where it comes from, what came out."""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mignon.files import parse_untrusted
from mignon.settings import known

VERSION = 1
LARGEST = 1 << 26  # bytes of a record; cards of very many bad files are long


@dataclass(frozen=True)
class Record:
    """`request`: what was asked for, as its verb reads it; `settings`: what `key` is the hash of; `trained`: settings
    of each training that is finished (by part, "" is the network of the run); the rest is there when it is known."""

    verb: str
    key: str
    title: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    started: str = ""
    status: str = ""
    plan: dict[str, Any] | None = None
    trained: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: list[dict[str, float | None]] = field(default_factory=list)
    best_epoch: int | None = None
    rates: list[list[float | None]] = field(default_factory=list)  # (rate, loss) of the range test
    card: dict[str, Any] = field(default_factory=dict)
    verdict: str = ""
    limit_met: bool | None = None
    advice: str = ""
    weights: list[dict[str, str]] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, Any] | None = None
    bytes: list[list[str | int]] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    flip_names: list[str] = field(default_factory=list)
    version: int = VERSION


def read_record(path: Path) -> Record | None:
    """The record in a file; None where there is none, or none that says verb and key. What else does not have its type
    is as if it were not there."""
    value = read_document(path)
    if not isinstance(value, dict):
        return None
    values = known(Record, value)
    return Record(**values) if {"verb", "key"} <= values.keys() else None


def read_document(path: Path) -> Any:
    """The JSON of a file in a run folder, or None."""
    try:
        return parse_untrusted(path.read_bytes(), LARGEST) if path.is_file() else None
    except (OSError, ValueError):
        return None


def to_dict(record: Record) -> dict[str, Any]:
    """For JSON: what is known."""
    values = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    return {name: plain(value) for name, value in values.items() if value not in (None, "", [], {})}


def plain(value: Any) -> Any:
    """The same as `read_document` takes it: numbers that are not finite are None, half characters are words."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
