"""What is asked for: one frozen dataclass a verb, its fields with help, default and range.

Everything that knows what a verb can be told comes from here: the command line (cli/verbs.py), the keywords of the
Python function (`verb`), the record of a run, its repeat line and `--resume`.
"""

import dataclasses
import functools
import importlib
import inspect
import math
import shlex
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from typing import Any, ClassVar, Self

from mignon.errors import MignonError, RunError
from mignon.progress import Quiet, Screen
from mignon.runs import runs_root
from mignon.settings import changed, check_ranges, fill, named, ranged, same
from mignon.training.settings import Options, Settings

WORD, WORDS = {"word": True}, {"words": True}  # given by place, not by flag
FILE, MODEL, IMAGES, RECIPE = (
    {"path": kind} for kind in ("file", "model", "images", "recipe")
)  # where it is looked for

EXISTING = "Run folder, .safetensors or .mgn."


def out_field() -> Any:
    """The run folder."""
    return named(None, "Run folder (default: ./runs/NAME, or under $MIGNON_RUNS).", **FILE)


def seed_field() -> Any:
    """The seed."""
    return named(0, "Seed of everything random.")


def on_bad_field() -> Any:
    """What happens with files that are no pictures."""
    return named(None, "Files that cannot be decoded: skip or fail.")


def device_field() -> Any:
    """Where it is computed."""
    return named(None, "cpu or cuda (default: the GPU when there is one).")


def image_field() -> Any:
    """The side of the input."""
    return named(None, "Side of the input in pixels (default: by a printed rule).")


def width_field() -> Any:
    """The multiplier of channels."""
    return named(None, "Multiplies the channels of the network.")


def start_field() -> Any:
    """The weights to begin with."""
    return named(None, "Weights to start from: file, run, or a name (mignon ls importers).", flag="from", **MODEL)


def match_field() -> Any:
    """How given weights find their layers."""
    return named("name", "How weights from elsewhere find their layers: name or order.")


def data_field(default: Any = dataclasses.MISSING) -> Any:
    """The images, by flag."""
    return named(default, "Folder of images, or: digits.", short="-d", **IMAGES)


def folder_field() -> Any:
    """The images, by place."""
    help = "Folder of images (class folders, or train/val/test with class folders), or: digits."
    return named(dataclasses.MISSING, help, **WORD, **IMAGES)


