"""Schedules: pure functions from 0 (the warm-up is over) to 1 (the last step is done) to a share of the rate."""

import pytest

from mignon.errors import RecipeError
from mignon.registry import SCHEDULES
from mignon.steps import parse_step
from mignon.training.loop import learning_rate
from mignon.training.settings import Settings


def test_every_schedule_keeps_the_contract(capsys):
    checked = 0
    for name in SCHEDULES:
        rates = [SCHEDULES[name](i / 100) for i in range(101)]
        assert rates == [SCHEDULES[name](i / 100) for i in range(101)], name
        assert rates[0] == 1 and all(0 <= rate <= 1 for rate in rates), name
        assert SCHEDULES[name].__doc__, name
        settings = Settings(epochs=1, lr=0.5, warmup=0.1, schedule=name)
        assert learning_rate(10, 100, settings) == 0.5 and all(
            0 <= learning_rate(i, 100, settings) <= 0.5 for i in range(100)
        )
        assert parse_step(f"tune=1,schedule={name}").schedule == name
        checked += 1
    with capsys.disabled():
        print(f"\n{checked} schedules keep the contract")
    assert checked >= 3


def test_an_unknown_schedule_is_named():
    with pytest.raises(RecipeError, match="no schedule 'cosin'"):
        parse_step("tune=1,schedule=cosin")


def test_a_schedule_is_one_registered_function():
    @SCHEDULES.register("toy")
    def toy(progress):
        """Half the rate after the middle."""
        return 1.0 if progress < 0.5 else 0.5

    try:
        assert learning_rate(80, 100, Settings(lr=0.2, schedule="toy")) == 0.1
    finally:
        SCHEDULES.remove("toy")
