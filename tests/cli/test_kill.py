"""SIGKILL, Ctrl-C, an old checkpoint, two processes in one folder: nothing is lost, and the same bits come out."""

import shutil
import signal
import subprocess
import time

import bench_kills as kills
import pytest
import torch
from safetensors.torch import load_file

from mignon.cli.start import run
from mignon.runs import find_run


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return kills.Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize("verb", ["train", "compress"])
def test_a_killed_command_is_repeated_and_ends_with_the_same_bytes(verb, bench, capsys):
    with capsys.disabled():
        print()
        assert kills.kills(bench, verb, 2) == []


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "compress"])
def test_twenty_kills(verb, bench, capsys):
    with capsys.disabled():
        print()
        assert kills.kills(bench, verb, 20, seed=1) == []


def test_ctrl_c_and_resume_give_the_weights_of_an_uninterrupted_run(bench, tmp_path):
    out = tmp_path / "run"
    process = bench.start(bench.command("train", out))
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("epoch 2/"):
            process.send_signal(signal.SIGINT)
            break
    _, rest = process.communicate()
    lines = rest.splitlines()
    assert process.returncode == 130, rest
    assert lines[-1].startswith("mignon: interrupted"), rest
    assert sum(not line.startswith("epoch ") for line in lines) == 1, rest
    assert (out / "checkpoint.safetensors").exists() and not (out / "model.mgn").exists()
    assert list(kills.broken_files(out)) == []
    done = subprocess.run(
        [kills.PROGRAM, "train", "--resume", out], env=bench.env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "continuing at epoch" in done.stderr
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (out, bench.neighbor))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)
    assert (out / "model.mgn").read_bytes() == (bench.neighbor / "model.mgn").read_bytes()


def test_a_killed_recipe_goes_on_at_its_step(bench, tmp_path):
    expected, _ = bench.whole("compress")
    out = tmp_path / "run"
    process = bench.start(bench.command("compress", out))
    while not list(out.glob("steps/*/checkpoint.safetensors")) and process.poll() is None:
        time.sleep(0.002)  # until `tune`, the second step, has finished an epoch
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    (first,) = out.glob("steps/*.safetensors")
    before = first.stat().st_mtime_ns
    again = bench.start(bench.command("compress", out))
    _, text = again.communicate()
    assert again.returncode == 0, text
    assert first.stat().st_mtime_ns == before
    assert "step prune" not in text and "continuing at epoch" in text and "epoch 1/3" not in text
    assert (out / "model.mgn").read_bytes() == (expected / "model.mgn").read_bytes()


def test_a_command_that_was_killed_at_its_very_beginning_can_be_resumed(bench, tmp_path):
    out = tmp_path / "run"
    process = bench.start(bench.command("train", out))
    kills.wait_for(out / "run.json", process)
    process.kill()
    process.communicate()
    done = subprocess.run(
        [kills.PROGRAM, "train", "--resume", out], env=bench.env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert (out / "model.mgn").read_bytes() == (bench.neighbor / "model.mgn").read_bytes()


def test_an_old_checkpoint_never_replaces_a_finished_model(bench, tmp_path):
    out = tmp_path / "run"
    process = bench.start(bench.command("train", out))
    for line in process.stderr:
        if line.startswith("epoch 3/"):
            break
    process.kill()
    process.communicate()
    old = tmp_path / "old.safetensors"
    shutil.copy(out / "checkpoint.safetensors", old)
    finished = tmp_path / "finished"
    shutil.copytree(bench.neighbor, finished)
    shutil.copy(old, finished / "checkpoint.safetensors")
    before = {n: (finished / n).read_bytes() for n in ("model.safetensors", "model.mgn", "ledger.jsonl")}
    done = subprocess.run(bench.command("train", finished), env=bench.env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert before == {n: (finished / n).read_bytes() for n in before}


def test_a_second_process_in_the_same_folder_is_refused(bench, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(bench.neighbor, out)
    before = kills.contents(out)
    first = find_run(out)
    first.take_lock()
    for command in (bench.command("train", out), [str(kills.PROGRAM), "rm", str(out)]):
        done = subprocess.run(command, env=bench.env, capture_output=True, text=True, timeout=120)
        lines = done.stderr.splitlines()
        assert done.returncode == 2 and done.stdout == "", done.stderr
        assert len(lines) == 2 and "another mignon is working in" in lines[0] and "--out" in lines[1]
    assert kills.contents(out) == before
    first.close()
    assert run(["rm", str(out)]) == 0 and not out.exists()
    capsys.readouterr()
