"""Terms on the kernels of a network that are added to the loss (the regularizers of MESS, mlvc-lab/ILKP).

Kernels are the rows of a matrix a layer; the first layer of the family (models/kernels.py) holds the references, the
others resemble them. A correlation that is not defined (a constant kernel) counts as 0.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from mignon.errors import ModelError, RecipeError
from mignon.models.kernels import kernel_families
from mignon.rules.pieces import unit

CHUNK = 1 << 20  # correlations looked at together
WINDOW = 8  # inputs of a pointwise layer that count as one kernel
SMALLEST = 1e-12


def nuclear(kernels: Sequence[Tensor], bind: int = 1) -> Tensor:
    """1 / nuclear norm of the references, `bind` of them in a row: they span more directions."""
    return 1 / torch.linalg.matrix_norm(_bound(kernels[0], bind), "nuc").clamp_min(SMALLEST)


def pcc(kernels: Sequence[Tensor], bind: int = 1) -> Tensor:
    """Sum of the absolute correlations of all pairs of references: they differ."""
    rows = unit(_bound(kernels[0], bind))
    return torch.triu(rows @ rows.T, 1).abs().sum()


def tv(kernels: Sequence[Tensor]) -> Tensor:
    """Absolute differences between neighbors within a kernel, and between kernels that follow each other."""
    rows = torch.cat(list(kernels))
    return (rows[:, :-1] - rows[:, 1:]).abs().sum() + (rows[:-1] - rows[1:]).abs().sum()


def ortho(kernels: Sequence[Tensor]) -> Tensor:
    """Sum over layers of mean((K K^T - I)^2), from the small matrix K^T K."""
    return torch.stack([_ortho(rows) for rows in kernels]).sum()


def _ortho(rows: Tensor) -> Tensor:
    inner = rows.T @ rows
    return (inner.square().sum() - 2 * inner.trace() + len(rows)) / len(rows) ** 2


def cor(kernels: Sequence[Tensor]) -> Tensor:
    """Kernels / sum of the largest absolute correlation of each with a reference: coded kernels resemble references."""
    references = unit(kernels[0])
    return 1 / torch.cat([_likeness(unit(rows), references) for rows in kernels[1:]]).mean().clamp_min(SMALLEST)


def ortho_cor(kernels: Sequence[Tensor]) -> Tensor:
    """Both: `ortho` times `cor`."""
    return ortho(kernels) * cor(kernels)


def group_cor(kernels: Sequence[Tensor], channels: int = 1, outputs: int = 16) -> Tensor:
    """As `cor`, but each share of a layer's kernels may use those references only that belong to its share of the
    `outputs` output channels of the reference layer, `channels` of them together: the index becomes cheap.
    """
    references = unit(kernels[0])
    each = len(references) // outputs * channels
    found = []
    for rows in kernels[1:]:
        size = max(1, len(rows) * channels // outputs)
        group = torch.arange(len(rows), device=rows.device) // size
        rows = unit(rows)
        for g in range(int(group[-1]) + 1):
            first = min(g * each, len(references) - each)
            found.append(_likeness(rows[group == g], references[first : first + each]))
    return 1 / torch.cat(found).mean().clamp_min(SMALLEST)


def _likeness(rows: Tensor, references: Tensor) -> Tensor:
    """The largest absolute product of each unit row with a reference; the gradient flows through that one only."""
    with torch.no_grad():
        size = max(1, CHUNK // len(references))
        index = torch.cat([(part @ references.T).abs().argmax(1) for part in rows.split(size)])
    return (rows * references[index]).sum(1).abs()


def _bound(rows: Tensor, bind: int) -> Tensor:
    return rows[: len(rows) // bind * bind].reshape(-1, bind * rows.shape[1])


TERMS: dict[str, Callable[..., Tensor]] = {
    "nuclear": nuclear, "pcc": pcc, "tv": tv, "ortho": ortho,
    "cor": cor, "ortho-cor": ortho_cor, "group-cor": group_cor,
}  # fmt: skip
COUNTED = ("nuclear", "pcc", "group-cor")


@dataclass(frozen=True)
class KernelTerm:
    """`strength` times a term; `count`: kernels in a row (nuclear, pcc) or output channels together (group-cor)."""

    name: str
    strength: float
    count: int = 1

    @property
    def key(self) -> str:
        """As `parse_terms` reads it."""
        return f"{self.name}:{self.strength:g}" + (f":{self.count}" if self.count > 1 else "")

    def __call__(self, network: fx.GraphModule) -> Tensor:
        """A scalar with gradients to all kernels. Raises ModelError for a network without kernels to compare."""
        found = kernel_families(network)
        kernels = [f for f in found if not f.pointwise and len(f.layers) > 1]
        if not kernels:
            raise ModelError(f"the network has no two layers whose kernels {self.name} could compare", "leave it out")
        rows = [_kernels(network, name) for name in kernels[0].layers]
        function = TERMS[self.name]
        if self.name == "group-cor":
            outputs = len(_weight(network, kernels[0].layers[0]))
            return self.strength * group_cor(rows, self.count, outputs)
        if self.name in COUNTED:
            return self.strength * function(rows, self.count)
        total = function(rows)
        if self.name == "tv":
            for family in found:
                if family.pointwise:
                    total = total + tv([_windows(network, name) for name in family.layers])
        return self.strength * total


def _weight(network: fx.GraphModule, name: str) -> Tensor:
    weight = network.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    return weight


def _kernels(network: fx.GraphModule, name: str) -> Tensor:
    return _weight(network, name).flatten(0, 1).flatten(1)


def _windows(network: fx.GraphModule, name: str) -> Tensor:
    flat = _weight(network, name).flatten()
    return flat[: len(flat) // WINDOW * WINDOW].reshape(-1, WINDOW)


def parse_terms(text: str) -> tuple[KernelTerm, ...]:
    """`cor:1e-5+nuclear:1` or `group-cor:1e-5:4` to terms; empty text to none. Raises RecipeError."""
    terms: list[KernelTerm] = []
    for part in _parts(text):
        name, _, rest = part.partition(":")
        strength, _, count = rest.partition(":")
        if name not in TERMS:
            raise RecipeError(f"there is no term {name!r}", f"known: {', '.join(TERMS)}; for example cor:1e-5")
        if any(term.name == name for term in terms):
            raise RecipeError(f"the term {name} is given twice", "give it once")
        terms.append(KernelTerm(name, _strength(strength, name), _count(count, name)))
    return tuple(terms)


def _parts(text: str) -> list[str]:
    """At each + that is no sign of an exponent."""
    return re.split(r"(?<![eE])\+", text) if text else []


def _strength(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise RecipeError(f"the strength of {name} must be a positive number, not {text!r}", f"for example {name}:1e-5")
    return value


def _count(text: str, name: str) -> int:
    if not text:
        return 1
    if name not in COUNTED or not text.isdecimal() or not 1 <= int(text) <= 64:
        raise RecipeError(
            f"{name} cannot take {text!r}",
            f"a third number, 1 to 64, belongs to {', '.join(COUNTED)}: group-cor:1e-5:4",
        )
    return int(text)