@dataclass(frozen=True, kw_only=True)
class Request:
    """Base of all requests. verb: as typed. job: the module in `mignon.jobs` and the function in it, where other."""

    verb: ClassVar[str]
    job: ClassVar[tuple[str, str]]

    @classmethod
    def of(cls, *words: Any, **given: Any) -> Self:
        """The request of what was given (None: not given), paths absolute. Raises MignonError."""
        return cls.read(signature(cls).bind(*words, **given).arguments)

    @classmethod
    def read(cls, given: dict[str, Any]) -> Self:
        """The request of values by name, from a call or from the record of a run. Raises MignonError."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        as_given: dict[str, Any] = {
            name: tuple(_resolved(fields[name], str(word)) for word in value)
            for name, value in given.items()
            if isinstance(value, list | tuple) and name in fields and fields[name].metadata.get("words")
        }
        # of numbers that are not finite the range says it
        as_given |= {
            name: value
            for name, value in given.items()
            if isinstance(value, float) and not math.isfinite(value) and "low" in fields[name].metadata
        }
        values = {
            name: _resolved(fields[name], str(value)) if name in fields and fields[name].metadata.get("path") else value
            for name, value in given.items()
            if value is not None and name not in as_given
        }
        return dataclasses.replace(fill(cls, values, MignonError, f"mignon {cls.verb}"), **as_given)

    def __post_init__(self) -> None:
        check_ranges(self, MignonError, "--{name} {value}")

    def record(self) -> dict[str, Any]:
        """What `read` takes, for the record of a run: all that is not as usual."""
        return changed(self)

    def line(self) -> str:
        """The command that repeats it."""
        return shlex.join(["mignon", self.verb, *self.words()])

    def words(self) -> Iterator[str]:
        """What is typed behind the verb: all that is not as usual."""
        given: dict[str, Any] = self.record()
        flags = []
        for field in dataclasses.fields(self):
            if field.name not in given:
                continue
            value = given[field.name]
            if field.metadata.get("words"):
                yield from value
            elif field.metadata.get("word"):
                yield _text(value)
            else:
                flags.append((flag(field), value))
        for name, value in flags:
            if isinstance(value, bool):
                yield name if value else f"--no-{name[2:]}"
            elif _text(value).startswith("-"):
                yield f"{name}={_text(value)}"
            else:
                yield from (name, _text(value))


def flag(field: dataclasses.Field) -> str:
    """How a field is typed."""
    return "--" + str(field.metadata.get("flag", field.name)).rstrip("_").replace("_", "-")


def signature(request: type[Request]) -> inspect.Signature:
    """Of the function of a verb: words by place, everything else by name."""
    hints = typing.get_type_hints(request)
    parameters = []
    for field in dataclasses.fields(request):
        star, by_place = field.metadata.get("star"), field.metadata.get("word") or field.metadata.get("words")
        kind = (
            Parameter.VAR_POSITIONAL
            if star
            else Parameter.POSITIONAL_OR_KEYWORD
            if by_place
            else Parameter.KEYWORD_ONLY
        )
        default = Parameter.empty if star or field.default is dataclasses.MISSING else field.default
        parameters.append(Parameter(field.name, kind, default=default, annotation=hints[field.name]))
    return inspect.Signature(sorted(parameters, key=lambda parameter: parameter.kind))


def verb(request: type[Request]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the public function of a verb; it takes the fields of its request or the request, and a screen."""

    def decorate(job: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(job)
        def call(*words: Any, screen: Screen | None = None, **given: Any) -> Any:
            made = words[:1] if words and isinstance(words[0], request) else [request.of(*words, **given)]
            return job(made[0], screen or Quiet())

        own = signature(request)
        screen = Parameter("screen", Parameter.KEYWORD_ONLY, default=None)
        call.__signature__ = own.replace(parameters=[*own.parameters.values(), screen])  # type: ignore[attr-defined]
        return call

    return decorate


def function_of(request: type[Request]) -> Callable[..., Any]:
    """The public function of a verb."""
    module, name = request.job
    return getattr(importlib.import_module(f"mignon.jobs.{module}"), name)


def _text(value: Any) -> str:
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)


def _resolved(field: dataclasses.Field, text: str) -> str:
    kind = field.metadata.get("path")
    if kind is None:
        return text
    if kind == "images":
        from mignon.data.sources import absolute

        return absolute(text)
    path = Path(text).expanduser()
    if kind == "recipe" and not path.is_file():
        return text
    if kind == "model" and not path.exists():
        inside = runs_root() / text
        return str(inside) if inside.is_dir() else text
    return str(path.absolute())


@dataclass(frozen=True, kw_only=True)
class Build(Request):
    """From a folder of images to a small, verified classifier: look, train, compress, decode, measure, report.

    For example: mignon build photos --max-kib 64
    """

    verb: ClassVar[str] = "build"
    job: ClassVar[tuple[str, str]] = ("build", "build")

    folder: str = folder_field()
    max_kib: float | None = ranged(None, 0, 1e6, "Largest size of the file, in KiB.", above=True)
    max_drop: float | None = ranged(None, 0, 100, "Most points below the float network (default 1.0).")
    model: str | None = named(None, "Network family (mignon ls models; default: by a printed rule).")
    minutes: float = ranged(10.0, 0, 100_000, "About how long it may take.", above=True)
    epochs: int | None = same(Options, "epochs", None, help="Epochs of training, instead of --minutes.")
    width: float | None = width_field()
    image: int | None = image_field()
    start: str | None = start_field()
    match: str = match_field()
    teacher: float | None = named(None, "Train a network so many times as wide first; it teaches this one (4).")
    out: str | None = out_field()
    seed: int = seed_field()
    on_bad: str | None = on_bad_field()
    device: str | None = device_field()


@dataclass(frozen=True, kw_only=True)
class Demo(Request):
    """The whole story on 1,797 real handwritten digits that ship with the package; about a minute on two cores."""

    verb: ClassVar[str] = "demo"
    job: ClassVar[tuple[str, str]] = ("demo", "demo")

    out: str | None = out_field()
    seed: int = seed_field()


