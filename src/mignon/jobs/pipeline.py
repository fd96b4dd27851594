"""Steps one after the other, each kept under its key, each measured on its decoded file."""

import dataclasses
import functools
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from mignon import mgn
from mignon.checkpoint import content_hash, load_safetensors, save_safetensors
from mignon.classifier import Classifier
from mignon.data.imageset import ImageSet, Split
from mignon.errors import DataError, MignonError
from mignon.files import digest, machine_errors, write_atomic
from mignon.jobs.load import load
from mignon.measure.row import VERSION, all_logits, is_row, measure
from mignon.measure.statistics import best_threshold, second_class_probability
from mignon.progress import Screen
from mignon.runs import Run
from mignon.steps import Context, parse_recipe, traits_of, write_step
from mignon.training.device import keep_memory

SHOWN_FLIPS = 24


@dataclasses.dataclass(frozen=True)
class Point:
    """A Classifier on its way through a recipe that began with `root`; `key` names everything that led to it."""

    classifier: Classifier
    root: Classifier
    key: str
    step: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Pipeline:
    """Applies steps to a parent and measures rows against it; nothing that the run folder holds is computed again."""

    def __init__(self, run: Run, parent: Classifier, images: ImageSet, seed: int, device: str, screen: Screen):
        check_classes(parent, images)
        keep_memory()
        self.run, self.images, self.seed, self.device, self.screen = run, images, seed, device, screen
        self.parent = self.begin(parent)
        self._logits: dict[tuple[str, str], np.ndarray] = {}
        self._files: dict[str, tuple[bytes, Classifier]] = {}

    def begin(self, classifier: Classifier, label: str = "float") -> Point:
        """Where recipes start: the parent, or another network for the same images."""
        if not classifier.recipe:
            classifier = dataclasses.replace(classifier, coder="packed")
        key = digest(content_hash(classifier), self.images.key, self.seed)
        return Point(classifier, classifier, key, " ".join(classifier.recipe) or label)

    def context(self, point: Point, folder: Path) -> Context:
        """What a step may see that goes on from a point; `folder` is its own."""
        load = functools.partial(self.load, root=point.root)
        return Context(self.images.train, self.images.validation, self.seed, self.device, self.screen, load, folder)

    def apply(self, point: Point, text: str) -> Point:
        """The next point: from the run folder when it is there, else computed and kept."""
        (step,) = parse_recipe([text], point.classifier.recipe, traits_of(point.classifier))
        others = [content_hash(self.load(name, point.root)) for name in step.models]
        key = digest(point.key, write_step(step), step.version, *others)
        path = self.run.folder / "steps" / f"{key[:16]}.safetensors"
        classifier = _kept(path)
        if classifier is None:
            self.screen.say(f"step {write_step(step)}")
            context = self.context(point, path.with_suffix(""))
            started, cpu = time.perf_counter(), time.process_time()
            classifier = step.apply(point.classifier, context)
            seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
            origin = {**classifier.origin, "seconds": seconds, "cpu_seconds": cpu_seconds}
            classifier = dataclasses.replace(
                classifier, recipe=(*point.classifier.recipe, write_step(step)), origin=origin
            )
            save_safetensors(classifier, path)
            self.run.log(f"step {write_step(step)}: {seconds:.1f} s")
        keep_history_only(path.with_suffix(""))
        return Point(
            classifier,
            point.root,
            key,
            write_step(step),
            classifier.origin.get("seconds", 0.0),
            classifier.origin.get("cpu_seconds", 0.0),
        )

    def load(self, name: str, root: Classifier) -> Classifier:
        """The network that a step names: by path, or `parent`, where the recipe started."""
        return root if name == "parent" else load(name)

    def file(self, point: Point) -> tuple[bytes, Classifier]:
        """The bytes of the point, and the Classifier that was decoded from them."""
        if point.key not in self._files:
            data = mgn.encode(point.classifier)
            self._files = {point.key: (data, mgn.decode(data))}
        return self._files[point.key]

    def logits(self, point: Point, split: Split) -> np.ndarray:
        """What the decoded file of the point says about a split; the parent's are kept for every later row."""
        key = (point.key, split.name)
        path = self.run.folder / "steps" / f"{point.key[:16]}-{split.name}.npy"
        if key not in self._logits:
            kept = _kept_array(path)
            if kept is None or kept.shape != (len(split), len(self.images.classes)):
                kept = all_logits(self.file(point)[1], split, self.screen, f"measuring {point.step} on {split.name}")
                buffer = BytesIO()
                np.save(buffer, kept)
                write_atomic(path, buffer.getvalue())
            self._logits[key] = kept
        return self._logits[key]

    def row(self, point: Point, split: Split, label: str = "") -> dict[str, Any]:
        """The ledger row of a point on a split; `label` stands for its last step where a whole recipe is one row."""
        key = digest(point.key, split.name, label, f"row-{VERSION}")
        row = self.run.row(key)
        if row is None or not is_row(row):
            data, decoded = self.file(point)
            threshold = None
            if len(decoded.classes) == 2 and split.name == "test":
                scores = second_class_probability(self.logits(point, self.images.validation))
                threshold = best_threshold(self.images.validation.labels, scores)
            row = measure(
                label or point.step,
                decoded,
                len(data),
                split,
                self.logits(point, split),
                self.logits(self.parent, split),
                point.seconds,
                point.cpu_seconds,
                threshold,
            ).to_dict()
            self.run.add_row(key, row)
        return row

    def finish(self, point: Point, label: str = "") -> tuple[Path, dict[str, Any]]:
        """Write `model.mgn`, read it back, measure that on test, and keep what the report needs."""
        data, _ = self.file(point)
        path = self.run.folder / "model.mgn"
        write_atomic(path, data)
        stored = path.read_bytes()
        if stored != data:
            raise MignonError(f"{path} does not read back as it was written", "check the disk, then repeat the command")
        row = self.row(point, self.images.test, label)
        before = self.logits(self.parent, self.images.test).argmax(1)
        after = self.logits(point, self.images.test).argmax(1)
        labels = self.images.test.labels
        count = len(self.images.classes)
        confusion = np.zeros((count, count), int)
        np.add.at(confusion, (labels, after), 1)
        flips = np.flatnonzero((before == labels) != (after == labels))[:SHOWN_FLIPS]
        buffer = BytesIO()
        np.savez_compressed(
            buffer,
            images=self.images.test.take(flips),
            labels=labels[flips],
            before=before[flips],
            after=after[flips],
        )
        write_atomic(self.run.folder / "flips.npz", buffer.getvalue())
        self.run.update(
            status="done",
            bytes=[list(part) for part in mgn.parts(stored)],
            confusion=confusion.tolist(),
            classes=list(self.images.classes),
            flip_names=[self.images.test.names[i] for i in flips],
            card={k: v for k, v in self.images.card.items() if k != "per_class"},
            final=row,
        )
        return path, row


def keep_history_only(folder: Path) -> None:
    """Remove what a step that is done had kept to go on after an interruption; its histories stay for the report."""
    with machine_errors(folder):
        for path in sorted(folder.rglob("*"), reverse=True):  # a folder comes after what is in it
            if path.is_file() and path.name != "history.json":
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def check_classes(classifier: Classifier, images: ImageSet) -> None:
    """Raise DataError when a network and a source do not have the same classes."""
    if tuple(classifier.classes) != tuple(images.classes):
        ours, theirs = ", ".join(classifier.classes[:4]), ", ".join(images.classes[:4])
        raise DataError(
            f"the network knows {len(classifier.classes)} classes ({ours}, ...), "
            f"the images have {len(images.classes)} ({theirs}, ...)",
            "give images with the same class folders, or train a network on these images: mignon train MODEL --data D",
        )


def _kept(path: Path) -> Classifier | None:
    if not path.exists():
        return None
    try:
        return load_safetensors(path)
    except MignonError:
        return None


def _kept_array(path: Path) -> np.ndarray | None:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
