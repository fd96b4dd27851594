"""Files changed on purpose, and sealed again: each is refused in one line or makes a network of finite weights.

`python benchmarks/bench_mutants.py [FILES [CHECKPOINTS [SEED]]]` (2,000 and 400 in `make bench`; 100000 20000: hours).
Headers are edited inside; streams are swapped, cut, filled with extremes and coded again: every rule, every coder.
"""

import dataclasses
import json
import random
import resource
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mignon import mgn
from mignon.checkpoint import load_safetensors, save_safetensors
from mignon.classifier import Classifier, fresh
from mignon.coding import Stream, decode_streams, encode_streams
from mignon.data.cache import open_images
from mignon.data.inputs import InputSpec
from mignon.data.look import neutral_spec
from mignon.errors import LONGEST, MignonError
from mignon.mgn.layout import CHECKS, DICTIONARY, MAGIC, deflate, fingerprint
from mignon.mgn.reader import layouts_of
from mignon.progress import Quiet
from mignon.registry import CODERS
from mignon.steps import Context, parse_recipe

RECIPES = (
    "", "prune=0.6", "quant=w4a8", "prune=0.5 quant=w3", "cluster=16", "prune=0.5 cluster=8,shared=true",
    "prune-channels=0.5 quant=w4a8,first=8", "quant=w3a8,per=9,affine=true", "quant-linear=4,all=true",
    "quant-symmetric=w8a8",
    "share=learned,shapes=8,length=4", "share=v2qq,eps=clamp", "equalize=2 quant=w8,per=tensor",
)  # fmt: skip
VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2, 3, 17, 255, 10**6, 10**9, 2**31, 2**63, 10**24, 0.5, 1e300, -0.0, "", "range",
    "huffman", "packed", "float", "grid", "a", "1", "\x1b[31m", "\ud7ff", "x" * 5000, [], {}, [[]], [0] * 50, ["x"] * 3,
    {"rule": "float"}, {"rule": "grid", "bits": 16}, {"rule": "float", "kept": 10**12}, {"rule": "codebook", "k": 4},
    {"rule": "share"}, "resnet20-cifar", "mobilenetv2-cifar", "mobilenetv1", "resnet110-cifar", {"width": 4.0},
]  # fmt: skip
EXTREMES = (0, 1, -1, 2, 7, 8, 127, 128, 255, 256, 960, -960, 961, 2**15, -(2**15), 2**31 - 1, -(2**31))


def files() -> list[tuple[bytes, Classifier]]:
    """A file of every recipe under every coder, and the Classifier that each was written from."""
    images = open_images("digits", neutral_spec(8, 1))
    spec = InputSpec(8, 8, 1, (0.3,), (0.35,))
    start = lively(fresh("digits-cnn", {"width": 0.5}, spec, images.classes, 0))
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for recipe in RECIPES:
            classifier = start
            for number, step in enumerate(parse_recipe(recipe.split())):
                place = Path(folder) / str(number)
                context = Context(images.train, images.validation, 0, "cpu", Quiet(), lambda _: start, place)
                classifier = step.apply(classifier, context)
            for coder in CODERS:
                coded = dataclasses.replace(classifier, coder=coder, recipe=tuple(recipe.split()))
                made.append((mgn.encode(coded), coded))
    return made


def lively(classifier: Classifier) -> Classifier:
    """With BatchNorm statistics as after training, a dead and a negative channel among them."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in classifier.network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2, generator=generator)
            elif tensor.dim() == 1 and tensor.is_floating_point():
                tensor.uniform_(-0.5, 1.5, generator=generator)
    return classifier


def resealed(data: bytes) -> bytes:
    """With the CRC-32 of what it holds now."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def split_header(data: bytes) -> tuple[dict, bytes]:
    """The header, and all bytes behind it."""
    position, length, shift = len(MAGIC) + 1, 0, 0
    while True:
        byte = data[position]
        length |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            break
    text = zlib.decompressobj(-15, zdict=DICTIONARY).decompress(data[position : position + length])
    return json.loads(text), data[position + length :]


def with_header(data: bytes, header: dict, rest: bytes | None = None) -> bytes:
    """The file with another header (and other bytes behind it), sealed again."""
    packed = deflate(header)
    size, out = len(packed), bytearray(data[: len(MAGIC) + 1])
    while size >= 128:
        out.append(size & 127 | 128)
        size >>= 7
    out.append(size)
    return resealed(bytes(out) + packed + (split_header(data)[1] if rest is None else rest))


