"""Open the report of a run in headless Chromium: no console error, nothing that loads, pictures at two widths.

    python benchmarks/bench_report.py [RUN] [--out FOLDER]

RUN is a run folder or a page; without it a short run on the digits is made. Without a Chromium on the PATH only the
text of the page is checked, and it says so.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import PROGRAM

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--enable-logging=stderr", "--v=0",
]  # fmt: skip
LOADS = [
    r"""\b(?:src|href|srcset|data|poster|action)\s*=\s*["']?(?!data:|#)[^\s"'>]""",
    r"url\(\s*[\"']?(?!data:|#)",
    r"@import",
    r"<(?:script|iframe|object|embed|base)\b",
    r"http-equiv",
]


def outside(page: str) -> list[str]:
    """Whatever in a page would load something that is not in the page (only tags and styles are looked at)."""
    tags = re.findall(r"<style.*?</style>|<[a-zA-Z](?:[^>\"']|\"[^\"]*\"|'[^']*')*>", page, re.S)
    # What stands inside another attribute's quotes (a name from outside in alt="...") is text.
    tags = [re.sub(r"""\b(alt|aria-label|content|title)=("[^"]*"|'[^']*')""", "", tag) for tag in tags]
    return [tag[:120] for tag in tags if any(re.search(pattern, tag, re.I) for pattern in LOADS)]


def browser() -> str | None:
    """A Chromium of this machine."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def photograph(program: str, page: Path, picture: Path, width: int, height: int, dark: bool = False) -> list[str]:
    """Console lines that Chromium wrote while it drew the page."""
    with tempfile.TemporaryDirectory() as profile:
        address = page.as_uri()
        if width < 500:  # a window is at least 500 wide, a frame is not
            frame = Path(profile) / "frame.html"
            style = f"border:0;width:{width}px;height:{height}px"
            frame.write_text(f'<body style="margin:0"><iframe src="{address}" style="{style}"></iframe>')
            address = frame.as_uri()
        window = [f"--window-size={max(width, 500)},{height}", f"--screenshot={picture}", f"--user-data-dir={profile}"]
        window += ["--blink-settings=preferredColorScheme=0"] if dark else []
        done = subprocess.run([program, *FLAGS, *window, address], capture_output=True, text=True, timeout=120)
    if not picture.exists():
        return [f"no picture: {done.stderr[-500:]}"]
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def check(page: Path, folder: Path, height: int, dark: bool) -> list[str]:
    """What is wrong with a page; pictures of it go to a folder."""
    problems = [f"loads something: {tag}" for tag in outside(page.read_text("utf-8"))]
    program = browser()
    if program is None:
        print("no Chromium on the PATH: only the text of the page was checked")
        return problems
    folder.mkdir(parents=True, exist_ok=True)
    for width in (1280, 400):
        picture = folder / f"report-{width}.png"
        picture.unlink(missing_ok=True)
        problems += photograph(program, page, picture, width, height, dark)
        print(picture)
    return problems


def main() -> int:
    """Print what is wrong; whether something is."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("run", type=Path, nargs="?")
    words.add_argument("--out", type=Path, help="folder for the pictures (default: beside the page)")
    words.add_argument("--height", type=int, default=2400)
    words.add_argument("--dark", action="store_true")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = given.run or Path(folder) / "run"
        if given.run is None:
            subprocess.run([PROGRAM, "build", "digits", "--epochs", "2", "--max-kib", "3", "--out", run], check=True)
        page = (run / "report.html" if run.is_dir() else run).resolve()
        if not page.exists():
            print(f"{page} is not there: mignon report {run}", file=sys.stderr)
            return 2
        problems = check(page, (given.out or page.parent).resolve(), given.height, given.dark)
    print("\n".join(problems) or f"{page}: no console line, nothing that loads")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
