"""The training loop: every epoch shuffled, cropped and flipped batches, one checkpoint, one look at validation.

Everything random is a pure function of seed, epoch and step, and so is the learning rate; a run that was interrupted
anywhere ends with the same bits as one that was not (on the CPU, with the same number of threads).
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mignon.classifier import Classifier
from mignon.data.batches import Augment, augmented, batch_size, in_order, steps_per_epoch
from mignon.data.imageset import Split
from mignon.data.inputs import InputSpec, to_network
from mignon.errors import MignonError
from mignon.files import digest, write_json
from mignon.models.activations import finish_scales, learn_scales
from mignon.models.graph import place
from mignon.models.ops import role
from mignon.models.weights import refit
from mignon.progress import Screen
from mignon.training.checkpoint import Progress, load_progress, save_progress
from mignon.training.interrupt import catch_interrupt
from mignon.training.objective import Objective

CROSS_ENTROPY = Objective()


@dataclass(frozen=True)
class Settings:
    """SGD with Nesterov momentum, weight decay on weights only, warm-up and cosine to zero."""

    epochs: int
    lr: float = 0.2
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.15
    precision: str = "32-true"
    share: float = 1.0  # of the batches of an epoch, where a whole one is too long
    freeze: float = 1.0  # share of all steps after which BatchNorm keeps its statistics
    scales: bool = False  # train the scales of grids too


@dataclass
class Fitted:
    """The classifier of the best epoch (on validation), that epoch, and a record an epoch (`history.json`)."""

    classifier: Classifier
    best_epoch: int
    history: list[dict[str, Any]]


def learning_rate(step: int, total: int, settings: Settings) -> float:
    """Linear warm-up over the first share of all steps, then a cosine to 0; a pure function of the step."""
    warm = max(1, round(settings.warmup * total))
    if step < warm:
        return settings.lr * (step + 1) / warm
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def augment_for(spec: InputSpec) -> Augment:
    """Crop by an eighth of the side; flip color pictures only (grey ones are often signs that must not be mirrored)."""
    return Augment(pad=spec.height // 8, flip=spec.channels == 3)


def optimizer_for(network: nn.Module, settings: Settings) -> torch.optim.SGD:
    """Biases and BatchNorm are free of weight decay."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return torch.optim.SGD(
        [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=True,
    )


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
    choose_from: int = 1,
) -> Fitted:
    """Train `classifier` in place and give the epoch that is best on validation.

    `folder` gets `checkpoint.safetensors` after every epoch and on Ctrl-C (KeyboardInterrupt follows); a checkpoint of
    the same start and settings that is already there is continued. `after_epoch(classifier, epoch)` may change the
    network after the last step of each epoch (counted from 1), before it is judged; epochs before `choose_from` are not
    chosen. Raises MignonError when the loss is not finite.
    """
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces precision on stderr

    network, spec = classifier.network, classifier.input
    start = (len(train), classifier.recipe, classifier.family, *objective.key())
    key = digest(asdict(settings), seed, spec.pixels, list(spec.mean), *start)
    path = folder / "checkpoint.safetensors"
    precision: Any = settings.precision
    fabric = Fabric(accelerator="cpu" if device == "cpu" else "cuda", devices=1, precision=precision)
    place(network, fabric.device)
    if settings.scales:
        learn_scales(network)
    optimizer = optimizer_for(network, settings)
    state = load_progress(path, key, network, optimizer) or Progress(key)
    if state.epoch or state.step:
        screen.say(f"continuing at epoch {state.epoch + 1} of {settings.epochs}")
    model, wrapped = fabric.setup(network, optimizer)
    augment = augment_for(spec)
    steps = max(1, round(settings.share * steps_per_epoch(len(train), settings.batch)))
    labels = torch.from_numpy(train.labels)
    norms = [module for module in network.modules() if role(module) == "norm"]
    frozen = round(settings.freeze * settings.epochs * steps)
    with catch_interrupt() as interrupted, objective.bind(network, fabric.device) as loss_of:
        while state.epoch < settings.epochs:
            epoch, started = state.epoch, time.perf_counter() - state.seconds
            batches = _batches(train, settings.batch, augment, seed, epoch, range(state.step, steps))
            model.train()
            for chosen, pixels in screen.track(batches, steps - state.step, f"epoch {epoch + 1}/{settings.epochs}"):
                rate = learning_rate(epoch * steps + state.step, settings.epochs * steps, settings)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                if epoch * steps + state.step >= frozen:
                    for norm in norms:
                        norm.eval()
                target, batch = labels[chosen].to(fabric.device), torch.from_numpy(pixels).to(fabric.device)
                logits = model(to_network(batch, spec))
                loss = loss_of(batch, logits.float(), target)
                optimizer.zero_grad()
                fabric.backward(loss)
                wrapped.step()
                state.step += 1
                state.loss += float(loss.detach())
                state.right += int((logits.detach().argmax(1) == target).sum())
                state.seen += len(target)
                if interrupted():
                    state.seconds = time.perf_counter() - started
                    save_progress(path, state, network, optimizer)
                    raise KeyboardInterrupt
            if not math.isfinite(state.loss):
                raise MignonError(
                    f"the loss of epoch {epoch + 1} is not a finite number",
                    f"use a smaller rate than {settings.lr:g}",
                )
            if after_epoch is not None:
                after_epoch(classifier, epoch + 1)
            network.eval()
            refit(network)
            top1, loss_value = validate(classifier, validation, str(fabric.device))
            last_rate = learning_rate((epoch + 1) * steps - 1, settings.epochs * steps, settings)
            seconds = time.perf_counter() - started
            state.close_epoch(network, steps, last_rate, top1, loss_value, seconds, epoch + 1 >= choose_from)
            save_progress(path, state, network, optimizer)
            last = state.history[-1]
            screen.say(
                f"epoch {epoch + 1}/{settings.epochs}: loss {last['train_loss']:.3f}, train "
                f"{100 * last['train_top1']:.1f} %, validation {100 * top1:.1f} %, {last['seconds']:.1f} s"
            )
            if interrupted():
                raise KeyboardInterrupt
    write_json(folder / "history.json", state.history)
    network.load_state_dict(state.best)
    finish_scales(network)
    network.to("cpu").eval()
    return Fitted(classifier, state.best_epoch, state.history)


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