@dataclass(frozen=True, kw_only=True)
class Train(Request, Options):
    """Train a network; a repeated or resumed command goes on where it stopped.

    For example: mignon train resnet20-cifar --data photos --epochs 30
    """

    verb: ClassVar[str] = "train"
    job: ClassVar[tuple[str, str]] = ("train", "train")

    model: str | None = named(None, "Network family (mignon ls models).", **WORD)
    lr: str | None = named(  # type: ignore[assignment]
        None,
        "Highest learning rate (usual: by optimizer and start); 0.001,0.01,0.1: each of them; auto: a search.",
    )
    seeds: int = ranged(1, 1, 1000, "trainings with seeds from --seed on, for median and range")
    data: str | None = data_field(None)
    width: float | None = width_field()
    image: int | None = image_field()
    start: str | None = start_field()
    match: str = match_field()
    teacher: str | None = named(
        None, "A network that teaches this one (run, .safetensors or .mgn): mignon probe makes good ones.", **MODEL
    )
    half: bool | None = named(None, "bfloat16 arithmetic (default: where measured to be faster).")
    terms: str = named("", "Added to the loss, for example cor:1e-5+nuclear:1.")
    resume: str | None = named(
        None, "An interrupted run; it goes on with its own settings (--data: its images lie elsewhere now).", **MODEL
    )
    out: str | None = out_field()
    seed: int = seed_field()
    on_bad: str | None = on_bad_field()
    device: str | None = device_field()

    @classmethod
    def read(cls, given: dict[str, Any]) -> Self:
        """As for every request; beside `resume` only `data` has an effect, and the rest is refused."""
        idle = [name for name, value in given.items() if value is not None and name not in ("resume", "data")]
        if given.get("resume") is not None and idle:
            name = "a model" if idle[0] == "model" else flag(cls.__dataclass_fields__[idle[0]])
            raise RunError(
                f"{name} has no effect beside --resume: a run goes on with its own settings",
                "leave it away, or begin another run without --resume",
            )
        if given.get("lr") is not None:
            given = {**given, "lr": str(given["lr"])}
        return super().read(given)

    def __post_init__(self) -> None:
        Options.__post_init__(self)
        self.rates()

    def rates(self) -> list[float]:
        """The learning rates that were asked for. Raises MignonError."""
        if self.lr in (None, "auto"):
            return []
        try:
            found = [Options(lr=float(text)).lr or 0.0 for text in (self.lr or "").split(",")]
        except ValueError:
            raise MignonError(f"--lr {self.lr} is not possible", "give one rate or several: --lr 0.001,0.01") from None
        return list(dict.fromkeys(found))


@dataclass(frozen=True, kw_only=True)
class Probe(Request):
    """What a large pretrained network with a linear head reaches on a folder, whole and cut anywhere: in a minute.

    For example: mignon probe photos
    """

    verb: ClassVar[str] = "probe"
    job: ClassVar[tuple[str, str]] = ("probe", "probe")

    folder: str = folder_field()
    start: str | None = start_field()
    image: int | None = image_field()
    out: str | None = out_field()
    seed: int = seed_field()
    on_bad: str | None = on_bad_field()
    device: str | None = device_field()


@dataclass(frozen=True, kw_only=True)
class Compress(Request):
    """Apply a recipe to a trained network; every step is measured on its decoded file.

    For example: mignon compress model.safetensors --data photos quant=w8a8 code=range
    """

    verb: ClassVar[str] = "compress"
    job: ClassVar[tuple[str, str]] = ("compress", "compress")

    model: str | None = named(
        None, f"{EXISTING[:-1]}; may be left out with a recipe that says what to train.", **WORD, **MODEL
    )
    steps: tuple[str, ...] = named((), "prune=0.8 tune=5 quant=w8a8 code=range ... (mignon ls steps).", star=1, **WORDS)
    data: str = data_field()
    recipe: str | None = named(None, "TOML file with the steps, or the name of one that is installed.", **RECIPE)
    out: str | None = out_field()
    seed: int = seed_field()
    on_bad: str | None = on_bad_field()
    device: str | None = device_field()


