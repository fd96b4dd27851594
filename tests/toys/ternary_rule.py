"""A rule: weight = size[output channel, in 1/1024] x (-1, 0 or 1). It knows nothing of masks, gains or BatchNorm."""

import torch

from mignon.coding import Layout
from mignon.registry import RULES
from mignon.rules import Rule, example_weight


@RULES.register("ternary")
class Ternary(Rule):
    """spec: {"rule": "ternary"}."""

    @classmethod
    def examples(cls):
        """One with numbers."""
        rule = cls({"rule": "ternary"}, (6, 3, 3, 3))
        rule.fit(example_weight(6, 3, 3, 3))
        return [rule]

    @classmethod
    def layouts(cls, spec, shape):
        """`size` (one an output channel) and `q` (the shape of the weight)."""
        return {"size": Layout((shape[0],), "side"), "q": Layout(shape, "weights")}

    def fit(self, latent):
        """Large weights keep their sign, small ones become zero."""
        size = latent.abs().flatten(1).mean(1)
        self.size.copy_((size * 1024).round().clamp_min(1))
        far = latent.abs() > 0.5 * size.reshape(-1, *[1] * (latent.dim() - 1))
        self.q.copy_(torch.sign(latent) * far)

    def value(self):
        """size q."""
        return self.q * (self.size / 1024).reshape(-1, *[1] * (len(self.shape) - 1))
