"""SIGKILL at random moments of `train` and of `compress`; the same command again must end with the same bytes.

After each kill every file with a final name must be whole, a finished run beside it untouched.
`python benchmarks/kills.py [moments]` (default 20 each); exit code 1 when anything was lost.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors import safe_open

from mignon import mgn

TRAIN = ["train", "digits-cnn", "--data", "digits", "--epochs", "12"]
RECIPE = ["prune=0.5", "tune=6", "quant=w4a8", "tune=6", "code=range"]


def mignon(arguments: list[str]) -> list[str]:
    """The command of this environment."""
    return [str(Path(sys.executable).with_name("mignon")), *arguments]


def environment() -> dict[str, str]:
    """One thread, so that bits can be compared."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def broken_files(folder: Path) -> list[str]:
    """Files with a final name that are not whole."""
    bad = []
    for path in folder.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".jsonl":
                [json.loads(line) for line in path.read_text().splitlines()]
            elif path.suffix == ".safetensors":
                with safe_open(path, framework="np") as file:
                    for name in file.keys():  # noqa: SIM118 (not a dict)
                        file.get_tensor(name)
            elif path.suffix == ".mgn":
                mgn.decode(path.read_bytes())
        except Exception as error:
            bad.append(f"{path.name}: {error}")
    return bad


def fingerprint(folder: Path) -> str:
    """A hash over names and contents of all files."""
    sha = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sha.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return sha.hexdigest()


def kill_often(arguments: list[str], moments: int, seed: int, place: Path) -> list[str]:
    """Kill the command at so many moments spread over its length; what went wrong, in words."""
    dice, wrong = random.Random(seed), []
    reference = place / "reference"
    started = time.perf_counter()
    subprocess.run(mignon([*arguments, "--out", str(reference)]), check=True, capture_output=True, env=environment())
    length = time.perf_counter() - started
    expected, untouched = (reference / "model.mgn").read_bytes(), fingerprint(reference)
    killed = 0
    for moment in range(moments):
        out = place / f"cut-{moment}"
        command = mignon([*arguments, "--out", str(out)])
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        try:
            process.wait(length * dice.uniform(0.2, 1.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        wrong += broken_files(out)
        again = subprocess.run(command, capture_output=True, text=True, env=environment())
        if again.returncode:
            wrong.append(f"moment {moment}: exit code {again.returncode}: {again.stderr[-300:]}")
        elif (out / "model.mgn").read_bytes() != expected:
            wrong.append(f"moment {moment}: another file than without the kill")
        if fingerprint(reference) != untouched:
            wrong.append(f"moment {moment}: the run beside it was touched")
    print(f"{arguments[0]}: {killed} of {moments} killed before their end, {len(wrong)} problems", flush=True)
    return wrong


def kill_both(moments: int, place: Path) -> list[str]:
    """`train`, then `compress` of what was trained."""
    wrong = kill_often(TRAIN, moments, 1, place / "train")
    model = place / "train" / "reference" / "model.safetensors"
    return wrong + kill_often(["compress", str(model), "--data", "digits", *RECIPE], moments, 2, place / "compress")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        problems = kill_both(int(sys.argv[1]) if len(sys.argv) > 1 else 20, Path(folder))
    print("\n".join(problems))
    sys.exit(bool(problems))
