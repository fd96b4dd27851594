"""Every verb with its flags. Jobs are imported inside, so that --help loads no torch."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from mignon import __version__
from mignon.cli.screen import Terminal, print_json, print_rows

app = App(
    name="mignon",
    help="A folder of images in; a small, verified image classifier out.",
    version=__version__,
    help_format="markdown",
)

Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON document on stdout, progress on stderr.")]
Out = Annotated[Path | None, Parameter(help="Run folder (default: ./runs/NAME, or under $MIGNON_RUNS).")]
Data = Annotated[str, Parameter(name=["--data", "-d"], help="Folder of images, or: digits.")]
Seed = Annotated[int, Parameter(help="Seed of everything random.")]
OnBad = Annotated[str | None, Parameter(help="Files that cannot be decoded: skip or fail.")]
Device = Annotated[str | None, Parameter(help="cpu or cuda (default: the GPU when there is one).")]


def show_result(result: Any, as_json: bool) -> int:
    """The ledger, the verdict and the folder; exit code 3 when a limit was missed."""
    if as_json:
        print_json(result.to_json())
    else:
        if result.rows:
            print_rows(result.rows)
        print(result.verdict)
        if result.file:
            print(f"file {result.file}")
        print(f"run folder {result.run}")
    return 0 if result.limit_met else 3


@app.command
def compress(
    model: str,
    *steps: str,
    data: Data,
    out: Out = None,
    seed: Seed = 0,
    on_bad: OnBad = None,
    device: Device = None,
    json: Json = False,
) -> int:
    """Apply a recipe to a trained network; every step is measured on its decoded file.

    For example: mignon compress model.safetensors --data photos quant=w8a8 code=range

    Parameters
    ----------
    model
        Run folder, .safetensors or .mgn.
    steps
        prune=0.8 tune=5 quant=w8a8 code=range ... (mignon ls steps).
    """
    from mignon.jobs.compress import compress as job

    screen = Terminal()
    result = job(
        model, *steps, data=data, out=out, seed=seed, on_bad=on_bad, device=device, screen=screen
    )
    return show_result(result, json)
