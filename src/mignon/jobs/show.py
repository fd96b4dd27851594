"""`mignon show THING`: the layers of a network, the header of a file, every byte of it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mignon import mgn
from mignon.classifier import Classifier, fresh
from mignon.data.cache import open_images
from mignon.data.look import neutral_spec
from mignon.errors import DataError, ModelError
from mignon.jobs.load import load_with_size
from mignon.jobs.pipeline import check_classes
from mignon.jobs.sensitivity import layer_table
from mignon.measure.cost import layers as layer_costs
from mignon.measure.cost import peak_activation_bytes
from mignon.measure.storage import CHOICES, storage_forms
from mignon.models import parse_model
from mignon.progress import Quiet, Screen
from mignon.registry import MODELS
from mignon.runs import find_run, runs_root
from mignon.settings import fill


def show(
    thing: str | Path,
    *,
    classes: int = 10,
    width: float | None = None,
    image: int | None = None,
    channels: int = 3,
    bytes_: bool = False,
    as_: str | None = None,
    layers: bool = False,
    data: str | None = None,
    screen: Screen | None = None,
) -> dict[str, Any]:
    """A model family (`classes`, `width`, `image`, `channels` apply) or a run folder, `.safetensors` or `.mgn`.

    Returns `layers` (name, kind, shape C x H x W, parameters, macs, weights, nonzeros), `parameters`, `macs`,
    `peak_activation_bytes`, and for files `size_bytes`, header fields and, with `bytes_`, `parts` that add up to
    `size_bytes`; with `as_` (dense, bitmap, coo, flat, gaps or all) `forms`: bytes of the same network with its weights
    in that form, beside the file's; with `layers` `sensitivity`: what 8 and 4 bits in each layer alone would change,
    on validation images of `data` (a run knows its own). Raises MignonError.
    """
    if layers:
        return _sensitivity(thing, data, screen or Quiet())
    if as_ is not None and as_ not in (*CHOICES, "all"):
        raise ModelError(f"there is no storage form {as_!r}", f"use one of: {', '.join(CHOICES)}, all")
    if not Path(thing).expanduser().exists() and str(thing).partition(",")[0] in MODELS:
        if as_ is not None:
            raise ModelError("--as compares the bytes of a file", "give a run folder, .safetensors or .mgn")
        family, options = parse_model(str(thing))
        options |= {} if width is None else {"width": width}
        pixels = MODELS[family].pixels if image is None else image
        if channels not in (1, 3):
            raise ModelError(f"{channels} input channels are not possible", "use --channels 1 or 3")
        if not 1 <= pixels <= 4096:
            raise ModelError(f"--image {pixels} is not possible", "use 4 to 1024 pixels")
        fill(MODELS[family], options, ModelError, f"model {family}")
        spec = neutral_spec(pixels, channels)
        if not 1 <= classes <= 20_000:
            raise ModelError(f"--classes {classes} is not possible", "use 2 to 20000")
        names = tuple(str(i) for i in range(classes))
        return _network(fresh(family, options, spec, names, 0))
    if not Path(thing).expanduser().exists() and not any(c in str(thing) for c in "./\\"):
        raise ModelError(f"there is no model, file or run {str(thing)!r}", f"models: {', '.join(MODELS)}")
    classifier, path = load_with_size(thing)
    stored = path.read_bytes() if path.suffix == ".mgn" else mgn.encode(classifier)
    about = _network(classifier)
    about |= {
        "file": str(path),
        "size_bytes": len(stored),
        "ratio": 4 * classifier.full_parameters / len(stored),
        "classes": list(classifier.classes),
        "input": classifier.input.to_dict(),
        "coder": classifier.coder,
        "recipe": list(classifier.recipe),
        "activation_bits": classifier.activation_bits,
        "nonzeros": classifier.nonzeros(),
    }
    if bytes_:
        about["parts"] = [{"part": name, "bytes": size} for name, size in mgn.parts(stored)]
    if as_ is not None:
        about |= storage_forms(mgn.decode(stored), mgn.parts(stored), as_)
    return about


def _sensitivity(thing: str | Path, data: str | None, screen: Screen) -> dict[str, Any]:
    place = Path(thing).expanduser()
    place = place if place.exists() else runs_root() / str(thing)
    run = find_run(place) if place.is_dir() else None
    seed = 0
    if run is not None:
        data, seed = data or run.info.get("data"), run.info.get("seed", 0)  # its validation images, none of its test
        kept = run.folder / "model.safetensors"
        thing = kept if kept.exists() else thing
    if data is None:
        raise DataError("--layers looks at what the network answers to images", "add --data FOLDER (or --data digits)")
    classifier, path = load_with_size(thing)
    images = open_images(data, classifier.input, seed, None, screen)
    check_classes(classifier, images)
    return _network(classifier) | {"sensitivity": layer_table(classifier, images.validation), "network": str(path)}


def _network(classifier: Classifier) -> dict[str, Any]:
    rows = layer_costs(classifier.network, classifier.size)
    bits = classifier.activation_bits or 32
    return {
        "family": classifier.family,
        "options": classifier.options,
        "parameters": classifier.parameters,
        "macs": sum(row.macs for row in rows),
        "peak_activation_bytes": peak_activation_bytes(classifier.network, classifier.size, bits),
        "layers": [asdict(row) for row in rows],
    }
