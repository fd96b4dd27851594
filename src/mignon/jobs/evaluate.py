"""`mignon eval MODEL --data D`: what the file says about a split."""

import time

from mignon import mgn
from mignon.data.batches import VIEWS
from mignon.data.cache import open_images
from mignon.data.imageset import SPLITS
from mignon.errors import DataError
from mignon.jobs.load import load_with_size
from mignon.jobs.pipeline import check_classes
from mignon.jobs.requests import Eval, verb
from mignon.jobs.result import Result
from mignon.measure.row import all_logits, measure
from mignon.progress import Screen


@verb(Eval)
def evaluate(request: Eval, screen: Screen) -> Result:
    """One row for a run folder, `.safetensors` or `.mgn`, measured on its decoded file; there is no parent to compare
    with, so the row's changes are 0. Raises MignonError.
    """
    split = request.split
    if split not in SPLITS:
        raise DataError(f"there is no split {split!r}", f"use --split {', '.join(SPLITS)}")
    classifier, path = load_with_size(request.model)
    if request.views not in VIEWS:
        raise DataError(f"--views {request.views} is not possible", "use 1, 2 (mirrored) or 6 (mirrored and moved)")
    images = open_images(request.data, classifier.input, request.seed, request.on_bad, screen)
    check_classes(classifier, images)
    started, cpu = time.perf_counter(), time.process_time()
    stored = path.read_bytes() if path.suffix == ".mgn" else mgn.encode(classifier)
    decoded = mgn.decode(stored)
    part = images.splits[SPLITS.index(split)]
    logits = all_logits(decoded, part, screen, f"measuring on {split}", request.views)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    row = measure(path.name, decoded, len(stored), part, logits, logits, seconds, cpu).to_dict()
    sentence = (
        f"{path.name}: {100 * row['top1']:.2f} % of the {row['images']:,} {split} images right "
        f"(95 % interval "
        f"{100 * row['top1_low']:.1f} to {100 * row['top1_high']:.1f}), {row['size_bytes']:,} bytes as .mgn"
    )
    return Result(str(path.parent), str(path), sentence, True, [row], list(screen.warnings))
