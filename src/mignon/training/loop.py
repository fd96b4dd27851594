"""The training loop: every epoch shuffled and augmented batches, one look at validation, one checkpoint.

Everything random is a pure function of seed, epoch and step, and so is the learning rate; a run that was interrupted
anywhere ends with the same bits as one that was not (on the CPU, with the same number of threads).
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from mignon.classifier import Classifier
from mignon.data.batches import in_order
from mignon.data.imageset import Split
from mignon.data.inputs import to_network
from mignon.errors import MignonError
from mignon.files import digest, write_json
from mignon.models.activations import finish_scales, learn_scales
from mignon.models.graph import place
from mignon.models.ops import role
from mignon.models.weights import refit
from mignon.progress import Screen
from mignon.registry import OPTIMIZERS, SCHEDULES
from mignon.training.checkpoint import Progress, load_progress, save_progress
from mignon.training.course import Course, course_for
from mignon.training.device import keep_memory
from mignon.training.interrupt import catch_interrupt
from mignon.training.layers import Layers
from mignon.training.objective import Loss, Objective
from mignon.training.settings import Settings
from mignon.training.targets import class_weights, mixed, soft

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
    warm = round(settings.warmup * total)
    if step < warm:
        return settings.lr * (step + 1) / warm
    left = max(1, total - warm)
    return settings.lr * SCHEDULES[settings.schedule]((step - warm) / left, settings.epochs * left / total)


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
    keep_memory()
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
    course = course_for(layers, classifier, train, validation, objective.teacher, settings, seed, device, screen)
    trained = layers.trained
    with layers.held(), catch_interrupt() as interrupted, objective.bind(network, device) as loss_of:
        training = Training(course, layers, settings, seed, device, folder / "checkpoint.safetensors", key)
        state = training.state
        if state.epoch or state.step:
            screen.say(f"continuing at epoch {state.epoch + 1} of {settings.epochs}")
        elif choose_from == 0:
            state.judge(training.network, 0, *validate(course.classifier, course.validation, device))
        while state.epoch < settings.epochs and not training.stalled:
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
            with training.averaged():
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
        if training.stalled and state.epoch < settings.epochs:
            screen.say(f"no better epoch than {state.best_epoch} in {settings.patience}: it ends here")
    write_json(folder / "history.json", state.history)
    training.network.load_state_dict(state.best)
    finish_scales(network)
    network.to("cpu").eval()
    return Fitted(classifier, state.best_epoch, state.best_score[0], state.history)


class Training:
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
        if settings.ema and not self.state.average:
            self.state.average = {n: t.clone() for n, t in self.network.state_dict().items() if t.is_floating_point()}
        self.steps, self.total = course.steps, settings.epochs * course.steps
        self.labels, self.classes = torch.from_numpy(course.labels), len(course.classifier.classes)
        self.weights = class_weights(course.labels, self.classes) if settings.balance == "weights" else None
        self.know_nothing = math.log(self.classes)

    def epoch(self, loss_of: Loss) -> Iterator[None]:
        """The steps that are left of the running epoch."""
        epoch, state = self.state.epoch, self.state
        frozen = self.total - round(self.settings.freeze * self.total)
        self.layers.train_mode()
        for chosen, pixels, answers in self.course.batches(epoch, range(state.step, self.steps)):
            if epoch * self.steps + state.step >= frozen:
                for module in self.network.modules():
                    if role(module) == "norm":
                        module.eval()
            self._step(pixels, self.labels[chosen], answers, loss_of)
            yield

    def _step(self, pixels: np.ndarray, labels: torch.Tensor, answers: np.ndarray | None, loss_of: Loss) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.state.step) * group["part"]
        pixels, target = self._target(pixels, labels)
        batch, target = torch.from_numpy(pixels).to(self.device), target.to(self.device)
        known = None if answers is None else torch.from_numpy(answers).to(self.device)
        self.optimizer.zero_grad()
        total, right = 0.0, 0
        for part in torch.arange(len(batch)).chunk(self.settings.accumulate):
            logits = self.model(to_network(batch[part], self.spec))
            loss = loss_of(batch[part], logits.float(), target[part], None if known is None else known[part])
            self.fabric.backward(loss * (len(part) / len(batch)))
            total += float(loss.detach()) * len(part) / len(batch)
            right += int((logits.detach().argmax(1) == labels[part].to(self.device)).sum())
        if self.settings.clip:
            self.fabric.clip_gradients(self.model, self.wrapped, max_norm=self.settings.clip, error_if_nonfinite=False)
        self.wrapped.step()
        if self.settings.ema:
            for name, tensor in self.network.state_dict().items():
                if name in self.state.average:
                    self.state.average[name].lerp_(tensor, 1 - self.settings.ema)
        self.state.close_step(total, right, len(labels))

    def _target(self, pixels: np.ndarray, labels: torch.Tensor) -> tuple[np.ndarray, torch.Tensor]:
        """The batch and what it should be answered with: labels, or shares of classes where settings ask for them."""
        settings, state = self.settings, self.state
        if not (settings.mixup or settings.cutmix or settings.smoothing or self.weights is not None):
            return pixels, labels
        target = soft(labels, self.classes, settings.smoothing, self.weights)
        if settings.mixup or settings.cutmix:
            generator = np.random.default_rng([self.seed, state.epoch, state.step, 1])
            pixels, other, share = mixed(pixels, settings, generator)
            target = share * target + (1 - share) * target[other]
        return pixels, target

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The network with the running mean of its numbers, where there is one; its own are back afterwards."""
        if not self.settings.ema:
            yield
            return
        own = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict(self.state.average, strict=False)
        yield
        self.network.load_state_dict(own)

    @property
    def stalled(self) -> bool:
        """Whether validation has not become better for as long as the user is patient."""
        return 0 < self.settings.patience <= self.state.epoch - max(0, self.state.best_epoch)

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
