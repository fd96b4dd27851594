"""`mignon build FOLDER`: from a folder of images to the verified file, in one command."""

import dataclasses
import math
import time
from typing import Any

from mignon.checkpoint import content_hash
from mignon.classifier import Classifier, fresh
from mignon.data.batches import steps_per_epoch
from mignon.errors import ModelError
from mignon.jobs.pipeline import Pipeline, Point
from mignon.jobs.requests import Build, verb
from mignon.jobs.result import Result, is_useful, verdict
from mignon.jobs.sensitivity import layer_table, worst_layers
from mignon.jobs.start import Start, start_from
from mignon.jobs.train import trained
from mignon.measure.statistics import largest_class
from mignon.progress import Screen
from mignon.report.page import write_report
from mignon.runs import Run
from mignon.training.device import pick_device, pick_precision, step_seconds
from mignon.training.loop import CROSS_ENTROPY
from mignon.training.objective import Objective, Teacher
from mignon.training.settings import Options, Settings

TRAIN_SHARE, TUNE_SHARE = 0.5, 0.35  # of the minutes; the rest is for measuring
TUNES, MOST_TUNE = 2, 20  # tune steps on the ladder, epochs of one at most
TEACHER_EPOCHS = 0.4  # of those of the network itself
DEFAULT_DROP = 1.0  # points, when no limit is given


@verb(Build)
def build(request: Build, screen: Screen) -> Result:
    """Look, train, compress, decode again, measure, report.

    A fixed ladder of recipes is judged on validation. `max_kib`: the most accurate file of at most so many KiB;
    `max_drop`: the smallest file at most so many points below the float network (default 1.0); both: both must hold.
    `minutes` sets how long training and tuning take; `epochs` sets it exactly. When no point meets the limit and beats
    one class for all by more than noise, the nearest one is kept and `limit_met` is false. `teacher`: first train a
    network so many times as wide, from which this one learns. Raises MignonError.
    """
    max_kib, max_drop, seed = request.max_kib, request.max_drop, request.seed
    if max_kib is None and max_drop is None:
        max_drop = DEFAULT_DROP
    begun = start_from(
        request.folder,
        request.model,
        request.width,
        request.image,
        request.start,
        seed,
        request.on_bad,
        screen,
        request.match,
    )
    wide = None if request.teacher is None else _wider(begun, request.teacher, seed)
    where = pick_device(request.device)
    limits = {"max_kib": max_kib, "max_drop": max_drop, "minutes": request.minutes, "epochs": request.epochs}
    identity = {"data": begun.images.key, "start": content_hash(begun.classifier), **limits, "seed": seed}
    if request.teacher is not None:
        identity["teacher"] = request.teacher
    with Run.start(request, begun.images.card["source"], identity, request.out) as run:
        screen.say(f"run folder {run.folder}")
        for note in begun.notes:
            screen.say(note)
        if begun.moves:
            run.update(weights=[dataclasses.asdict(move) for move in begun.moves])
        settings, tuning = _plan(run, begun, wide, request, where, screen)
        classifier, objective = begun.classifier, CROSS_ENTROPY
        if wide is not None:
            screen.say(f"teacher: {wide.family}, {wide.parameters:,} parameters")
            schooling = Settings(epochs=_teacher_epochs(settings.epochs), precision=settings.precision)
            wide = trained(run, wide, begun, schooling, seed, where, screen, part="teacher")
            objective = Objective(Teacher(wide.copy()))
        if begun.given != "all":
            classifier = trained(run, classifier, begun, settings, seed, where, screen, objective)
        pipeline = Pipeline(run, classifier, begun.images, seed, where, screen)
        points, rows = _climb(pipeline, ladder(tuning), screen)
        _, guess = largest_class(begun.images.validation.labels)
        chosen, met = choose(rows[1:], max_kib, max_drop, guess)
        point, label = points[chosen], rows[1 + chosen]["step"]
        file, row = pipeline.finish(point, label)
        sentence = verdict(file.name, row, begun.images)
        if not met:
            sentence += (
                f". No recipe of the ladder met {_limit(max_kib, max_drop)} and was better than one class for all "
                f"({100 * guess:.1f} %) on validation; this is the nearest"
            )
        met = met and is_useful(row, begun.images.test)
        if not met and max_drop is not None:
            advice = worst_layers(layer_table(pipeline.parent.classifier, begun.images.validation))
            screen.say(advice)
            run.update(advice=advice)
        float_row = pipeline.row(pipeline.parent, begun.images.test)
        rows = [*rows, float_row, row]
        run.update(
            verdict=sentence,
            limit_met=met,
            points=[
                {
                    "recipe": r["step"], "size_bytes": r["size_bytes"], "top1": r["top1"], "chosen": i == chosen,
                }
                for i, r in enumerate(rows[1:-2])
            ],
        )  # fmt: skip
        write_report([run], run.folder / "report.html")
    warnings = list(screen.warnings)
    return Result(str(run.folder), str(file), sentence, met, rows, warnings, best=label)


def ladder(tune: str) -> list[list[str]]:
    """The recipes, from the largest file to the smallest; the float network teaches where they tune.

    It does so after it was taught by a wider one too: on the digits (three seeds) the cross-entropy on validation is
    0.024 where the float network teaches and 0.037 where the wider one does.
    """
    tune = f"{tune},teacher=parent"
    return [
        ["quant=w8a8", "code=range"],
        ["quant=w6a8", "code=range"],
        ["quant=w4a8", "code=range"],
        ["prune=0.5", "quant=w4a8", tune, "code=range"],
        ["prune=0.8", "quant=w4a8", tune, "code=range"],
    ]


