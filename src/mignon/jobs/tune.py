"""`mignon tune MODEL --data D`: train on with everything held that the model holds (masks, integers, grids)."""

from pathlib import Path

from mignon.jobs.compress import compress
from mignon.jobs.result import Result
from mignon.progress import Screen


def tune(
    model: str | Path,
    *,
    data: str,
    epochs: int = 5,
    lr: float = 0.02,
    batch: int = 128,
    out: str | Path | None = None,
    seed: int = 0,
    on_bad: str | None = None,
    device: str | None = None,
    screen: Screen | None = None,
) -> Result:
    """The step `tune=EPOCHS,lr=LR,batch=BATCH` on a run folder, `.safetensors` or `.mgn`. Raises MignonError."""
    step = f"tune={epochs},lr={lr:g},batch={batch}"
    return compress(model, step, data=data, out=out, seed=seed, on_bad=on_bad, device=device, screen=screen)
