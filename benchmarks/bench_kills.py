"""SIGKILL at random moments of `mignon train` and `mignon compress`, then the same command again.

After each kill every file with a final name is whole and a finished run beside it is untouched; the repeated command
exits 0 and ends with the bytes of a run that nobody killed.
`python benchmarks/bench_kills.py [MOMENTS]` (20 of each verb).
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import PROGRAM

EPOCHS = 20
RECIPE = ("prune=0.5", "tune=3", "quant=w4a8", "tune=2", "code=range")


class Bench:
    """A folder with a finished train run and the environment of its commands (one thread, a cache of its own)."""

    def __init__(self, root: Path):
        from mignon.files import cache_folder

        self.root = root
        self.env = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            "MIGNON_CACHE": str(root / "cache"),
            "NUMBA_CACHE_DIR": str(cache_folder() / "numba"),  # compiling again would take most of the time
        }
        self.neighbor = root / "train-whole"
        self.spans: dict[str, float] = {}
        self.whole("train")

    def command(self, verb: str, out: Path, epochs: int = EPOCHS) -> list[str]:
        """The command line of one run."""
        if verb == "train":
            words = ["digits-cnn", "--epochs", str(epochs)]
        else:
            words = [str(self.neighbor), *RECIPE]
        return [str(PROGRAM), verb, *words, "--data", "digits", "--seed", "3", "--out", str(out)]

    def start(self, command: list[str]) -> "subprocess.Popen[str]":
        """The process, with its stderr in a pipe."""
        return subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def whole(self, verb: str) -> tuple[Path, float]:
        """The run that nobody kills, and the seconds from its first file to `model.mgn` (the report comes after)."""
        out = self.root / f"{verb}-whole"
        if verb in self.spans:
            return out, self.spans[verb]
        process = self.start(self.command(verb, out))
        begun = wait_for(out / "run.json", process)
        self.spans[verb] = wait_for(out / "model.mgn", process) - begun
        _, text = process.communicate()
        if process.returncode:
            raise RuntimeError(f"the run that nobody killed exits {process.returncode}: {text}")
        return out, self.spans[verb]


def wait_for(path: Path, process: "subprocess.Popen[str]") -> float:
    """The time at which a file is there (or the process has ended)."""
    while not path.exists() and process.poll() is None:
        time.sleep(0.002)
    return time.monotonic()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def broken_files(folder: Path) -> Iterator[str]:
    """A line for each file with a final name that is not whole."""
    import numpy as np
    from safetensors.numpy import load_file

    from mignon import mgn

    def lines(path: Path) -> None:
        for line in path.read_text().splitlines():
            json.loads(line)

    def page(path: Path) -> None:
        if not path.read_text().rstrip().endswith("</html>"):
            raise ValueError("cut short")

    readers: dict[str, Any] = {
        ".json": lambda p: json.loads(p.read_text()),
        ".jsonl": lines,
        ".safetensors": load_file,
        ".mgn": lambda p: mgn.decode(p.read_bytes()),
        ".npy": lambda p: np.load(p, allow_pickle=False),
        ".npz": lambda p: dict(np.load(p, allow_pickle=False)),
        ".html": page,
    }
    for path in sorted(folder.rglob("*")) if folder.exists() else []:
        if path.is_file() and not path.name.startswith(".") and path.suffix in readers:
            try:
                readers[path.suffix](path)
            except Exception as error:
                yield f"{path.name} is not whole: {error}"


def kills(bench: Bench, verb: str, moments: int, seed: int = 0) -> list[str]:
    """Kill `verb` at so many moments; prints one summary line and gives the failures."""
    dice = random.Random(f"{verb} {seed}")
    expected, span = bench.whole(verb)
    neighbor = contents(bench.neighbor)
    failures: list[str] = []
    resumed = same = at_start = after_file = 0
    for number in range(moments):
        out = bench.root / f"{verb}-{number}"
        share = 1.2 * dice.random()  # of the time to model.mgn
        killed = False
        while not killed:  # a machine that is faster now than before may finish first: kill earlier
            shutil.rmtree(out, ignore_errors=True)
            process = bench.start(bench.command(verb, out))
            wait_for(out / "run.json", process)
            time.sleep(share * span)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed = process.returncode == -signal.SIGKILL
            share *= 0.8
        at_start += not list(out.rglob("*.safetensors"))
        after_file += (out / "model.mgn").exists()
        what = f"{verb}, moment {number} ({share / 0.8:.2f} of the run)"
        failures += [f"{what}: {line}" for line in broken_files(out)]
        again = bench.start(bench.command(verb, out))
        _, text = again.communicate()
        if again.returncode:
            failures.append(f"{what}: the repeated command exits {again.returncode}: {text[-300:]}")
            continue
        resumed += 1
        if (out / "model.mgn").read_bytes() == (expected / "model.mgn").read_bytes():
            same += 1
        else:
            failures.append(f"{what}: model.mgn differs from that of the run that nobody killed")
        failures += [f"{what}, resumed: {line}" for line in broken_files(out)]
        if left := [p.name for p in out.rglob("*.part")]:
            failures.append(f"{what}: {left} left behind")
        if contents(bench.neighbor) != neighbor:
            failures.append(f"{what}: the finished run beside it changed")
        shutil.rmtree(out)
    print(
        f"{verb}: {resumed} of {moments} resumed, {same} of {moments} with the same bytes, {len(failures)} failures "
        f"({at_start} killed before anything was kept, {after_file} after model.mgn was there)",
        flush=True,
    )
    return failures


def main() -> int:
    """Both verbs; 1 on any failure."""
    moments = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        failures = [line for verb in ("train", "compress") for line in kills(bench, verb, moments)]
    print("\n".join(failures) if failures else f"{2 * moments} kills, no failure")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
