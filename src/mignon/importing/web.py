"""A file of weights behind an https address; it is fetched into the cache, and read as the file that it is."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from mignon.download import download
from mignon.errors import ModelError
from mignon.files import cache_folder, digest
from mignon.importing.given import Given
from mignon.progress import Screen
from mignon.registry import IMPORTERS


@IMPORTERS.register("web")
@dataclass(frozen=True)
class Web:
    """`https://.../FILE`, with `#sha256=HEX` behind it where the hash is known: then it is resumed and verified."""

    summary: ClassVar[str] = "https://.../FILE#sha256=HEX: a file that another importer takes; the hash may be left out"

    def takes(self, place: str) -> bool:
        """By its beginning."""
        return place.startswith(("https://", "http://"))

    def read(self, place: str, screen: Screen) -> Given:
        """The weights of the file. Raises MignonError."""
        url, _, hashed = place.partition("#sha256=")
        if hashed and not re.fullmatch(r"[0-9a-f]{64}", hashed):
            raise ModelError(f"{hashed!r} is no SHA-256", "64 digits of 0 to f behind #sha256=, or leave it away")
        name = Path(unquote(urlsplit(url).path)).name or "weights"
        path = cache_folder() / "weights" / digest(place)[:12] / name
        if hashed or not path.is_file():
            download(url, path, hashed or None, screen)
        for importer in (IMPORTERS[other]() for other in IMPORTERS):
            if importer.takes(str(path)):
                return importer.read(str(path), screen)
        raise ModelError(f"{url} is no file of weights that is known here", "mignon ls importers shows what is")

    @classmethod
    def example(cls, folder: Path) -> str:
        """None that works everywhere: the contract is tried where there is a network."""
        raise ModelError("this origin needs a network", "download the file elsewhere and give its path")
