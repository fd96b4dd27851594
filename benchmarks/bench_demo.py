"""`mignon demo` with ten seeds: wall time, bytes, top-1 on the 450 test digits."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import bar

program = Path(sys.executable).with_name("mignon")
met = True
print("| seed | file | bytes | float top-1 | top-1 | seconds |\n|---|---|---|---|---|---|")
tops, sizes, times = [], [], []
for seed in range(10):
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = subprocess.run(
            [program, "demo", "--seed", str(seed), "--out", f"{folder}/run", "--json"], capture_output=True, text=True
        )
        seconds = time.perf_counter() - started
        result = json.loads(done.stdout)
        size = Path(result["file"]).stat().st_size
        row, parent = result["rows"][-1], result["rows"][-2]
        assert size == row["size_bytes"] and row["split"] == "test" and done.returncode == 0
        print(
            f"| {seed} | {row['step']} | {size:,} | {100 * parent['top1']:.2f} % | {100 * row['top1']:.2f} % | "
            f"{seconds:.0f} |",
            flush=True,
        )
        tops.append(row["top1"])
        sizes.append(size)
        times.append(seconds)
met &= bar("seed 0, wall time", times[0], 90, unit=" s")
met &= bar("seed 0, top-1", 100 * tops[0], 97, at_most=False, unit=" %")
met &= bar("seed 0, file", sizes[0], 3072, unit=" bytes")
met &= bar("ten seeds, lowest top-1", 100 * min(tops), 97, at_most=False, unit=" %")
met &= bar("ten seeds, largest file", max(sizes), 3072, unit=" bytes")
sys.exit(not met)
