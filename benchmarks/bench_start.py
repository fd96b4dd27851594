"""Wall time of `mignon --help`, median of 5."""

import statistics
import subprocess
import sys
import time

from common import PROGRAM, bar

times = []
for _ in range(6):
    started = time.perf_counter()
    subprocess.run([PROGRAM, "--help"], check=True, capture_output=True)
    times.append(time.perf_counter() - started)
sys.exit(not bar("mignon --help, median of 5", statistics.median(times[1:]), 0.5, unit=" s"))
