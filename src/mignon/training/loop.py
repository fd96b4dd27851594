"""The training loop: every epoch shuffled and augmented batches, one look at validation, one checkpoint.

Everything random is a pure function of seed, epoch and step, and so is the learning rate; a run that was interrupted
anywhere ends with the same bits as one that was not (on the CPU, with the same number of threads).
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from mignon.classifier import Classifier
from mignon.data.batches import Augment, augmented, batch_size, in_order, steps_per_epoch
from mignon.data.imageset import Split
from mignon.data.inputs import InputSpec, to_network
from mignon.errors import MignonError
from mignon.files import digest, write_json
from mignon.models.activations import finish_scales, learn_scales
from mignon.models.graph import between, place
from mignon.models.ops import role
from mignon.models.weights import refit
from mignon.progress import Screen
from mignon.registry import OPTIMIZERS, SCHEDULES
from mignon.training.checkpoint import Progress, load_progress, save_progress
from mignon.training.features import COPIES, features_of
from mignon.training.interrupt import catch_interrupt
from mignon.training.layers import Layers
from mignon.training.objective import Loss, Objective
from mignon.training.settings import Settings

CROSS_ENTROPY = Objective()
FAR = 3.0  # times where it began: a loss above that has run away


@dataclass
class Fitted:
    """The classifier of the epoch that is best on validation (0: as it was given), and a record an epoch."""

    classifier: Classifier
    best_epoch: int
    best_top1: float
    history: list[dict[str, Any]]


def learning_rate(step: int, total: int, settings: Settings) -> float:
    """Linear warm-up over the first share of all steps, then the schedule; a pure function of the step."""
    warm = max(1, round(settings.warmup * total))
    if step < warm:
        return settings.lr * (step + 1) / warm
    return settings.lr * SCHEDULES[settings.schedule]((step - warm) / max(1, total - warm))


def augment_for(spec: InputSpec) -> Augment:
    """Grey pictures are often signs, small ones at that: small affine changes, and never mirrored. Photos in color show
    things anywhere, from both sides: moved by up to an eighth of the side, and flipped.
    """
    if spec.channels == 1:
        return Augment(shift=0.04 * spec.height, turn=8, scale=0.08, shear=0.08)
    return Augment(shift=spec.height // 8, flip=True)


def optimizer_for(classifier: Classifier, settings: Settings) -> torch.optim.Optimizer:
    """Biases and BatchNorm are free of weight decay; all before the head has its own share of the rate (`part`)."""
    head = {id(p) for p in list(classifier.weighted().values())[-1].parameters()}
    groups: dict[tuple[float, float], list[torch.Tensor]] = {}
    for parameter in classifier.network.parameters():
        if parameter.requires_grad:
            part = 1.0 if id(parameter) in head else settings.trunk
            decay = settings.weight_decay if parameter.dim() > 1 else 0.0
            groups.setdefault((part, decay), []).append(parameter)
    made = [{"params": own, "part": part, "weight_decay": decay} for (part, decay), own in groups.items()]
    return OPTIMIZERS[settings.optimizer].make(made, settings)


def fit(
    classifier: Classifier,
    train: Split,
    validation: Split,
    settings: Settings,
    seed: int,
    device: str,
    folder: Path,
    screen: Screen,
    objective: Objective = CROSS_ENTROPY,
    after_epoch: Callable[[Classifier, int], None] | None = None,
    choose_from: int = 0,
) -> Fitted:
    """Train `classifier` in place and give the epoch that is best on validation.

    `folder` gets `checkpoint.safetensors` after every epoch and on Ctrl-C (KeyboardInterrupt follows); a checkpoint of
    the same start and settings that is already there is continued. `after_epoch(classifier, epoch)` may change the
    network after the last step of each epoch (counted from 1), before it is judged. Epochs before `choose_from` are not
    chosen; epoch 0 is what was given. A loss that runs away ends the training with a warning and the best epoch so far;
    MignonError is raised when there is none, and when a frozen layer was changed.
    """
    layers, network = Layers.of(classifier, settings.layers), place(classifier.network, device)
    screen.say(layers.line())
    if not layers.nodes:
        return Fitted(classifier, 0, validate(classifier, validation, device)[0], [])
    if settings.scales:
        learn_scales(network)
    key = digest(
        asdict(settings), seed, classifier.input.pixels, list(classifier.input.mean),
        len(train), classifier.recipe, classifier.family, *objective.key(), choose_from,
    )  # fmt: skip
    course = None if objective.teacher else _on_features(layers, classifier, train, validation, device, screen)
    course = course or Course(classifier, [train], validation, augment_for(classifier.input))
    trained = layers.trained
    with layers.held(), catch_interrupt() as interrupted, objective.bind(network, device) as loss_of:
        training = _Training(course, layers, settings, seed, device, folder / "checkpoint.safetensors", key)
        state = training.state
        if state.epoch or state.step:
            screen.say(f"continuing at epoch {state.epoch + 1} of {settings.epochs}")
        elif choose_from == 0:
            state.judge(training.network, 0, *validate(course.classifier, course.validation, device))
        while state.epoch < settings.epochs:
            epoch, started = state.epoch + 1, time.perf_counter() - state.seconds
            label = f"epoch {epoch}/{settings.epochs}"
            for _ in screen.track(training.epoch(loss_of), training.steps - state.step, label):
                if interrupted():
                    state.seconds = time.perf_counter() - started
                    training.save()
                    raise KeyboardInterrupt
                if training.ran_away:
                    break
            if training.ran_away:
                _give_up(state, settings, screen)
                break
            if after_epoch is not None:
                after_epoch(classifier, epoch)
            network.eval()
            refit(trained)
            top1, loss = validate(course.classifier, course.validation, device)
            if epoch >= choose_from:
                state.judge(training.network, epoch, top1, loss)
            state.close_epoch(training.rate(state.step - 1), top1, loss, time.perf_counter() - started)
            training.save()
            last = state.history[-1]
            screen.record(epoch * training.steps, **{name: last[name] for name in last if name != "epoch"})
            screen.say(
                f"{label}: loss {last['train_loss']:.3f}, train {100 * last['train_top1']:.1f} %, "
                f"validation {100 * top1:.1f} %, {last['seconds']:.1f} s"
            )
            if interrupted():
                raise KeyboardInterrupt
    write_json(folder / "history.json", state.history)
    training.network.load_state_dict(state.best)
    finish_scales(network)
    network.to("cpu").eval()
    return Fitted(classifier, state.best_epoch, state.best_score[0], state.history)


@dataclass(frozen=True)
class Course:
    """What is run at every step: a classifier, its images (epoch e takes copy e, and the first again after the last),
    how they are changed at random, and the images that judge it.
    """

    classifier: Classifier
    copies: list[Split]
    validation: Split
    augment: Augment


def _on_features(
    layers: Layers, classifier: Classifier, train: Split, validation: Split, device: str, screen: Screen
) -> Course | None:
    """The layers that train, on what the frozen ones make of the images, mirrored in every second epoch where that is
    usual; None where no single map lies between them, or it would be too large for the disk.
    """
    border = layers.border
    if not layers.frozen or len(border) != 1 or border[0].op == "placeholder":
        return None
    start = [node for node in layers.network.graph.nodes if node.op == "placeholder"]
    trunk, spec = between(layers.network, start, border), classifier.input
    names = [*COPIES] if augment_for(spec).flip else ["plain"]
    copies = [features_of(trunk, spec, train, name, device, screen) for name in names]
    judge = features_of(trunk, spec, validation, "plain", device, screen)
    whole = [copy for copy in copies if copy is not None]
    if judge is None or len(whole) < len(copies):
        return None
    return Course(replace(classifier, network=layers.trained), whole, judge, Augment())


class _Training:
    """Network, optimizer and position of a training on its device, continued from its checkpoint."""

    def __init__(
        self, course: Course, layers: Layers, settings: Settings, seed: int, device: str, path: Path, key: str
    ):
        from lightning_fabric import Fabric

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces precision on stderr
        precision: Any = settings.precision
        self.fabric = Fabric(accelerator="cpu" if device == "cpu" else "cuda", devices=1, precision=precision)
        self.course, self.layers, self.settings, self.seed, self.path = course, layers, settings, seed, path
        self.network, self.spec, self.device = course.classifier.network, course.classifier.input, device
        self.optimizer = optimizer_for(course.classifier, settings)
        self.state = load_progress(path, key, self.network, self.optimizer) or Progress(key)
        self.model, self.wrapped = self.fabric.setup(self.network, self.optimizer)
        train = course.copies[0]
        self.steps = max(1, round(settings.share * steps_per_epoch(len(train), settings.batch)))
        self.total = settings.epochs * self.steps
        self.labels = torch.from_numpy(train.labels)
        self.know_nothing = math.log(len(course.classifier.classes))

    def epoch(self, loss_of: Loss) -> Iterator[None]:
        """The steps that are left of the running epoch."""
        epoch, state = self.state.epoch, self.state
        frozen = self.total - round(self.settings.freeze * self.total)
        self.layers.train_mode()
        train = self.course.copies[epoch % len(self.course.copies)]
        batches = _batches(
            train, self.settings.batch, self.course.augment, self.seed, epoch, range(state.step, self.steps)
        )
        for chosen, pixels in batches:
            if epoch * self.steps + state.step >= frozen:
                for module in self.network.modules():
                    if role(module) == "norm":
                        module.eval()
            self._step(pixels, self.labels[chosen].to(self.device), loss_of)
            yield

    def _step(self, pixels: np.ndarray, target: torch.Tensor, loss_of: Loss) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.state.step) * group["part"]
        batch = torch.from_numpy(pixels).to(self.device)
        logits = self.model(to_network(batch, self.spec))
        loss = loss_of(batch, logits.float(), target)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        if self.settings.clip:
            self.fabric.clip_gradients(self.model, self.wrapped, max_norm=self.settings.clip, error_if_nonfinite=False)
        self.wrapped.step()
        right = int((logits.detach().argmax(1) == target).sum())
        self.state.close_step(float(loss.detach()), right, len(target))

    def rate(self, step: int) -> float:
        """The learning rate of a step of the running epoch."""
        return learning_rate(self.state.epoch * self.steps + step, self.total, self.settings)

    @property
    def ran_away(self) -> bool:
        """Whether the running loss is no number, or far above where it began and where guessing would be."""
        state = self.state
        return not state.running <= FAR * max(state.begun, self.know_nothing)

    def save(self) -> None:
        """Write the checkpoint."""
        save_progress(self.path, self.state, self.network, self.optimizer)


def _give_up(state: Progress, settings: Settings, screen: Screen) -> None:
    """Say that the loss ran away and what is kept. Raises MignonError when there is nothing to keep."""
    what = f"the loss ran away in epoch {state.epoch + 1} (from {state.begun:.3g} to {state.running:.3g})"
    instead = f"use a smaller rate than {settings.lr:g}"
    if state.best_epoch < 0:
        raise MignonError(what, instead)
    kept = f"epoch {state.best_epoch}" if state.best_epoch else "the state before it"
    screen.warn(f"{what}: {kept} is kept; {instead}")


def _batches(
    train: Split, batch: int, augment: Augment, seed: int, epoch: int, steps: range
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    order = np.random.default_rng([seed, epoch]).permutation(len(train))
    size = batch_size(len(train), batch)
    for step in steps:
        chosen = order[step * size : (step + 1) * size]
        yield chosen, augmented(train.take(chosen), augment, np.random.default_rng([seed, epoch, step]))


def validate(classifier: Classifier, split: Split, device: str) -> tuple[float, float]:
    """(top-1 as a fraction, mean cross-entropy) in float32."""
    right, loss, first = 0, 0.0, 0
    for pixels in in_order(split):
        logits = torch.from_numpy(classifier.logits(pixels, device))
        target = torch.from_numpy(split.labels[first : first + len(pixels)])
        right += int((logits.argmax(1) == target).sum())
        loss += float(F.cross_entropy(logits, target, reduction="sum"))
        first += len(pixels)
    return right / len(split), loss / len(split)
