"""How a weight tensor arises from stored whole numbers: a closed, small vocabulary.

A rule is a parametrization of `torch.nn.utils.parametrize`. While training, its latent float weight gets the gradient
straight through; otherwise `weight()` is what the network computes with, and it is a pure function of `spec` and
`streams()`, so that what is measured is what is stored, bit for bit.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mignon.coding import Layout, Stream
from mignon.errors import FormatError
from mignon.registry import RULES

__all__ = ["GAIN_STEPS", "Rule", "build_rule", "current_spec", "example_weight", "per_channel"]

GAIN_STEPS = 256  # steps an octave of the channel gains that come from BatchNorm


def per_channel(values: Tensor, dims: int) -> Tensor:
    """View one value an output channel so that it multiplies a weight of so many axes."""
    return values.reshape(-1, *[1] * (dims - 1))


def example_weight(*shape: int) -> Tensor:
    """A weight of any shape that is the same on every machine, for `examples`."""
    return torch.sin(torch.arange(1, 1 + torch.Size(shape).numel(), dtype=torch.float64) ** 2).float().reshape(shape)


class Rule(nn.Module):
    """Base of all rules. A member gives `layouts`, `value`, `fit` and `examples`; the rest of its life has a default.

    | call | by whom | when |
    |---|---|---|
    | `fit` | the step that puts the rule on; training | before; at every training step; after every epoch |
    | `connect` | `models.weights.put_rules`, readers | rules of a network were put on or replaced |
    | `learn`, `finish` | training | at its begin, at its end: side values are parameters in between |
    | `align` | training, `absorb` | before numbers are final: the BatchNorm gain behind the weight has changed |
    | `absorb` | `settle` | the BatchNorm behind the weight disappears |
    | `release` | `settle` | it is known which output channels nothing reads |
    | `weight` | everybody | at any time: a pure function of `spec` and the stored numbers |

    The base looks after the channel gain of an absorbed BatchNorm ("gain" in the spec) and the mask of pruned weights
    ("masked"). Where the numbers themselves show what is pruned (`shows_zeros`: they are 0 there, and `fit` leaves them
    so), the mask costs nothing in the file; elsewhere it is stored beside them.
    Stored numbers are integer buffers whose names are the keys of `all_layouts(spec, shape)`.
    """

    name: ClassVar[str]
    shows_zeros: ClassVar[bool] = False
    _held: "tuple[Rule, ...]" = ()
    gain: Tensor
    flip: Tensor
    mask: Tensor | None

    def __init__(self, spec: dict[str, Any], shape: tuple[int, ...]):
        super().__init__()
        self.spec = dict(spec)
        self.shape = tuple(shape)
        for name, layout in self.all_layouts(self.spec, self.shape).items():
            self.register_buffer(name, torch.zeros(layout.shape, dtype=torch.int32))
        if "mask" not in self._buffers:
            self.register_buffer("mask", torch.ones(shape, dtype=torch.bool) if spec.get("masked") else None)

    if TYPE_CHECKING:  # every member has some

        @classmethod
        def examples(cls) -> list["Rule"]:
            """Rules of this kind with numbers, as after `fit`, for the contract suite."""

    @classmethod
    def layouts(cls, spec: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Layout]:
        """The streams of a weight of this shape, by name, in file order. Raises FormatError on a bad spec."""
        raise NotImplementedError

    def value(self) -> Tensor:
        """The weight from the stored numbers, before any channel gain: float32 of `self.shape`."""
        raise NotImplementedError

    def fit(self, latent: Tensor) -> None:
        """Choose the stored numbers for this float weight (called under no_grad)."""
        raise NotImplementedError

    @classmethod
    def all_layouts(cls, spec: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Layout]:
        """The member's streams, the mask where its numbers do not show it, and the gain. Raises FormatError."""
        if any(type(spec.get(flag, True)) is not bool for flag in ("masked", "gain")):
            raise FormatError("masked and gain of a rule must be true or false")
        streams = dict(cls.layouts(spec, shape))
        if spec.get("masked") and not cls.shows_zeros:
            streams["mask"] = Layout(shape, "bits")
        if spec.get("gain"):
            streams["gain"] = Layout((shape[0],), "side")
            streams["flip"] = Layout((shape[0],), "bits")
        return streams

    def streams(self) -> dict[str, Stream]:
        """The whole numbers that make the weight."""
        return {
            name: Stream(getattr(self, name).cpu().numpy().astype(np.int32), layout.kind)
            for name, layout in self.all_layouts(self.spec, self.shape).items()
        }

    @classmethod
    def from_streams(cls, spec: dict[str, Any], shape: tuple[int, ...], streams: dict[str, np.ndarray]) -> "Rule":
        """The rule with exactly these numbers. Raises FormatError when they are not possible."""
        rule = cls(spec, shape)
        for name, values in streams.items():
            getattr(rule, name).copy_(torch.from_numpy(np.asarray(values, np.int32)))
        rule.check()
        if spec.get("masked") and cls.shows_zeros:
            rule.hold_mask(rule.nonzero())
        return rule

    def check(self) -> None:
        """Raise FormatError when the stored numbers cannot make a weight."""

    def connect(self, rules: Mapping[str, "Rule"]) -> None:
        """Find the rule of another tensor that this one reads from (shared kernels, shared centroids).

        `rules`: those of all tensors by name (`conv1.weight`). Keep it with `self.hold(rule)`, so that it is no part of
        this module. Raises FormatError when it is not there or cannot be read from.
        """

    def hold(self, source: "Rule") -> None:
        """Remember another rule without making it a child; `self.source` is it."""
        self._held = (source,)

    @property
    def source(self) -> "Rule":
        """The rule of another tensor that `connect` has found."""
        return self._held[0]

    def hold_mask(self, mask: Tensor) -> None:
        """Keep only the weights where `mask` (bool, the shape of the weight) is true, from the next `fit` on."""
        self.spec["masked"] = True
        self.mask = mask.to(self.device, torch.bool if self.shows_zeros else torch.int32).clone()

    def nonzero(self) -> Tensor:
        """Where the stored numbers make a weight that is not zero."""
        return self.value() != 0

    def weight(self) -> Tensor:
        """The weight, a pure function of `spec` and the stored numbers."""
        value = self.value()
        return self.times_gain(value if self.mask is None or self.shows_zeros else value * self.mask)

    def times_gain(self, value: Tensor) -> Tensor:
        """The value times the stored gain of an absorbed BatchNorm, when there is one."""
        return value * self.channel_gain() if self.spec.get("gain") else value

    def channel_gain(self) -> Tensor:
        """That gain, shaped to multiply the weight (only with a gain in the spec)."""
        from mignon.rules.scales import scale

        gain = scale(self.gain, GAIN_STEPS) * (1 - 2 * self.flip.float())
        return per_channel(gain, len(self.shape))

    def latent(self, original: Tensor) -> Tensor:
        """What training moves, from the float tensor behind this rule: zero where a mask says that nothing is kept."""
        return original if self.mask is None else original * self.mask

    def forward(self, latent: Tensor) -> Tensor:
        """While training: fit, and pass the gradient straight through to the latent weight."""
        if not self.training:
            return self.weight()
        latent = self.latent(latent)
        with torch.no_grad():
            self.fit(latent)
        return latent + (self.weight() - latent).detach()

    def align(self, gain: Tensor | None) -> None:
        """Told the BatchNorm gain behind this weight (float64, one an output channel) before numbers are final."""

    def absorb(self, latent: Tensor, gain: Tensor) -> "Rule":
        """A rule for the weight times the gain (float64, one an output channel); the stored numbers stay."""
        rule = type(self)({**self.spec, "gain": True}, self.shape).to(self.device)
        for name in self.all_layouts(self.spec, self.shape):
            getattr(rule, name).copy_(getattr(self, name))
        if self.mask is not None:
            rule.hold_mask(self.mask)
        from mignon.rules.scales import nearest_step

        rule.gain.copy_(nearest_step(gain.abs(), GAIN_STEPS))
        rule.flip.copy_((gain < 0).int())
        return rule

    def learn(self) -> None:
        """Training begins: side values (scales) may become parameters until `finish`."""

    def finish(self) -> None:
        """Training is over."""

    def release(self, unread: Tensor) -> None:
        """Give neutral values to numbers that nothing reads: gains of these output channels (bool) and of zero rows."""
        if self.spec.get("gain"):
            unread = unread | (self.value().flatten(1) == 0).all(1)
            self.gain[unread] = 0
            self.flip[unread] = 0

    @property
    def device(self) -> torch.device:
        """Where the stored numbers are."""
        return next(self.buffers()).device

    def integers(self) -> tuple[Tensor, Tensor, int] | None:
        """(q, k, n) when the weight is q (int32, its shape) times 2^(k/n) with one k an output channel; else None."""
        return None

    def nonzeros(self) -> int:
        """How many weights are not zero."""
        return int((self.weight() != 0).sum())


def build_rule(spec: Any) -> type[Rule]:
    """The class that a spec from outside names. Raises FormatError."""
    if not isinstance(spec, dict) or not isinstance(spec.get("rule"), str) or spec["rule"] not in RULES:
        raise FormatError(f"a tensor is stored by a rule that is not known here ({str(spec)[:60]})")
    return RULES[spec["rule"]]


def current_spec(spec: Any) -> Any:
    """A spec as it is written today: a codebook of files from before version 0.2 has "k" for its "indices"."""
    if isinstance(spec, dict) and spec.get("rule") == "codebook" and "k" in spec and "indices" not in spec:
        return {("indices" if key == "k" else key): value for key, value in spec.items()}
    return spec
