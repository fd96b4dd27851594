"""One way to get a file from elsewhere: what is fetched is shown first, resumed after a break, verified, whole or not
there."""

import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from mignon.errors import MachineError, MignonError
from mignon.files import machine_errors, sha256_of, sync_folder
from mignon.progress import Quiet, Screen

CHUNK = 1 << 20
PATIENCE = 30  # seconds without a byte
TRIES = 3
HERE = ("localhost", "127.0.0.1")  # where no encryption is needed


def download(url: str, path: Path, sha256: str | None = None, screen: Screen | None = None) -> Path:
    """The file behind an address, at `path`; nothing is fetched when it is there already and has the hash.

    Address, size and hash (SHA-256, hex) are shown first. What a break has left (`.NAME.part`) is gone on with where
    the hash is known, since only that tells whether both halves belong together. Raises MignonError for an address that
    cannot be right or another hash, MachineError for what a repeated command may get.
    """
    screen = screen or Quiet()
    _check(url)
    with machine_errors(path):
        if path.is_file() and sha256 is not None and sha256_of(path) == sha256:
            return path
    part = path.with_name(f".{path.name}.part")
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if sha256 is None:
            part.unlink(missing_ok=True)
    for attempt in range(TRIES):
        if _fetch(url, part, sha256, screen):
            break
        screen.say(f"the connection broke after {_size(part):,} bytes" + ("; going on" if attempt < TRIES - 1 else ""))
    else:
        raise MachineError(f"{url} breaks off again and again", "repeat the command: it goes on where it stopped")
    with machine_errors(part):
        found = sha256_of(part)
    if sha256 not in (None, found):
        part.unlink()
        raise MignonError(f"{url} has the hash {found}, not {sha256}", "nothing was kept; look at the address")
    with machine_errors(path):
        part.replace(path)
        sync_folder(path.parent)
    if sha256 is None:
        screen.say(f"sha256 {found}")
    return path


def _check(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in HERE):
        raise MignonError(f"{url} is no https address", "give one that begins with https://")


def _fetch(url: str, part: Path, sha256: str | None, screen: Screen) -> bool:
    """Bring `part` up to its whole length; False when the connection broke before."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            _check(answer.geturl())
            if answer.status != 206:
                have = 0  # the server begins again
            left = int(answer.headers.get("Content-Length") or 0)
            if not left and sha256 is None:
                raise MignonError(f"{url} says no size, and no hash is known", "give the hash, so that a break is seen")
            size = f"{have + left:,} bytes" if left else "size not said"
            screen.say(f"{url}: {size}, sha256 {sha256 or 'not known'}" + (f", from byte {have:,}" if have else ""))
            name = part.name.removeprefix(".").removesuffix(".part")
            with machine_errors(part), part.open("ab" if have else "wb") as file:
                for chunk in screen.track(_chunks(answer), -(-left // CHUNK), name):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            return not left or _size(part) == have + left
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left behind what is there
            return True
        raise MignonError(f"{url}: {error.code} {error.reason}", "look at the address") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise MachineError(
            f"{url} cannot be reached ({reason})", "look at the network, then repeat the command"
        ) from None


def _chunks(answer: BinaryIO) -> Iterator[bytes]:
    """What comes over the network, until it ends or breaks off; a short file says which."""
    with contextlib.suppress(OSError, HTTPException):
        while chunk := answer.read(CHUNK):
            yield chunk


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