def edit(value, dice: random.Random):
    """One field somewhere inside, replaced, removed or doubled."""
    if isinstance(value, dict) and value and dice.random() < 0.8:
        key = dice.choice(sorted(value))
        changed = dict(value)
        if dice.random() < 0.1:
            del changed[key]
        elif dice.random() < 0.1:
            changed[key + "x"] = value[key]
        else:
            changed[key] = edit(value[key], dice)
        return changed
    if isinstance(value, list) and value and dice.random() < 0.7:
        place = dice.randrange(len(value))
        parts = list(value)
        parts[place : place + 1] = [edit(value[place], dice)] * dice.choice([0, 1, 1, 1, 2, 100])
        return parts
    if isinstance(value, int) and dice.random() < 0.5:
        return value + dice.choice([-1, 1, 100, 10**6])
    return dice.choice(VALUES)


def edited(header: dict, dice: random.Random) -> dict:
    """One or two edits; a header that is no table any more stands in one."""
    for _ in range(dice.randint(1, 2)):
        header = edit(header, dice)
    return header if isinstance(header, dict) else {"x": header}


def restreamed(data: bytes, dice: random.Random) -> bytes:
    """Numbers inside the streams changed, swapped or filled with extremes, coded and sealed as a writer would."""
    header, rest = split_header(data)
    layouts = layouts_of(data)
    arrays, _ = decode_streams(rest[:-CHECKS], layouts, header["coder"])
    for _ in range(dice.randint(1, 3)):
        number = dice.randrange(len(arrays))
        array, kind = arrays[number].copy(), layouts[number].kind
        if not array.size:
            continue
        low, high = {"bits": (0, 1), "bytes": (0, 255)}.get(kind, (-(2**31), 2**31 - 1))
        flat = array.reshape(-1)
        choice = dice.randrange(4)
        if choice == 0:
            flat[dice.randrange(flat.size)] = min(high, max(low, dice.choice(EXTREMES)))
        elif choice == 1:
            flat[:] = min(high, max(low, dice.choice(EXTREMES)))
        elif choice == 2:
            flat[:] = np.random.default_rng(dice.getrandbits(32)).permutation(flat)
        else:
            other = [i for i, a in enumerate(arrays) if a.shape == array.shape and layouts[i].kind == kind]
            swap = dice.choice(other)
            arrays[number], arrays[swap] = arrays[swap], arrays[number]
            continue
        arrays[number] = array
    streams = [Stream(array, layout.kind) for array, layout in zip(arrays, layouts)]
    return with_header(data, header, encode_streams(streams, header["coder"]) + fingerprint(header, arrays) + bytes(4))


def mutant(data: bytes, dice: random.Random) -> bytes:
    """The file cut, flipped, filled, with an edited header or with other numbers; most are sealed again."""
    kind = dice.randrange(8)
    if kind == 0:
        return data[: dice.randrange(len(data))]
    if kind == 1:
        return resealed(data[: dice.randrange(12, len(data))] + b"\0\0\0\0")
    if kind == 2:
        flipped = bytearray(data)
        for _ in range(dice.randint(1, 8)):
            flipped[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        return bytes(flipped) if dice.random() < 0.2 else resealed(bytes(flipped))
    if kind == 3:
        place = dice.randrange(len(data))
        return resealed(data[:place] + dice.randbytes(dice.randint(1, 64)) + data[place:])
    if kind == 4:
        return restreamed(data, dice)
    header = edited(split_header(data)[0], dice)
    if kind == 5:  # sealed by somebody who edits the header and knows the format
        rest = split_header(data)[1]
        try:
            arrays, _ = decode_streams(rest[:-CHECKS], layouts_of(data), split_header(data)[0]["coder"])
            return with_header(data, header, rest[:-CHECKS] + fingerprint(header, arrays) + bytes(4))
        except (MignonError, ValueError):
            pass
    return with_header(data, header)


def checkpoint_mutant(path: Path, target: Path, dice: random.Random) -> None:
    """A safetensors file with an edited header, other tensors, or broken bytes, written to `target`."""
    if dice.random() < 0.2:
        data = bytearray(path.read_bytes())
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(min(len(data), 20_000))] ^= 1 << dice.randrange(8)
        target.write_bytes(bytes(data[: dice.randrange(len(data))] if dice.random() < 0.3 else data))
        return
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["mignon"])
    if dice.random() < 0.6:
        header = edited(header, dice)
    for _ in range(dice.randrange(3)):
        name = dice.choice(sorted(tensors))
        tensor, choice = tensors[name], dice.randrange(7)
        if choice == 0:
            del tensors[name]
            if not tensors:
                return
        elif choice == 1:
            tensors[name + "x"] = tensor.clone()
        elif choice == 2:
            tensors[name] = tensor.to(dice.choice([torch.float64, torch.float16, torch.int64, torch.bool, torch.uint8]))
        elif choice == 3:
            tensors[name] = tensor.reshape(-1)[: dice.randint(0, tensor.numel())].clone()
        elif choice == 4 and tensor.numel():
            tensors[name] = tensor.clone()
            tensors[name].reshape(-1)[dice.randrange(tensor.numel())] = dice.choice([-1, 0, 1, 255, 30_000])
        elif choice == 5 and tensor.is_floating_point():
            tensors[name] = torch.full_like(tensor, dice.choice([float("inf"), float("nan"), 3e38, 0.0, -1.0, 1e-45]))
        else:
            swap = dice.choice(sorted(tensors))
            tensors[name], tensors[swap] = tensors[swap].clone(), tensor.clone()
    save_file({n: t.contiguous() for n, t in tensors.items()}, target, {"mignon": json.dumps(header)})


