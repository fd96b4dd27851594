"""What `train` and `build` share: look, choose, decode, make or load the network to start from."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mignon.checkpoint import load_trunk, with_new_head
from mignon.classifier import Classifier, fresh
from mignon.data.cache import check_seed, open_images
from mignon.data.imageset import ImageSet
from mignon.data.look import FEW_A_CLASS, Look, choose_model, choose_pixels, input_spec, look, neutral_spec
from mignon.data.sources import scan
from mignon.errors import ModelError
from mignon.importing import read_tensors
from mignon.jobs.load import load
from mignon.models import parse_model
from mignon.models.graph import shapes
from mignon.progress import Screen
from mignon.registry import MODELS

TINY = 16  # pixels; networks for pictures so small have so few parameters that fewer images do


@dataclass(frozen=True)
class Start:
    """The network before training, its images, and which weights were given: none (""), the `trunk`'s or `all`."""

    classifier: Classifier
    images: ImageSet
    seen: Look
    given: str
    notes: tuple[str, ...] = ()  # what was chosen, for the screen


def start_from(
    data: str,
    model: str | None,
    width: float | None,
    image: int | None,
    weights: str | Path | None,
    seed: int,
    on_bad: str | None,
    screen: Screen,
) -> Start:
    """Choose input and network by the printed rule (or as asked for), decode, initialize. Raises MignonError."""
    check_seed(seed)
    listing = scan(data)
    seen = look(listing)
    options: dict[str, Any] = {}
    if model is not None:
        model, options = parse_model(model)
    if width is not None:
        options["width"] = width
    if weights is not None and not _is_trunk(weights):
        given = load(weights)
        if model not in (None, given.family):
            raise ModelError(f"{weights} holds {given.family}, not {model}", "leave the model away, or --from")
        images = open_images(listing, given.input, seed, on_bad, screen)
        if tuple(given.classes) != tuple(images.classes):
            note = f"other classes than {weights}: a new last layer for {len(images.classes)}, all before it as given"
            return Start(with_new_head(given, images.classes, seed), images, seen, "trunk", (note,))
        return Start(given, images, seen, "all")
    if weights is not None and model is None:
        header, _ = read_tensors(Path(weights))
        raise ModelError(
            f"{weights} is a trunk: say for which network", f"--model {header.get('family')}v1 --width ..."
        )
    notes: list[str] = []
    usual = MODELS[model].pixels if model else None
    pixels = choose_pixels(seen, image, usual)
    if model is None:
        model, rule = choose_model(seen, pixels)
        notes.append(rule)
    spec = neutral_spec(pixels, 3 if weights is not None else seen.channels)
    check = fresh(model, options, spec, listing.classes, seed)
    shapes(check.network, *check.size)  # refuses pictures that are too small before anything is decoded
    images = open_images(listing, spec, seed, on_bad, screen, fit=True)
    spec = input_spec(images.train, images.input)
    if weights is not None:
        header, _ = read_tensors(Path(weights))
        given_input = header.get("input") or {}
        if "mean" in given_input:
            spec = dataclasses.replace(spec, mean=tuple(given_input["mean"]), std=tuple(given_input["std"]))
    classifier = fresh(model, options, spec, listing.classes, seed)
    if weights is not None:
        classifier, copied, skipped = load_trunk(Path(weights), classifier)
        notes.append(f"{len(copied)} tensors taken from {weights}, {len(skipped)} skipped {skipped[:3]}")
    elif seen.fewest < FEW_A_CLASS and pixels > TINY:
        screen.warn(
            f"the smallest class has {seen.fewest} images; below {FEW_A_CLASS} training from scratch is weak: "
            "start from given weights instead, --from FILE"
        )
    return Start(classifier, images, seen, "trunk" if weights is not None else "", tuple(notes))


def _is_trunk(weights: str | Path) -> bool:
    path = Path(weights).expanduser()
    return path.suffix == ".safetensors" and path.is_file() and bool(read_tensors(path)[0].get("trunk_only"))