def choose(rows: list[dict[str, Any]], max_kib: float | None, max_drop: float | None, guess: float) -> tuple[int, bool]:
    """The row to keep, judged on validation, and whether it meets the limits and beats `guess` (the share of the
    largest class) by more than noise.

    With a size limit only: of those that fit and are at most a standard error less accurate than the best one, the
    closest to the float network (KL tells apart what so few images cannot). Else the smallest whose drop is allowed.
    When nothing meets them: the smallest that breaks only the drop, then the one that misses by least.
    """
    most = float("inf") if max_kib is None else max_kib * 1024
    least = -float("inf") if max_drop is None else -max_drop / 100
    indices = range(len(rows))
    fitting = [i for i in indices if rows[i]["size_bytes"] <= most]
    close = [i for i in indices if rows[i]["top1_change"] >= least - 1e-12]
    both = [i for i in fitting if i in close and rows[i]["top1_low"] > guess]
    if both and max_drop is None:
        best = max(rows[i]["top1"] for i in both)
        noise = math.sqrt(best * (1 - best) / rows[0]["images"])
        return min((i for i in both if rows[i]["top1"] >= best - noise), key=lambda i: rows[i]["kl"]), True
    if both:
        return min(both, key=lambda i: rows[i]["size_bytes"]), True
    if fitting:
        return max(fitting, key=lambda i: rows[i]["top1"]), False
    if max_kib is not None:
        return min(indices, key=lambda i: rows[i]["size_bytes"]), False
    return max(indices, key=lambda i: rows[i]["top1"]), False


def _climb(pipeline: Pipeline, recipes: list[list[str]], screen: Screen) -> tuple[list[Point], list[dict[str, Any]]]:
    """Every recipe from the float parent on; rows on validation, the parent's first."""
    validation = pipeline.images.validation
    rows = [pipeline.row(pipeline.parent, validation)]
    points = []
    for recipe in recipes:
        point = pipeline.parent
        seconds = cpu = 0.0
        for text in recipe:
            point = pipeline.apply(point, text)
            seconds, cpu = seconds + point.seconds, cpu + point.cpu_seconds
        point = dataclasses.replace(point, seconds=seconds, cpu_seconds=cpu)
        points.append(point)
        label = " ".join(text for text in recipe if not text.startswith("code="))
        rows.append(pipeline.row(point, validation, label))
        last = rows[-1]
        screen.say(
            f"{label}: {last['size_bytes']:,} bytes, validation {100 * last['top1']:.1f} % "
            f"({100 * last['top1_change']:+.1f} points)"
        )
    return points, rows


def _wider(begun: Start, times: float, seed: int) -> Classifier:
    """The teacher before its training: the same family, so many times as wide. Raises ModelError."""
    if not 1 < times <= 16:
        raise ModelError(
            f"--teacher {times:g} is not possible", "use more than 1, at most 16 times the width: --teacher 4"
        )
    given = begun.classifier
    options = {**given.options, "width": times * given.options.get("width", 1.0)}
    return fresh(given.family, options, given.input, given.classes, seed)


def _teacher_epochs(epochs: int) -> int:
    return max(1, round(TEACHER_EPOCHS * epochs))


def _plan(
    run: Run,
    begun: Start,
    wide: Classifier | None,
    request: Build,
    device: str,
    screen: Screen,
) -> tuple[Settings, str]:
    """How many epochs to train, and the step that tunes; decided once for a run and kept in run.json."""
    plan, epochs = run.record.plan, request.epochs
    if plan is None:
        if epochs is not None:
            plan = {"epochs": epochs, "tune": f"tune={max(1, min(MOST_TUNE, epochs // 4))}", "precision": "32-true"}
        else:
            plan = _timed_plan(begun, wide, request.minutes, device)
        run.update(plan=plan)
    screen.say(
        f"plan: {plan['epochs']} epochs of training, {plan['tune']} on each lower step of the ladder, "
        f"{'bfloat16' if plan['precision'] != '32-true' else 'float32'}"
    )
    return Settings.of(Options(epochs=plan["epochs"]), plan["precision"], begun.given), plan["tune"]


def _timed_plan(begun: Start, wide: Classifier | None, minutes: float, device: str) -> dict[str, Any]:
    """The epochs that fit into the minutes, from the time of single steps measured here."""
    batch, started = Settings().batch, time.perf_counter()
    precision = pick_precision(begun.classifier, batch, device)
    half = precision == "bf16-mixed"
    steps = steps_per_epoch(len(begun.images.train), batch)
    step = 1.15 * step_seconds(begun.classifier, batch, device, half)
    tune_step = 2.0 * step_seconds(begun.classifier, batch, device, False)
    if wide is not None:
        schooling, lesson = (step_seconds(wide, batch, device, h) for h in (half, False))
        step += 1.15 * (TEACHER_EPOCHS * schooling + lesson / 3)  # a third of a step: it only answers
    left = minutes * 60 - (time.perf_counter() - started)
    share = TRAIN_SHARE if begun.given != "all" else 0.0
    return {
        "epochs": max(1, min(200, int(share * left / step / steps))),
        "tune": _tune_step((TRAIN_SHARE + TUNE_SHARE - share) * left / TUNES / tune_step / steps),
        "precision": precision,
    }


def _tune_step(epochs: float) -> str:
    """A part of an epoch when there is time for no more."""
    return f"tune={min(MOST_TUNE, int(epochs))}" if epochs >= 1 else f"tune=1,share={max(0.02, round(epochs, 2)):g}"


def _limit(max_kib: float | None, max_drop: float | None) -> str:
    limits = {"--max-kib": max_kib, "--max-drop": max_drop}
    return " and ".join(f"{flag} {value:g}" for flag, value in limits.items() if value is not None)
