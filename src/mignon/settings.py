"""Settings dataclasses filled from words and from headers: types are checked, unknown names are named."""

import dataclasses
import math
import typing
from difflib import get_close_matches
from typing import Any

from mignon.errors import MignonError


def fill(cls: Any, values: dict[str, Any], error: type[MignonError], where: str) -> Any:
    """`cls(**values)` with text turned into the field's type. Raises `error` with what is possible instead."""
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
        filled[name] = _convert(value, hints[name], error, f"{where}: {name}")
    missing = [n for n, f in fields.items() if n not in filled and f.default is dataclasses.MISSING]
    if missing:
        raise error(f"{where} needs a value for {missing[0]}", getattr(cls, "summary", ""))  # it ends in an example
    return cls(**filled)


def _convert(value: Any, hint: Any, error: type[MignonError], where: str) -> Any:
    options = [t for t in typing.get_args(hint) if t is not type(None)]
    kind = options[0] if options else hint
    try:
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
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
        examples = {int: "5", float: "0.5", bool: "true", str: "a"}
        raise error(
            f"{where} must be {words.get(kind, kind)}, not {value!r}", f"for example: {examples.get(kind, kind)}"
        ) from None
