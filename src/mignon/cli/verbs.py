"""Every verb with its flags. Jobs are imported inside, so that --help loads no torch."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from mignon import __version__
from mignon.cli.screen import Terminal, print_about, print_card, print_entries, print_json, print_rows

app = App(
    name="mignon",
    help="A folder of images in; a small, verified image classifier out.",
    version=__version__,
    help_format="markdown",
    suppress_keyboard_interrupt=False,  # cli/start.py gives it its line and its exit code
)


def _whole(_: Any, tokens: Any) -> int:
    """A whole number as it is written: 1.5 is refused, not rounded."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number.") from None


Whole = Annotated[int, Parameter(converter=_whole)]

Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON document on stdout, progress on stderr.")]
Out = Annotated[Path | None, Parameter(help="Run folder (default: ./runs/NAME, or under $MIGNON_RUNS).")]
Data = Annotated[str, Parameter(name=["--data", "-d"], help="Folder of images, or: digits.")]
Seed = Annotated[int, Parameter(converter=_whole, help="Seed of everything random.")]
OnBad = Annotated[str | None, Parameter(help="Files that cannot be decoded: skip or fail.")]
Width = Annotated[float | None, Parameter(help="Multiplies the channels of the network.")]
Image = Annotated[
    int | None, Parameter(converter=_whole, help="Side of the input in pixels (default: by a printed rule).")
]
Start = Annotated[Path | None, Parameter(name="--from", help="Weights to start from: .safetensors, .mgn or run.")]
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
        if (Path(result.run) / "report.html").exists():
            print(f"report {Path(result.run) / 'report.html'}")
        print(f"run folder {result.run}")
    return 0 if result.limit_met else 3


