"""The step `share`: kernels of many layers become index, scale and offset of a few references."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mignon.classifier import Classifier
from mignon.errors import RecipeError
from mignon.models.kernels import KernelFamily, kernel_families, stem
from mignon.models.weights import put_rules, weight_rule
from mignon.registry import STEPS
from mignon.rules import Rule
from mignon.rules.linear import GRIDS, Scale, integers, numbers
from mignon.rules.pieces import TRANSFORMS, kernel_size, permutations, split, unit, windows
from mignon.rules.reference import Reference
from mignon.rules.share import MAX_LENGTH, MAX_SHAPES, Share
from mignon.steps import FLOAT_WEIGHTS, Context, Step
from mignon.steps.share.learn import learn_shapes
from mignon.steps.share.matching import CRITERIA, EPSILON_RULES, match
from mignon.steps.share.moments import choose, second_moments
from mignon.steps.share.presets import PRESETS, Settings
from mignon.training.device import one_thread

SHAPE_BITS = 8
CHOICES = {
    "preset": tuple(PRESETS), "match": CRITERIA, "eps": EPSILON_RULES, "transforms": TRANSFORMS, "grid": tuple(GRIDS),
}  # fmt: skip


@STEPS.register("share")
@dataclass(frozen=True)
class ShareKernels(Step):
    """`share` (256 learned shapes), `share=v2qq,eps=clamp`: a version of MESS, and settings that replace its own.

    match: l1, l2, pcc, distance. scale, offset: whether the fit has them. wbits, abits, bbits: of reference layer,
    scales and offsets (32: float). eps: what a constant reference does. windows, length, stride: of pointwise layers.
    reference: number of the reference layer in its family; shapes: learned references instead. bind: kernels in one
    piece. normalized: scale and mean of unit references. grid: quantizer of scales and offsets. calibrate: choose on
    training images. every, warmup: when tuned, free weights that are projected after every so many epochs; 0: the index
    stays and a `tune` trains scales, offsets and references. fixed: projecting leaves the index.
    """

    preset: str = "learned"
    match: str | None = None
    scale: bool | None = None
    offset: bool | None = None
    wbits: int | None = None
    abits: int | None = None
    bbits: int | None = None
    eps: str | None = None
    fixed: bool | None = None
    windows: bool | None = None
    length: int | None = None
    stride: int | None = None
    reference: int | None = None
    bind: int | None = None
    transforms: str | None = None
    shapes: int | None = None
    normalized: bool | None = None
    grid: str | None = None
    calibrate: bool | None = None
    every: int | None = None
    warmup: int | None = None

    summary: ClassVar[str] = "kernels become index, scale and offset of shared references: share=learned,shapes=256"
    version: ClassVar[int] = 1
    examples: ClassVar[tuple[str, ...]] = (
        "share=learned,shapes=8",
        "share=v2qq,eps=clamp",
        "share=v2nb",
        "share=v3,abits=8,every=1",
    )
    leaves: ClassVar[tuple[str, ...]] = ("whole weights",)
    cannot_follow: ClassVar[Mapping[str, str]] = FLOAT_WEIGHTS | {"zeros": "pruned zeros would be filled again"}

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in known:
                raise RecipeError(f"share has no {name} {value!r}", f"use {', '.join(known)}")
        settings = self.settings()
        _check(settings)
        learned = settings.shapes > 0
        idle = {
            "fixed": (not settings.every, "says what projections keep", "say how often they come: every=1"),
            "warmup": (not settings.every, "counts epochs before the first projection", "say how often: every=1"),
            "abits": (not settings.scale, "is the width of scales, and there are none", "use scale=true"),
            "bbits": (not settings.offset, "is the width of offsets, and there are none", "use offset=true"),
            "length": (not settings.windows, "is the length of windows", "leave windows=false out"),
            "stride": (not settings.windows or learned, "is for windows of a reference layer", "leave it out"),
            "reference": (learned, "is for a reference layer, not for learned shapes", "use shapes=0"),
            "wbits": (learned, "is for a reference layer, not for learned shapes", "use shapes=0"),
        }
        for name, (without_effect, what, instead) in idle.items():
            if without_effect and getattr(self, name) is not None:
                raise RecipeError(f"share: {name} {what}", instead)

    def settings(self) -> Settings:
        """Those of the preset with the given ones in their place."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "preset"}
        return dataclasses.replace(PRESETS[self.preset], **{k: v for k, v in given.items() if v is not None})

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """Rules on the kernels of each family; the references of each are stored once."""
        settings = self.settings()
        result = classifier.copy()
        with torch.no_grad(), one_thread():
            plans = _plans(result, settings)
            moments = {}
            if settings.calibrate:
                coded = [name for plan in plans for name in plan.coded]
                context.screen.say(f"looking at the inputs of {len(coded)} layers")
                moments = second_moments(result, coded, context)
            for plan in plans:
                _put_rules(result, plan, settings, context.seed)
                project(result, plan, settings, moments)
                context.screen.say(str(plan))
        return result

    def after_epoch(self, classifier: Classifier, epoch: int) -> None:
        """Project, in place, when it is time; epochs count from 1. For `tune`."""
        settings = self.settings()
        late = epoch - settings.warmup
        if settings.every and late > 0 and late % settings.every == 0:
            with torch.no_grad(), one_thread():
                for plan in _plans(classifier, settings):
                    project(classifier, plan, settings, {}, keep_index=settings.fixed)


