"""JSON documents of the cache that say whether they are whole: what does not read as it was written is made again."""

from pathlib import Path
from typing import Any

from mignon.files import digest, read_json, write_json


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """The document with a hash of itself under `seal`."""
    write_json(path, {**value, "seal": digest(value)})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """The document, or None when it is not there or not what was written, to the last letter."""
    try:
        value = read_json(path)
    except (OSError, RecursionError, ValueError):
        return None
    if not isinstance(value, dict):
        return None
    seal = value.pop("seal", None)
    return value if seal == digest(value) else None
