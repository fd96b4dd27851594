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


@dataclass
class Progress:
    """Finished epochs, steps of the running one, its sums, the best weights so far, and one record an epoch."""

    key: str
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    right: int = 0
    seen: int = 0
    seconds: float = 0.0
    best_epoch: int = -1
    best_score: tuple[float, float] = (-1.0, 0.0)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def close_epoch(
        self, network: nn.Module, steps: int, rate: float, top1: float, loss: float, seconds: float, eligible: bool
    ) -> None:
        """Record the epoch, keep its weights when it is the best eligible on validation (ties: the lower loss)."""
        self.history.append(
            {
                "epoch": self.epoch + 1,
                "lr": rate,
                "train_loss": self.loss / steps,
                "train_top1": self.right / max(1, self.seen),
                "validation_top1": top1,
                "validation_loss": loss,
                "seconds": seconds,
            }
        )
        if eligible and (top1, -loss) > tuple(self.best_score):
            self.best_score, self.best_epoch = (top1, -loss), self.epoch + 1
            self.best = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        self.epoch, self.step, self.loss, self.right, self.seen, self.seconds = (
            self.epoch + 1,
            0,
            0.0,
            0,
            0,
            0.0,
        )


def save_progress(path: Path, state: Progress, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write network, momentum and best weights with the position."""
    tensors = {f"network.{n}": t.detach().cpu().contiguous() for n, t in network.state_dict().items()}
    tensors |= {f"best.{n}": t.contiguous() for n, t in state.best.items()}
    for number, entry in optimizer.state_dict()["state"].items():
        if entry.get("momentum_buffer") is not None:
            tensors[f"momentum.{number}"] = entry["momentum_buffer"].detach().cpu().contiguous()
    position = {k: v for k, v in vars(state).items() if k != "best"}
    tensors = {n: t.clone() for n, t in tensors.items()}  # safetensors refuses shared memory
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
    position["best_score"] = tuple(position["best_score"])
    state = Progress(**position)
    for group in ("network", "best"):
        part = {n.partition(".")[2]: t for n, t in tensors.items() if n.startswith(f"{group}.")}
        if group == "network":
            network.load_state_dict(part)
        else:
            state.best = part
    order = [p for g in optimizer.param_groups for p in g["params"]]
    for name, tensor in tensors.items():
        if name.startswith("momentum."):
            parameter = order[int(name.partition(".")[2])]
            optimizer.state[parameter]["momentum_buffer"] = tensor.to(parameter.device).to(
                memory_format=torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
            )
    return state
