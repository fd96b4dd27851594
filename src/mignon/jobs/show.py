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
from mignon.jobs.requests import Show, verb
from mignon.jobs.sensitivity import layer_table
from mignon.measure.cost import layers as layer_costs
from mignon.measure.cost import peak_activation_bytes
from mignon.measure.storage import CHOICES, storage_forms
from mignon.models import options_of, parse_model
from mignon.progress import Screen
from mignon.registry import MODELS
from mignon.runs import find_run


@verb(Show)
def show(request: Show, screen: Screen) -> dict[str, Any]:
    """A model family (`classes`, `width`, `image`, `channels` apply) or a run folder, `.safetensors` or `.mgn`.

    Returns `layers` (name, kind, shape C x H x W, parameters, macs, weights, nonzeros), `parameters`, `macs`,
    `peak_activation_bytes`, and for files `size_bytes`, header fields and, with `bytes_`, `parts` that add up to
    `size_bytes`; with `as_` (dense, bitmap, coo, flat, gaps or all) `forms`: bytes of the same network with its weights
    in that form, beside the file's; with `layers` `sensitivity`: what 8 and 4 bits in each layer alone would change,
    on validation images of `data` (a run knows its own). Raises MignonError.
    """
    thing, as_, pixels = request.thing, request.as_, request.image
    if request.layers:
        return _sensitivity(thing, request.data, screen)
    if as_ is not None and as_ not in (*CHOICES, "all"):
        raise ModelError(f"there is no storage form {as_!r}", f"use one of: {', '.join(CHOICES)}, all")
    if not Path(thing).exists() and thing.partition(",")[0] in MODELS:
        if as_ is not None:
            raise ModelError("--as compares the bytes of a file", "give a run folder, .safetensors or .mgn")
        family, options = parse_model(thing)
        options |= {} if request.width is None else {"width": request.width}
        pixels = MODELS[family].pixels if pixels is None else pixels
        if request.channels not in (1, 3):
            raise ModelError(f"{request.channels} input channels are not possible", "use --channels 1 or 3")
        if not 1 <= pixels <= 4096:
            raise ModelError(f"--image {pixels} is not possible", "use 4 to 1024 pixels")
        options_of(family, options)
        spec = neutral_spec(pixels, request.channels)
        if not 1 <= request.classes <= 20_000:
            raise ModelError(f"--classes {request.classes} is not possible", "use 2 to 20000")
        names = tuple(str(i) for i in range(request.classes))
        return _network(fresh(family, options, spec, names, 0))
    if not Path(thing).exists() and not any(c in thing for c in "./\\"):
        raise ModelError(f"there is no model, file or run {thing!r}", f"models: {', '.join(MODELS)}")
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
    if request.bytes_:
        about["parts"] = [{"part": name, "bytes": size} for name, size in mgn.parts(stored)]
    if as_ is not None:
        about |= storage_forms(mgn.decode(stored), mgn.parts(stored), as_)
    return about


def _sensitivity(thing: str, data: str | None, screen: Screen) -> dict[str, Any]:
    run = find_run(thing) if Path(thing).is_dir() else None
    seed, on_bad = 0, None
    if run is not None:
        asked = run.record.request  # its validation images, none of its test
        data, seed = data or asked.get("data") or asked.get("folder"), asked.get("seed", 0)
        on_bad = asked.get("on_bad")
        kept = run.folder / "model.safetensors"
        thing = str(kept) if kept.exists() else thing
    if data is None:
        raise DataError("--layers looks at what the network answers to images", "add --data FOLDER (or --data digits)")
    classifier, path = load_with_size(thing)
    images = open_images(data, classifier.input, seed, on_bad, screen)
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
