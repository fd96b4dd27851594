"""Which device, how many threads, and whether half precision pays."""

import ctypes
import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mignon.classifier import Classifier
from mignon.errors import MignonError
from mignon.files import cache_folder, digest, read_json, write_json
from mignon.models.graph import place

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
ANSWER = 1 / 3  # of the time of a training step that its forward pass takes
GAIN = 1.15  # half precision must be so many times faster to be chosen


def pick_device(asked: str | None) -> str:
    """`cpu` or `cuda`: as asked, else the GPU when there is one. Raises MignonError."""
    if asked not in (None, "cpu", "cuda"):
        raise MignonError(f"there is no device {asked!r}", "use --device cpu or --device cuda")
    if asked == "cuda" and not torch.cuda.is_available():
        raise MignonError("torch sees no GPU here", "use --device cpu")
    return asked or ("cuda" if torch.cuda.is_available() else "cpu")


@functools.cache
def keep_memory() -> None:
    """Large blocks that are freed stay with the process (glibc): maps of photos come and go at every step, and getting
    them from the system anew takes a fifth of a training step (1.04 -> 0.84 s, Lite0 behind block 6 at 128 px).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another libc
        return
    for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 1 << 28)):
        mallopt(parameter, value)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order: what is chosen by them is the same, and so are the bytes, whatever the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def has_half_precision(device: str) -> bool:
    """Whether the machine reports bfloat16 arithmetic in hardware."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def pick_precision(classifier: Classifier, batch: int, device: str) -> str:
    """`bf16-mixed` where the hardware has it *and* three training steps are faster with it, else `32-true`.

    The answer for a network, input and batch is remembered for this machine, so that repeated commands agree.
    """
    if not has_half_precision(device):
        return "32-true"
    key = digest(classifier.family, classifier.options, classifier.size, batch, device, torch.__version__)[:16]
    path = cache_folder() / "precision" / f"{key}.json"
    known = read_json(path)
    if isinstance(known, dict) and known.get("precision") in ("32-true", "bf16-mixed"):
        return known["precision"]
    slow, fast = (step_seconds(classifier, batch, device, half) for half in (False, True))
    answer = "bf16-mixed" if slow > GAIN * fast else "32-true"
    write_json(path, {"precision": answer, "seconds_float32": slow, "seconds_bfloat16": fast})
    return answer


def step_seconds(classifier: Classifier, batch: int, device: str, half: bool) -> float:
    """Seconds of one forward and backward pass: the best of three after a warm-up, on made images."""
    network = place(classifier.copy().network, device).train()
    with torch.random.fork_rng(devices=[]):
        images = torch.randn(batch, *classifier.size, device=device).to(memory_format=torch.channels_last)
    times = []
    for _ in range(4):
        started = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = network(images).float().square().mean()
        loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times[1:])
