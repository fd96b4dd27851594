"""`mignon train MODEL --data D`: from a folder of images to a trained network, resumable to the bit."""

import shlex
from dataclasses import replace

from mignon.checkpoint import content_hash, load_safetensors, save_safetensors
from mignon.classifier import Classifier
from mignon.data.sources import is_place
from mignon.errors import MignonError, ModelError, RunError
from mignon.jobs.load import load
from mignon.jobs.pipeline import Pipeline
from mignon.jobs.requests import Train, verb
from mignon.jobs.result import Result, verdict
from mignon.jobs.start import Start, start_from
from mignon.jobs.sweep import sweep
from mignon.progress import Screen
from mignon.report.page import write_report
from mignon.runs import Run, find_run
from mignon.settings import changed
from mignon.training.device import pick_device, pick_precision
from mignon.training.forecast import forecast
from mignon.training.loop import CROSS_ENTROPY, fit
from mignon.training.objective import Objective, lesson
from mignon.training.rates import best_rate, range_test
from mignon.training.settings import Settings
from mignon.training.terms import parse_terms


@verb(Train)
def train(request: Train, screen: Screen) -> Result:
    """Train a network; the epoch that is best on validation is kept and measured on test.

    `model`: a family (mignon ls models) or None for the rule of `build`; `data`: a folder of images or `digits`;
    `start`: weights to begin with; `half`: bfloat16 arithmetic (None: where it is measured to be faster); `terms`:
    what is added to the loss (`cor:1e-5+nuclear:1`, see training/terms.py); `teacher`: learn from its answers to four
    fixed changes of every image (70 %, at temperature 2) beside the labels; `resume`: an interrupted run, which goes on
    with its own settings. Raises MignonError.
    """
    folder, held = request.out, None
    if request.resume is not None:
        found = find_run(request.resume)
        request, held, folder = _resumed(found, request), found.record.settings.get("data"), str(found.folder)
    if request.data is None:
        raise ModelError("no images are given", "add --data FOLDER (or --data digits)")
    if len(request.rates()) > 1 or request.seeds > 1:
        return sweep(request, lambda one: train(one, screen=screen), screen)
    seed = request.seed
    begun = start_from(
        request.data,
        request.model,
        request.width,
        request.image,
        request.start,
        seed,
        request.on_bad,
        screen,
        request.match,
    )
    if held not in (None, begun.images.key):
        raise RunError(f"{request.data} does not hold the images of {folder}", "give the same images with --data")
    where, teacher = pick_device(request.device), None
    if request.teacher is not None:
        teacher = lesson(load(request.teacher))
        teacher.check(begun.classifier, request.teacher)
    objective = Objective(teacher, parse_terms(request.terms))
    precision = {True: "bf16-mixed", False: "32-true", None: ""}[request.half]
    settings = Settings.of(request, precision or pick_precision(begun.classifier, request.batch, where), begun.given)
    asked = {name: value for name, value in request.record().items() if name not in ("out", "seeds")}
    identity = {**asked, "data": begun.images.key, "start": content_hash(begun.classifier), "seed": seed}
    if teacher is not None:
        identity["teacher"] = content_hash(teacher.classifier)
    title = f"{begun.classifier.family}-{begun.images.card['source']}"
    with Run.start(request, title, identity, folder) as run:
        begun.tell(run, screen)
        if request.lr == "auto":
            settings = replace(settings, lr=_found_rate(run, begun, settings, objective, seed, where, screen))
        classifier = trained(run, begun.classifier, begun, settings, seed, where, screen, objective)
        pipeline = Pipeline(run, classifier, begun.images, seed, where, screen)
        row = pipeline.row(pipeline.parent, begun.images.test)
        file, row = pipeline.finish(pipeline.parent)
        sentence = verdict(file.name, row, begun.images)
        run.update(verdict=sentence)
        write_report([run], run.folder / "report.html")
    return Result(str(run.folder), str(file), sentence, True, [row], list(screen.warnings))


def _found_rate(
    run: Run, begun: Start, settings: Settings, objective: Objective, seed: int, device: str, screen: Screen
) -> float:
    """The rate of the range test, which is kept in the record."""
    points = [(rate, loss) for rate, loss in run.record.rates if rate is not None and loss is not None]
    if not points:
        images = begun.images
        points = range_test(
            begun.classifier, images.train, images.validation, settings, objective, seed, device, screen
        )
        run.update(rates=[list(point) for point in points])
    rate = best_rate(points)
    screen.say(f"lr {rate:g}: a tenth of where the loss of {len(points)} steps of growing rates is lowest")
    return rate


def _resumed(run: Run, request: Train) -> Train:
    """What the run was asked for, with the place of the images where that is given. Raises RunError."""
    record = run.record
    if record.verb != Train.verb:
        raise RunError(f"{run.folder} is a run of {record.verb}", f"repeat it: {record.command}")
    try:
        asked = Train.read(record.request)
    except MignonError as error:
        raise RunError(
            f"run.json in {run.folder} does not say what was asked for ({error.what})",
            "begin it again, with other --out",
        ) from None
    data = request.data or asked.data
    if data is not None and not is_place(data):
        raise RunError(
            f"the images of {run.folder} are not at {data} any more",
            f"say where they are: mignon train --resume {shlex.quote(str(run.folder))} --data FOLDER",
        )
    return replace(asked, data=data, out=str(run.folder))


def trained(
    run: Run,
    classifier: Classifier,
    begun: Start,
    settings: Settings,
    seed: int,
    device: str,
    screen: Screen,
    objective: Objective = CROSS_ENTROPY,
    part: str = "",
) -> Classifier:
    """The trained network of this run: read back when it is finished, else trained from its last checkpoint on.

    `part` names a network beside that of the run (a teacher); it is kept in a folder of that name.
    """
    folder = run.folder / part
    path = folder / "model.safetensors"
    if path.exists() and run.record.trained.get(part) == changed(settings):
        try:
            return load_safetensors(path)
        except MignonError as error:
            screen.warn(f"{error.what}; it is trained again")
    run.update(status="training")
    screen.say(settings.line())
    images = begun.images
    screen.say(forecast(classifier, len(images.train), len(images.validation), settings, device))
    fitted = fit(
        classifier,
        images.train,
        images.validation,
        settings,
        seed=seed,
        device=device,
        folder=folder,
        screen=screen,
        objective=objective,
        choose_from=0 if begun.given == "all" and not part else 1,
    )
    save_safetensors(fitted.classifier, path)
    about = {} if part else {"history": fitted.history, "best_epoch": fitted.best_epoch}
    run.update(**about, trained={**run.record.trained, part: changed(settings)})
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return fitted.classifier
