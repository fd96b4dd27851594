"""What a recipe may contain. A step is a frozen dataclass of settings with `apply`; one file each.

In a recipe: `name=main,key=value`; `main` is the first setting.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mignon.classifier import Classifier
from mignon.data.imageset import Split
from mignon.errors import RecipeError
from mignon.models.activations import grids_of
from mignon.models.weights import rules_of
from mignon.progress import Screen
from mignon.registry import STEPS
from mignon.rules.float32 import Float32
from mignon.settings import fill


@dataclass(frozen=True)
class Context:
    """All that a step may see: training and validation images, never the test images."""

    train: Split
    validation: Split
    seed: int
    device: str
    screen: Screen
    load: Callable[[str], Classifier]  # by path, or `parent`: the network that the recipe started from
    folder: Path  # where a long step may keep what it needs to go on; after it only history.json files stay


OLD_NAMES = {"quant-001": "quant-linear", "quant-002": "quant-symmetric"}  # in files from before version 0.2
TRAITS = ("zeros", "whole weights", "grids", "other widths")  # what a step can leave behind


class Step:
    """Base of all steps; a member is a frozen dataclass of settings, registered with `@STEPS.register(NAME)`.

    version: part of the cache key; raise it when the result changes. examples: recipes of one step for the contract
    suite, small enough for the digits. leaves: traits that a network has after it, of `TRAITS`: pruned `zeros`, `whole
    weights` (integers or indices), `grids` behind maps, `other widths` than its family builds. cannot_follow: traits
    that it cannot work on, each with the reason for the user. models: other models that it loads, part of the key too.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    version: ClassVar[int]
    examples: ClassVar[tuple[str, ...]]

    if TYPE_CHECKING:  # every step says it itself, also that it leaves nothing behind

        @property
        def leaves(self) -> tuple[str, ...]:
            """Traits."""

    @property
    def cannot_follow(self) -> Mapping[str, str]:
        """Nothing is in its way unless it says so."""
        return {}

    @property
    def models(self) -> tuple[str, ...]:
        """None unless it says so."""
        return ()

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """The Classifier after the step; the one given stays as it is."""
        raise NotImplementedError

    def after_epoch(self, classifier: Classifier, epoch: int) -> None:
        """Called after every epoch (from 1) of a later `tune`, before it is judged; may change the network in place."""


FLOAT_WEIGHTS = {
    "whole weights": "the weights are whole numbers already (integers of a grid, or indices of shared values)"
}
FREE_MAPS = {"grids": "the activations are on grids already"}


def traits_of(classifier: Classifier) -> set[str]:
    """What earlier steps, or the file that it comes from, have left behind."""
    rules = [rule for name, rule in rules_of(classifier.network).items() if name.endswith(".weight")]
    present = {
        "zeros": any(rule.mask is not None for rule in rules),
        "whole weights": any(not isinstance(rule, Float32) for rule in rules),
        "grids": bool(grids_of(classifier.network)),
        "other widths": bool(classifier.widths),
    }
    return {trait for trait, there in present.items() if there}


def refuse(step: Step, earlier: Sequence[Step], given: Collection[str] = ()) -> None:
    """Raise RecipeError with the reason when a step cannot follow these steps, or a network with the traits `given`."""
    for trait, reason in step.cannot_follow.items():
        before = next((other for other in reversed(earlier) if trait in other.leaves), None)
        if before is not None:
            raise RecipeError(f"{step.name} cannot follow {before.name}: {reason}", _order(step, before))
        if trait in given:
            raise RecipeError(f"{step.name} cannot be applied to this network: {reason}", "start from the float file")


def _order(step: Step, before: Step) -> str:
    if step.name == before.name:
        return "start from the float file"
    if set(before.cannot_follow) & set(step.leaves):
        return "use one of them only, or start from the float file"
    return f"put {step.name} before {before.name}, or start from the float file"


def parse_step(text: str) -> Any:
    """`prune=0.8,scope=layer` to a step. Raises RecipeError."""
    name, _, rest = text.partition("=")
    if not name:
        raise RecipeError(f"{text!r} is not a step", "write steps as name=value, for example quant=w8a8")
    cls = STEPS[name]
    fields = [f for f in dataclasses.fields(cls) if f.init]
    values: dict[str, Any] = {}
    for i, part in enumerate(rest.split(",") if rest else []):
        key, equals, value = part.partition("=")
        if i == 0 and not equals and fields:
            key, value = fields[0].name, part
        elif not equals:
            raise RecipeError(f"{part!r} in step {text!r} is no setting", "write settings as key=value after a comma")
        if key in values:
            raise RecipeError(f"{key} is given twice in step {text!r}", "give it once")
        values[key] = value
    return fill(cls, values, RecipeError, f"step {name}")


def write_step(step: Any) -> str:
    """The shortest text that `parse_step` turns into this step."""
    fields = [f for f in dataclasses.fields(step) if f.init]
    parts = []
    for i, f in enumerate(fields):
        value = getattr(step, f.name)
        if i == 0 and value is not None:
            parts.append(_word(value))
        elif value != f.default:
            parts.append(f"{f.name}={_word(value)}")
    return f"{step.name}={','.join(parts)}" if parts else step.name


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def steps_done(texts: Sequence[str]) -> list[Step]:
    """The steps that a file names, older names included; those that are not installed here are left out."""
    current = [OLD_NAMES.get(name := text.partition("=")[0], name) + text[len(name) :] for text in texts]
    return [parse_step(text) for text in current if text.partition("=")[0] in STEPS]


def parse_recipe(texts: Sequence[str], done: Sequence[str] = (), given: Collection[str] = ()) -> list[Any]:
    """The steps, each checked against those before it, those already in the file (`done`) and traits of its network."""
    earlier = steps_done(done)
    steps = []
    for text in texts:
        step = parse_step(text)
        refuse(step, earlier, given)
        earlier.append(step)
        steps.append(step)
    return steps
