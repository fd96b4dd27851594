"""Kills and Ctrl-C in real processes: nothing is lost, the same command goes on, the bits are those of a whole run."""

import signal
import subprocess
import time

import pytest
from kills import TRAIN, broken_files, environment, kill_both, mignon


@pytest.mark.parametrize("moments", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_command_that_is_repeated_ends_with_the_same_bytes(moments, tmp_path):
    assert kill_both(moments, tmp_path) == []


def test_ctrl_c_and_resume_give_the_bits_of_an_uninterrupted_run(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    long = [*TRAIN[:-1], "60"]
    subprocess.run(mignon([*long, "--out", str(whole)]), check=True, capture_output=True, env=environment())
    process = subprocess.Popen(
        mignon([*long, "--out", str(cut)]), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    )
    while not (cut / "checkpoint.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    assert err.splitlines()[-1].startswith("mignon: interrupted")
    assert broken_files(cut) == [] and not (cut / "model.mgn").exists()
    again = subprocess.run(
        mignon(["train", "--resume", str(cut)]), capture_output=True, text=True, env=environment(), check=True
    )
    assert "continuing at epoch" in again.stderr
    assert (cut / "model.mgn").read_bytes() == (whole / "model.mgn").read_bytes()


def test_two_commands_in_one_folder_do_not_mix(tmp_path):
    command = mignon([*TRAIN[:-1], "60", "--out", str(tmp_path / "run")])
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment())
    while not (tmp_path / "run" / "checkpoint.safetensors").exists():
        assert first.poll() is None
        time.sleep(0.02)
    second = subprocess.run(command, capture_output=True, text=True, env=environment())
    first.kill()
    first.wait()
    assert second.returncode == 2 and "another mignon is working" in second.stderr