@app.command
def compress(
    model: str | None = None,
    *steps: str,
    data: Data,
    recipe: Annotated[Path | None, Parameter(help="TOML file with the steps, instead of giving them here.")] = None,
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
        Run folder, .safetensors or .mgn; may be left out with a recipe that says what to train.
    steps
        prune=0.8 tune=5 quant=w8a8 code=range ... (mignon ls steps).
    """
    from mignon.jobs.compress import compress as job

    result = job(
        model,
        *steps,
        data=data,
        recipe=recipe,
        out=out,
        seed=seed,
        on_bad=on_bad,
        device=device,
        screen=Terminal(),
    )
    return show_result(result, json)


@app.command
def build(
    folder: str,
    *,
    max_kib: Annotated[float | None, Parameter(help="Largest size of the file, in KiB.")] = None,
    max_drop: Annotated[float | None, Parameter(help="Most points below the float network (default 1.0).")] = None,
    model: Annotated[
        str | None, Parameter(help="Network family (mignon ls models; default: by a printed rule).")
    ] = None,
    minutes: Annotated[float, Parameter(help="About how long it may take.")] = 10.0,
    epochs: Annotated[int | None, Parameter(converter=_whole, help="Epochs of training, instead of --minutes.")] = None,
    width: Width = None,
    image: Image = None,
    start: Start = None,
    teacher: Annotated[
        float | None, Parameter(help="Train a network so many times as wide first; it teaches this one (4).")
    ] = None,
    out: Out = None,
    seed: Seed = 0,
    on_bad: OnBad = None,
    device: Device = None,
    json: Json = False,
) -> int:
    """From a folder of images to a small, verified classifier: look, train, compress, decode, measure, report.

    For example: mignon build photos --max-kib 64

    Parameters
    ----------
    folder
        Folder of images (class folders, or train/val/test with class folders), or: digits.
    """
    from mignon.jobs.build import build as job

    result = job(
        folder,
        max_kib=max_kib,
        max_drop=max_drop,
        model=model,
        minutes=minutes,
        epochs=epochs,
        width=width,
        image=image,
        start=start,
        teacher=teacher,
        out=out,
        seed=seed,
        on_bad=on_bad,
        device=device,
        screen=Terminal(),
    )
    return show_result(result, json)


@app.command
def demo(*, out: Out = None, seed: Seed = 0, json: Json = False) -> int:
    """The whole story on 1,797 real handwritten digits that ship with the package; about a minute on two cores."""
    from mignon.jobs.demo import demo as job

    return show_result(job(out=out, seed=seed, screen=Terminal()), json)


@app.command
def train(
    model: str | None = None,
    *,
    data: Annotated[str | None, Parameter(name=["--data", "-d"], help="Folder of images, or: digits.")] = None,
    epochs: Whole = 30,
    lr: Annotated[float | None, Parameter(help="Highest learning rate (default 0.2).")] = None,
    batch: Whole = 128,
    width: Width = None,
    image: Image = None,
    start: Start = None,
    half: Annotated[bool | None, Parameter(help="bfloat16 arithmetic (default: where measured to be faster).")] = None,
    terms: Annotated[str, Parameter(help="Added to the loss, for example cor:1e-5+nuclear:1.")] = "",
    resume: Annotated[str | None, Parameter(help="An interrupted run; it goes on with its own settings.")] = None,
    out: Out = None,
    seed: Seed = 0,
    on_bad: OnBad = None,
    device: Device = None,
    json: Json = False,
) -> int:
    """Train a network; a repeated or resumed command goes on where it stopped.

    For example: mignon train resnet20-cifar --data photos --epochs 30

    Parameters
    ----------
    model
        Network family (mignon ls models).
    """
    from mignon.jobs.train import train as job

    result = job(
        model,
        data=data,
        epochs=epochs,
        lr=lr,
        batch=batch,
        width=width,
        image=image,
        start=start,
        half=half,
        terms=terms,
        resume=resume,
        out=out,
        seed=seed,
        on_bad=on_bad,
        device=device,
        screen=Terminal(),
    )
    return show_result(result, json)


@app.command
def tune(
    model: str,
    *,
    data: Data,
    epochs: Whole = 5,
    lr: Annotated[float, Parameter(help="Highest learning rate.")] = 0.02,
    batch: Whole = 128,
    out: Out = None,
    seed: Seed = 0,
    on_bad: OnBad = None,
    device: Device = None,
    json: Json = False,
) -> int:
    """Train on with everything held that the model holds: masks, integers, activation grids.

    Parameters
    ----------
    model
        Run folder, .safetensors or .mgn.
    """
    from mignon.jobs.tune import tune as job

    result = job(
        model,
        data=data,
        epochs=epochs,
        lr=lr,
        batch=batch,
        out=out,
        seed=seed,
        on_bad=on_bad,
        device=device,
        screen=Terminal(),
    )
    return show_result(result, json)


@app.command(name="eval")
def evaluate(
    model: str,
    *,
    data: Data,
    split: Annotated[str, Parameter(help="train, validation or test.")] = "test",
    seed: Seed = 0,
    on_bad: OnBad = None,
    json: Json = False,
) -> int:
    """Measure a model on a split of a folder of images.

    Parameters
    ----------
    model
        Run folder, .safetensors or .mgn.
    """
    from mignon.jobs.evaluate import evaluate as job

    return show_result(job(model, data=data, split=split, seed=seed, on_bad=on_bad, screen=Terminal()), json)


@app.command
def predict(model: str, *images: str, json: Json = False) -> None:
    """Label pictures.

    Parameters
    ----------
    model
        Run folder, .safetensors or .mgn.
    images
        Image files, or folders of them.
    """
    from mignon.jobs.predict import predict as job

    results = job(model, list(images))
    if json:
        print_json(results)
        return
    for item in results:
        print(f"{100 * item['probability']:5.1f} %  {item['label']}  {item['image']}")


@app.command
def show(
    thing: str,
    *,
    classes: Annotated[int, Parameter(converter=_whole, help="Classes, for a model family.")] = 10,
    width: Width = None,
    image: Image = None,
    channels: Annotated[int, Parameter(converter=_whole, help="1 or 3, for a model family.")] = 3,
    bytes_: Annotated[bool, Parameter(name="--bytes", negative="", help="Split every byte of the file.")] = False,
    as_: Annotated[
        str | None, Parameter(name="--as", help="Bytes with the weights as: dense, bitmap, coo, flat, gaps or all.")
    ] = None,
    layers: Annotated[bool, Parameter(negative="", help="What few bits for each layer alone would cost.")] = False,
    data: Annotated[
        str | None, Parameter(name=["--data", "-d"], help="Images for --layers (a run has its own).")
    ] = None,
    json: Json = False,
) -> None:
    """Layers, parameters, MACs and memory of a network; header and bytes of a file.

    Parameters
    ----------
    thing
        Model family, run folder, .safetensors or .mgn.
    """
    from mignon.jobs.show import show as job

    about = job(
        thing,
        classes=classes,
        width=width,
        image=image,
        channels=channels,
        bytes_=bytes_,
        as_=as_,
        layers=layers,
        data=data,
        screen=Terminal(),
    )
    if json:
        print_json(about)
    else:
        print_about(about)


@app.command
def data(
    folder: str,
    *,
    image: Image = None,
    out: Out = None,
    seed: Seed = 0,
    on_bad: OnBad = None,
    json: Json = False,
) -> None:
    """Look at a folder of images: counts, sizes, splits, bad files, repeated images, a contact sheet.

    Parameters
    ----------
    folder
        Folder of images, or: digits.
    """
    from mignon.jobs.data import data as job

    card = job(folder, image=image, out=out, seed=seed, on_bad=on_bad, screen=Terminal())
    if json:
        print_json(card)
    else:
        print_card(card)


@app.command
def ls(what: str = "runs", *, json: Json = False) -> None:
    """List runs, models, steps, coders or sources.

    Parameters
    ----------
    what
        runs, models, steps, coders or sources.
    """
    from mignon.jobs.runs import ls as job

    entries = job(what)
    if json:
        print_json(entries)
    else:
        print_entries(entries, f"no {what} yet")


@app.command
def rm(*runs: str, json: Json = False) -> None:
    """Remove run folders.

    Parameters
    ----------
    runs
        Folders or names (mignon ls runs).
    """
    from mignon.jobs.runs import rm as job

    removed = job(list(runs))
    if json:
        print_json(removed)
    else:
        for folder in removed:
            print(f"removed {folder}")


@app.command
def report(
    *runs: str,
    out: Annotated[Path | None, Parameter(help="The page to write.")] = None,
    analysis: Annotated[bool, Parameter(negative="", help="Add pictures of kernels, indices and weights.")] = False,
    json: Json = False,
) -> None:
    """Write one offline page about one or several runs.

    Parameters
    ----------
    runs
        Folders or names (mignon ls runs).
    """
    from mignon.jobs.report import report as job

    path = job(list(runs), out=out, analysis=analysis)
    if json:
        print_json({"report": str(path)})
    else:
        print(f"report {path}")


@app.command
def doctor(*, json: Json = False) -> int:
    """Check this machine: libraries, threads, cache, disk."""
    from mignon.jobs.doctor import doctor as job

    rows = job()
    if json:
        print_json(rows)
    else:
        for row in rows:
            hint = f"  -> {row['hint']}" if row["hint"] else ""
            print(f"{'ok ' if row['ok'] else 'BAD'} {row['what']}: {row['value']}{hint}")
    return 0 if all(row["ok"] for row in rows) else 1
