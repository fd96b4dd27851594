"""Writing files so that a kill at any moment leaves the old one or the new one, never half of one."""

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mignon.errors import MachineError

DEEPEST, DIGITS = 32, 25  # of JSON from outside


@contextlib.contextmanager
def machine_errors(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into one line: full, read-only, not allowed."""
    try:
        yield
    except OSError as error:
        raise machine_error(error, path) from error


def machine_error(error: OSError, path: Path | str) -> MachineError:
    """What the system says about a path, and what to do about it."""
    short = error.errno is None and "written" in str(error)  # numpy: "1078 requested and 512 written"
    if short or error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(
            f"no space left on the disk while writing {path}",
            "free some space or give another folder with --out (data cache: MIGNON_CACHE), then repeat the command",
        )
    reason = (error.strerror or str(error)).lower()
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return MachineError(
            f"cannot write {path}: {reason}",
            "give a folder that you may write to with --out (data cache: MIGNON_CACHE)",
        )
    return MachineError(f"cannot use {path}: {reason}", "check the path and the disk, then repeat the command")


def write_atomic(path: Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, sync, rename, sync the folder."""
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            with temporary.open("xb") as file:  # not tempfile: its files are for one user, these follow the umask
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 in hex of a file, read in blocks. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """One JSON document, atomically, readable by a person."""
    write_atomic(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The document, or None when there is none or it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def parse_untrusted(data: bytes, most: int = 1 << 20) -> Any:
    """The value of a JSON document from outside. Raises ValueError, in a few words, for all that is not plain JSON.

    Not UTF-8, more than `most` bytes, deeper than 32, numbers that are not finite or of more than 25 digits, keys that
    are there twice, text with half a character (an unpaired surrogate).
    """
    if len(data) > most:
        raise ValueError(f"more than {most:,} bytes")
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_int=_whole,
            parse_float=_real,
            parse_constant=_refuse,
            object_pairs_hook=_once,
        )
    except RecursionError:
        raise ValueError("too deep") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON at character {error.pos}") from None
    layer: list[Any] = [value]
    for _ in range(DEEPEST):
        texts = [item for item in layer if isinstance(item, str)]
        texts += [key for item in layer if isinstance(item, dict) for key in item]
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            raise ValueError("a text with half a character") from None
        layer = [
            child
            for item in layer
            if isinstance(item, (list, dict))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not layer:
            return value
    raise ValueError("too deep")


def _whole(text: str) -> int:
    return int(text) if len(text) <= DIGITS else _refuse(text)


def _real(text: str) -> float:
    value = float(text) if len(text) <= DIGITS else math.inf
    return value if math.isfinite(value) else _refuse(text)


def _refuse(text: str) -> Any:
    raise ValueError(f"it has the number {text[:DIGITS]}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key is there twice")
    return values


def digest(*parts: Any) -> str:
    """SHA-256 in hex of a canonical JSON form of the parts."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def cache_folder() -> Path:
    """Where decoded images and measured settings of this machine live: $MIGNON_CACHE or the user's cache."""
    chosen = os.environ.get("MIGNON_CACHE")
    if chosen:
        return Path(chosen).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base).expanduser() if base else Path.home() / ".cache") / "mignon"
    except RuntimeError:
        raise MachineError(
            "this account has no home folder to keep a cache in", "set MIGNON_CACHE to a folder"
        ) from None
