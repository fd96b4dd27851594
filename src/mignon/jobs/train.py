"""`mignon train MODEL --data D`: from a folder of images to a trained network, resumable to the bit."""

from dataclasses import asdict
from pathlib import Path

from mignon.checkpoint import content_hash, save_safetensors
from mignon.classifier import Classifier
from mignon.errors import ModelError, RunError
from mignon.jobs.pipeline import Pipeline
from mignon.jobs.result import Result, command_line, verdict
from mignon.jobs.start import Start, start_from, training_settings
from mignon.progress import Quiet, Screen
from mignon.report.page import write_report
from mignon.runs import Run, find_run
from mignon.training.device import pick_device, pick_precision
from mignon.training.loop import CROSS_ENTROPY, fit
from mignon.training.objective import Objective
from mignon.training.settings import Settings
from mignon.training.terms import parse_terms


def train(
    model: str | None = None,
    *,
    data: str | None = None,
    epochs: int = 30,
    lr: float | None = None,
    batch: int = 128,
    width: float | None = None,
    image: int | None = None,
    start: str | Path | None = None,
    half: bool | None = None,
    terms: str = "",
    resume: str | Path | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    on_bad: str | None = None,
    device: str | None = None,
    screen: Screen | None = None,
) -> Result:
    """Train a network; the epoch that is best on validation is kept and measured on test.

    `model`: a family (mignon ls models) or None for the rule of `build`; `data`: a folder of images or `digits`;
    `start`: weights to begin with; `half`: bfloat16 arithmetic (None: where it is measured to be faster); `terms`:
    what is added to the loss (`cor:1e-5+nuclear:1`, see training/terms.py); `resume`: an interrupted run, which goes on
    with its own settings. Raises MignonError.
    """
    screen = screen or Quiet()
    if resume is not None:
        found = find_run(resume)
        if found.info["verb"] != "train":
            raise RunError(
                f"{found.folder} is a run of {found.info['verb']}", f"repeat it: {found.info.get('command')}"
            )
        return train(**found.info["request"], out=found.folder, screen=screen)
    if data is None:
        raise ModelError("no images are given", "add --data FOLDER (or --data digits)")
    request = {
        "model": model, "data": str(Path(data).expanduser().resolve()) if Path(data).expanduser().exists() else data,
        "epochs": epochs, "lr": lr, "batch": batch, "width": width, "image": image,
        "start": None if start is None else str(Path(start).expanduser().resolve()),
        "half": half, "terms": terms, "seed": seed, "on_bad": on_bad, "device": device,
    }  # fmt: skip
    objective = Objective(terms=parse_terms(terms))
    begun = start_from(data, model, width, image, start, seed, on_bad, screen)
    where = pick_device(device)
    precision = {True: "bf16-mixed", False: "32-true", None: ""}[half]
    precision = precision or pick_precision(begun.classifier, batch, where)
    settings = training_settings(epochs, lr, batch, precision)
    identity = {**request, "data": begun.images.key, "start": content_hash(begun.classifier)}
    flags = {"epochs": epochs, "lr": lr, "batch": batch, "width": width, "image": image, "from": start}
    flags["terms"] = terms or None
    line = command_line("train", model or begun.classifier.family, data=data, **flags, seed=seed)
    title = f"{begun.classifier.family}-{begun.images.card['source']}"
    with Run.start("train", title, identity, out, request=request, command=line) as run:
        screen.say(f"run folder {run.folder}")
        run.update(data=request["data"], seed=seed)
        for note in begun.notes:
            screen.say(note)
        classifier = trained(run, begun.classifier, begun, settings, seed, where, screen, objective)
        pipeline = Pipeline(run, classifier, begun.images, seed, where, screen)
        row = pipeline.row(pipeline.parent, begun.images.test)
        file, row = pipeline.finish(pipeline.parent)
        sentence = verdict(file.name, row, begun.images)
        run.update(verdict=sentence)
        write_report([run], run.folder / "report.html")
    return Result(str(run.folder), str(file), sentence, True, [row], list(screen.warnings))


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
    from mignon.checkpoint import load_safetensors

    folder = run.folder / part
    path, key = folder / "model.safetensors", f"trained {part}".strip()
    if path.exists() and run.info.get(key) == asdict(settings):
        return load_safetensors(path)
    run.update(status="training")
    fitted = fit(
        classifier,
        begun.images.train,
        begun.images.validation,
        settings,
        seed=seed,
        device=device,
        folder=folder,
        screen=screen,
        objective=objective,
        choose_from=1,
    )
    save_safetensors(fitted.classifier, path)
    about = {} if part else {"history": fitted.history, "best_epoch": fitted.best_epoch}
    run.update(**about, **{key: asdict(settings)})
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return fitted.classifier
