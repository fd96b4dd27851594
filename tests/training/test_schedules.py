"""Schedules: pure functions from 0 (the warm-up is over) to 1 (the last step is done) to a share of the rate."""

import math

import pytest

from mignon.errors import RecipeError
from mignon.registry import SCHEDULES
from mignon.steps import parse_step
from mignon.training.loop import learning_rate
from mignon.training.schedule import oscillating
from mignon.training.settings import Settings


def test_every_schedule_keeps_the_contract(capsys):
    checked = 0
    for name in SCHEDULES:
        rates = [SCHEDULES[name](i / 100, 30) for i in range(101)]
        assert rates == [SCHEDULES[name](i / 100, 30) for i in range(101)], name
        assert max(rates) == 1 and all(0 <= rate <= 1 for rate in rates), name
        assert SCHEDULES[name].__doc__, name
        settings = Settings(epochs=1, lr=0.5, warmup=0.1, schedule=name)
        assert max(learning_rate(i, 100, settings) for i in range(100)) == pytest.approx(0.5)
        assert [learning_rate(i, 100, settings) for i in range(10)] == pytest.approx(
            [0.05 * (i + 1) for i in range(10)]
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
    def toy(progress, epochs):
        """Half the rate after the middle."""
        return 1.0 if progress < 0.5 else 0.5

    try:
        assert learning_rate(80, 100, Settings(lr=0.2, schedule="toy")) == 0.1
    finally:
        SCHEDULES.remove("toy")


PRINTED = (  # by system 003, for epochs 1 to 10
    0.001, 0.000905463412215599, 0.000657963412215599, 0.0003520365877844011, 0.00010453658778440106,
    1e-05, 0.00010453658778440102, 0.0003520365877844012, 0.0006579634122155993, 0.0009054634122155996,
)  # fmt: skip


def rates_of_epochs(schedule, epochs, lr, steps=7):
    settings = Settings(epochs=epochs, lr=lr, warmup=0.0, schedule=schedule)
    rates = [learning_rate(i, epochs * steps, settings) for i in range(epochs * steps)]
    assert all(len(set(rates[e * steps : (e + 1) * steps])) == 1 for e in range(epochs)), "stepped once an epoch"
    return rates[::steps]


def test_the_oscillating_cosine_has_the_table_of_system_003():
    rates = rates_of_epochs("oscillating-cosine", 90, 1e-3)
    assert rates[:10] == pytest.approx(PRINTED, rel=0, abs=1e-15)
    assert rates[10] == pytest.approx(1e-3, abs=1e-15)
    late = {71: 1e-4, 72: 9.05463412215599e-05, 73: 6.57963412215599e-05, 76: 1e-6, 81: 1e-4}
    assert [rates[epoch - 1] for epoch in late] == pytest.approx([*late.values()], rel=0, abs=1e-15)
    assert 1e-3 * oscillating(1, 1e-3) == pytest.approx(0.0009046039886902864, abs=1e-15)
    assert 1e-3 * oscillating(4, 1e-3) == pytest.approx(9.639601130971379e-05, abs=1e-15)


def test_the_oscillating_cosine_is_pytorchs_recursion():
    rate, eta, half = 1e-3, 1e-5, 5
    for t in range(1, 70):
        if (t - 1 - half) % (2 * half) == 0:
            rate += (1e-3 - eta) * (1 - math.cos(math.pi / half)) / 2
        else:
            rate = eta + (rate - eta) * (1 + math.cos(math.pi * t / half)) / (1 + math.cos(math.pi * (t - 1) / half))
        assert 1e-3 * oscillating(t, 0.01) == pytest.approx(rate, rel=0, abs=1e-15)


def test_other_schedules_change_where_they_say():
    assert rates_of_epochs("exponential", 20, 1.0) == pytest.approx([0.98**e for e in range(20)])
    assert rates_of_epochs("step", 8, 1.0) == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    cycle = [SCHEDULES["one-cycle"](p, 10) for p in (0, 0.15, 0.3, 0.65, 1)]
    assert cycle == pytest.approx([0.04, 0.52, 1, 0.5, 0])
