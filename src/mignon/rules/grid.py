"""Integer grids: weight = 2^(k/n) (q - zero), one k a tensor, an output channel or a group of inputs.

With BatchNorm behind it the grid lies on the *absorbed* weight: q = round(w g / 2^(k/n)) + zero with the BatchNorm
gain g, and the live network sees 2^(k/n) (q - zero) / g. So nothing is rounded again when BatchNorm is absorbed.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mignon.coding import Layout
from mignon.errors import FormatError
from mignon.registry import RULES
from mignon.rules import Rule, example_weight, per_channel
from mignon.rules.scales import FINEST, LARGEST_OCTAVE, learned_scale, nearest_step, scale

STEPS = 16  # an octave: a scale is at most 2.2 % from the one wanted; the integers are chosen after it
SEARCHED = 24  # steps below the range of the extremes that a search for the best scale looks at: 1.5 octaves


@RULES.register("grid")
class Grid(Rule):
    """spec: {"rule": "grid", "bits": 2..16, "n": scale steps an octave} and, where they are not the usual:

    "per": "tensor", or the number of inputs that share a scale (an output channel has one otherwise);
    "affine": q from 0 to 2^bits - 1 with a zero point (q is symmetric, |q| <= 2^(bits-1) - 1, otherwise);
    "masked": zeros are pruned and stay zero.
    """

    shows_zeros: ClassVar[bool] = True
    k: Tensor
    q: Tensor
    zero: Tensor
    live_gain: Tensor
    octave: nn.Parameter | None

    @classmethod
    def examples(cls) -> list[Rule]:
        """The usual grid, and one of each further setting."""
        weight = example_weight(6, 3, 3, 3)
        rules: list[Rule] = []
        for more in ({}, {"n": 64}, {"per": "tensor", "masked": True}, {"per": 5, "affine": True}):
            rule = cls({"rule": "grid", "bits": 4, **more}, tuple(weight.shape))
            if rule.mask is not None:
                rule.hold_mask(weight.abs() > 0.2)
            rule.choose_scales(weight, None)
            rule.fit(weight)
            rules.append(rule)
        return rules

    @classmethod
    def layouts(cls, spec: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Layout]:
        """`k` (one a scale), `zero` where affine, and `q` (the shape of the weight)."""
        bits, steps, per = spec.get("bits"), spec.get("n", STEPS), spec.get("per", "channel")
        if type(bits) is not int or not 2 <= bits <= 16:
            raise FormatError(f"a grid of {bits!r} bits is not possible")
        if type(steps) is not int or steps < 1 or FINEST % steps:
            raise FormatError(f"a grid of {steps!r} scale steps an octave is not possible")
        if per not in ("tensor", "channel") and (type(per) is not int or per < 1):
            raise FormatError(f"a grid with a scale for each {per!r} is not possible")
        if "gain" in spec:
            raise FormatError("a grid has its gain in its scale")
        if type(spec.get("affine", True)) is not bool:
            raise FormatError("affine of a grid must be true or false")
        inputs = 1
        for size in shape[1:]:
            inputs *= size
        scales = {"tensor": (1,), "channel": (shape[0],)}.get(per) or (shape[0], -(-inputs // per))
        side = {"k": Layout(scales, "side")} | ({"zero": Layout(scales, "side")} if spec.get("affine") else {})
        return {**side, "q": Layout(shape, "weights")}

    def __init__(self, spec: dict[str, Any], shape: tuple[int, ...]):
        super().__init__(spec, shape)
        self.steps = spec.get("n", STEPS)
        per = spec.get("per", "channel")
        self.per = min(per, max(1, torch.Size(shape[1:]).numel())) if isinstance(per, int) else per
        bits = spec["bits"]
        self.top: int = 2**bits - 1 if spec.get("affine") else 2 ** (bits - 1) - 1
        self.low: int = 0 if spec.get("affine") else -self.top
        self.register_buffer("live_gain", torch.ones(shape[0], dtype=torch.float64))
        self.register_parameter("octave", None)
        if not spec.get("affine"):
            self.register_buffer("zero", torch.zeros_like(self.k), persistent=False)

    def check(self) -> None:
        """Integers, zero points and scales within their ranges."""
        if self.q.numel() and not (self.low <= int(self.q.min()) and int(self.q.max()) <= self.top):
            raise FormatError(f"an integer does not fit into {self.spec['bits']} bits")
        if self.zero.numel() and not (int(self.zero.min()) >= 0 and int(self.zero.max()) <= self.top):
            raise FormatError("a zero point is out of range")
        if self.k.numel() and int(self.k.long().abs().max()) > LARGEST_OCTAVE * self.steps:
            raise FormatError("a scale is out of range")

    # ---- scales and zero points, spread over the weights ----

    def spread(self, sides: Tensor) -> Tensor:
        """One side value a scale to a tensor that broadcasts with the weight as rows (out x inputs)."""
        if self.per in ("tensor", "channel"):
            return sides.reshape(-1, 1)
        inputs = self.q[0].numel()
        return sides.repeat_interleave(self.per, 1)[:, :inputs]

    def step(self) -> Tensor:
        """float32 size of a step for each weight, as rows (broadcasts with out x inputs)."""
        return self.spread(scale(self.k, self.steps))

    def whole(self) -> Tensor:
        """q - zero (int32, the shape of the weight)."""
        return (self.q.reshape(self.shape[0], -1) - self.spread(self.zero)).reshape(self.shape)

    def nonzero(self) -> Tensor:
        """Where q is not its zero point."""
        return self.whole() != 0

    # ---- choosing numbers ----

    def absorbed(self, latent: Tensor, gain: Tensor | None) -> Tensor:
        """The weight times the gain of the BatchNorm behind (float64, one an output channel) as rows, out x inputs."""
        if gain is not None:
            self.live_gain.copy_(gain)
        return self._absorbed(latent)

    def choose_scales(self, latent: Tensor, gain: Tensor | None) -> None:
        """The scales with the smallest squared error."""
        rows = self.absorbed(latent, gain)
        self.search_scales(rows, lambda value: (rows - value).square())

    def cover_extremes(self, latent: Tensor, gain: Tensor | None) -> None:
        """Scales and zero points that reach the smallest and the largest weight."""
        self._cover(*self._extremes(self.absorbed(latent, gain)))

    def search_scales(self, rows: Tensor, error: Callable[[Tensor], Tensor]) -> None:
        """Of the scales from the range of the extremes downward those with the smallest error.

        `rows`: absorbed weights, float64; `error` maps such rows on the grid to an error of each weight.
        """
        low, high = self._extremes(rows)
        best_k, best_zero, best_error = self.k.clone(), self.zero.clone(), None
        for down in range(SEARCHED + 1):
            share = 2.0 ** (-down / self.steps)
            self._cover(low * share, high * share)
            total = self._per_scale(error(self.round_rows(rows) * self.step().double()))
            better = total < best_error * (1 - 1e-9) if best_error is not None else torch.ones_like(total).bool()
            best_k[better], best_zero[better] = self.k[better], self.zero[better]
            best_error = total if best_error is None else torch.where(better, total, best_error)
        self.k.copy_(best_k)
        self.zero.copy_(best_zero)

    def _extremes(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest and largest value under each scale, 0 included; symmetric grids: minus and plus the largest."""
        if self.per == "tensor":
            low, high = rows.min().reshape(1), rows.max().reshape(1)
        elif self.per == "channel":
            low, high = rows.amin(1), rows.amax(1)
        else:
            parts = nn.functional.pad(rows, (0, -rows.shape[1] % self.per)).reshape(len(rows), -1, self.per)
            low, high = parts.amin(2), parts.amax(2)
        low, high = low.clamp_max(0), high.clamp_min(0)
        if self.spec.get("affine"):
            return low, high
        largest = torch.maximum(-low, high)
        return -largest, largest

    def _cover(self, low: Tensor, high: Tensor) -> None:
        bound = LARGEST_OCTAVE * self.steps
        width = ((high - low) / (self.top - self.low)).clamp_min(1e-15)
        k = torch.ceil(self.steps * torch.log2(width) - 1e-6)
        self.k.copy_(k.clamp(-bound, bound))
        if self.spec.get("affine"):
            self.zero.copy_(torch.round(-low / scale(self.k, self.steps).double()).clamp(0, self.top))

    def _per_scale(self, errors: Tensor) -> Tensor:
        if self.per == "tensor":
            return errors.sum().reshape(1)
        if self.per == "channel":
            return errors.sum(1)
        padded = nn.functional.pad(errors, (0, -errors.shape[1] % self.per))
        return padded.reshape(len(errors), -1, self.per).sum(2)

    def _absorbed(self, latent: Tensor) -> Tensor:
        rows = latent.detach().double() * per_channel(self.live_gain, len(self.shape))
        return self.latent(rows).reshape(self.shape[0], -1)

    def round_rows(self, rows: Tensor) -> Tensor:
        """The nearest possible q - zero (float64) for absorbed weights as rows (out x inputs)."""
        zero = self.spread(self.zero)
        return torch.minimum(torch.maximum(torch.round(rows / self.step().double()), self.low - zero), self.top - zero)

    def set_whole(self, whole: Tensor) -> None:
        """Take these whole numbers for q - zero (rows, within the grid)."""
        self.q.copy_((whole.to(torch.int32) + self.spread(self.zero)).reshape(self.shape))

    def fit(self, latent: Tensor) -> None:
        """Round to the nearest integers of the grid, at the scales that training has moved them to."""
        if self.octave is not None:
            bound = LARGEST_OCTAVE * self.steps
            self.k.copy_(torch.round(self.octave.detach() * self.steps).clamp(-bound, bound))
        self.set_whole(self.round_rows(self._absorbed(latent)))

    def align(self, gain: Tensor | None) -> None:
        """Move the grid with the BatchNorm gain, so that live weights stay where they are to half a scale step."""
        if gain is None:
            return
        turned = gain * self.live_gain < 0
        if self.spec.get("affine") and self.per != "tensor":
            self.zero[turned], self.q[turned] = self.top - self.zero[turned], self.top - self.q[turned]
        elif not self.spec.get("affine"):
            self.q[turned] *= -1
        if self.per != "tensor":
            moved = nearest_step((gain / self._safe_gain()).abs(), self.steps)
            bound = LARGEST_OCTAVE * self.steps
            self.k.copy_((self.k + (moved if self.per == "channel" else moved[:, None])).clamp(-bound, bound))
            if self.octave is not None:
                self.octave.data.add_((moved if self.per == "channel" else moved[:, None]) / self.steps)
        self.live_gain.copy_(gain)

    def _safe_gain(self) -> Tensor:
        return torch.where(self.live_gain == 0, torch.ones_like(self.live_gain), self.live_gain)

    # ---- the weight ----

    def value(self) -> Tensor:
        """2^(k/n) (q - zero), divided by the gain of a live BatchNorm."""
        value = (self.step() * self.whole().reshape(self.shape[0], -1)).reshape(self.shape)
        if bool((self.live_gain == 1).all()):
            return value
        return (value / per_channel(self._safe_gain(), len(self.shape))).float()

    def forward(self, latent: Tensor) -> Tensor:
        """While training: rounded, the gradient straight through inside of the range, none at pruned weights."""
        if not self.training:
            return self.weight()
        latent = self.latent(latent)
        gain = self._safe_gain().float()[:, None]
        rows = latent.reshape(self.shape[0], -1) * gain
        if self.octave is None and self.per in ("tensor", "channel"):
            count = self.shape[0]
            step, zero = scale(self.k, self.steps).expand(count), self.zero.expand(count)
            value = torch.fake_quantize_per_channel_affine(rows, step, zero, 0, self.low, self.top)
        else:
            step = self.step() if self.octave is None else self.spread(self._learned_step(self.octave))
            zero = self.spread(self.zero)
            clipped = torch.minimum(torch.maximum(rows / step, self.low - zero), self.top - zero)
            value = (clipped + (torch.round(clipped) - clipped).detach()) * step
        return (value / gain).reshape(self.shape)

    def _learned_step(self, octave: Tensor) -> Tensor:
        size = scale(self.k, self.steps)
        if self.per != "tensor":
            size = size / self._safe_gain().abs().float().reshape(-1, *[1] * (size.dim() - 1))
        return learned_scale(octave, self.steps, self.q.numel() / self.k.numel() * self.top, size)

    def learn(self) -> None:
        """Until `finish`, training moves the scales too (LSQ, Esser et al. 2020)."""
        self.octave = nn.Parameter(self.k / self.steps)

    def finish(self) -> None:
        """The scales are fixed where training has left them."""
        self.octave = None

    def _copy(self) -> "Grid":
        rule = Grid(self.spec, self.shape).to(self.device)
        for name in ("k", "zero", "q"):
            getattr(rule, name).copy_(getattr(self, name))
        if self.mask is not None:
            rule.hold_mask(self.mask)
        return rule

    def absorb(self, latent: Tensor, gain: Tensor) -> "Grid":
        """The same integers and scales: they lie on the absorbed weight already."""
        self.align(gain)
        return self._copy()

    def integers(self) -> tuple[Tensor, Tensor, int] | None:
        """q - zero and the scales of the output channels; None where a channel has several."""
        if self.per not in ("tensor", "channel"):
            return None
        return self.whole(), self.k.expand(self.shape[0]), self.steps
