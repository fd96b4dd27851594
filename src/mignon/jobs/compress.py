"""`mignon compress MODEL --data D STEPS`: a recipe on a trained network, every step measured on its decoded file."""

from mignon.checkpoint import content_hash, save_safetensors
from mignon.data.cache import open_images
from mignon.errors import ModelError, RecipeError
from mignon.jobs.load import load_with_size
from mignon.jobs.pipeline import Pipeline, check_classes
from mignon.jobs.recipe import Recipe, read_recipe
from mignon.jobs.requests import Compress, verb
from mignon.jobs.result import Result, verdict
from mignon.jobs.start import start_from
from mignon.jobs.train import trained
from mignon.progress import Screen
from mignon.report.page import write_report
from mignon.runs import Run
from mignon.settings import changed
from mignon.steps import parse_recipe, traits_of, write_step
from mignon.training.device import pick_device, pick_precision
from mignon.training.settings import Settings


@verb(Compress)
def compress(request: Compress, screen: Screen) -> Result:
    """Apply `steps` (`prune=0.8`, `tune=5`, `quant=w8a8`, `code=range`, ...) to a model and write `model.mgn`.

    `model`: a run folder, `.safetensors` or `.mgn`; `data`: a folder of images with the same classes, or `digits`;
    `recipe`: a TOML file with the steps, or the name of an installed one, instead of `steps`. Without a model its
    `[train]` table says which network is trained first, in the same run folder; with one that table is not used.
    Returns the Result with one row a step, measured on the test images. Raises MignonError.
    """
    steps, recipe = request.steps, request.recipe
    if recipe is not None and steps:
        raise RecipeError(
            f"the step {steps[0]!r} stands beside the recipe {recipe}",
            "write it into the file, or leave one of the two out",
        )
    asked = Recipe(steps) if recipe is None else read_recipe(recipe)
    if not asked.steps:
        raise RecipeError("no steps are given", "for example: mignon compress MODEL --data D quant=w8a8 code=range")
    where = pick_device(request.device)
    seed = request.seed
    if request.model is not None:
        parent, path = load_with_size(request.model)
        texts = [write_step(step) for step in parse_recipe(asked.steps, parent.recipe, traits_of(parent))]
        images = open_images(request.data, parent.input, seed, request.on_bad, screen)
        check_classes(parent, images)
        name, train = path.stem, None
    else:
        train = asked.train
        if train is None:
            raise ModelError(
                "no model is given" + (f", and {recipe} has no [train] table" if recipe else ""),
                "give a run folder, .safetensors or .mgn: mignon compress MODEL --data D quant=w8a8",
            )
        texts = [write_step(step) for step in parse_recipe(asked.steps)]
        begun = start_from(request.data, train.model, train.width, train.image, None, seed, request.on_bad, screen)
        parent, images = begun.classifier, begun.images
        name = train.model
    settings = {"model": content_hash(parent), "data": images.key, "steps": texts, "seed": seed}
    if train is not None:
        settings["train"] = changed(train)
    with Run.start(request, f"{name}-{texts[0]}", settings, request.out) as run:
        screen.say(f"run folder {run.folder}")
        run.update(status="running")
        if train is not None:
            precision = pick_precision(parent, train.batch, where)
            parent = trained(run, parent, begun, Settings.of(train, precision), seed, where, screen)
        elif not (run.folder / "model.safetensors").exists():
            save_safetensors(parent, run.folder / "model.safetensors")  # for the report: before and after
        pipeline = Pipeline(run, parent, images, seed, where, screen)
        point = pipeline.parent
        rows = [pipeline.row(point, images.test)]
        for text in texts:
            point = pipeline.apply(point, text)
            rows.append(pipeline.row(point, images.test))
        file, row = pipeline.finish(point)
        sentence = verdict(file.name, row, images)
        run.update(verdict=sentence)
        write_report([run], run.folder / "report.html")
    return Result(str(run.folder), str(file), sentence, True, rows, list(screen.warnings))
