"""The int8 network of system 002 as a `.mgn`: top-1 on 10,000 CIFAR-10 test JPEGs, bytes beside its own sparse file."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import PROGRAM, bar, shared_data, unpacked

from mignon import mgn
from mignon.checkpoint import load_safetensors
from mignon.data.pictures import read_pixels
from mignon.models.weights import absorb, weight_rule

TOP1 = 82.86  # percent, measured when the shared data were made
OWN_BYTES = {"values": 96_871, "indices": 499_404, "other parameters": 273_352, "container and rest": 171_215}
KL_IMAGES = 1000

source = shared_data() / "mobilenetv2-002-pruned-int8.safetensors"
data = unpacked("cifar10-jpeg")
with tempfile.TemporaryDirectory() as folder:
    command = [
        str(PROGRAM),
        "compress",
        str(source),
        "--data",
        str(data),
        "--out",
        f"{folder}/run",
        "--json",
        "code=range",
    ]
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    stored = Path(result["file"]).read_bytes()
before, after = (100 * row["top1"] for row in result["rows"])
imported, decoded = load_safetensors(source), mgn.decode(stored)

print(f"\ntop-1: {before:.2f} % imported, {after:.2f} % from {len(stored):,} bytes")
pieces: Counter[str] = Counter()
for name, size in mgn.parts(stored):
    pieces[name.rpartition(".")[2]] += size  # `weight q` of every layer is one piece
print("\nbytes of the file, by piece")
for name, size in pieces.most_common():
    print(f"  {name:24}{size:>10,}{size / len(stored):>9.1%}")
print(f"  {'together':24}{sum(pieces.values()):>10,}")
print("bytes of system 002's own sparse file of the same numbers")
for name, size in OWN_BYTES.items():
    print(f"  {name:24}{size:>10,}{size / sum(OWN_BYTES.values()):>9.1%}")
print(f"  {'together':24}{sum(OWN_BYTES.values()):>10,}\n")


def differing() -> int:
    """Integers of the decoded file that are not those of the source."""
    ours, theirs = ([weight_rule(m) for m in c.weighted().values()] for c in (decoded, imported))
    rules: list[tuple[Any, Any]] = list(zip(ours, theirs, strict=True))
    return sum(int((a.q != b.q).sum()) for a, b in rules)


def log_probabilities(classifier, pixels: np.ndarray) -> torch.Tensor:
    """float64 N x classes, a few images at a time."""
    parts = [classifier.logits(pixels[i : i + 100]) for i in range(0, len(pixels), 100)]
    return torch.log_softmax(torch.from_numpy(np.concatenate(parts)).double(), 1)


paths = sorted((data / "test").glob("*/*"))[:: 10_000 // KL_IMAGES]
pixels = np.stack([read_pixels(path, imported.input) for path in paths])
exact = log_probabilities(replace(imported, network=absorb(imported.network)), pixels)  # float32 biases, all channels
kl = float((exact.exp() * (exact - log_probabilities(decoded, pixels))).sum(1).mean())

met = bar("imported network, points from 82.86 %", abs(before - TOP1), 0.05)
met &= bar("decoded file, points from 82.86 %", abs(after - TOP1), 0.05)
met &= bar("bytes of the file", len(stored), 175_000)
met &= bar("integers that changed", differing(), 0)
met &= bar("KL from float32 biases to the stored ones", kl, 1e-6)
sys.exit(not met)
