"""Recipes in files: TOML with the steps, and how to train the network when there is none yet."""

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

from mignon.errors import RecipeError
from mignon.files import machine_errors
from mignon.settings import check_ranges, fill
from mignon.training.settings import Options

SHIPPED = Path(__file__).parents[1] / "recipes"
KEYS = ("description", "repeats", "steps", "train")


@dataclass(frozen=True)
class Training(Options):
    """The `[train]` table: what `mignon train` is told."""

    model: str
    width: float | None = None
    image: int | None = None

    summary: ClassVar[str] = 'for example: model = "resnet20-cifar"'

    def __post_init__(self) -> None:
        check_ranges(self, RecipeError, "{name} = {value}")
        Options.__post_init__(self)


@dataclass(frozen=True)
class Recipe:
    """Steps as they are typed, what they are for, which published system they repeat, and the training before them."""

    steps: tuple[str, ...]
    description: str = ""
    repeats: str = ""
    train: Training | None = None


def shipped() -> dict[str, Path]:
    """The recipes that are installed with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file, or an installed one by name; its steps are not parsed yet. Raises RecipeError."""
    place = Path(path).expanduser()
    if not place.is_file():
        place = shipped().get(str(path), place)
    if not place.is_file():
        raise RecipeError(f"there is no recipe {str(path)!r}", f"give a TOML file, or one of: {', '.join(shipped())}")
    with machine_errors(place):
        data = place.read_bytes()
    try:
        values = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(
            f"{path} is not TOML ({' '.join(str(error).split())[:80]})", 'write it like: steps = ["quant=w8a8"]'
        ) from None
    for key in values:
        if key not in KEYS:
            near = get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise RecipeError(f"{path} has the unknown key {key!r}", f"{hint}possible: {', '.join(KEYS)}")
    return Recipe(
        steps=_steps(values.get("steps"), path),
        description=_text(values, "description", path),
        repeats=_text(values, "repeats", path),
        train=_training(values.get("train"), path),
    )


def _steps(value: Any, path: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(step, str) for step in value):
        raise RecipeError(f"{path} has no list of steps", 'write them like: steps = ["prune=0.8", "quant=w8a8"]')
    return tuple(value)


def _text(values: dict[str, Any], key: str, path: Any) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        raise RecipeError(f"{path}: {key} must be a text, not {value!r}", f'write it in quotes: {key} = "..."')
    return value


def _training(value: Any, path: Any) -> Training | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise RecipeError(f"{path}: train must be a table", "write [train] on a line of its own, its settings below it")
    return fill(Training, value, RecipeError, f"{path}: [train]")
