"""What a recipe may contain. A step is a frozen dataclass of settings with `apply`; one file each.

In a recipe: `name=main,key=value`; `main` is the first setting.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mignon.classifier import Classifier
from mignon.data.imageset import Split
from mignon.errors import RecipeError
from mignon.progress import Screen
from mignon.registry import STEPS
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


class Step(Protocol):
    """`version` is part of the cache key: raise it when the result changes.

    A step after which weights are whole numbers says `settles = True`.
    A step that loads other models names them in `models: tuple[str, ...]`; their contents are part of the key too.
    A step with `after_epoch(classifier, epoch)` is asked after every epoch of a later `tune`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    version: ClassVar[int]

    def check(self, earlier: list["Step"]) -> None:
        """Raise RecipeError, with the reason, when it cannot follow these steps."""

    def apply(self, classifier: Classifier, context: Context) -> Classifier:
        """The Classifier after the step; the one given stays as it is."""


def refuse_after_settled(step: Any, earlier: list[Any]) -> None:
    """Raise RecipeError when the weights are whole numbers by now, for a step that chooses by float weights."""
    for before in earlier:
        if getattr(before, "settles", False):
            order = "" if step.name == before.name else f"put {step.name} before {before.name}, or "
            raise RecipeError(
                f"{step.name} cannot follow {before.name}: the weights are whole numbers already (integers of a grid, "
                "or indices of shared values)",
                f"{order}start from the float file",
            )


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


def parse_recipe(texts: list[str] | tuple[str, ...], done: tuple[str, ...] = ()) -> list[Any]:
    """The steps, each checked against those before it and those already in the file (`done`)."""
    earlier = [parse_step(text) for text in done]
    steps = []
    for text in texts:
        step = parse_step(text)
        step.check(earlier)
        earlier.append(step)
        steps.append(step)
    return steps