@dataclass(frozen=True, kw_only=True)
class Tune(Request):
    """Train on with everything held that the model holds: masks, integers, activation grids."""

    verb: ClassVar[str] = "tune"
    job: ClassVar[tuple[str, str]] = ("tune", "tune")

    model: str = named(dataclasses.MISSING, EXISTING, **WORD, **MODEL)
    data: str = data_field()
    epochs: int = same(Settings, "epochs", 5)
    lr: float = same(Settings, "lr", 0.02)
    batch: int = same(Settings, "batch")
    out: str | None = out_field()
    seed: int = seed_field()
    on_bad: str | None = on_bad_field()
    device: str | None = device_field()


@dataclass(frozen=True, kw_only=True)
class Eval(Request):
    """Measure a model on a split of a folder of images."""

    verb: ClassVar[str] = "eval"
    job: ClassVar[tuple[str, str]] = ("evaluate", "evaluate")

    model: str = named(dataclasses.MISSING, EXISTING, **WORD, **MODEL)
    data: str = data_field()
    split: str = named("test", "train, validation or test.")
    views: int = ranged(1, 1, 6, "looks at a picture, whose answers are averaged: 2 with its mirror image, 6 moved too")
    seed: int = seed_field()
    on_bad: str | None = on_bad_field()


@dataclass(frozen=True, kw_only=True)
class Predict(Request):
    """Label pictures."""

    verb: ClassVar[str] = "predict"
    job: ClassVar[tuple[str, str]] = ("predict", "predict")

    model: str = named(dataclasses.MISSING, EXISTING, **WORD, **MODEL)
    images: tuple[str, ...] = named((), "Image files, or folders of them.", **WORDS, **FILE)


@dataclass(frozen=True, kw_only=True)
class Show(Request):
    """Layers, parameters, MACs and memory of a network; header and bytes of a file."""

    verb: ClassVar[str] = "show"
    job: ClassVar[tuple[str, str]] = ("show", "show")

    thing: str = named(dataclasses.MISSING, f"Model family, {EXISTING[0].lower()}{EXISTING[1:]}", **WORD, **MODEL)
    classes: int = named(10, "Classes, for a model family.")
    width: float | None = width_field()
    image: int | None = image_field()
    channels: int = named(3, "1 or 3, for a model family.")
    bytes_: bool = named(False, "Split every byte of the file.")
    as_: str | None = named(None, "Bytes with the weights as: dense, bitmap, coo, flat, gaps or all.")
    layers: bool = named(False, "What few bits for each layer alone would cost.")
    data: str | None = named(None, "Images for --layers (a run has its own).", short="-d", **IMAGES)


@dataclass(frozen=True, kw_only=True)
class Data(Request):
    """Look at a folder of images: counts, sizes, splits, bad files, repeated images, a contact sheet."""

    verb: ClassVar[str] = "data"
    job: ClassVar[tuple[str, str]] = ("data", "data")

    folder: str = folder_field()
    image: int | None = image_field()
    out: str | None = out_field()
    seed: int = seed_field()
    on_bad: str | None = on_bad_field()


@dataclass(frozen=True, kw_only=True)
class Ls(Request):
    """List runs, models, steps, coders or sources."""

    verb: ClassVar[str] = "ls"
    job: ClassVar[tuple[str, str]] = ("runs", "ls")

    what: str = named("runs", "runs, models, steps, coders or sources.", **WORD)


@dataclass(frozen=True, kw_only=True)
class Rm(Request):
    """Remove run folders."""

    verb: ClassVar[str] = "rm"
    job: ClassVar[tuple[str, str]] = ("runs", "rm")

    names: tuple[str, ...] = named((), "Folders or names (mignon ls runs).", **WORDS, **MODEL)


@dataclass(frozen=True, kw_only=True)
class Report(Request):
    """Write one offline page about one or several runs."""

    verb: ClassVar[str] = "report"
    job: ClassVar[tuple[str, str]] = ("report", "report")

    runs: tuple[str, ...] = named((), "Folders or names (mignon ls runs).", **WORDS, **MODEL)
    out: str | None = named(None, "The page to write.", **FILE)
    analysis: bool = named(False, "Add pictures of kernels, indices and weights.")


@dataclass(frozen=True, kw_only=True)
class Doctor(Request):
    """Check this machine: libraries, threads, cache, disk."""

    verb: ClassVar[str] = "doctor"
    job: ClassVar[tuple[str, str]] = ("doctor", "doctor")


REQUESTS = (Compress, Build, Probe, Demo, Train, Tune, Eval, Predict, Show, Data, Ls, Rm, Report, Doctor)
