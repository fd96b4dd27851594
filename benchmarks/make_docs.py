"""Write docs/reference.md and docs/cli.md from the program itself; `--check` says whether they are as it would write.

python benchmarks/make_docs.py
"""

import dataclasses
import inspect
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from mignon.cli.verbs import app
from mignon.jobs.recipe import read_recipe, shipped
from mignon.models import build
from mignon.registry import AUGMENTATIONS, CODERS, IMPORTERS, MODELS, OPTIMIZERS, SCHEDULES, SOURCES, STEPS, Registry
from mignon.steps import parse_step
from mignon.training.settings import Options

DOCS = Path(__file__).resolve().parents[1] / "docs"
MADE = "Made from the program by `python benchmarks/make_docs.py`; do not edit.\n"


def own(registry: Registry) -> dict[str, Any]:
    """Members of the package itself, without those of other installed packages."""
    members = {name: registry[name] for name in registry}
    return {name: member for name, member in members.items() if member.__module__.startswith("mignon.")}


def table(*head: str, rows: Any) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield f"| {' | '.join(head)} |"
    yield f"|{len(head) * '---|'}"
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in row)} |"
    yield ""


def settings_of(cls: Any) -> list[str]:
    """`key=default` for every setting but the main one; a key alone where there is no default."""
    fields = [field for field in dataclasses.fields(cls) if field.init]
    values = [(field.name, field.default) for field in fields]
    return [name if value in (None, "", dataclasses.MISSING) else f"{name}={word(value)}" for name, value in values]


def word(value: Any) -> str:
    """As it is typed."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def quoted(words: list[str]) -> str:
    """Each as code."""
    return ", ".join(f"`{text}`" for text in words)


def parameters(name: str) -> str:
    """Numbers of the network for ten classes of color pictures, as the family builds it."""
    with torch.device("meta"):
        network = build(name, {}, 10, 3)
    return f"{sum(parameter.numel() for parameter in network.parameters()):,}"


def reference() -> Iterator[str]:
    """Lines of docs/reference.md."""
    yield from ("# What there is", "", MADE)
    yield from ("Written in a recipe as `name=main,key=value`: `prune=0.8`, `tune=5,lr=0.01`.", "", "## Steps", "")
    steps = own(STEPS)
    yield from table("step", "what it does", "leaves behind", rows=(
        (f"[{name}](#{name})", step.summary, leaves(step)) for name, step in steps.items()
    ))  # fmt: skip
    for name, step in steps.items():
        first, *others = settings_of(step)
        yield from (f"### {name}", "", inspect.cleandoc(step.__doc__), "")
        yield from (f"Main setting: `{first}`" + (f"; others: {quoted(others)}." if others else "."), "")
    yield from ("## Networks", "", "With options: `mobilenetv2-cifar,reduction=4`. Every one takes `cut=K`: it ends")
    yield from ("behind block K, counted from 0, with a head of mean and maximum. `resnetD-cifar` and",)
    yield from ("`wrn-D-W-cifar` take other numbers too. Parameters: ten classes, color.", "")
    yield from table("network", "what it is", "options", "parameters", "usual side", rows=(
        (f"`{name}`", family.summary, quoted(settings_of(family)), parameters(name), f"{family.pixels} px")
        for name, family in own(MODELS).items()
    ))  # fmt: skip
    yield from ("## Training", "", "Flags of `mignon train`, and keys of `[train]` in a recipe.", "")
    yield from table("setting", "what it is", "default", "possible", rows=(
        (f"`{field.name}`", field.metadata["help"], usual(field), possible(field.metadata))
        for field in dataclasses.fields(Options)
    ))  # fmt: skip
    yield from table("schedule", "how the rate goes once it has risen", rows=(
        (f"`{name}`", inspect.getdoc(schedule)) for name, schedule in own(SCHEDULES).items()
    ))  # fmt: skip
    yield from table("optimizer", "how weights follow their gradients", "usual rate", "with given weights", rows=(
        (f"`{name}`", inspect.getdoc(kind), f"{kind.fresh:g}", f"{kind.given:g}")
        for name, kind in own(OPTIMIZERS).items()
    ))  # fmt: skip
    yield from table("augmentation", "how training images change", rows=(
        (f"`{name}`", kind.summary) for name, kind in own(AUGMENTATIONS).items()
    ))  # fmt: skip
    yield from ("## Sources of images", "", "Found by looking; `SOURCE:PLACE` names one, `PLACE,key=value` sets.", "")
    yield from table("source", "what it takes", "settings", rows=(
        (f"`{name}`", source.summary, quoted(settings_of(source))) for name, source in own(SOURCES).items()
    ))  # fmt: skip
    yield from ("## Weights from elsewhere", "", "For `--from`, beside runs and files of mignon.", "")
    yield from table("importer", "what it takes", rows=(
        (f"`{name}`", importer.summary) for name, importer in own(IMPORTERS).items()
    ))  # fmt: skip
    yield from ("## Coders", "", "For `code=NAME`.", "")
    yield from table("coder", "what it does", rows=((f"`{n}`", coder.summary) for n, coder in own(CODERS).items()))
    yield from ("## Recipes", "", "For `--recipe NAME`; a file of your own: `--recipe FILE.toml`.", "")
    for name in shipped():
        recipe = read_recipe(name)
        repeats = [f"Repeats: {recipe.repeats}.", ""] if recipe.repeats else []
        yield from (f"### {name}", "", recipe.description.strip(), "", *repeats, f"`{' '.join(recipe.steps)}`", "")


def leaves(step: Any) -> str:
    """What later steps find; where that depends on settings, with those of the step's first example."""
    return ", ".join(parse_step(step.examples[0]).leaves) or "-"


def usual(field: dataclasses.Field) -> str:
    """The default of a training option; some follow from the weights at the start."""
    return "by the start" if field.default is None else f"`{word(field.default)}`"


def possible(notes: Any) -> str:
    """The range of a setting."""
    if "low" not in notes:
        return "-"
    return f"{'above ' if notes['above'] else ''}{notes['low']:g} to {notes['high']:,g}"


def cli() -> Iterator[str]:
    """Lines of docs/cli.md."""
    yield from ("# The command line", "", MADE)
    for verb in ["", *sorted(name for name in app if not name.startswith("-"))]:
        page = io.StringIO()
        app.help_print([verb] if verb else [], console=Console(file=page, width=100, color_system=None))
        text = "\n".join(line.rstrip() for line in page.getvalue().strip().splitlines())
        yield from (f"## {verb or 'mignon'}", "", "```text", text, "```", "")


PAGES = {"reference.md": reference, "cli.md": cli}


def page(name: str) -> str:
    """The text of a page, as the program is now."""
    return "\n".join(PAGES[name]()).rstrip() + "\n"


def main() -> int:
    """Write the pages, or look whether they are right."""
    check = "--check" in sys.argv[1:]
    stale = [name for name in PAGES if not (DOCS / name).exists() or (DOCS / name).read_text() != page(name)]
    for name in stale:
        if not check:
            (DOCS / name).write_text(page(name))
        print(f"docs/{name} {'is not what the program says: make docs' if check else 'written'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
