"""`mignon probe FOLDER`: what a linear head on a frozen network reaches, at every cut; the first thing to know."""

from dataclasses import asdict, dataclass, field
from typing import Any

from mignon.checkpoint import content_hash, save_safetensors
from mignon.data.look import PHOTO, PRETRAINED
from mignon.jobs.pipeline import Pipeline
from mignon.jobs.requests import Probe, verb
from mignon.jobs.result import Result, verdict
from mignon.jobs.start import start_from
from mignon.progress import Screen
from mignon.runs import Run
from mignon.training import probe as heads
from mignon.training.device import pick_device


@dataclass
class Probed(Result):
    """The cuts with what they reach where it was chosen, and the learning curve of the best one."""

    judged: str = ""
    cuts: list[dict[str, Any]] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The document of --json."""
        return {**super().to_json(), "judged": self.judged, "cuts": self.cuts, "curve": self.curve}


@verb(Probe)
def probe(request: Probe, screen: Screen) -> Probed:
    """Linear heads at every cut of a network with given weights, chosen on validation (cross-validation where there are
    few images); the best one is measured on test, once. Raises MignonError.

    `model.safetensors` in the run folder is the network up to that cut with its linear head: it can be compressed,
    tuned, and teach others.
    """
    weights, seed = request.start or PRETRAINED, request.seed
    pixels = request.image or (PHOTO if request.start is None else None)
    begun = start_from(request.folder, None, None, pixels, weights, seed, request.on_bad, screen)
    device = pick_device(request.device)
    identity = {"data": begun.images.key, "start": content_hash(begun.classifier), "seed": seed}
    with Run.start(request, begun.images.card["source"], identity, request.out) as run:
        begun.tell(run, screen)
        splits = begun.images.train, begun.images.validation
        found = heads.Probe(begun.classifier, *splits, not begun.seen.grey, seed, device, screen)
        cuts = found.cuts()
        best = heads.best(cuts)
        head = found.head(best, validation=True)
        save_safetensors(head, run.folder / "model.safetensors")
        pipeline = Pipeline(run, head, begun.images, seed, device, screen)
        file, row = pipeline.finish(pipeline.parent)
        sentence = verdict(file.name, row, begun.images)
        run.update(verdict=sentence)
        return Probed(
            str(run.folder), str(file), sentence, True, [row], list(screen.warnings), judged=found.judged,
            cuts=[{**asdict(cut), "best": cut == best} for cut in cuts], curve=found.curve(best),
        )  # fmt: skip
