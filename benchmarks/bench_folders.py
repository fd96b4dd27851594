"""`mignon build` on small folders made at random: labels of noise, few images, unequal classes; tiny, grey, huge ones.

Each ends with a file that is within its limit and beats the largest class by more than noise, or with exit code 3 and a
reason, or is refused with one line before anything is trained.
`python benchmarks/bench_folders.py [FOLDERS [SEED]]` (20; the issue asks for 200).
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import PROGRAM, bar, cats_dogs, link, unpacked
from PIL import Image

KINDS = ("photos", "noise labels", "few", "unequal", "tiny", "grey", "huge", "blank")
KIB = (4, 16, 64, 512)


def make(dice: random.Random, kind: str, root: Path) -> None:
    """A folder of two to six classes of real photos, changed as its kind says."""
    tiny = unpacked("tiny-imagenet-10") / "train"
    pools = [sorted(folder.iterdir()) for folder in sorted(cats_dogs().iterdir())]
    pools += [sorted((folder / "images").iterdir()) for folder in sorted(tiny.iterdir())]
    chosen = dice.sample(pools, dice.randint(2, 6))
    most = dice.randint(6, 40)
    for number, pool in enumerate(chosen):
        count = dice.randint(2, 6) if kind == "few" else dice.randint(3, 40) if kind == "unequal" else most
        own = dice.sample(dice.choice(pools) if kind == "noise labels" else pool, count)
        if kind == "noise labels":
            own = [dice.choice(dice.choice(chosen)) for _ in range(count)]
        folder = root / f"class {number}"
        if kind in ("photos", "noise labels", "few", "unequal"):
            link([path for path in own if path.exists()], folder)
            continue
        folder.mkdir(parents=True)
        for i, path in enumerate(own):
            with Image.open(path) as image:
                changed = image.convert("L" if kind == "grey" else "RGB")
                if kind in ("tiny", "huge"):
                    changed = changed.resize((8, 8) if kind == "tiny" else (2600, 2200))
                if kind == "blank":
                    changed = Image.fromarray(np.full((40, 60, 3), 255 * (number % 2), np.uint8))
                changed.save(folder / f"{i}.{'png' if kind in ('tiny', 'blank') else 'jpg'}")


def wrong(folder: Path, kib: int, seed: int) -> tuple[str, str]:
    """What came out in words, and what is wrong with it ("" when nothing is)."""
    with tempfile.TemporaryDirectory() as out:
        command = [PROGRAM, "build", folder, "--max-kib", kib, "--minutes", 0.3, "--seed", seed, "--out", f"{out}/run"]
        done = subprocess.run(
            [*map(str, command), "--json"],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_WAIT_POLICY": "passive"},
        )
        lines = done.stderr.strip().splitlines()
        if "Traceback" in done.stderr or "should not happen" in done.stderr or done.returncode not in (0, 2, 3):
            return f"exit {done.returncode}", done.stderr[-300:]
        if done.returncode == 2:
            return f"refused: {lines[-2]}", "" if lines[-2].startswith("mignon: ") else "no reason"
        result = json.loads(done.stdout)
        row = result["rows"][-1]
        told = f"exit {done.returncode}: {row['size_bytes']:,} bytes, {100 * row['top1']:.0f} % of {row['images']}"
        if (done.returncode == 0) != result["limit_met"]:
            return told, "exit code and limit_met disagree"
        if result["limit_met"] and row["size_bytes"] > 1024 * kib:
            return told, "larger than asked for"
        if not result["limit_met"] and "better" not in result["verdict"]:
            return told, f"no reason in: {result['verdict']}"
        return told, ""


def main() -> bool:
    """A line a folder; whether none is wrong."""
    count, seed = [int(a) for a in [*sys.argv[1:], *("20", "0")[len(sys.argv) - 1 :]]]
    flaws, met, noisy = 0, 0, 0
    for number in range(count):
        dice = random.Random(f"{seed}-{number}")
        kind, kib, started = dice.choice(KINDS), dice.choice(KIB), time.perf_counter()
        with tempfile.TemporaryDirectory() as root:
            make(dice, kind, Path(root) / "images")
            told, flaw = wrong(Path(root) / "images", kib, number)
        met += told.startswith("exit 0")
        noisy += kind == "noise labels" and told.startswith("exit 0")
        flaws += bool(flaw)
        print(f"{number} {kind}, {kib} KiB: {told}; {time.perf_counter() - started:.0f} s {flaw}", flush=True)
    print(f"{count} folders: {met} met their limit, {noisy} of those with labels that mean nothing")
    return bar("wrong", flaws, 0)


if __name__ == "__main__":
    sys.exit(not main())