def _check(settings: Settings) -> None:
    """Raise RecipeError for settings that mean nothing, or nothing together."""
    for name in ("wbits", "abits", "bbits"):
        bits = getattr(settings, name)
        if not 2 <= bits <= 16 and bits != 32:
            raise RecipeError(f"{name}={bits} is not possible", f"use 2 to 16 bits, or 32 for float: {name}=8")
    bounds = {
        "length": (2, MAX_LENGTH), "stride": (1, MAX_LENGTH), "reference": (0, 10_000), "bind": (1, 16),
        "shapes": (0, MAX_SHAPES), "every": (0, 10_000), "warmup": (0, 10_000),
    }  # fmt: skip
    for name, (low, high) in bounds.items():
        if not low <= getattr(settings, name) <= high:
            raise RecipeError(f"{name}={getattr(settings, name)} is not possible", f"use {low} to {high}")
    if settings.match == "pcc" and not (settings.scale and settings.offset):
        raise RecipeError(
            "match=pcc needs scale and offset: a correlation knows neither the sign nor the mean of the fit",
            "use match=l2, which is the same choice where both are free",
        )
    if settings.shapes and not settings.normalized:
        raise RecipeError("learned shapes have no scale of their own", "use normalized=true")
    if settings.normalized and not (settings.scale and settings.offset):
        raise RecipeError("normalized=true stores a scale and a mean for each kernel", "use scale=true,offset=true")
    if settings.calibrate and not settings.normalized:
        raise RecipeError("calibrate=true needs unit references", "use normalized=true, or calibrate=false")


@dataclass(frozen=True)
class Plan:
    """One family in a network: the layers that are coded, and the one whose kernels are the references (if any)."""

    family: KernelFamily
    coded: tuple[str, ...]
    reference: str | None
    length: int

    def __str__(self) -> str:
        source = f"references: {self.reference}" if self.reference else "learned shapes"
        return f"{self.family} kernels of {len(self.coded)} layers shared ({source}): {', '.join(self.coded)}"


def _plans(classifier: Classifier, settings: Settings) -> list[Plan]:
    """What each family does. Raises RecipeError when nothing can be shared."""
    plans = []
    first = stem(classifier.network) if kernel_families(classifier.network) else ""
    for family in kernel_families(classifier.network):
        if family.pointwise and not settings.windows:
            continue
        kernel = family.kernel[0] * family.kernel[1]
        length = settings.length if family.pointwise else kernel * settings.bind
        if length > MAX_LENGTH or (settings.transforms != "none" and family.kernel[0] != family.kernel[1]):
            continue
        if settings.shapes:
            coded, reference = tuple(n for n in family.layers if n != first), None
        elif settings.reference < len(family.layers):
            reference = family.layers[settings.reference]
            coded = tuple(n for n in family.layers if n != reference)
            if not len(windows(classifier.weights()[reference], length, settings.stride)):
                continue
        else:
            continue
        if coded:
            plans.append(Plan(family, coded, reference, length))
    if not plans:
        raise RecipeError(
            "no two convolutions of this network have kernels that could be shared with these settings",
            "use a larger network, or quant=w4",
        )
    return plans


