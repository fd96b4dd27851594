"""`mignon build` on CIFAR-10 JPEGs (5 minutes, 40 KiB) and on ten classes of Tiny ImageNet as class folders."""

import json
import subprocess
import tempfile
import time

from common import PROGRAM, class_folders_of_tiny_imagenet, unpacked

for folder in (unpacked("cifar10-jpeg"), class_folders_of_tiny_imagenet()):
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        done = subprocess.run(
            [PROGRAM, "build", folder, "--minutes", "5", "--max-kib", "40", "--out", f"{place}/run", "--json"],
            stdout=subprocess.PIPE,
        )
        seconds = time.perf_counter() - started
        result = json.loads(done.stdout)
        print(f"\n{folder.name}: exit code {done.returncode}, {seconds:.0f} s, limit met: {result['limit_met']}")
        for row in result["rows"]:
            print(
                f"| {row['step']} | {row['split']} | {row['size_bytes']:,} | {100 * row['top1']:.2f} % "
                f"| {100 * row['top1_change']:+.2f} |"
            )
        print(result["verdict"], flush=True)
