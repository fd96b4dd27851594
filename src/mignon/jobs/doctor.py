"""`mignon doctor`: what this machine has, and whether mignon can work on it."""

import os
import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mignon.files import cache_folder
from mignon.jobs.requests import Doctor, verb
from mignon.progress import Screen
from mignon.runs import runs_root


@verb(Doctor)
def doctor(request: Doctor, screen: Screen) -> list[dict[str, Any]]:
    """{"what", "value", "ok", "hint"} for each check."""
    import numpy as np
    import torch

    from mignon.coding import Stream, decode, encode
    from mignon.training.device import has_half_precision

    rows: list[dict[str, Any]] = []

    def add(what: str, value: Any, ok: bool = True, hint: str = "") -> None:
        rows.append({"what": what, "value": str(value), "ok": ok, "hint": "" if ok else hint})

    add("mignon", version("mignon"))
    add("python", platform.python_version())
    add("torch", torch.__version__)
    add("cores", os.cpu_count())
    add("threads", torch.get_num_threads())
    add(
        "OMP_WAIT_POLICY",
        os.environ.get("OMP_WAIT_POLICY", "not set"),
        os.environ.get("OMP_WAIT_POLICY") == "passive",
        "export OMP_WAIT_POLICY=passive, or steps may be ten times slower beside other programs",
    )
    add("GPU", torch.cuda.get_device_name() if torch.cuda.is_available() else "none")
    add("bfloat16 in hardware", "yes" if has_half_precision("cpu") else "no")
    values = np.arange(-50, 50, dtype=np.int32)
    same = bool((decode(encode([Stream(values)]))[0].values == values).all())
    add("coder", "works" if same else "broken", same, "pip install --force-reinstall numba")
    for name, folder in (("cache", cache_folder()), ("runs", runs_root())):
        free = shutil.disk_usage(_existing(folder)).free
        good = _writable(_existing(folder)) and free > 1 << 30
        add(
            f"{name} {folder}",
            f"{free / 2**30:.1f} GiB free",
            good,
            f"set MIGNON_{name.upper()} to a folder with space",
        )
    return rows


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
