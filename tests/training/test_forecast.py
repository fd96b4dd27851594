"""The forecast names time, memory and disk, and grows with what is asked for."""

import re

from mignon.training.forecast import forecast
from mignon.training.settings import Settings


def test_time_memory_and_disk_are_named(tiny_classifier):
    line = forecast(tiny_classifier, 1000, 100, Settings(epochs=10), "cpu")
    found = re.fullmatch(
        r"forecast: 10 epochs of 16 steps in about (\d+) s, (\d+) MiB of memory for them, ([\d.]+) MiB of disk", line
    )
    assert found and float(found[3]) == round(4 * 3 * tiny_classifier.parameters / 2**20, 1)


def test_parts_of_a_step_need_less_memory(tiny_classifier):
    def memory(parts):
        line = forecast(tiny_classifier, 1 << 20, 1, Settings(batch=65536, accumulate=parts), "cpu")
        return int(re.search(r"([\d,]+) MiB of mem", line)[1].replace(",", ""))

    assert memory(8) < memory(1) / 4
