"""Weight sharing (Han, Mao, Dally 2016): weight = centroid[index], the centroids of one tensor or of another one.

Indices are fixed once they are chosen; training moves the centroids. An index is signed, so that small indices stand
for small weights: `low` is the smallest one, and in a masked codebook index 0 is exactly zero and has no centroid.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mignon.coding import Layout
from mignon.errors import FormatError
from mignon.registry import RULES
from mignon.rules import Rule
from mignon.rules.scales import LARGEST_OCTAVE, nearest_step, scale

LARGEST = 4096  # centroids
STEPS = 16  # an octave, of the scale that the centroids of a codebook have in common
TOP = 2047  # the largest centroid in units of that scale: the others are right to 1/4094 of it


@RULES.register("codebook")
class Codebook(Rule):
    """spec: {"rule": "codebook", "indices": 1..4096, "masked": index 0 is a pruned weight, "from": "conv1.weight"}.

    With "from" the centroids are those of another tensor, which must have its own.
    """

    shows_zeros: ClassVar[bool] = True
    step: Tensor
    low: Tensor
    centroids: Tensor
    index: Tensor
    uses: Tensor

    @classmethod
    def examples(cls) -> list[Rule]:
        """Free, and pruned."""
        rules: list[Rule] = []
        for masked in ({}, {"masked": True}):
            rule = cls({"rule": "codebook", "indices": 5, **masked}, (6, 3, 3, 3))
            rule.set_index(torch.arange(162).reshape(6, 3, 3, 3) % 5 - 2)
            rule.assign(torch.linspace(-1, 1, 5 - len(masked)), -2)
            rules.append(rule)
        return rules

    @classmethod
    def layouts(cls, spec: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Layout]:
        """`step`, `low` (one number each) and `centroids` unless they are another's; `index` (shape of the weight)."""
        count, masked, source = spec.get("indices"), spec.get("masked", False), spec.get("from", "")
        if type(count) is not int or not 1 <= count <= LARGEST:
            raise FormatError(f"a codebook of {count!r} indices is not possible")
        if type(source) is not str:
            raise FormatError("a codebook takes its centroids from a tensor's name")
        index = {"index": Layout(shape, "weights")}
        if "from" in spec:
            return index
        single = Layout((1,), "side")
        return {"step": single, "low": single, "centroids": Layout((count - masked,), "side"), **index}

    def __init__(self, spec: dict[str, Any], shape: tuple[int, ...]):
        super().__init__(spec, shape)
        self.masked = spec.get("masked", False)
        if "from" not in spec:
            count = spec["indices"] - self.masked
            self.centers = nn.Parameter(torch.zeros(count))  # the centroids that training moves, before any rounding
            self.register_buffer("uses", torch.ones(count), persistent=False)

    @classmethod
    def from_streams(cls, spec: dict[str, Any], shape: tuple[int, ...], streams: Any) -> "Codebook":
        """As the base; training goes on from the stored centroids."""
        rule = super().from_streams(spec, shape, streams)
        assert isinstance(rule, Codebook)
        rule._recall()
        return rule

    def check(self) -> None:
        """Scale, centroids and indices within their ranges."""
        if "from" in self.spec:
            return
        if abs(int(self.step)) > LARGEST_OCTAVE * STEPS or (self.centroids.long().abs() > TOP).any():
            raise FormatError("a centroid is out of range")
        if not -self.spec["indices"] < int(self.low) <= 0:
            raise FormatError("the smallest index of a codebook is out of range")
        self._places(self)

    def connect(self, rules: Mapping[str, Rule]) -> None:
        """Find the tensor that has the centroids; the one that has them counts all weights that use each."""
        if "from" in self.spec:
            source = rules.get(self.spec["from"])
            if not isinstance(source, Codebook) or "from" in source.spec:
                raise FormatError(f"{self.spec['from'][:60]!r} has no centroids to take")
            if (source.spec["indices"], source.masked) != (self.spec["indices"], self.masked):
                raise FormatError("a codebook and the one that it takes its centroids from do not fit")
            self.hold(source)
            source._places(self)
            return
        self.check()
        own = next((name for name, rule in rules.items() if rule is self), None)
        users = [r for r in rules.values() if isinstance(r, Codebook) and (r is self or r.spec.get("from") == own)]
        places = torch.cat([self._places(user).flatten() for user in users])
        counts = torch.bincount(places, minlength=self.spec["indices"]).float()
        if self.masked:
            counts = torch.cat([counts[: -int(self.low)], counts[1 - int(self.low) :]])
        self.uses = counts.clamp_min(1)

    def assign(self, centers: Tensor, low: int) -> None:
        """Begin with these centroids, in the order of their indices (without the zero of a masked codebook)."""
        with torch.no_grad():
            self.centers.copy_(centers)
            self.low.fill_(low)
            self.fit(centers)

    def fit(self, latent: Tensor) -> None:
        """Round the centroids to whole numbers of a common scale; the indices stay, whatever the latent weight is."""
        if "from" in self.spec or not self.centers.numel():
            return
        largest = self.centers.detach().abs().max()
        self.step.copy_(nearest_step(largest / TOP * 2 ** (0.5 / STEPS), STEPS))  # half a step more: TOP is enough
        self.centroids.copy_(torch.round(self.centers.detach() / scale(self.step, STEPS)).clamp(-TOP, TOP))

    def _stored(self) -> Tensor:
        return scale(self.step, STEPS) * self.centroids

    def _recall(self) -> None:
        if "from" not in self.spec:
            self.centers.data.copy_(self._stored())

    def _places(self, user: "Codebook") -> Tensor:
        """Where in the table of this codebook the weights of a user are; its indices come from outside."""
        places = user.index.long() - int(self.low)
        if places.numel() and not 0 <= int(places.min()) <= int(places.max()) < self.spec["indices"]:
            raise FormatError("an index has no centroid")
        return places

    def _gather(self, centroids: Tensor) -> Tensor:
        owner = self._owner
        if self.masked:
            zero = -int(owner.low)
            centroids = torch.cat([centroids[:zero], centroids.new_zeros(1), centroids[zero:]])
        return centroids[self.index.long() - int(owner.low)]

    @property
    def _owner(self) -> "Codebook":
        if "from" not in self.spec:
            return self
        assert isinstance(self.source, Codebook)
        return self.source

    def nonzero(self) -> Tensor:
        """Where the index is not that of the zero."""
        return self.index != 0

    def set_index(self, index: Tensor) -> None:
        """Take these indices, which training leaves as they are; with a mask 0 is a pruned weight."""
        self.index.copy_(index)
        if self.masked:
            self.hold_mask(self.nonzero())

    def value(self) -> Tensor:
        """centroid[index]."""
        return self._gather(self._owner._stored())

    def forward(self, latent: Tensor) -> Tensor:
        """While training: the stored weight, its gradient straight through to the centroids.

        A centroid gets the sum of the gradients of its weights divided by their number. So a step of it is the mean of
        the steps that they would take apart, and a learning rate means what it means for free weights.
        """
        if not self.training:
            return self.weight()
        owner = self._owner
        with torch.no_grad():
            owner.fit(latent)
        centers = owner.centers
        return self.times_gain(self._gather(owner._stored() + (centers - centers.detach()) / owner.uses))

    def latent(self, original: Tensor) -> Tensor:
        """The weight itself: nothing else is trained."""
        return self.weight()

    def absorb(self, latent: Tensor, gain: Tensor) -> "Codebook":
        """The gain is stored beside; training could go on from the stored centroids."""
        rule = super().absorb(latent, gain)
        assert isinstance(rule, Codebook)
        rule._recall()
        return rule
