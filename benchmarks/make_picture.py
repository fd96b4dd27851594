"""Draw docs/report.png, the top of a report as headless Chromium shows it: `python benchmarks/make_picture.py [RUN]`.

Without RUN the demo is run with seed 3, whose top-1 is the median of ten seeds (docs/results.md).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from bench_report import browser, photograph
from common import PROGRAM, ROOT
from PIL import Image

WIDTH, HEIGHT, COLORS = 1280, 1120, 32
TARGET = ROOT / "docs" / "report.png"


def main() -> int:
    """Write the picture; whether something was wrong."""
    program = browser()
    if program is None:
        print("no Chromium on the PATH", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        run = Path(sys.argv[1] if sys.argv[1:] else f"{folder}/run")
        if not sys.argv[1:]:
            subprocess.run([PROGRAM, "demo", "--seed", "3", "--out", run], check=True)
        shot = Path(folder) / "shot.png"
        problems = photograph(program, (run / "report.html").resolve(), shot, WIDTH, HEIGHT)
        with Image.open(shot) as picture:
            picture.convert("RGB").quantize(COLORS).save(TARGET, optimize=True)
    print("\n".join(problems) or f"{TARGET}: {TARGET.stat().st_size:,} bytes")
    return len(problems)


if __name__ == "__main__":
    sys.exit(main())
