"""What each kind of module means: one row an operation. Everything that asks "what is this module?" asks here.

A family may add a row beside a module of its own with `register`; `tests/models/test_ops.py` tries the claims of every
row on its example.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mignon.models.layers import Add, Concat, Gate, GlobalAverage, GlobalMaximum, PadShortcut, SamePad

ROLES = ("weights", "norm", "activation", "join", "average", "pool", "pad", "view", "grid")
TIES = ("new", "same", "stack", "pad")


def _no_flaw(module: Any) -> str:
    return ""


@dataclass(frozen=True)
class Operation:
    """One row. `example` makes a module of this kind that takes `inputs` maps of 4 channels (4 features for linear).

    role: `weights` (a convolution or linear layer: `weight`, `bias`), `norm` (BatchNorm behind one), `activation`,
    `join` (of several maps), `average`, `pool` (maximum), `pad`, `view` (nothing is computed in evaluation), `grid`.
    ties: what becomes of channels. `new`: others; `same`: channel c of every input makes channel c; `stack`: those of
    the inputs one after the other; `pad`: zero channels around them (`before` and `after` of the module).
    on_grid: values on an integer grid stay on it. zero: what 0 becomes (None: it
    depends on numbers of the module). scales: f(s x) = s f(x) for every s > 0.
    integer: name of its integer form in a Plan. flaw: why this very module is not this operation, or "".
    """

    role: str
    example: Callable[[], nn.Module]
    ties: str = "same"
    inputs: int = 1
    on_grid: bool = False
    zero: float | None = 0.0
    scales: bool = False
    integer: str = "table"
    flaw: Callable[[Any], str] = _no_flaw

    def __post_init__(self) -> None:
        if self.role not in ROLES or self.ties not in TIES:
            raise ValueError(f"an operation has a role of {ROLES} and ties of {TIES}, not {self.role}, {self.ties}")

    @property
    def in_place(self) -> bool:
        """Whether its output can take the memory of its input."""
        return self.role in ("norm", "activation", "view", "grid")

    @property
    def one_to_one(self) -> bool:
        """Whether channel c of the only input makes channel c."""
        return self.ties == "same" and self.inputs == 1


OPERATIONS: dict[type[nn.Module], Operation] = {}


def register(kind: type[nn.Module], row: Operation) -> None:
    """Add a row for a kind of module; a kind has one."""
    if kind in OPERATIONS:
        raise ValueError(f"{kind.__name__} has a row already")
    OPERATIONS[kind] = row


def operation(module: Any) -> Operation | None:
    """The row of a module, or None. A subclass is what it inherits from as long as it computes the same."""
    for kind in type(module).__mro__:
        if kind in OPERATIONS and kind.forward is type(module).forward:
            return OPERATIONS[kind]
    return None


def role(module: Any) -> str:
    """The role of a module; empty for none, and for what has no row."""
    row = operation(module)
    return row.role if row else ""


def is_weighted(module: Any) -> bool:
    """A convolution or linear layer."""
    return role(module) == "weights"


def is_convolution(module: Any) -> bool:
    """Weights O x I x kh x kw."""
    return is_weighted(module) and hasattr(module, "kernel_size")


def is_depthwise(module: Any) -> bool:
    """A convolution with one filter for each channel."""
    return is_convolution(module) and module.groups == module.in_channels == module.out_channels > 1


def is_grouped(module: Any) -> bool:
    """A convolution with other groups; such layers keep their width."""
    return is_convolution(module) and module.groups > 1 and not is_depthwise(module)


def groups(module: Any) -> int:
    """Groups of a layer with weights: 1 for linear ones."""
    return module.groups if is_convolution(module) else 1


def resized(module: Any, old: int, inputs: int, outputs: int) -> nn.Module:
    """A new layer or norm that reads `inputs` channels instead of `old` and has `outputs`; its numbers are new."""
    device = module.weight.device
    if role(module) == "norm":
        return type(module)(outputs, module.eps, module.momentum, device=device)
    bias = module.bias is not None
    if not is_convolution(module):
        return nn.Linear(module.in_features // old * inputs, outputs, bias, device)
    return nn.Conv2d(
        inputs, outputs, module.kernel_size, module.stride, module.padding, module.dilation,
        inputs if is_depthwise(module) else 1, bias, device=device,
    )  # fmt: skip


def output_shape(module: Any, inputs: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Shape for one image without N, from those of the inputs; nothing is computed. Raises RuntimeError."""
    row = operation(module)
    if row is None or row.role != "weights":
        if row is not None and row.in_place and not (row.role == "view" and len(inputs[0]) > 1):
            return inputs[0]
        # no picture costs nothing; on the meta device many functions are Python and load torch's compiler (2.5 s)
        device = next((tensor.device for tensor in (*module.parameters(), *module.buffers())), "cpu")
        with torch.no_grad():
            return tuple(module(*(torch.empty(0, *shape, device=device) for shape in inputs)).shape[1:])
    if not is_convolution(module):
        if inputs[0] != (module.in_features,):
            raise RuntimeError(f"{module.in_features} features are expected, not {inputs[0]}")
        return (module.out_features,)
    channels, *sides = inputs[0]
    if channels != module.in_channels:
        raise RuntimeError(f"{module.in_channels} channels are expected, not {channels}")
    windows = zip(sides, module.padding, module.dilation, module.kernel_size, module.stride)
    sides = [(side + 2 * pad - step * (kernel - 1) - 1) // stride + 1 for side, pad, step, kernel, stride in windows]
    if min(sides) < 1:
        raise RuntimeError(f"a map of {' x '.join(map(str, inputs[0][1:]))} is smaller than the kernel")
    return (module.out_channels, *sides)


def _convolution_flaw(module: Any) -> str:
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return "its padding is not a number of zeros"
    return ""


def _norm_flaw(module: Any) -> str:
    if module.weight is None or module.bias is None or module.running_mean is None:
        return "it has no weight, bias or running statistics"
    return ""


def _flatten_flaw(module: Any) -> str:
    return "" if (module.start_dim, module.end_dim) == (1, -1) else "it does not flatten whole images"


def _lively(norm: Any) -> nn.Module:
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert isinstance(tensor, Tensor)
        nn.init.uniform_(tensor, 0.5, 1.5)
    return norm.eval()


for _kind, _row in {
    nn.Conv2d: Operation(
        "weights", lambda: nn.Conv2d(4, 6, 3), "new", zero=None, integer="convolution", flaw=_convolution_flaw
    ),
    nn.Linear: Operation("weights", lambda: nn.Linear(4, 6), "new", zero=None, integer="linear"),
    nn.BatchNorm2d: Operation(
        "norm", lambda: _lively(nn.BatchNorm2d(4)), zero=None, integer="absorbed", flaw=_norm_flaw
    ),
    nn.BatchNorm1d: Operation(
        "norm", lambda: _lively(nn.BatchNorm1d(4)), zero=None, integer="absorbed", flaw=_norm_flaw
    ),
    nn.ReLU: Operation("activation", nn.ReLU, on_grid=True, scales=True, integer="clamp"),
    nn.ReLU6: Operation("activation", nn.ReLU6, integer="clamp"),
    nn.Hardswish: Operation("activation", nn.Hardswish),
    nn.Hardsigmoid: Operation("activation", nn.Hardsigmoid, zero=0.5),
    nn.ELU: Operation("activation", nn.ELU),
    nn.LeakyReLU: Operation("activation", nn.LeakyReLU, scales=True),
    nn.SiLU: Operation("activation", nn.SiLU),
    Add: Operation("join", Add, inputs=2, scales=True, integer="add"),
    Gate: Operation("join", Gate, inputs=2, integer="multiply"),
    Concat: Operation("join", Concat, "stack", inputs=2, scales=True, integer="concat"),
    GlobalAverage: Operation("average", GlobalAverage, scales=True, integer="average"),
    nn.AdaptiveAvgPool2d: Operation("average", lambda: nn.AdaptiveAvgPool2d(2), scales=True, integer="average"),
    nn.AvgPool2d: Operation("average", lambda: nn.AvgPool2d(2), scales=True, integer="average"),
    nn.MaxPool2d: Operation("pool", lambda: nn.MaxPool2d(2), on_grid=True, scales=True, integer="max-pool"),
    GlobalMaximum: Operation("pool", GlobalMaximum, on_grid=True, scales=True, integer="max-pool"),
    SamePad: Operation("pad", lambda: SamePad(3, 2), on_grid=True, scales=True, integer="pad"),
    PadShortcut: Operation("pad", lambda: PadShortcut(2, 2), "pad", on_grid=True, scales=True, integer="pad"),
    nn.Identity: Operation("view", nn.Identity, on_grid=True, scales=True, integer="view"),
    nn.Dropout: Operation("view", nn.Dropout, on_grid=True, scales=True, integer="view"),
    nn.Flatten: Operation("view", nn.Flatten, on_grid=True, scales=True, integer="view", flaw=_flatten_flaw),
}.items():
    register(_kind, _row)
