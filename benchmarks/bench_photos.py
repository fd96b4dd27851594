"""`mignon build` on photos that it was not tuned for: files of 64 and 512 KiB, and at most a point below the float one.

`python benchmarks/bench_photos.py [--seeds N] [--minutes M] [--sets NAME ...] [--limits LIMIT ...] [--out FILE]`: a row
of the ledger on test a run, read once; FILE gets a JSON line a run, and runs that it holds are not made again.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import PROGRAM, bar, cats_dogs, few_photos, tiny_imagenet

SETS = {"cats-dogs": lambda seed: cats_dogs(), "ten-classes": tiny_imagenet, "ten-photos": few_photos}
LIMITS = {"64": ["--max-kib", "64"], "512": ["--max-kib", "512"], "drop": ["--max-drop", "1"]}
BARS = {  # percent of the test images
    ("cats-dogs", "64"): 86, ("ten-classes", "64"): 85, ("cats-dogs", "512"): 93, ("ten-classes", "512"): 93,
    ("ten-photos", "512"): 87,
}  # fmt: skip


def build(name: str, limit: str, seed: int, minutes: float) -> dict[str, Any]:
    """One run of the program: what it chose and what that measures."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        command = [PROGRAM, "build", SETS[name](seed), *LIMITS[limit], "--minutes", str(minutes), "--seed", str(seed)]
        done = subprocess.run(
            [*map(str, command), "--out", f"{folder}/run", "--json"], capture_output=True, text=True,
            env=os.environ | {"OMP_WAIT_POLICY": "passive"},
        )  # fmt: skip
        if done.returncode not in (0, 3):
            sys.exit(done.stderr)
        result = json.loads(done.stdout)
        reference, row = result["rows"][-2:]
        assert Path(result["file"]).stat().st_size == row["size_bytes"] and row["split"] == "test"
    return {
        "set": name, "limit": limit, "seed": seed, "met": result["limit_met"], "chosen": row["step"],
        "bytes": row["size_bytes"], "top1": row["top1"], "images": row["images"], "reference": reference["top1"],
        "low": row["top1_low"], "high": row["top1_high"], "seconds": time.perf_counter() - started,
    }  # fmt: skip


def main() -> bool:
    """Print a line a run and medians; whether all bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--limits", nargs="+", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    kept = asked.out.read_text().splitlines() if asked.out and asked.out.exists() else []
    runs = {(run["set"], run["limit"], run["seed"]): run for run in map(json.loads, kept)}
    print(
        "| photos | limit | seed | float | file | bytes | top-1 | 95 % | limit met | s |", f"|{10 * '---|'}", sep="\n"
    )
    met = True
    for name in asked.sets:
        for limit in asked.limits:
            if name == "ten-photos" and limit != "512":
                continue
            for seed in range(asked.seeds):
                run = runs.get((name, limit, seed))
                if run is None:
                    run = runs[name, limit, seed] = build(name, limit, seed, asked.minutes)
                    if asked.out:
                        with asked.out.open("a") as file:
                            file.write(json.dumps(run) + "\n")
                print(
                    f"| {name} | {limit} | {seed} | {100 * run['reference']:.1f} % | {run['chosen']} | "
                    f"{run['bytes']:,} | {100 * run['top1']:.1f} % | {100 * run['low']:.1f} to "
                    f"{100 * run['high']:.1f} | {'yes' if run['met'] else 'no'} | {run['seconds']:.0f} |",
                    flush=True,
                )
    print("\n| photos | limit | runs | median | lowest to highest | bytes |", f"|{6 * '---|'}", sep="\n")
    for name in asked.sets:
        for limit in asked.limits:
            found = [run for (a, b, seed), run in runs.items() if (a, b) == (name, limit) and seed < asked.seeds]
            if found:
                tops, sizes = [100 * run["top1"] for run in found], [run["bytes"] for run in found]
                print(
                    f"| {name} | {limit} | {len(found)} | {statistics.median(tops):.1f} % | {min(tops):.1f} to "
                    f"{max(tops):.1f} % | {min(sizes):,} to {max(sizes):,} |"
                )
                if (name, limit) in BARS:
                    middle = statistics.mean(tops) if name == "ten-photos" else statistics.median(tops)
                    met &= bar(f"{name}, {limit}", middle, BARS[name, limit], at_most=False, unit=" %")
    return met


if __name__ == "__main__":
    sys.exit(not main())
