"""numba's compiler, with a cache on disk where there is room for one; without it every process compiles again."""

import os
import shutil
import tempfile
from pathlib import Path

from mignon.files import cache_folder

os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_folder() / "numba"))

import numba

ROOM = 16 << 20  # bytes; numba fails when it cannot write its cache, so it is asked only when it can


def _can_keep(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return shutil.disk_usage(folder).free > ROOM
    except OSError:
        return False


compiled = numba.njit(cache=_can_keep(Path(os.environ["NUMBA_CACHE_DIR"])))
