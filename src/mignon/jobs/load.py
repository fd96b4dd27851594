"""`mignon.load(PATH)`: a Classifier from a run folder, a `.safetensors` or a `.mgn`."""

from pathlib import Path

from mignon import mgn
from mignon.checkpoint import load_safetensors
from mignon.classifier import Classifier
from mignon.errors import ModelError
from mignon.files import machine_errors
from mignon.runs import find_run, runs_root

MAX_FILE = 1 << 30


def load(path: str | Path) -> Classifier:
    """The Classifier at a path. Raises ModelError, FormatError or RunError with one line."""
    return load_with_size(path)[0]


def load_with_size(path: str | Path) -> tuple[Classifier, Path]:
    """The Classifier, and the file that it was read from."""
    place = Path(path).expanduser()
    if not place.exists() and (runs_root() / str(path)).is_dir():
        place = runs_root() / str(path)
    if place.is_dir():
        place = _file_of_run(place)
    if not place.is_file():
        raise ModelError(
            f"there is no file {str(path)!r}", "give a .mgn, a .safetensors or a run folder (mignon ls runs)"
        )
    if place.stat().st_size > MAX_FILE:
        raise ModelError(f"{place} has {place.stat().st_size:,} bytes, more than any model here", "give a model file")
    with machine_errors(place), place.open("rb") as file:
        start = file.read(16)
    if start[:4] == b"\x93MGN" or place.suffix == ".mgn":
        return mgn.decode(place.read_bytes()), place.resolve()
    if place.suffix == ".safetensors" or start[8:9] == b"{":
        return load_safetensors(place), place.resolve()
    raise ModelError(f"{path} is no model file", "give a .mgn, a .safetensors or a run folder (mignon ls runs)")


def _file_of_run(folder: Path) -> Path:
    run = find_run(folder)
    names = ["model.mgn"]
    if run.record.verb in ("train", "probe"):
        names.insert(0, "model.safetensors")  # its BatchNorm is live
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ModelError(
        f"the run {folder} has no finished model yet ({run.record.status})",
        "repeat its command to finish it",
    )
