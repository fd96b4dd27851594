"""The given ResNet-20s on 10,000 CIFAR-10 test JPEGs: float, w8a8, w6a8; bytes against entropy; same bytes again."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import PROGRAM, bar, shared_data, unpacked

from mignon import mgn
from mignon.checkpoint import load_safetensors
from mignon.models.weights import weight_rule

data = unpacked("cifar10-jpeg")
met = True


def compress(model: Path, recipe: list[str], out: str, threads: int = 2) -> dict:
    """One command in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [PROGRAM, "compress", model, "--data", data, "--out", out, "--json", *recipe],
        stdout=subprocess.PIPE,
        env=environment,
        check=True,
    )
    return json.loads(done.stdout)


def entropy_bytes(q: np.ndarray) -> float:
    """Order-0 entropy of the integers of one tensor, in bytes."""
    counts = np.unique(q, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


def entropy_table(file: Path) -> tuple[float, list[tuple[str, float, int]]]:
    """Coded bytes of all weight streams / entropy summed tensor by tensor, and (name, entropy, bytes) of each."""
    stored = file.read_bytes()
    sizes = dict(mgn.parts(stored))
    rows = []
    for name, module in mgn.decode(stored).weighted().items():
        rule: Any = weight_rule(module)
        rows.append((name, entropy_bytes(rule.q.numpy()), sizes[f"{name}.weight q"]))
    return sum(r[2] for r in rows) / sum(r[1] for r in rows), rows


for name, expected in (("resnet20-cifar10", 81.03), ("resnet20-cifar10-jpeg", 87.79)):
    model = shared_data() / f"{name}.safetensors"
    print(f"\n{name}")
    for recipe, allowed in (("quant=w8a8", 0.3), ("quant=w6a8", 1.0)):
        with tempfile.TemporaryDirectory() as folder:
            result = compress(model, [recipe, "code=range"], f"{folder}/run")
            base, row = result["rows"][0], result["rows"][-1]
            print(
                f"{recipe} code=range: {row['size_bytes']:,} bytes, top-1 {100 * row['top1']:.2f} %, "
                f"change {100 * row['top1_change']:+.2f}, KL {row['kl']:.4f}"
            )
            met &= bar(f"{name} float, distance to {expected} %", abs(100 * base["top1"] - expected), 0.05)
            met &= bar(f"{name} {recipe}, points lost", -100 * row["top1_change"], allowed)
            if recipe == "quant=w6a8":
                ratio, rows = entropy_table(Path(result["file"]))
                for tensor, entropy, size in rows:
                    print(f"  {tensor}: entropy {entropy:,.0f}, coded {size:,}, ratio {size / entropy:.3f}")
                met &= bar(f"{name} {recipe}, all weight streams / sum of the tensors' entropies", ratio, 1.02)
                met &= bar(f"{name} {recipe}, worst single tensor", max(s / e for _, e, s in rows), 1.02)
                first = hashlib.sha256(Path(result["file"]).read_bytes()).hexdigest()
                for threads in (2, 1):
                    again = compress(model, [recipe, "code=range"], f"{folder}/again{threads}", threads)
                    same = hashlib.sha256(Path(again["file"]).read_bytes()).hexdigest() == first
                    met &= bar(f"{name} {recipe}, other bytes with {threads} thread(s)", float(not same), 0)
                checkpoint = load_safetensors(sorted(Path(result["run"], "steps").glob("*.safetensors"))[0])
                settled, decoded = mgn.settle(checkpoint).weighted(), mgn.decode(Path(result["file"]).read_bytes())
                differ = sum(
                    int((settled[n].weight != m.weight).sum() + (settled[n].bias != m.bias).sum())
                    for n, m in decoded.weighted().items()
                )
                met &= bar(f"{name} {recipe}, numbers that differ between checkpoint and file", differ, 0)
sys.exit(not met)
