"""Kernel sharing: matching against the plain loop of the source, and the trained ResNet-20 before any retraining."""

import itertools
import math
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import bar, shared_data, unpacked

from mignon import mgn
from mignon.checkpoint import load_safetensors
from mignon.classifier import Classifier
from mignon.data.batches import in_order
from mignon.data.cache import open_images
from mignon.progress import Quiet
from mignon.rules.linear import integers, numbers, source
from mignon.steps import Context, parse_step
from mignon.steps.share.bits import bits_a_weight, learned_sizes, shape_bits
from mignon.steps.share.matching import match

torch.set_num_threads(1)
met = True


def plain_loop(rows: list[list[float]], references: list[list[float]]) -> list[tuple[int, float, float]]:
    """The matching of the source: kernel by kernel, reference by reference."""
    found = []
    for w in rows:
        w_mean, best = sum(w) / len(w), (math.inf, 0, 0.0, 0.0)
        for k, r in enumerate(references):
            r_mean = sum(r) / len(r)
            power = sum((x - r_mean) ** 2 for x in r)
            alpha = sum((x - w_mean) * (y - r_mean) for x, y in zip(w, r)) / power
            beta = w_mean - alpha * r_mean
            error = sum(abs(alpha * y + beta - x) for x, y in zip(w, r))
            if error < best[0]:
                best = (error, k, alpha, beta)
        found.append(best[1:])
    return found


print("VGG16-BN's 1,634,304 kernels of 9 numbers against 192 references")
channels = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
dice = torch.Generator().manual_seed(0)
layers = [torch.randn(b * a, 9, generator=dice) for a, b in itertools.pairwise(channels)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for criterion in ("l1", "pcc"):
    started = time.process_time()
    fits = [match(rows, layers[0], criterion) for rows in layers[1:]]
    seconds = time.process_time() - started
    count = sum(len(fit.reference) for fit in fits)
    print(f"{criterion}: {count:,} kernels in {seconds:.1f} CPU-seconds, {1e6 * seconds / count:.2f} us a kernel")
    if criterion == "l1":
        subset = layers[1][:300].double()
        started = time.process_time()
        slow = plain_loop(subset.tolist(), layers[0].double().tolist())
        slow_each = (time.process_time() - started) / len(subset)
        differ = sum(int(s[0] != f) for s, f in zip(slow, fits[0].reference[:300].tolist()))
        met &= bar("kernels that the plain loop matches otherwise", differ, 0)
        met &= bar("times as fast as the plain loop", slow_each / (seconds / count), 100, at_most=False)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"peak memory {peak / 2**20:.2f} GB, of which {before / 2**20:.2f} GB before matching")
met &= bar("peak memory of the process", peak / 2**20, 1.0, unit=" GB")
del layers, fits

parent = load_safetensors(shared_data() / "resnet20-cifar10.safetensors")
images = open_images(str(unpacked("cifar10-jpeg")), parent.input)
coded = [name for name, w in parent.weights().items() if w.dim() == 4][1:]


def top1(classifier: Classifier) -> float:
    """Percent of the 10,000 test images."""
    right = [classifier.logits(pixels).argmax(1) for pixels in in_order(images.test)]
    return 100 * float((np.concatenate(right) == images.test.labels).mean())


def error(classifier: Classifier) -> float:
    """Squared error / squares of the coded kernels."""
    after, weights = classifier.weighted(), parent.weights()
    rest = sum(float((after[n].weight.detach().double() - weights[n]).square().sum()) for n in coded)
    return rest / sum(float(weights[n].double().square().sum()) for n in coded)


def shared(text: str) -> tuple[float, float, float, int]:
    """(top-1 of the decoded file, error, CPU-seconds, bytes of the range-coded file)."""
    with tempfile.TemporaryDirectory() as folder:
        context = Context(images.train, images.validation, 0, "cpu", Quiet(), lambda _: parent, Path(folder))
        started = time.process_time()
        result = parse_step(text).apply(parent, context)
        seconds = time.process_time() - started
    data = mgn.encode(replace(result, coder="range"))
    return top1(mgn.decode(data)), error(result), seconds, len(data)


def min_max(bits: int) -> float:
    """Top-1 with the same layers and the stem rounded by the linear quantizer of the source, one scale a layer."""
    rounded = parent.copy()
    with torch.no_grad():
        for name in ("conv1", *coded):
            weight = parent.weights()[name].double()
            scale = source(weight, bits)
            rounded.weighted()[name].weight.copy_(numbers(integers(weight, scale, bits), scale))
    return top1(rounded)


print("\nResNet-20, 10,000 test images, before any retraining")
base = top1(parent)
met &= bar("float, distance to 81.03 %", abs(base - 81.03), 0.05)
for text, published, squares in (
    ("share=v2qq,eps=clamp", 12.77, 0.36297),
    ("share=v2,match=pcc,normalized=true,eps=clamp,abits=8,bbits=8,grid=affine", 20.10, 0.26892),
    ("share=v3,match=pcc,transforms=square", 58.78, 0.15159),
):
    accuracy, rest, seconds, size = shared(text)
    print(f"{text}: {accuracy:.2f} %, error {rest:.5f}, {size:,} bytes, {seconds:.1f} CPU-seconds")
    met &= bar("distance to the published error", abs(rest - squares), 1e-4)
    met &= bar("distance to the published top-1", abs(accuracy - published), 0.1, unit=" points")

linear = min_max(3)
print(f"3-bit linear quantization of the same layers: {linear:.2f} %")
met &= bar("3-bit linear, distance to 51.88 %", abs(linear - 51.88), 0.1, unit=" points")
sizes = learned_sizes([tuple(parent.weights()[n].shape) for n in coded], 9, 256)
bits = bits_a_weight(sizes, 9, 4, 4) + shape_bits(256, 9) / sizes.weights
print(f"256 learned shapes, 4 + 4 bits: {bits:.3f} bits a coded weight with the shapes")
met &= bar("bits a coded weight", bits, 1.85)
plain = shared("share=learned,calibrate=false,grid=affine")
ours = shared("share=learned")
for name, (accuracy, rest, seconds, size) in (("without looking at images", plain), ("share=learned", ours)):
    print(f"{name}: {accuracy:.2f} %, error {rest:.5f}, {size:,} bytes, {seconds:.1f} CPU-seconds")
met &= bar("share=learned, top-1", ours[0], 76, at_most=False, unit=" %")
met &= bar("share=learned, points above 3-bit linear", ours[0] - linear, 20, at_most=False)
sys.exit(not met)
