"""The float32 itself, as four byte planes; with a mask when pruned (kept weights only are stored)."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mignon.coding import Layout
from mignon.errors import FormatError
from mignon.registry import RULES
from mignon.rules import Rule, example_weight, per_channel


@RULES.register("float")
class Float32(Rule):
    """spec: {"rule": "float"} or {"rule": "float", "kept": number of weights that the mask keeps}."""

    shows_zeros: ClassVar[bool] = True
    mask: Tensor | None
    planes: Tensor

    @classmethod
    def examples(cls) -> list[Rule]:
        """Free, and pruned."""
        weight = example_weight(6, 3, 3, 3)
        rules: list[Rule] = [cls({"rule": "float"}, tuple(weight.shape)), cls.masked(weight > 0.2)]
        for rule in rules:
            rule.fit(weight)
        return rules

    @classmethod
    def layouts(cls, spec: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Layout]:
        """`mask` (1 = kept) when pruned, and `planes`: 4 x kept bytes, the most significant first."""
        total = int(np.prod(shape, dtype=np.int64))
        kept = spec.get("kept", total)
        if "masked" in spec:
            raise FormatError("a float weight says how many numbers its mask keeps")
        if type(kept) is not int or not 0 <= kept <= total:
            raise FormatError(f"{kept!r} kept weights of {total} are not possible")
        mask = {"mask": Layout(shape, "bits")} if "kept" in spec else {}
        return {**mask, "planes": Layout((4, kept), "bytes")}

    @classmethod
    def masked(cls, mask: Tensor) -> "Float32":
        """A rule that keeps the weights where `mask` is true."""
        rule = cls({"rule": "float"}, tuple(mask.shape)).to(mask.device)
        rule.hold_mask(mask)
        return rule

    def hold_mask(self, mask: Tensor) -> None:
        """As the base; the mask is a stream of its own, and only what it keeps is stored."""
        self.mask = mask.to(self.device, torch.int32).clone()
        self._make_room(int(mask.sum()))

    def _make_room(self, kept: int) -> None:
        self.spec["kept"] = kept
        self.planes = self.planes.new_zeros((4, kept))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        if "kept" in self.spec and f"{prefix}planes" in state_dict:  # the mask may be another one than here
            self._make_room(state_dict[f"{prefix}planes"].shape[1])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def check(self) -> None:
        """The mask must keep as many weights as are stored, and all must be finite."""
        if self.mask is not None and int(self.mask.sum()) != self.spec["kept"]:
            raise FormatError("a mask does not fit its weights")
        if not bool(torch.isfinite(self._kept()).all()):
            raise FormatError("a weight is not a finite number")

    def fit(self, latent: Tensor) -> None:
        """Take the bytes of the kept weights."""
        kept = latent.detach() if self.mask is None else latent.detach()[self.mask.bool()]
        raw = kept.reshape(-1).float().cpu().numpy().astype(">f4").view(np.uint8).reshape(-1, 4)
        self.planes.copy_(torch.from_numpy(raw.T.astype(np.int32)))

    def _kept(self) -> Tensor:
        raw = np.ascontiguousarray(self.planes.cpu().numpy().astype(np.uint8).T)
        return torch.from_numpy(raw.view(">f4").astype(np.float32).reshape(-1)).to(self.device)

    def value(self) -> Tensor:
        """The float32 numbers, zero where nothing is kept."""
        if self.mask is None:
            return self._kept().reshape(self.shape)
        full = torch.zeros(self.shape, device=self.device)
        full[self.mask.bool()] = self._kept()
        return full

    def forward(self, latent: Tensor) -> Tensor:
        """While training the latent weight itself, zero where nothing is kept."""
        if not self.training:
            return self.weight()
        return self.latent(latent)

    def absorb(self, latent: Tensor, gain: Tensor) -> "Float32":
        """Multiplied in double precision, rounded once."""
        rule = Float32(self.spec, self.shape).to(self.device)
        if self.mask is not None:
            rule.hold_mask(self.mask)
        rule.fit((self.value().double() * per_channel(gain, len(self.shape))).float())
        return rule
