"""`mignon tune MODEL --data D`: train on with everything held that the model holds (masks, integers, grids)."""

from mignon.jobs.compress import compress
from mignon.jobs.requests import Tune, verb
from mignon.jobs.result import Result
from mignon.progress import Screen


@verb(Tune)
def tune(request: Tune, screen: Screen) -> Result:
    """The step `tune=EPOCHS,lr=LR,batch=BATCH` on a run folder, `.safetensors` or `.mgn`. Raises MignonError."""
    step = f"tune={request.epochs},lr={request.lr:g},batch={request.batch}"
    given = {name: getattr(request, name) for name in ("data", "out", "seed", "on_bad", "device")}
    return compress(request.model, step, **given, screen=screen)
