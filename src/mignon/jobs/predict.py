"""`mignon predict MODEL IMAGES`: labels with probabilities."""

from pathlib import Path
from typing import Any

from mignon.data.layout import COMMON_SUFFIXES
from mignon.data.pictures import SUFFIXES
from mignon.errors import DataError
from mignon.jobs.load import load
from mignon.jobs.requests import Predict, verb
from mignon.progress import Screen


@verb(Predict)
def predict(request: Predict, screen: Screen) -> list[dict[str, Any]]:
    """{"image", "label", "probability", "scores"} for every image file; a folder stands for the images in it.

    Raises DataError for a file that is not there or no picture.
    """
    if not request.images:
        raise DataError("no images are given", "for example: mignon predict model.mgn photo.jpg")
    classifier = load(request.model)
    paths: list[Path] = []
    for item in request.images:
        path = Path(item)
        if path.is_dir():
            paths += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        elif path.is_file():
            paths.append(path)
        else:
            raise DataError(f"there is no image {item!r}", "give image files or folders of images")
    if not paths:
        raise DataError(f"no images in {', '.join(request.images)}", f"known suffixes: {COMMON_SUFFIXES} ...")
    results = []
    for path in paths:
        try:
            results.append({"image": str(path.resolve()), **classifier.predict(path)[0]})
        except DataError as error:
            raise DataError(f"{path}: {error.what}", "give pictures that open elsewhere") from None
    return results
