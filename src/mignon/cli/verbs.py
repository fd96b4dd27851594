"""Every verb with its flags, made from its request. Jobs are imported when they run, so that --help loads no torch."""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from mignon import __version__
from mignon.cli.screen import (
    Terminal,
    print_about,
    print_card,
    print_cuts,
    print_entries,
    print_json,
    print_removed,
    print_rows,
    tell,
)
from mignon.jobs.requests import REQUESTS, Request, flag, function_of, signature

app = App(
    name="mignon",
    help="A folder of images in; a small, verified image classifier out.",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,  # cli/start.py gives it its line and its exit code
)


def _whole(_: Any, tokens: Any) -> int:
    """A whole number as it is written: 1.5 is refused, not rounded."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number.") from None


Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON document on stdout, progress on stderr.")]


def show_result(result: Any, as_json: bool) -> int:
    """The ledger, the verdict and the folder; exit code 3 when a limit was missed."""
    if as_json:
        print_json(result.to_json())
    else:
        if result.rows:
            print_rows(result.rows)
        tell(result.verdict)
        if result.file:
            tell(f"file {result.file}")
        if (Path(result.run) / "report.html").exists():
            tell(f"report {Path(result.run) / 'report.html'}")
        tell(f"run folder {result.run}")
    return 0 if result.limit_met else 3


def show_probe(result: Any, as_json: bool) -> int:
    """What every cut reaches, how that grows with the images, and the ledger."""
    if not as_json:
        print_cuts(result.cuts, result.curve, result.judged)
    return show_result(result, as_json)


def show_predictions(results: list[dict[str, Any]], as_json: bool) -> None:
    """A line for each picture."""
    if as_json:
        print_json(results)
        return
    for item in results:
        tell(f"{100 * item['probability']:5.1f} %  {item['label']}  {item['image']}")


def show_checks(rows: list[dict[str, Any]], as_json: bool) -> int:
    """What this machine has; exit code 1 when something is bad."""
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            hint = f"  -> {row['hint']}" if row["hint"] else ""
            tell(f"{'ok ' if row['ok'] else 'BAD'} {row['what']}: {row['value']}{hint}")
    return 0 if all(row["ok"] for row in rows) else 1


def _drawn(draw: Callable[[Any], None], document: Callable[[Any], Any] = lambda value: value) -> Callable[..., None]:
    def show(value: Any, as_json: bool) -> None:
        if as_json:
            print_json(document(value))
        else:
            draw(value)

    return show


SHOWN: dict[str, Callable[[Any, bool], int | None]] = {
    "probe": show_probe,
    "predict": show_predictions,
    "show": _drawn(print_about),
    "data": _drawn(print_card),
    "ls": _drawn(print_entries),
    "rm": _drawn(print_removed),
    "report": _drawn(lambda path: tell(f"report {path}"), lambda path: {"report": str(path)}),
    "doctor": show_checks,
}


def _command(request: type[Request]) -> Callable[..., int | None]:
    """What cyclopts calls for a verb."""

    def command(*words: Any, json: bool = False, **given: Any) -> int | None:
        asked = request.read(own.bind(*words, **given).arguments)
        result = function_of(request)(asked, screen=Terminal())
        return SHOWN.get(request.verb, show_result)(result, json)

    parameters, known = [], signature(request).parameters
    for field in dataclasses.fields(request):
        parameter = known[field.name]
        if field.metadata.get("words"):
            parameter = parameter.replace(kind=inspect.Parameter.VAR_POSITIONAL, default=inspect.Parameter.empty)
        parameters.append(parameter.replace(annotation=_annotation(field, parameter.annotation)))
    parameters.sort(key=lambda parameter: parameter.kind)
    own = inspect.Signature(parameters)
    as_json = inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)
    command.__signature__ = inspect.Signature([*parameters, as_json])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in [*parameters, as_json]}
    command.__doc__ = request.__doc__
    return command


def _annotation(field: dataclasses.Field, hint: Any) -> Any:
    """The type of a field with its flag and help."""
    told = str(field.metadata.get("help", ""))
    told = told if told.endswith(".") else f"{told[:1].upper()}{told[1:]}."
    if field.metadata.get("words"):
        return Annotated[str, Parameter(help=told)]
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    names = [flag(field), *filter(None, [field.metadata.get("short")])]
    return Annotated[
        hint,
        Parameter(
            name=None if field.metadata.get("word") else names,
            help=told,
            negative="" if field.default is False else None,
            converter=_whole if kinds == [int] else None,
        ),
    ]


for _request in REQUESTS:
    app.command(_command(_request), name=_request.verb)
