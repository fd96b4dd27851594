"""An epoch of `mignon train resnet20-cifar` against a plain PyTorch loop doing the same work, and the data path alone
against a per-image Pillow loader with the same crop and flip. Ratios within one run, alternating, medians."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import bar, unpacked
from PIL import Image, ImageOps
from torch.nn import functional as F

from mignon.classifier import fresh
from mignon.data.batches import Augment, augmented
from mignon.data.cache import open_images
from mignon.data.imageset import Split
from mignon.data.inputs import InputSpec
from mignon.models.resnet_cifar import ResNet
from mignon.progress import Quiet
from mignon.training.loop import fit
from mignon.training.settings import Settings

IMAGES = int(os.environ.get("MIGNON_BENCH_IMAGES", "9000"))  # of the 45,000: the ratio is the same, the run is shorter
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
folder = unpacked("cifar10-jpeg")
spec = InputSpec(32, 32, 3, MEAN, STD)
data = open_images(str(folder), spec)
chosen = np.sort(np.random.default_rng(0).permutation(len(data.train))[:IMAGES])
train = Split("train", data.train.take(chosen), data.train.labels[chosen], [])
validation = Split("validation", data.validation.take(slice(1000)), data.validation.labels[:1000], [])


def ours() -> float:
    """Seconds of one epoch: training, validation, checkpoint."""
    classifier = fresh("resnet20-cifar", {}, spec, data.classes, 0)
    with tempfile.TemporaryDirectory() as place:
        fitted = fit(classifier, train, validation, Settings(epochs=1), 0, "cpu", Path(place), Quiet())
    return fitted.history[0]["seconds"]


def plain() -> float:
    """The same epoch by hand: tensors in memory, batched pad-crop-flip in torch, SGD, cosine, validation."""
    torch.manual_seed(0)
    network = ResNet(3, 1, "b", 10, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.9, nesterov=True, weight_decay=5e-4)
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1) * 255, torch.tensor(STD).view(1, 3, 1, 1) * 255
    images, labels = torch.from_numpy(train.take(slice(None))).permute(0, 3, 1, 2), torch.from_numpy(train.labels)
    steps = len(labels) // 128
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=steps + 1)
    started = time.perf_counter()
    network.train()
    order = torch.randperm(len(labels))
    for step in range(steps):
        batch = order[step * 128 : step * 128 + 128]
        x = (images[batch].float() - mean) / std
        padded = F.pad(x, (4, 4, 4, 4), mode="reflect")
        top, left = torch.randint(0, 9, (2, len(batch))).tolist()
        x = torch.stack([p[:, t : t + 32, s : s + 32] for p, t, s in zip(padded, top, left)])
        flip = torch.rand(len(batch)) < 0.5
        x[flip] = x[flip].flip(3)
        loss = F.cross_entropy(network(x.contiguous(memory_format=torch.channels_last)), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    right = 0
    with torch.no_grad():
        for first in range(0, len(validation), 500):
            x = torch.from_numpy(validation.take(slice(first, first + 500))).permute(0, 3, 1, 2)
            logits = network(((x.float() - mean) / std).contiguous(memory_format=torch.channels_last))
            right += int((logits.argmax(1).numpy() == validation.labels[first : first + 500]).sum())
    return time.perf_counter() - started


def gathered(count: int = 200) -> float:
    """Images a second of the data path alone: batches of 128, crop and flip, float tensors not included."""
    generator, augment = np.random.default_rng(0), Augment(4, True)
    started = time.perf_counter()
    for _ in range(count):
        augmented(train.take(generator.integers(0, len(train), 128)), augment, generator)
    return count * 128 / (time.perf_counter() - started)


def pillow(count: int = 3000) -> float:
    """Images a second of opening, padding, cropping and flipping one file after the other."""
    generator = np.random.default_rng(0)
    paths = [folder / name for name in data.train.names[:count]]
    for path in paths:
        path.read_bytes()
    started = time.perf_counter()
    for path in paths:
        with Image.open(path) as image:
            pixels = np.pad(np.asarray(image.convert("RGB")), ((4, 4), (4, 4), (0, 0)), mode="reflect")
        top, left = generator.integers(0, 9, 2)
        cropped = Image.fromarray(pixels).crop((left, top, left + 32, top + 32))
        if generator.random() < 0.5:
            cropped = ImageOps.mirror(cropped)
        np.asarray(cropped)
    return count / (time.perf_counter() - started)


ratios, rates = [], []
for turn in range(4):
    a, b = (ours(), plain()) if turn % 2 == 0 else tuple(reversed((plain(), ours())))
    fast, slow = gathered(), pillow()
    print(f"epoch of {IMAGES} images: ours {a:.2f} s, plain loop {b:.2f} s; path {fast:,.0f}/s, Pillow {slow:,.0f}/s")
    if turn:  # the first warms up
        ratios.append(a / b)
        rates.append(fast / slow)
met = bar("epoch, ours / plain loop, median of 3", statistics.median(ratios), 1.02)
met &= bar("data path / per-image Pillow loader, median of 3", statistics.median(rates), 30, at_most=False)
sys.exit(not met)
