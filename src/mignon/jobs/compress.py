"""`mignon compress MODEL --data D STEPS`: a recipe on a trained network, every step measured on its decoded file."""

from pathlib import Path

from mignon.data.cache import open_images
from mignon.errors import RecipeError
from mignon.jobs.load import load_with_size
from mignon.jobs.pipeline import Pipeline, check_classes, weights_digest
from mignon.jobs.result import Result, command_line, verdict
from mignon.progress import Quiet, Screen
from mignon.report.page import write_report
from mignon.runs import Run
from mignon.steps import parse_recipe, write_step
from mignon.training.device import pick_device


def compress(
    model: str | Path,
    *steps: str,
    data: str,
    out: str | Path | None = None,
    seed: int = 0,
    on_bad: str | None = None,
    device: str | None = None,
    screen: Screen | None = None,
) -> Result:
    """Apply `steps` (`prune=0.8`, `tune=5`, `quant=w8a8`, `code=range`, ...) to a model and write `model.mgn`.

    `model`: a run folder, `.safetensors` or `.mgn`; `data`: a folder of images with the same classes, or `digits`.
    Returns the Result with one row a step, measured on the test images. Raises MignonError.
    """
    screen = screen or Quiet()
    parent, path = load_with_size(model)
    recipe = parse_recipe(steps, parent.recipe)
    if not recipe:
        raise RecipeError("no steps are given", "for example: mignon compress MODEL --data D quant=w8a8 code=range")
    texts = [write_step(step) for step in recipe]
    where = pick_device(device)
    images = open_images(data, parent.input, seed, on_bad, screen)
    check_classes(parent, images)
    settings = {"model": weights_digest(parent), "data": images.key, "steps": texts, "seed": seed}
    with Run.start("compress", f"{path.stem}-{texts[0]}", settings, out) as run:
        screen.say(f"run folder {run.folder}")
        run.update(command=command_line("compress", path, *texts, data=data, seed=seed), status="running")
        pipeline = Pipeline(run, parent, images, seed, where, screen)
        point = pipeline.parent
        rows = [pipeline.row(point, images.test)]
        for text in texts:
            point = pipeline.apply(point, text)
            rows.append(pipeline.row(point, images.test))
        file, row = pipeline.finish(point)
        sentence = verdict(file.name, row)
        run.update(verdict=sentence)
        write_report([run], run.folder / "report.html")
    return Result(str(run.folder), str(file), sentence, True, rows, list(getattr(screen, "warnings", [])))
