"""Shared kernels: every piece of a weight is a x reference[index] + m (MESS, mlvc-lab/ILKP).

The references are learned shapes (whole numbers, stored once) or the kernels of another tensor. With `unit` each is
centered and scaled to length 1 first, so that a is a signed norm and m the mean of the piece.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mignon.coding import Layout
from mignon.errors import FormatError
from mignon.registry import RULES
from mignon.rules import Rule, example_weight
from mignon.rules.linear import Scale, affine, integers, limits
from mignon.rules.pieces import TINY, TRANSFORMS, count_windows, cut, kernel_size, permutations, split, unit, windows
from mignon.rules.planes import from_planes, to_planes
from mignon.rules.reference import Reference

MAX_LENGTH = 1024
MAX_SHAPES = 1 << 16
MAX_TABLE = 1 << 20  # numbers of learned shapes


@RULES.register("share")
class Share(Rule):
    """spec: {"rule": "share", "length": of a piece, "references": number of them (before transforms), "a", "m": bits
    (0: fixed at 1 and 0; 32: float), "from": tensor with the references ("stride": of its windows) or "shape_bits":
    they are stored here; "unit"; "turn": transforms; "free": trained without the rule}."""

    shapes: Tensor
    a: Tensor
    m: Tensor
    a_scale: Tensor
    m_scale: Tensor

    @classmethod
    def examples(cls) -> list[Rule]:
        """Shapes that stand here (those of another tensor need a network), with float and with whole numbers."""
        weight = example_weight(6, 3, 3, 3)
        rules: list[Rule] = []
        for m in (32, 4):
            spec = {"rule": "share", "length": 9, "references": 7, "shape_bits": 8, "a": 4, "m": m, "unit": True}
            rule = cls(spec, tuple(weight.shape))
            rule.set_shapes(example_weight(7, 9))
            rule.set_index(torch.arange(rule.parts.total) % 7)
            a, offsets = rule.fitted(weight)
            rule.set_numbers("a", a, affine(a, 4))
            rule.set_numbers("m", offsets, affine(offsets, m) if m < 32 else None)
            rules.append(rule)
        return rules

    @classmethod
    def layouts(cls, spec: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Layout]:
        """`shapes` where they stand here, bytes of the index (lowest first), scale and numbers of a and m."""
        _check_spec(spec, shape)
        parts = cut(shape, spec["length"])
        streams = {}
        if "shape_bits" in spec:
            streams["shapes"] = Layout((spec["references"], spec["length"]), "weights")
        for i in range(_index_bytes(spec, shape)):
            streams[f"index{i}"] = Layout((parts.total,), "bytes")
        for name in ("a", "m"):
            if spec[name] == 32:
                streams[name] = Layout((4, parts.total), "bytes")
            elif spec[name]:
                streams[f"{name}_scale"] = Layout((4, 2), "bytes")
                streams[name] = Layout((parts.rows, parts.pieces), "weights")
        return streams

    def __init__(self, spec: dict[str, Any], shape: tuple[int, ...]):
        super().__init__(spec, shape)
        self.parts = cut(self.shape, spec["length"])
        self.unit = bool(spec.get("unit"))
        self.turns = permutations(spec.get("turn", "none"), spec["length"], kernel_size(self.shape))
        self._follows = False
        if self.stores_shapes:
            self.live_shapes = nn.Parameter(torch.zeros(spec["references"], spec["length"]))

    @property
    def stores_shapes(self) -> bool:
        """Whether the references are learned shapes that stand here."""
        return "shape_bits" in self.spec

    @property
    def top(self) -> int:
        """Largest magnitude of a number of a learned shape."""
        return 2 ** (self.spec["shape_bits"] - 1) - 1

    @classmethod
    def from_streams(cls, spec: dict[str, Any], shape: tuple[int, ...], streams: Any) -> "Share":
        """As the base; training goes on from the stored shapes."""
        rule = super().from_streams(spec, shape, streams)
        assert isinstance(rule, Share)
        if rule.stores_shapes:
            rule.live_shapes.data = rule.shapes / rule.top
        return rule

    def check(self) -> None:
        """Every number within its width, every index among the references."""
        if self.stores_shapes and int(self.shapes.abs().max()) > self.top:
            raise FormatError(f"a learned shape does not fit into {self.spec['shape_bits']} bits")
        if int(self.index().max()) >= self.spec["references"] * len(self.turns):
            raise FormatError("a kernel names a reference that is not there")
        for name in ("a", "m"):
            bits = self.spec[name]
            if not bits:
                continue
            numbers = getattr(self, name)
            if not bool(torch.isfinite(from_planes(numbers if bits == 32 else getattr(self, f"{name}_scale"))).all()):
                raise FormatError("a scale or mean of shared kernels is not a finite number")
            if bits < 32 and not limits(bits)[0] <= int(numbers.min()) <= int(numbers.max()) <= limits(bits)[1]:
                raise FormatError(f"a scale or mean of shared kernels does not fit into {bits} bits")

    def connect(self, rules: Mapping[str, Rule]) -> None:
        """Find the tensor of the references; it must have as many as the spec says, and read from nowhere itself."""
        if self.stores_shapes:
            return
        source = rules.get(self.spec["from"])
        if source is None or source is self or "from" in source.spec:
            raise FormatError(f"{self.spec['from']!r} holds no reference kernels")
        length = self.spec["length"]
        if isinstance(source, Share):
            count = source.spec["references"] if source.spec["length"] == length else 0
        elif kernel_size(source.shape) != kernel_size(self.shape):
            count = 0
        else:
            count = count_windows(source.shape, length, self.spec.get("stride", 1))
        if count != self.spec["references"]:
            raise FormatError(f"{self.spec['from']!r} does not hold {self.spec['references']} references of {length}")
        self.hold(source)
        order = list(rules.values())
        self._follows = any(rule is source for rule in order[: next(i for i, r in enumerate(order) if r is self)])

    # ---- the weight ----

    def index(self) -> Tensor:
        """rows x pieces, int64: reference x transforms + transform."""
        planes = [getattr(self, f"index{i}").long() << 8 * i for i in range(_index_bytes(self.spec, self.shape))]
        return sum(planes[1:], planes[0]).reshape(self.parts.rows, self.parts.pieces)

    def references(self) -> Tensor:
        """K x length in double precision, as stored."""
        if self.stores_shapes:
            return self.shapes.double()
        if isinstance(self.source, Share):
            return self.source.references()
        weight = self.source.kernels() if isinstance(self.source, Reference) else self.source.value().double()
        return windows(weight, self.spec["length"], self.spec.get("stride", 1))

    def value(self) -> Tensor:
        """a x reference[index] + m: one float32 multiplication and one addition a weight."""
        return self._combine(self._chosen(self.references()), self._numbers("a"), self._numbers("m"))

    def _chosen(self, references: Tensor) -> tuple[Tensor, Tensor | None]:
        """The reference of every piece (rows x whole x length, and of the shorter last ones rows x last)."""
        index = self.index()
        turns = self.turns.to(index.device)
        chosen = references[index // len(turns)]
        if len(turns) > 1:
            chosen = chosen.gather(2, turns[index % len(turns)])
        body = chosen[:, : self.parts.whole]
        last = chosen[:, -1, : self.parts.last] if self.parts.whole < self.parts.pieces else None
        if self.unit:
            body, last = unit(body), None if last is None else unit(last)
        return body, last

    def _combine(self, chosen: tuple[Tensor, Tensor | None], a: Tensor, m: Tensor) -> Tensor:
        body, last = chosen
        whole = self.parts.whole
        rows = (body.float() * a[:, :whole, None] + m[:, :whole, None]).reshape(self.parts.rows, -1)
        if last is not None:
            rows = torch.cat([rows, last.float() * a[:, -1:] + m[:, -1:]], 1)
        return rows.reshape(self.shape)

    def _numbers(self, name: str) -> Tensor:
        """a or m of every piece, float32 rows x pieces."""
        bits = self.spec[name]
        if bits == 0:
            return torch.full((self.parts.rows, self.parts.pieces), float(name == "a"), device=self.device)
        if bits == 32:
            return from_planes(getattr(self, name)).reshape(self.parts.rows, self.parts.pieces)
        low, step = from_planes(getattr(self, f"{name}_scale"))
        return low + step * getattr(self, name)

    # ---- choosing the numbers ----

    def set_shapes(self, shapes: Tensor) -> None:
        """Store learned shapes (K x length; only their directions matter) as whole numbers."""
        self.live_shapes.data = (shapes / shapes.abs().amax(1, keepdim=True).clamp_min(TINY)).float()
        self._round_shapes()

    def set_index(self, index: Tensor) -> None:
        """Store the reference of every piece."""
        for i in range(_index_bytes(self.spec, self.shape)):
            getattr(self, f"index{i}").copy_((index.reshape(-1) >> 8 * i) & 255)

    def set_numbers(self, name: str, numbers: Tensor, scale: Scale | None = None) -> None:
        """Store `a` or `m` of every piece; on a new grid, or on the one that is there."""
        bits = self.spec[name]
        if bits == 32:
            getattr(self, name).copy_(to_planes(numbers))
        elif bits:
            if scale is None:
                scale = Scale(*from_planes(getattr(self, f"{name}_scale")).tolist())
            else:
                getattr(self, f"{name}_scale").copy_(to_planes(torch.tensor(scale)))
            q = integers(numbers.double(), scale, bits)
            getattr(self, name).copy_(q.reshape(self.parts.rows, self.parts.pieces))

    def _round_shapes(self) -> None:
        self.shapes.copy_(torch.round(self.live_shapes * self.top).clamp(-self.top, self.top))

    def fit(self, latent: Tensor) -> None:
        """The best a and m for the references and indices that are there, on the grids that are there."""
        if self.stores_shapes:
            self._round_shapes()
        a, m = self.fitted(latent)
        self.set_numbers("a", a)
        self.set_numbers("m", m)

    def fitted(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Least squares a and m (rows x pieces) for the references and indices that are there."""
        if self.spec.get("gain"):
            latent = latent / self.channel_gain()
        return self._fitted(latent, self._chosen(self.references()))

    def _fitted(self, latent: Tensor, chosen: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor]:
        """Least squares a and m (rows x pieces), differentiable in the latent weight."""
        body, last = split(latent, self.spec["length"])
        parts = [self._fitted_part(body, chosen[0].detach())]
        if last is not None and chosen[1] is not None:
            parts.append(self._fitted_part(last[:, None], chosen[1].detach()[:, None]))
        a, m = zip(*parts)
        return torch.cat(a, 1), torch.cat(m, 1)

    def _fitted_part(self, pieces: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        pieces = pieces.double()
        means = chosen.mean(2) if self.spec["m"] else torch.zeros_like(chosen[:, :, 0])
        basis = chosen - means[:, :, None]
        power = basis.square().sum(2)
        a = torch.ones_like(power)
        if self.spec["a"]:
            target = pieces - pieces.mean(2, keepdim=True) if self.spec["m"] else pieces
            a = (target * basis).sum(2) / power.clamp_min(TINY)
        m = pieces.mean(2) - a * means if self.spec["m"] else torch.zeros_like(a)
        return a, m

    # ---- training ----

    def live(self) -> Tensor:
        """The learned shapes as they will be stored, with a gradient to `live_shapes`."""
        free = self.live_shapes * self.top
        return (free + (torch.round(free).clamp(-self.top, self.top) - free).detach()).double()

    def _live_references(self) -> Tensor:
        source = self if self.stores_shapes else self.source
        if isinstance(source, Share):
            return source.live()
        weight = source.live() if isinstance(source, Reference) and self._follows else source.value()
        return windows(weight.double(), self.spec["length"], self.spec.get("stride", 1))

    def forward(self, latent: Tensor) -> Tensor:
        """While training: index fixed; a and m follow the latent weight, the references learn from all their pieces.

        With "free" in the spec the latent weight itself: it is projected between epochs.
        """
        if not self.training:
            return self.weight()
        if self.spec.get("free"):
            return latent
        gain = self.channel_gain() if self.spec.get("gain") else None
        chosen = self._chosen(self._live_references())
        a, m = self._fitted(latent if gain is None else latent / gain, chosen)
        weight = self._combine(chosen, self._rounded("a", a), self._rounded("m", m))
        return weight if gain is None else weight * gain

    def _rounded(self, name: str, numbers: Tensor) -> Tensor:
        """On the grid, gradient straight through."""
        bits = self.spec[name]
        if not 0 < bits < 32:
            return numbers.float()
        low, step = from_planes(getattr(self, f"{name}_scale")).tolist()
        on_grid = low + step * integers(numbers.detach(), Scale(low, step), bits)
        return (numbers + (on_grid - numbers).detach()).float()

    def absorb(self, latent: Tensor, gain: Tensor) -> "Share":
        """As the base; training would go on from the same shapes."""
        rule = super().absorb(latent, gain)
        assert isinstance(rule, Share)
        if self.stores_shapes:
            rule.live_shapes.data = self.live_shapes.detach().clone()
        return rule


def _index_bytes(spec: dict[str, Any], shape: tuple[int, ...]) -> int:
    turns = len(permutations(spec.get("turn", "none"), spec["length"], kernel_size(shape)))
    return max(1, -(-(spec["references"] * turns - 1).bit_length() // 8))


def _check_spec(spec: dict[str, Any], shape: tuple[int, ...]) -> None:
    length, count, stride = spec.get("length"), spec.get("references"), spec.get("stride", 1)
    if len(shape) < 2 or type(length) is not int or not 1 <= length <= MAX_LENGTH or length % kernel_size(shape):
        raise FormatError(f"pieces of {length!r} numbers are not possible in a weight of {tuple(shape)}")
    if type(count) is not int or not 1 <= count <= MAX_SHAPES:
        raise FormatError(f"{count!r} references are not possible")
    for name in ("a", "m"):
        bits = spec.get(name)
        if type(bits) is not int or not (bits in (0, 32) or 2 <= bits <= 16):
            raise FormatError(f"{name} of {bits!r} bits is not possible")
    if type(stride) is not int or not 1 <= stride <= MAX_LENGTH:
        raise FormatError(f"windows every {stride!r} inputs are not possible")
    if spec.get("turn", "none") not in TRANSFORMS:
        raise FormatError(f"{spec['turn']!r} is no transform of kernels")
    if any(type(spec.get(name, False)) is not bool for name in ("unit", "free")):
        raise FormatError("unit and free must be true or false")
    if ("from" in spec) == ("shape_bits" in spec):
        raise FormatError("references stand either here or in another tensor")
    if "from" in spec and not isinstance(spec["from"], str):
        raise FormatError("references come from a tensor that has no name")
    if "shape_bits" in spec:
        bits = spec["shape_bits"]
        if type(bits) is not int or not 2 <= bits <= 16 or not spec.get("unit"):
            raise FormatError(f"learned shapes of {bits!r} bits are not possible")
        if count * length > MAX_TABLE:
            raise FormatError(f"{count} learned shapes of {length} numbers are too many")
