"""Several rates or seeds in one command: the rate is chosen on validation, seeds end in median and range."""

import json

import pytest

import mignon
from mignon.cli.start import run
from mignon.errors import MignonError
from mignon.runs import find_run
from mignon.training.rates import best_rate


def test_rates_are_compared_on_validation(tmp_path, capsys):
    command = ["train", "digits-cnn", "--data", "digits", "--epochs", "2", "--lr", "1e-6,0.2", "--out", str(tmp_path)]
    assert run([*command, "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["run"] == str(tmp_path / "lr-0.2-seed-0") and "lr 0.2, best of 2 on validation" in told["verdict"]
    assert "lr 1e-06: validation" in captured.err and len(told["rows"]) == 1
    record = find_run(tmp_path / "lr-0.2-seed-0").record
    assert record.request["lr"] == "0.2" and "seeds" not in record.request


def test_seeds_end_in_median_and_range(tmp_path):
    result = mignon.train("digits-cnn", data="digits", epochs=1, seeds=3, seed=5, out=tmp_path)
    assert [row["step"] for row in result.rows] == ["seed 5", "seed 6", "seed 7"]
    assert "median" in result.verdict and "3 seeds" in result.verdict
    again = mignon.train("digits-cnn", data="digits", epochs=1, seed=6, out=tmp_path / "seed-6")
    assert again.rows[0]["top1"] == result.rows[1]["top1"]


@pytest.mark.parametrize("text", ["fast", "0.1,", "0.1;0.2", "-1", "0.1,20"])
def test_rates_that_are_none_are_refused(text):
    with pytest.raises(MignonError, match="--lr"):
        mignon.train("digits-cnn", data="digits", lr=text)


def test_a_rate_is_found_by_growing_it_and_stands_in_the_report(tmp_path, capsys):
    command = [
        "train",
        "digits-cnn",
        "--data",
        "digits",
        "--epochs",
        "2",
        "--lr",
        "auto",
        "--out",
        str(tmp_path / "run"),
    ]
    assert run(command) == 0
    told = capsys.readouterr()
    assert "steps of growing rates" in told.err
    record = find_run(tmp_path / "run").record
    rates = [rate for rate, _ in record.rates]
    assert rates == sorted(rates) and 20 < len(rates) <= 112
    assert record.history[0]["lr"] > 0.001 and record.history[-1]["validation_top1"] > 0.5
    assert "loss of the range test" in (tmp_path / "run" / "report.html").read_text()
    assert run(command) == 0
    assert find_run(tmp_path / "run").record.rates == record.rates


def test_no_rate_is_made_up_where_the_loss_does_not_fall():
    with pytest.raises(MignonError, match="no rate"):
        best_rate([(0.001, 1.0), (0.01, 1.0), (0.1, 3.0)])
    assert best_rate([(0.001, 2.0), (0.1, 1.0), (1.0, 3.0)]) == 0.01
