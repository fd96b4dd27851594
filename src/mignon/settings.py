"""Settings dataclasses filled from words and from headers: types are checked, unknown names are named."""

import dataclasses
import math
import types
import typing
from difflib import get_close_matches
from typing import Any

from mignon.errors import MignonError


def fill(cls: Any, values: dict[str, Any], error: type[MignonError], where: str, words: bool = True) -> Any:
    """`cls(**values)`, each of the field's type; with `words` numbers and truth may be text, as the user types them.

    Raises `error` with what is possible instead.
    """
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = typing.get_type_hints(cls)
    filled = {}
    for name, value in values.items():
        if name not in fields:
            near = get_close_matches(name, fields, n=1)
            known = ", ".join(fields) or "none"
            raise error(
                f"{where} has no setting {name!r}",
                (f"did you mean {near[0]!r}? " if near else "") + f"settings: {known}",
            )
        filled[name] = _convert(value, hints[name], error, f"{where}: {name}", words)
    missing = [n for n, f in fields.items() if n not in filled and f.default is dataclasses.MISSING]
    if missing:
        raise error(f"{where} needs a value for {missing[0]}", getattr(cls, "summary", ""))  # it ends in an example
    return cls(**filled)


def _convert(value: Any, hint: Any, error: type[MignonError], where: str, words: bool) -> Any:
    options = [t for t in typing.get_args(hint) if t is not type(None)]
    kind = options[0] if options else hint
    try:
        if isinstance(value, str) and kind is not str and not words:
            raise ValueError
        if kind is bool:
            if isinstance(value, bool):
                return value
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[value.lower()]
        if kind is int:
            if isinstance(value, (bool, float)):
                raise ValueError
            return int(value)
        if kind is float:
            if isinstance(value, bool) or not math.isfinite(float(value)):
                raise ValueError
            return float(value)
        if not isinstance(value, str):
            raise ValueError
        return value
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        known = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
        examples = {int: "5", float: "0.5", bool: "true", str: "a"}
        raise error(
            f"{where} must be {known.get(kind, kind)}, not {value!r}", f"for example: {examples.get(kind, kind)}"
        ) from None


def ranged(default: Any, low: float, high: float, help: str, above: bool = False, usual: Any = None) -> Any:
    """A field with what it may be (`low` itself not, when `above`) and what it means; `check_ranges` holds to it.

    `usual` is the example of a value where there is no default.
    """
    usual = default if default not in (None, dataclasses.MISSING) else usual
    return dataclasses.field(
        default=default, metadata={"low": low, "high": high, "above": above, "help": help, "usual": usual}
    )


def named(default: Any, help: str, **notes: Any) -> Any:
    """A field with what it means and no range; `notes` are for whoever makes a command line of it."""
    return dataclasses.field(default=default, metadata={"help": help, **notes})


def changed(settings: Any) -> dict[str, Any]:
    """The fields that are not at their default, by name."""
    values = {field: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    return {field.name: value for field, value in values.items() if value != field.default}


def same(cls: Any, name: str, *default: Any, help: str = "") -> Any:
    """The field of another settings class again, with its range and meaning; its default too, unless one is given."""
    field = cls.__dataclass_fields__[name]
    usual = default[0] if default and default[0] is not dataclasses.MISSING else field.metadata.get("usual")
    notes = {**field.metadata, "usual": usual, **({"help": help} if help else {})}
    return dataclasses.field(default=default[0] if default else field.default, metadata=notes)


def check_ranges(settings: Any, error: type[MignonError], spelling: str = "{name}={value}", where: str = "") -> None:
    """Raise `error` for the first field outside of its range; `spelling` is how the user writes {name} and {value}."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if "low" not in field.metadata or value is None:
            continue
        name = field.name.replace("_", "-") if spelling.startswith("--") else field.name
        low, high, above, usual = (field.metadata[key] for key in ("low", "high", "above", "usual"))
        if not (low < value if above else low <= value) or not value <= high:
            usual = (high if above else max(low, 1)) if usual is None else usual
            asked, example = (
                spelling.format(name=name, value=f"{number:g}" if isinstance(number, float) else number)
                for number in (value, usual)
            )
            least = f"more than {low:g}, at most" if above else f"{low:g} to"
            help = field.metadata["help"].rstrip(".")
            raise error(f"{where}{asked} is not possible", f"{help}: {least} {high:g}, for example {example}")


def known(cls: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Of values from JSON those that are fields of the class and have their type."""
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    return {name: values[name] for name in names if name in values and fits(values[name], hints[name])}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value from JSON is of a type: lists and tables are looked into, numbers are finite."""
    kind, inside = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if kind in (types.UnionType, typing.Union):
        return any(fits(value, one) for one in inside)
    if kind is list:
        return isinstance(value, list) and all(fits(item, inside[0]) for item in value)
    if kind is dict:
        return isinstance(value, dict) and all(fits(item, inside[1]) for item in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return type(value) is hint or (hint is types.NoneType and value is None)
