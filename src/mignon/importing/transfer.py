"""Given weights into a network: what was copied, what was not, and why."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

import torch
from torch import Tensor, fx

from mignon.errors import ModelError
from mignon.models.graph import blocks

MATCHES = ("name", "order")


@dataclass(frozen=True)
class Move:
    """One given tensor: its name, the one of the network that it fills ("" for none), and why it fills none."""

    given: str
    to: str
    why: str = ""


def transfer(tensors: dict[str, Tensor], network: fx.GraphModule, match: str = "name") -> list[Move]:
    """Put given tensors into a network (in place): those of the same name and shape, or, with `order`, runs of the same
    kind and shape in the order of both.

    A bias where a BatchNorm follows goes into that BatchNorm, which does nothing else. Raises ModelError for numbers of
    a kind that no network has and for a match that is none of `MATCHES`.
    """
    if match not in MATCHES:
        raise ModelError(f"weights cannot be matched by {match!r}", f"use --match {' or '.join(MATCHES)}")
    state = {name: t for name, t in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    places = _in_order(tensors, network, state) if match == "order" else {name: name for name in tensors}
    norms = {f"{b.name}.bias": b.norm for b in blocks(network) if b.norm and b.module.bias is None}
    taken = set(places.values())
    moves: list[Move] = []
    filled: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        to = places.get(name, "")
        if to in norms and f"{norms[to]}.bias" not in taken:
            to = f"{norms[to]}.bias"
        if to not in state:
            moves.append(Move(name, "", "no tensor of this name" if match == "name" else "nothing alike in this order"))
        elif state[to].shape != tensor.shape:
            moves.append(Move(name, "", f"{_size(tensor)} there, {_size(state[to])} here"))
        elif not tensor.is_floating_point():
            moves.append(Move(name, "", "whole numbers"))
        else:
            filled[to] = tensor.float()
            moves.append(Move(name, to))
    for norm in norms.values():
        if f"{norm}.bias" in filled and f"{norm}.weight" not in filled:
            ones, module = torch.ones_like(filled[f"{norm}.bias"]), network.get_submodule(norm)
            idle = {"weight": ones, "running_mean": 0 * ones, "running_var": ones - module.eps}  # type: ignore[operator]
            filled |= {f"{norm}.{part}": value for part, value in idle.items()}
    network.load_state_dict(filled, strict=False)
    return moves


def told(moves: list[Move], source: str) -> Iterator[str]:
    """The moves as lines for the screen: how many were copied, and for each reason those that were not."""
    skipped: dict[str, list[str]] = {}
    for move in moves:
        if not move.to:
            skipped.setdefault(move.why, []).append(move.given)
    yield f"{sum(bool(move.to) for move in moves)} of {len(moves)} tensors taken from {source}"
    for why, names in skipped.items():
        yield f"  not taken: {names[0]}{f' and {len(names) - 1} more' if names[1:] else ''} ({why})"


def _size(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"


def _in_order(tensors: dict[str, Tensor], network: fx.GraphModule, state: dict[str, Tensor]) -> dict[str, str]:
    """Longest runs of the same last word and shape, in the order of the file and of the graph (torch's layers say it
    by theirs: a BatchNorm's weight is not that of a convolution)."""
    ours = [name for b in blocks(network) for part in (b.name, b.norm) for name in state if _of(name, part)]
    theirs = list(tensors)
    runs = SequenceMatcher(
        None, [_kind(n, tensors[n]) for n in theirs], [_kind(n, state[n]) for n in ours], autojunk=False
    ).get_matching_blocks()
    return {theirs[run.a + i]: ours[run.b + i] for run in runs for i in range(run.size)}


def _of(name: str, layer: str | None) -> bool:
    return layer is not None and name.rpartition(".")[0] == layer


def _kind(name: str, tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    return name.rpartition(".")[2], tuple(tensor.shape)
