"""The verbs end to end on the digits: what they give back, what they keep, what they never do twice."""

import json
from pathlib import Path

import pytest

import mignon
from mignon.cli.start import run
from mignon.data.cache import open_images
from mignon.data.look import neutral_spec
from mignon.jobs.result import verdict
from mignon.search.limits import Limits, choose

ROW_KEYS = {
    "step", "split", "images", "top1", "top1_low", "top1_high", "top5", "top1_change", "lost", "gained", "p_value",
    "within_noise", "kl", "size_bytes", "ratio", "parameters", "nonzeros", "macs", "peak_activation_bytes",
    "balanced_accuracy", "seconds", "cpu_seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "run"
    return mignon.build("digits", max_kib=3, epochs=12, out=out)


def test_build_gives_the_document_of_the_design(built):
    document = built.to_json()
    assert list(document) == ["run", "file", "verdict", "limit_met", "rows", "warnings"]
    assert all(set(row) >= ROW_KEYS for row in document["rows"])
    assert Path(document["run"]).is_absolute() and Path(document["file"]).is_absolute()
    json.dumps(document, allow_nan=False)


def test_the_last_row_is_what_the_file_measures_on_test(built):
    row = built.rows[-1]
    assert row["split"] == "test" and row["images"] == 450
    assert Path(built.file).stat().st_size == row["size_bytes"] <= 3 * 1024
    again = mignon.evaluate(built.file, data="digits").rows[0]
    assert again["top1"] == row["top1"] and again["size_bytes"] == row["size_bytes"]
    images = open_images("digits", neutral_spec(8, 1))
    assert built.verdict == verdict("model.mgn", row, images)


def test_every_choice_is_made_on_validation(built):
    ladder = [row for row in built.rows if row["split"] == "validation"]
    assert len(ladder) == 6 and sum(row["split"] == "test" for row in built.rows) == 2
    index, met = choose(ladder[1:], Limits(3), 0.2)
    assert met and ladder[1 + index]["step"] == built.rows[-1]["step"] == built.best


def test_a_repeated_build_computes_nothing_again(built, monkeypatch):
    import mignon.steps.tune as tune
    import mignon.training.loop as loop

    def fail(*args, **kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr(loop, "fit", fail)
    monkeypatch.setattr(tune, "fit", fail)
    monkeypatch.setattr("mignon.jobs.train.fit", fail)
    monkeypatch.setattr("mignon.jobs.pipeline.all_logits", fail)
    again = mignon.build("digits", max_kib=3, epochs=12, out=built.run)
    assert again.rows == built.rows and again.verdict == built.verdict


def test_a_useless_file_misses_every_limit_and_says_so(tmp_path, capsys):
    from helpers import make_pictures

    folder = make_pictures(tmp_path / "same", {"a": 60, "b": 40, "c": 40}, size=12, spread=0)
    code = run(["build", str(folder), "--max-kib", "64", "--epochs", "1", "--out", str(tmp_path / "run"), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert code == 3 and result["limit_met"] is False
    assert "no better than always answering a (" in result["verdict"]
    compressed = mignon.compress(result["file"], "code=range", data=str(folder), out=tmp_path / "again")
    assert "no better than always answering a (" in compressed.verdict


def test_a_missed_limit_keeps_the_nearest_point_and_says_so(built, capsys):
    code = run(["build", "digits", "--max-kib", "0.2", "--epochs", "2", "--out", built.run + "-tight", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert code == 3 and result["limit_met"] is False
    assert "--max-kib 0.2" in result["verdict"] and Path(result["file"]).exists()
    assert result["rows"][-1]["size_bytes"] == min(r["size_bytes"] for r in result["rows"])


def test_a_missed_drop_names_the_layers_that_suffer_most(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("mignon.jobs.build.ladder", lambda tune: [["quant=w2,round=nearest"]])
    out = str(tmp_path / "missed")
    assert run(["build", "digits", "--max-drop", "0", "--epochs", "3", "--out", out]) == 3
    said = capsys.readouterr()
    assert "the layers that suffer most at 4 bits" in said.err + said.out
    assert "bytes for each bit more" in json.loads((Path(out) / "run.json").read_text())["advice"]


def test_the_layers_of_a_run_are_shown_with_what_few_bits_cost(built, capsys):
    assert run(["show", built.run, "--layers", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)["sensitivity"]
    assert len(table) == 4 and all(r["kl_4_bits"] > r["kl_8_bits"] >= 0 for r in table)
    assert run(["show", built.run, "--layers"]) == 0
    assert "KL at 4 bits" in capsys.readouterr().out
    assert run(["show", built.file, "--layers"]) == 2
    assert "add --data" in capsys.readouterr().err


def test_terms_are_part_of_training(capsys, tmp_path):
    command = ["train", "digits-cnn", "--data", "digits", "--epochs", "1", "--out", str(tmp_path / "t"), "--json"]
    assert run([*command, "--terms", "nuclear:0.1"]) == 0
    assert "--terms nuclear:0.1" in json.loads((tmp_path / "t" / "run.json").read_text())["command"]
    assert run([*command, "--terms", "nuclea:1"]) == 2
    assert "no term" in capsys.readouterr().err


def test_post_training_compression_gives_the_same_bytes_on_one_thread_and_two(built, tmp_path):
    import torch

    files = []
    before = torch.get_num_threads()
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        out = tmp_path / f"{len(files)}"
        model = Path(built.run) / "model.safetensors"
        result = mignon.compress(model, "prune=0.3", "quant=w4a8", "code=range", data="digits", out=out)
        files.append(Path(result.file).read_bytes())
    torch.set_num_threads(before)
    assert files[0] == files[1] == files[2]


def test_a_file_can_be_compressed_and_tuned_again(built, tmp_path):
    model = Path(built.run) / "model.safetensors"
    pruned = mignon.compress(model, "prune=0.5", "quant=w4a8", "code=range", data="digits", out=tmp_path / "pruned")
    tuned = mignon.tune(pruned.file, data="digits", epochs=1, out=tmp_path / "tuned")
    assert tuned.rows[-1]["nonzeros"] <= tuned.rows[0]["nonzeros"] == pruned.rows[-1]["nonzeros"]
    assert tuned.rows[-1]["top1"] > 0.8
    coded = mignon.compress(built.file, "code=huffman", data="digits", out=tmp_path / "coded")
    assert coded.rows[-1]["top1_change"] == 0 and coded.rows[-1]["kl"] == 0


def test_two_classes_get_an_auc_and_a_threshold_from_validation(tmp_path):
    from helpers import make_pictures

    folder = make_pictures(tmp_path / "two", {"dark": 60, "light": 60}, size=12)
    result = mignon.train("digits-cnn", data=str(folder), epochs=3, batch=16, out=tmp_path / "run")
    assert 0 <= result.rows[-1]["roc_auc"] <= 1 and 0 <= result.rows[-1]["threshold"] <= 1


def test_photos_begin_with_given_weights_or_say_how_to_get_them(tmp_path, monkeypatch):
    from helpers import make_pictures

    from mignon.jobs import start
    from mignon.progress import Quiet

    folder = str(make_pictures(tmp_path / "few", {"dark": 20, "light": 20}, size=64))
    asked = (folder, None, None, None, None, 0, None)
    monkeypatch.setattr(start, "installed", lambda name: False)
    screen = Quiet()
    begun = start.start_from(*asked, screen)
    assert begun.given == "" and begun.classifier.family == "resnet20-cifar"
    assert any("pip install" in warning for warning in screen.warnings)
    assert any("--from" in warning for warning in screen.warnings)
    monkeypatch.undo()
    if not start.installed(start.PRETRAINED):
        pytest.skip("the extra `pretrained` is not installed")
    begun = start.start_from(*asked, screen := Quiet())
    assert begun.given == "trunk" and begun.classifier.family == "efficientnet-lite0" and not screen.warnings
    assert begun.classifier.size == (3, 128, 128) and "ImageNet weights" in begun.notes[0]


def test_starting_from_given_weights_trains_nothing(built, tmp_path):
    model = Path(built.run) / "model.safetensors"
    result = mignon.build("digits", start=model, epochs=4, max_kib=3, out=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
    assert result.rows[0]["top1"] == built.rows[0]["top1"]


def test_a_wider_teacher_is_trained_first_and_once(built, tmp_path, capsys):
    from mignon.checkpoint import load_safetensors

    command = ["build", "digits", "--max-kib", "3", "--epochs", "5", "--teacher", "2", "--out", str(tmp_path / "run")]
    assert run([*command, "--json"]) == 0
    said = capsys.readouterr().err
    assert "teacher: digits-cnn" in said and said.count("epoch 2/2") == 1 and said.count("epoch 5/5") == 1
    teacher = load_safetensors(tmp_path / "run" / "teacher" / "model.safetensors")
    assert teacher.options == {"width": 2.0}
    assert "--teacher 2" in json.loads((tmp_path / "run" / "run.json").read_text())["command"]
    assert run(command) == 0 and "epoch 2/2" not in capsys.readouterr().err
    assert run(["build", "digits", "--teacher", "0.5"]) == 2
    assert "--teacher 4" in capsys.readouterr().err


def test_show_knows_networks_and_files(built):
    about = mignon.show("resnet20-cifar", classes=10)
    assert about["parameters"] == 272_474 and about["macs"] == 40_813_184
    assert sum(layer["parameters"] for layer in about["layers"]) == about["parameters"]
    about = mignon.show(built.file, bytes_=True)
    assert sum(part["bytes"] for part in about["parts"]) == about["size_bytes"] == Path(built.file).stat().st_size


def test_show_sets_other_storage_forms_beside_the_file(built, capsys):
    size = Path(built.file).stat().st_size
    assert run(["show", str(built.file), "--bytes", "--as", "all", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert {row["form"] for row in about["forms"]} >= {"dense", "bitmap", "coo", "flat", "gaps", ".mgn"}
    assert about["forms"][-1]["total"] == size == sum(part["bytes"] for part in about["parts"])
    assert run(["show", str(built.file), "--as", "coo"]) == 0
    shown = capsys.readouterr().out
    assert "coo" in shown and f"{size:,}" in shown and "bitmap" not in shown


def test_runs_are_listed_and_removed(built, monkeypatch, tmp_path):
    monkeypatch.setenv("MIGNON_RUNS", str(Path(built.run).parent))
    assert built.run in [entry["run"] for entry in mignon.ls("runs")]
    copy = mignon.compress(built.file, "code=packed", data="digits")
    assert mignon.rm([copy.run]) == [copy.run] and not Path(copy.run).exists()
    assert Path(built.file).exists()
    for what in ("models", "steps", "coders", "sources"):
        assert all(entry["name"] and entry["summary"] for entry in mignon.ls(what))
