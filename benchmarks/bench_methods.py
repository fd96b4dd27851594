"""Every family of methods on the same parents and images, one table; each row is one recipe, measured on its file.

python benchmarks/bench_methods.py [resnet20|mobilenetv2|pruning]: with nothing, all.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import bar, shared_data, unpacked
from torch.nn import functional as F

import mignon
from mignon.checkpoint import load_safetensors
from mignon.data.cache import open_images
from mignon.data.inputs import to_network
from mignon.jobs.pipeline import Pipeline
from mignon.jobs.requests import Compress
from mignon.models.graph import place
from mignon.progress import Quiet
from mignon.runs import Run
from mignon.training.loop import Settings, optimizer_for

torch.set_num_threads(1)
data = str(unpacked("cifar10-jpeg"))
DISTIL = "tune=1,share=0.55,lr=0.012,freeze=0.999,teacher=parent,weight=1"
SHORT = DISTIL.replace("0.55", "0.25")
PLAIN = "range=minmax,round=nearest,correct=false"

# recipe -> (most points that it may lose, or None; whether its tuning must keep to the CPU time of 500 reference steps)
RESNET20: dict[str, tuple[float | None, bool]] = {
    "quant=w8a8 code=range": (0.2, False),
    "quant=w4a8 code=range": (1.5, False),
    f"quant=w4a8,{PLAIN} code=range": (None, False),
    "quant=w4a4 code=range": (5.0, False),
    f"quant=w4a4,{PLAIN} code=range": (None, False),
    "quant=w4a4,first=8,last=8 code=range": (None, False),
    f"quant=w4a4,first=8,last=8 {DISTIL} code=range": (1.5, True),
    f"quant=w2a8 {DISTIL} code=range": (3.0, True),
    "quant=w3 code=range": (None, False),
    "quant=w2 code=range": (None, False),
    "share=v2qq-epsv1 code=range": (None, False),
    "share=learned code=range": (None, False),
    f"quant=w2 {SHORT} code=range": (None, False),
    f"share=learned {SHORT} code=range": (None, False),
    "cluster=16 code=range": (None, False),
    "cluster=4 code=range": (None, False),
    "prune=0.5 quant=w4a8 code=range": (None, False),
    "quant=w4a8,bits=auto code=range": (None, False),
    f"quant=w4a4 {DISTIL} code=range": (None, True),
}
MOBILENETV2: dict[str, tuple[float | None, bool]] = {
    "quant=w8a8 code=range": (0.3, False),
    "quant=w4a8 code=range": (1.5, False),
    f"quant=w4a8,{PLAIN} code=range": (None, False),
}
PRUNING = (
    "prune=0.5",
    "prune=0.5,scope=layer",
    "prune=0.5,by=sensitivity",
    "prune-nm=2:4",
    "prune-channels=0.25",
    "prune-channels=0.25 tune=1,lr=0.05,share=0.5",
    "prune-channels=0.25 tune=1,lr=0.05,share=0.5 quant=w8a8 code=range",
    "cluster=16 code=range",
    "cluster=16,shared=true code=range",
    "prune=0.5 cluster=16 code=range",
)


def reference_step(path: Path) -> float:
    """CPU-seconds of a plain training step of 128 images, float32, one thread: the median of nine."""
    parent = load_safetensors(path)
    images = open_images(data, parent.input)
    network = place(parent.network).train()
    optimizer = optimizer_for(parent, Settings(epochs=1))
    chosen = torch.arange(128).numpy()
    pixels = to_network(torch.from_numpy(images.train.take(chosen)), parent.input)
    labels, seconds = torch.from_numpy(images.train.labels[chosen]), []
    for _ in range(10):
        started = time.process_time()
        loss = F.cross_entropy(network(pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds[1:])


def compare(name: str, recipes: dict[str, tuple[float | None, bool]]) -> bool:
    """Print the table of one parent; whether every bar is met."""
    path, met = shared_data() / f"{name}.safetensors", True
    step = reference_step(path)
    print(f"\n{name}; a reference step takes {step:.3f} CPU-seconds")
    print("| recipe | bytes | top-1 % | change | KL | CPU s of steps |\n|---|---|---|---|---|---|")
    notes, request = [], Compress.of(path, data=data)
    with tempfile.TemporaryDirectory() as folder, Run.start(request, name, {}, folder) as run:
        parent = load_safetensors(path)
        images = open_images(data, parent.input)
        pipeline = Pipeline(run, parent, images, 0, "cpu", Quiet())
        first = pipeline.row(pipeline.parent, images.test)
        print(f"| float32 | {first['size_bytes']:,} | {100 * first['top1']:.2f} | | | |", flush=True)
        for recipe, (allowed, timed) in recipes.items():
            point, seconds = pipeline.parent, []
            for text in recipe.split():
                point = pipeline.apply(point, text)
                seconds.append(point.cpu_seconds)
            row = pipeline.row(point, images.test)
            print(
                f"| `{recipe}` | {row['size_bytes']:,} | {100 * row['top1']:.2f} | {100 * row['top1_change']:+.2f} "
                f"({row['lost']} lost, {row['gained']} gained) | {row['kl']:.4f} | {sum(seconds):.1f} |",
                flush=True,
            )
            if allowed is not None:
                notes.append((f"{recipe}, points lost", -100 * row["top1_change"], allowed))
            if timed:
                notes.append((f"{recipe}, reference steps that tuning took", seconds[1] / step, 500))
    print()
    for note in notes:
        met &= bar(*note)
    return met


if __name__ == "__main__":
    asked = sys.argv[1:] or ["resnet20", "mobilenetv2", "pruning"]
    done = []
    if "resnet20" in asked:
        done.append(compare("resnet20-cifar10-jpeg", RESNET20))
    if "pruning" in asked:
        done.append(compare("resnet20-cifar10-jpeg", dict.fromkeys(PRUNING, (None, False))))
    if "mobilenetv2" in asked:
        name = "mobilenetv2-035-cifar10-jpeg"
        done.append(compare(name, MOBILENETV2))
        print("\neach layer alone, KL on validation images\n| layer | weights | 8 bits | 4 bits |\n|---|---|---|---|")
        for row in mignon.show(shared_data() / f"{name}.safetensors", layers=True, data=data)["sensitivity"]:
            print(f"| {row['layer']} | {row['weights']:,} | {row['kl_8_bits']:.6f} | {row['kl_4_bits']:.6f} |")
    sys.exit(not all(done))