def _put_rules(classifier: Classifier, plan: Plan, settings: Settings, seed: int) -> None:
    """Rules without numbers on the layers of a plan, but for the references."""
    weights = classifier.weights()
    chosen: dict[str, tuple[Rule, Tensor]] = {}
    pointwise = plan.family.pointwise
    spec: dict[str, Any] = {
        "rule": "share",
        "length": plan.length,
        "a": settings.abits if settings.scale else 0,
        "m": settings.bbits if settings.offset else 0,
    }
    if settings.normalized:
        spec["unit"] = True
    if settings.transforms != "none":
        spec["turn"] = settings.transforms
    if settings.every:
        spec["free"] = True
    shapes = None
    if plan.reference is None:
        bodies = [split(weights[name], plan.length)[0].flatten(0, 1) for name in plan.coded]
        shapes = learn_shapes(torch.cat(bodies), settings.shapes, seed).rows
        spec["references"] = settings.shapes
    else:
        weight = weights[plan.reference]
        bits = {} if settings.wbits == 32 else {"bits": settings.wbits}
        reference = Reference({"rule": "reference", **bits}, tuple(weight.shape)).to(weight.device)
        reference.fit(weight)
        chosen[f"{plan.reference}.weight"] = (reference, weight)
        spec["references"] = len(windows(weight, plan.length, settings.stride))
        if pointwise and settings.stride > 1:
            spec["stride"] = settings.stride
    for name in plan.coded:
        weight = weights[name]
        own = shapes is not None and name == plan.coded[0]
        source = {"shape_bits": SHAPE_BITS} if own else {"from": f"{plan.reference or plan.coded[0]}.weight"}
        rule = Share({**spec, **source}, tuple(weight.shape)).to(weight.device)
        if own and shapes is not None:
            rule.set_shapes(shapes.to(weight.device))
        chosen[f"{name}.weight"] = (rule, weight)
    put_rules(classifier.network, chosen)


def project(
    classifier: Classifier, plan: Plan, settings: Settings, moments: dict[str, Tensor], keep_index: bool = False
) -> None:
    """Choose index, scale and offset of every kernel for the latent weights, which become what is stored (in place)."""
    modules: dict[str, Any] = classifier.weighted()
    if plan.reference is not None:
        reference: Any = weight_rule(modules[plan.reference])
        reference.fit(modules[plan.reference].parametrizations["weight"].original)
    first: Any = weight_rule(modules[plan.coded[0]])
    turns = permutations(settings.transforms, plan.length, kernel_size(first.shape)).to(first.device)
    table = first.references()[:, turns].flatten(0, 1)
    table = unit(table) if settings.normalized else table
    for name in plan.coded:
        rule: Any = weight_rule(modules[name])
        latent = modules[name].parametrizations["weight"].original
        weight = latent.double()
        if settings.wbits < 32:
            scale = GRIDS["source"](weight, settings.wbits)
            weight = numbers(integers(weight, scale, settings.wbits), scale)
        if keep_index:
            a, m = rule.fitted(weight)
        else:
            index, a, m = _matched(weight, table, settings, rule.parts.rows)
            rule.set_index(index)
        scales = [
            GRIDS[settings.grid](values, rule.spec[stream]) if 0 < rule.spec[stream] < 32 else None
            for stream, values in (("a", a), ("m", m))
        ]
        moment = moments.get(name)
        if moment is not None and plan.length <= moment.shape[1]:
            grids = [(s or Scale(0, 0), rule.spec[stream]) for stream, s in zip("am", scales)]
            index, a, m = choose(weight, moment, table, grids[0], grids[1])
            rule.set_index(index)
        rule.set_numbers("a", a, scales[0])
        rule.set_numbers("m", m, scales[1])
        latent.copy_(rule.weight())


def _matched(weight: Tensor, table: Tensor, settings: Settings, rows: int) -> list[Tensor]:
    """Index, alpha and beta, rows x pieces."""
    body, last = split(weight, table.shape[1])
    pieces = [(body.flatten(0, 1), table)]
    if last is not None:
        short = table[:, : last.shape[1]]
        pieces.append((last, unit(short) if settings.normalized else short))
    found = [
        [x.reshape(rows, -1) for x in match(p, t, settings.match, settings.scale, settings.offset, settings.eps)]
        for p, t in pieces
        if len(p)
    ]
    return [torch.cat(parts, 1) for parts in zip(*found)]
