"""Where a training stands: one safetensors file, written to a temporary name, synced, renamed."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mignon.files import write_atomic

KEPT = ("best", "average")  # tensors of a Progress
SMOOTH = 16  # steps over which the running loss is a mean


@dataclass
class Progress:
    """Finished epochs, steps of the running one and its sums, the loss as it began and as it runs, the best weights so
    far (epoch 0: as given, -1: none), and one record an epoch.
    """

    key: str
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    right: int = 0
    seen: int = 0
    seconds: float = 0.0
    steps: int = 0  # since the start
    begun: float = 0.0
    running: float = 0.0
    best_epoch: int = -1
    best_score: tuple[float, float] = (-1.0, 0.0)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)  # running mean of the weights

    def close_step(self, loss: float, right: int, seen: int) -> None:
        """Count a step; the running loss is a mean of the last steps, smoothed exponentially."""
        self.step, self.steps = self.step + 1, self.steps + 1
        self.loss, self.right, self.seen = self.loss + loss, self.right + right, self.seen + seen
        self.running += (loss - self.running) / min(self.steps, SMOOTH)
        if self.steps == 1:
            self.begun = loss

    def judge(self, network: nn.Module, epoch: int, top1: float, loss: float) -> None:
        """Keep the weights of an epoch when they are the best so far on validation (ties: the lower loss)."""
        if (top1, -loss) > tuple(self.best_score):
            self.best_score, self.best_epoch = (top1, -loss), epoch
            self.best = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}

    def close_epoch(self, rate: float, top1: float, loss: float, seconds: float) -> None:
        """Record the epoch: `top1` and `loss` are on validation."""
        self.history.append(
            {
                "epoch": self.epoch + 1,
                "lr": rate,
                "train_loss": self.loss / self.step,
                "train_top1": self.right / max(1, self.seen),
                "validation_top1": top1,
                "validation_loss": loss,
                "seconds": seconds,
            }
        )
        self.epoch, self.step, self.loss, self.right, self.seen, self.seconds = self.epoch + 1, 0, 0.0, 0, 0, 0.0


def save_progress(path: Path, state: Progress, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write network, optimizer and best weights with the position."""
    tensors = {f"network.{n}": t for n, t in network.state_dict().items()}
    for kind in KEPT:
        tensors |= {f"{kind}.{n}": t for n, t in getattr(state, kind).items()}
    numbers: dict[str, dict[str, Any]] = {}  # of the optimizer, that are no tensors
    for index, entry in optimizer.state_dict()["state"].items():
        for name, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                numbers.setdefault(str(index), {})[name] = value
    position = {"optimizer": numbers, **{k: v for k, v in vars(state).items() if k not in KEPT}}
    tensors = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}  # safetensors shares no memory
    write_atomic(path, save(tensors, metadata={"progress": json.dumps(position)}))


def load_progress(path: Path, key: str, network: nn.Module, optimizer: torch.optim.Optimizer) -> Progress | None:
    """The position of a checkpoint with this key, its tensors put in place; None when there is none."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            position = json.loads((file.metadata() or {}).get("progress", "{}"))
            if position.get("key") != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, json.JSONDecodeError):
        return None
    numbers = position.pop("optimizer")
    position["best_score"] = tuple(position["best_score"])
    network.load_state_dict(_group(tensors, "network"))
    entries: dict[int, dict[str, Any]] = {int(index): dict(entry) for index, entry in numbers.items()}
    parameters = [p for g in optimizer.param_groups for p in g["params"]]
    for name, tensor in _group(tensors, "optimizer").items():
        index, _, entry_name = name.partition(".")
        if tensor.dim() == 4 and tensor.shape == parameters[int(index)].shape:
            tensor = tensor.to(memory_format=torch.channels_last)  # as its parameter
        entries.setdefault(int(index), {})[entry_name] = tensor
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(**position, best=_group(tensors, "best"), average=_group(tensors, "average"))


def _group(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {n.removeprefix(f"{name}."): t for n, t in tensors.items() if n.startswith(f"{name}.")}
