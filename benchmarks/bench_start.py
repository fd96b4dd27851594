"""Wall times of a start, medians of several runs: --help, ls, and predict of one picture against `import torch`."""

import statistics
import subprocess
import sys
import tempfile
import time

from common import PROGRAM, bar
from PIL import Image

RUNS = 7


def seconds(*command: object) -> float:
    started = time.perf_counter()
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    return time.perf_counter() - started


def medians(*commands: list[object]) -> list[float]:
    """In turns, so that a busy moment of the machine meets all of them; the first turn fills caches."""
    turns = [[seconds(*command) for command in commands] for _ in range(RUNS + 1)][1:]
    return [statistics.median(times) for times in zip(*turns)]


with tempfile.TemporaryDirectory() as place:
    Image.new("L", (8, 8), 128).save(f"{place}/grey.png")
    seconds(PROGRAM, "train", "digits-cnn", "--data", "digits", "--epochs", 1, "--out", f"{place}/run")
    torch, predict, listing, helped = medians(
        [sys.executable, "-c", "import torch"],
        [PROGRAM, "predict", f"{place}/run/model.mgn", f"{place}/grey.png"],
        [PROGRAM, "ls", "steps"],
        [PROGRAM, "--help"],
    )
print(f"import torch, median of {RUNS}: {torch:.2f} s")
passed = [
    bar(f"mignon predict of one picture, median of {RUNS}, over import torch", predict / torch, 1.6, unit=" x"),
    bar(f"mignon ls steps, median of {RUNS}", listing, 0.5, unit=" s"),
    bar(f"mignon --help, median of {RUNS}", helped, 0.3, unit=" s"),
]
sys.exit(not all(passed))
