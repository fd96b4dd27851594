"""How a weight tensor arises from stored whole numbers: a closed, small vocabulary.

A rule is a parametrization of `torch.nn.utils.parametrize`. While training, its latent float weight gets the gradient
straight through; otherwise `weight()` is what the network computes with, and it is a pure function of `spec` and
`streams()`, so that what is measured is what is stored, bit for bit.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mignon.coding import Layout, Stream
from mignon.errors import FormatError
from mignon.registry import RULES

__all__ = ["GAIN_STEPS", "Rule", "build_rule", "per_channel"]

GAIN_STEPS = 256  # steps an octave of the channel gains that come from BatchNorm


def per_channel(values: Tensor, dims: int) -> Tensor:
    """View one value an output channel so that it multiplies a weight of so many axes."""
    return values.reshape(-1, *[1] * (dims - 1))


class Rule(nn.Module):
    """Base of all rules. A member gives `layouts`, `value`, and `fit`; the channel gain of an absorbed BatchNorm is
    handled here for all (a member may absorb it into its own numbers by overriding `absorb`).

    Stored numbers are integer buffers whose names are the keys of `layouts(spec, shape)`.
    """

    name: ClassVar[str]
    _held: "tuple[Rule, ...]" = ()
    gain: Tensor
    flip: Tensor

    def __init__(self, spec: dict[str, Any], shape: tuple[int, ...]):
        super().__init__()
        self.spec = dict(spec)
        self.shape = tuple(shape)
        for name, layout in self.all_layouts(self.spec, self.shape).items():
            self.register_buffer(name, torch.zeros(layout.shape, dtype=torch.int32))

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
        """The member's streams, and the gain when there is one."""
        streams = dict(cls.layouts(spec, shape))
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

    def weight(self) -> Tensor:
        """The weight, a pure function of `spec` and the stored numbers."""
        return self.times_gain(self.value())

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
        mask = getattr(self, "mask", None)
        return original if mask is None else original * mask

    def forward(self, latent: Tensor) -> Tensor:
        """While training: fit, and pass the gradient straight through to the latent weight."""
        if not self.training:
            return self.weight()
        with torch.no_grad():
            self.fit(latent)
        return latent + (self.weight() - latent).detach()

    def align(self, gain: Tensor | None) -> None:
        """Told the BatchNorm gain behind this weight (float64, one an output channel) before numbers are final."""

    def absorb(self, latent: Tensor, gain: Tensor) -> "Rule":
        """A rule for the weight times the gain (float64, one an output channel); the stored numbers stay."""
        rule = type(self)({**self.spec, "gain": True}, self.shape).to(self.device)
        for name in self.layouts(self.spec, self.shape):
            getattr(rule, name).copy_(getattr(self, name))
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

    def channel_steps(self) -> tuple[Tensor, int] | None:
        """(k, n) when the weight of each output channel is whole numbers times 2^(k/n); None otherwise."""
        return None

    def nonzeros(self) -> int:
        """How many weights are not zero."""
        return int((self.weight() != 0).sum())


def build_rule(spec: Any) -> type[Rule]:
    """The class that a spec from outside names. Raises FormatError."""
    if not isinstance(spec, dict) or not isinstance(spec.get("rule"), str) or spec["rule"] not in RULES:
        raise FormatError(f"a tensor is stored by a rule that is not known here ({str(spec)[:60]})")
    if type(spec.get("gain", True)) is not bool:
        raise FormatError("the gain of a rule must be true or false")
    return RULES[spec["rule"]]