class Figures:
    """What came of the mutants: refusals, acceptances, the slowest, extra memory, what should not have happened."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0
        self.wrong: list[str] = []
        self.before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def attempt(self, load, seed: str) -> None:
        """Load one mutant, which must be refused in one line or give finite weights and an answer or a refusal."""
        started = time.process_time()  # other programs may hold the core
        try:
            classifier = load()
            if not all(bool(torch.isfinite(module.weight).all()) for module in classifier.weighted().values()):
                self.wrong.append(f"{seed}: accepted with weights that are not finite")
            self.counts["accepted"] += 1
        except MignonError as error:
            self.counts["refused"] += 1
            lines = (error.what, error.instead)
            if not all(line.isprintable() and len(line) <= LONGEST for line in lines) or not error.what:
                self.wrong.append(f"{seed}: {lines!r:.200}")
        except Exception as error:
            self.wrong.append(f"{seed}: {type(error).__name__}: {error!s:.200}")
        self.slowest = max(self.slowest, time.process_time() - started)

    @property
    def extra_mb(self) -> float:
        """Memory over what the process had before, in MB."""
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.before) / 1024

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {what}" for what, count in sorted(self.counts.items()))
        return f"{counts}, {len(self.wrong)} wrong, slowest {self.slowest:.2f} s, {self.extra_mb:.0f} MB more"


def attack_files(made: list[tuple[bytes, Classifier]], count: int, seed: int) -> Figures:
    """So many mutants of `.mgn` files."""
    figures = Figures()
    for number in range(count):
        dice = random.Random(f"{seed}-{number}")
        data = mutant(dice.choice(made)[0], dice)
        figures.attempt(lambda: mgn.decode(data), f"file {seed}-{number}")  # noqa: B023 (called at once)
    return figures


def attack_checkpoints(made: list[tuple[bytes, Classifier]], count: int, seed: int) -> Figures:
    """So many mutants of checkpoints; what is accepted must encode too."""
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder:
        sources = []
        for number, (_, classifier) in enumerate(made[:: len(list(CODERS))]):
            sources.append(Path(folder) / f"{number}.safetensors")
            save_safetensors(classifier, sources[-1])
        target = Path(folder) / "mutant.safetensors"
        for number in range(count):
            dice = random.Random(f"{seed}-{number}")
            checkpoint_mutant(dice.choice(sources), target, dice)
            figures.attempt(lambda: mgn.decode(mgn.encode(load_safetensors(target))), f"checkpoint {seed}-{number}")
    return figures


def main() -> None:
    """Print the figures; exit code 1 when anything came out wrong."""
    count, checkpoints, seed = [int(a) for a in [*sys.argv[1:], *("2000", "400", "0")[len(sys.argv) - 1 :]]]
    torch.set_num_threads(1)
    made = files()
    print(f"{len(made)} files of {len(RECIPES)} recipes under {len(list(CODERS))} coders", flush=True)
    results = [
        (f"{count:,} mutants of .mgn files", attack_files(made, count, seed)),
        (f"{checkpoints:,} mutants of checkpoints", attack_checkpoints(made, checkpoints, seed)),
    ]
    for name, figures in results:
        print(f"{name}: {figures}")
        for line in figures.wrong[:20]:
            print(f"  {line}")
    sys.exit(any(figures.wrong for _, figures in results))


if __name__ == "__main__":
    main()
