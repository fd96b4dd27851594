"""`mignon build FOLDER`: from a folder of images to the verified file, in one command."""

import dataclasses
import time
from dataclasses import dataclass
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
from mignon.search.candidates import worth_training
from mignon.search.limits import Limits, choose
from mignon.search.recipes import SMALLEST, by_bits, fitted, gains_from_training, ladder, taught
from mignon.training.device import ANSWER, pick_device, pick_precision, step_seconds
from mignon.training.loop import CROSS_ENTROPY
from mignon.training.objective import Objective, Teacher, lesson
from mignon.training.probe import Cut, Probe, best
from mignon.training.settings import Options, Settings

TRAIN_SHARE, TUNE_SHARE = 0.5, 0.35  # of the minutes; the rest is for measuring
TUNES, MOST_TUNE = 2, 20  # tune steps on the ladder, epochs of one at most
TEACHER_EPOCHS = 0.4  # of those of the network itself
CODER = "code=range"
FEWEST_EPOCHS = 4  # of a pretrained network, where several are to be trained
MOST_EPOCHS, TRANSFER_BATCH = 30, 32


@dataclass(frozen=True)
class Trained:
    """What recipes are for: the float network that files are compared with and its name in words, what they start from
    by name, the step that tunes, and whether images are so few that those of validation alone show nothing."""

    reference: Classifier
    name: str
    starts: dict[str, Classifier]
    tune: str
    few: bool = False


@verb(Build)
def build(request: Build, screen: Screen) -> Result:
    """Look, train, compress, decode again, measure, report.

    Photos begin with a pretrained network: what a linear head reaches behind each of its blocks says where it is cut,
    the cut ones learn from the whole one, and recipes are fitted to the size that is asked for. Other pictures get a
    network of their own and a fixed ladder of recipes. All is judged on validation. `max_kib`: the most accurate file
    of at most so many KiB; `max_drop`: the smallest file at most so many points below the float network (default 1.0);
    both: both must hold. `minutes` sets how long training and tuning take; `epochs` sets it exactly. When no point
    meets the limit and beats one class for all by more than noise, the nearest one is kept and `limit_met` is false.
    `teacher`: first train a network so many times as wide, from which this one learns. Raises MignonError.
    """
    limits, seed, started = Limits.of(request.max_kib, request.max_drop), request.seed, time.perf_counter()
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
    searches = begun.given == "trunk" and request.model is None
    wide = None if request.teacher is None else _wider(begun, request.teacher, seed)
    where = pick_device(request.device)
    asked = {**dataclasses.asdict(limits), "minutes": request.minutes, "epochs": request.epochs}
    identity = {"data": begun.images.key, "start": content_hash(begun.classifier), **asked, "seed": seed}
    if request.teacher is not None:
        identity["teacher"] = request.teacher
    with Run.start(request, begun.images.card["source"], identity, request.out) as run:
        begun.tell(run, screen)
        if searches:
            made = _cut(run, begun, limits, request, where, screen, started)
        else:
            made = _whole(run, begun, wide, request, where, screen)
        pipeline = Pipeline(run, made.reference, begun.images, seed, where, screen)
        climb = _Climb(pipeline, screen)
        for name, start in made.starts.items():
            if searches and limits.max_kib is not None:
                climb.fitted(start, name, limits, made.tune)
            else:
                for recipe in (by_bits if searches else ladder)(made.tune):
                    climb.point(pipeline.begin(start), name, recipe)
        points, rows = climb.points, climb.rows
        _, guess = largest_class(begun.images.validation.labels)
        chosen, met = choose(rows[1:], limits, 0.0 if made.few else guess)
        point, label = points[chosen], rows[1 + chosen]["step"]
        file, row = pipeline.finish(point, label)
        sentence = verdict(file.name, row, begun.images, made.name)
        if not met:
            sentence += (
                f". No recipe of the ladder met {limits} and was better than one class for all "
                f"({100 * guess:.1f} %) on validation; this is the nearest"
            )
        met = met and is_useful(row, begun.images.test)
        if not met and limits.max_drop is not None:
            advice = worst_layers(layer_table(point.root, begun.images.validation))
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


def _whole(run: Run, begun: Start, wide: Classifier | None, request: Build, device: str, screen: Screen) -> Trained:
    """The network of a start, trained."""
    settings, tune = _plan(run, begun, wide, request, device, screen)
    classifier, objective, seed = begun.classifier, CROSS_ENTROPY, request.seed
    if wide is not None:
        screen.say(f"teacher: {wide.family}, {wide.parameters:,} parameters")
        schooling = Settings(epochs=_teacher_epochs(settings.epochs), precision=settings.precision)
        wide = trained(run, wide, begun, schooling, seed, device, screen, part="teacher")
        objective = Objective(Teacher(wide.copy()))
    if begun.given != "all":
        classifier = trained(run, classifier, begun, settings, seed, device, screen, objective)
    return Trained(classifier, "the float network", {"": classifier}, tune)


def _cut(
    run: Run, begun: Start, limits: Limits, request: Build, device: str, screen: Screen, started: float
) -> Trained:
    """The whole pretrained network with a linear head, and what learned from it: the same cut where the limits say."""
    images, seed = begun.images, request.seed
    probe = Probe(begun.classifier, images.train, images.validation, not begun.seen.grey, seed, device, screen)
    cuts = probe.cuts()
    top = best(cuts)
    teacher = probe.head(top, validation=False)
    name = _name(begun, top)
    screen.say(
        f"your images reach about {100 * top.top1:.1f} % ({100 * top.low:.1f} to {100 * top.high:.1f}) with {name} "
        f"and a linear head: {4 * top.parameters / 1e6:.1f} MB"
    )
    chosen = worth_training(cuts, limits)
    students = [probe.head(cut, validation=False) for cut in chosen]
    plan = run.record.plan
    if plan is None:
        plan = _transfer_plan(students, teacher, begun, request, device, started)
        run.update(plan=plan)
    students = students[: plan["networks"]]
    screen.say(
        f"plan: {', '.join(_name(begun, cut) for cut in chosen[: len(students)])}; {plan['epochs']} epochs each, "
        f"{plan['tune']} where a recipe is trained on"
    )
    settings = Settings.of(Options(epochs=plan["epochs"], batch=TRANSFER_BATCH), given="all")
    starts = {}
    for cut, student in zip(chosen, students):
        label = _name(begun, cut)
        screen.say(f"{label}: {student.parameters:,} parameters, {100 * cut.top1:.1f} % with a linear head")
        objective = Objective(lesson(teacher))
        part = f"students/{label.replace(',', '-')}"
        starts[label] = trained(run, student, begun, settings, seed, device, screen, objective, part=part)
    return Trained(teacher, f"{name} with a linear head", starts, plan["tune"], probe.few)


def _name(begun: Start, cut: Cut) -> str:
    """How a cut network is typed."""
    family = begun.classifier.family
    return family if cut.cut is None else f"{family},cut={cut.cut}"


class _Climb:
    """Recipes from every start on; points and their rows on validation, that of the reference first."""

    def __init__(self, pipeline: Pipeline, screen: Screen):
        self.pipeline, self.screen, self.validation = pipeline, screen, pipeline.images.validation
        self.points: list[Point] = []
        self.rows = [pipeline.row(pipeline.parent, self.validation)]

    def point(self, begin: Point, name: str, recipe: list[str]) -> dict[str, Any]:
        """Apply a recipe and code it; its row."""
        point = begin
        seconds = cpu = 0.0
        for text in [*recipe, CODER]:
            point = self.pipeline.apply(point, text)
            seconds, cpu = seconds + point.seconds, cpu + point.cpu_seconds
        self.points.append(dataclasses.replace(point, seconds=seconds, cpu_seconds=cpu))
        label = " ".join(filter(None, [name, *recipe]))
        row = self.pipeline.row(self.points[-1], self.validation, label)
        self.rows.append(row)
        self.screen.say(
            f"{label}: {row['size_bytes']:,} bytes, validation {100 * row['top1']:.1f} % "
            f"({100 * row['top1_change']:+.1f} points)"
        )
        return row

    def fitted(self, start: Classifier, name: str, limits: Limits, tune: str) -> None:
        """All recipes for a size as they are; the one that changes the answers least is trained on."""
        begin = self.pipeline.begin(start)
        float_row = self.pipeline.row(begin, self.validation, f"{name} float")
        self.screen.say(f"{name}, float: validation {100 * float_row['top1']:.1f} %")
        recipes = fitted(start, limits, self.pipeline.context(begin, self.pipeline.run.folder))
        rows = [self.point(begin, name, recipe) for recipe in recipes]
        if rows:
            best = recipes[min(range(len(rows)), key=lambda i: rows[i]["kl"])]
            if gains_from_training(best):
                self.point(begin, name, [*best, taught(tune)])
        else:
            self.screen.warn(f"{name}: no recipe fits into {limits}")
            self.point(begin, name, [*SMALLEST, taught(tune)])


def _transfer_plan(
    students: list[Classifier], teacher: Classifier, begun: Start, request: Build, device: str, started: float
) -> dict[str, Any]:
    """How many of the cut networks are trained, for how many epochs, from the time of single steps measured here."""
    steps = steps_per_epoch(len(begun.images.train), TRANSFER_BATCH)
    if request.epochs is not None:
        tune = f"tune={max(1, request.epochs // 2)}"
        return {"networks": len(students), "epochs": request.epochs, "tune": tune}
    answers = lesson(teacher).copies * steps * ANSWER * step_seconds(teacher, TRANSFER_BATCH, device, False)
    own = [1.15 * step_seconds(student, TRANSFER_BATCH, device, False) for student in students]
    left = max(0.2 * 60 * request.minutes, 60 * request.minutes - (time.perf_counter() - started) - answers)

    def epochs(networks: int) -> float:
        return TRAIN_SHARE * left / steps / sum(own[:networks])

    networks = max((n for n in range(1, len(students) + 1) if epochs(n) >= FEWEST_EPOCHS), default=1)
    often = TUNES if request.max_kib is None else 1
    tunes = TUNE_SHARE * left / steps / sum(2 * often * step for step in own[:networks])
    most = max(1, min(MOST_EPOCHS, int(epochs(networks))))
    return {"networks": networks, "epochs": most, "tune": _tune_step(tunes)}


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
        schooling, answers = (step_seconds(wide, batch, device, h) for h in (half, False))
        step += 1.15 * (TEACHER_EPOCHS * schooling + ANSWER * answers)
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
