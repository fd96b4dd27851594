"""The analysis: figures checked by hand, read from the run folder alone, drawn where there is something to show."""

import json
import re
import shutil
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

import mignon
from mignon.cli.start import run
from mignon.coding import Layout
from mignon.files import write_json
from mignon.models.weights import set_rule, weight_rule
from mignon.registry import RULES, STEPS
from mignon.report.analysis import BARS, BINS, analyze, correlation, drift, histograms, scales, uses
from mignon.report.analysis_pictures import draw
from mignon.report.page import write_report
from mignon.rules import Rule, example_weight
from mignon.runs import find_run
from mignon.steps import Step

TITLES = ["Epochs of the steps", "Density by layer", "Scales", "Correlation of kernels", "Weights by layer"]


class Levels(Rule):
    """weight = (index - 2) / 4 for indices 0 to 4, or (index - 300) / 400 for 0 to 600 in two bytes: as sharing has."""

    @classmethod
    def examples(cls):
        rule = cls({"rule": "toy-levels", "wide": False}, (4, 3))
        rule.fit(example_weight(4, 3))
        return [rule]

    @classmethod
    def layouts(cls, spec, shape):
        if spec["wide"]:
            return {"index0": Layout(shape, "bytes"), "index1": Layout(shape, "bytes")}
        return {"index": Layout(shape, "weights")}

    def fit(self, latent):
        if self.spec["wide"]:
            index = (latent * 400 + 300).round().clamp(0, 600).int()
            self.index0.copy_(index & 255)
            self.index1.copy_(index >> 8)
        else:
            self.index.copy_((latent * 4 + 2).round().clamp(0, 4))

    def value(self):
        if self.spec["wide"]:
            return (self.index0 + 256 * self.index1 - 300) / 400
        return (self.index - 2) / 4


@dataclass(frozen=True)
class ToLevels(Step):
    """`levels=1`: every 3x3 convolution to levels of its weights times the factor."""

    factor: float
    wide: bool = False

    summary = "a toy: levels=1"
    version = 1
    examples = ("levels=1",)
    leaves = ("whole weights",)

    def apply(self, classifier, context):
        result = classifier.copy()
        for name, module in result.weighted().items():
            if module.weight.dim() == 4:
                latent = self.factor * result.weights()[name]
                rule = Levels({"rule": "toy-levels", "wide": self.wide}, tuple(latent.shape))
                rule.fit(latent)
                set_rule(module, rule, latent)
        return result


@pytest.fixture(scope="module")
def toys():
    STEPS.register("levels")(ToLevels)
    RULES.register("toy-levels")(Levels)
    yield
    STEPS.remove("levels")
    RULES.remove("toy-levels")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return mignon.train("digits-cnn", data="digits", epochs=2, out=tmp_path_factory.mktemp("model") / "run").run


@pytest.fixture(scope="module")
def small(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("small") / "run"
    recipe = ["prune=0.5", "tune=2,share=0.2", "quant=w4a8", "tune=3,share=0.2"]
    return mignon.compress(model, *recipe, data="digits", out=out).run


def test_correlation_of_kernels_by_hand():
    ramp, other, flat = torch.arange(9.0), torch.tensor([1.0, 0, -1, 2, 0, -2, 1, 0, -1]), torch.full((9,), 4.0)
    first = torch.stack([ramp, flat]).reshape(1, 2, 3, 3)
    second = torch.stack([-2 * ramp + 0.5, other, flat]).reshape(3, 1, 3, 3)
    third = torch.stack([3 * other - 1]).reshape(1, 1, 3, 3)
    weights = {"a": first, "skip": torch.ones(4, 4, 1, 1), "b": second, "7": third}
    table = correlation(weights)
    assert table.rows == ["b", "layer 7"] and table.columns == ["a", "b"]
    between = abs(float(np.corrcoef(ramp, other)[0, 1]))
    expected = [[(1 + between + 0) / 3, np.nan], [between, 1]]
    np.testing.assert_allclose(table.values, expected, atol=1e-12)
    assert not correlation({"a": first})


def test_uses_count_every_index_and_add_up_neighbors():
    table = uses({"a": np.array([[0, 0, 3]]), "b": np.array([1, 1, 1, -1])})
    assert table.columns == ["-1", "0", "1", "2", "3"]
    assert table.values.tolist() == [[0, 2, 0, 0, 1], [1, 0, 3, 0, 0]]
    wide = uses({"a": np.arange(200)})
    assert wide.columns[0] == "0 to 3" and wide.columns[-1] == "196 to 199"
    assert wide.values.sum() == 200 and not uses({})


def test_drift_is_the_share_of_indices_that_changed():
    a, b, c = np.array([0, 1, 2, 3]), np.array([0, 1, 2, 0]), np.array([1, 2])
    table = drift([("share", {"x": a}), ("tune=1", {"x": b, "y": c}), ("tune=2", {"x": b, "y": c[::-1]}), ("code", {})])
    assert table.columns == ["tune=1", "tune=2"] and table.rows == ["x", "y"]
    np.testing.assert_array_equal(table.values, [[0.25, 0], [np.nan, 1]])
    assert not drift([("tune=1", {"x": a})]) and not drift([("share", {"x": a}), ("tune=1", {"x": a})])


def test_histograms_share_their_edges_and_hold_every_weight():
    before = {"a": torch.linspace(-1, 1, 101), "b": torch.zeros(3)}
    after = {"a": torch.tensor([0.0, 0.0, 2.0]), "b": torch.zeros(5)}
    first, second = histograms(before, after)
    assert first.before.sum() == pytest.approx(1) and first.after.sum() == pytest.approx(1)
    middle = len(first.after) // 2
    assert first.after[middle] == pytest.approx(2 / 3) and first.edges[middle] < 0 < first.edges[middle + 1]
    assert second.after[middle] == 1
    many = histograms({}, {f"l{i}": torch.ones(i + 1) for i in range(50)})
    assert len(many) == BARS and many[0].name == "l20" and many[0].before is None


def test_everything_is_read_from_the_run_folder(small, model, tmp_path, monkeypatch):
    moved = tmp_path / "elsewhere"
    shutil.copytree(small, moved)
    found = analyze(find_run(moved))
    decoded = mignon.load(moved / "model.mgn")
    nonzeros = [float((m.weight != 0).float().mean()) for m in decoded.weighted().values()]
    assert [share for _, share in found.density] == pytest.approx(nonzeros)
    assert [stage.name for stage in found.stages] == ["tune=2,share=0.2", "tune=3,share=0.2"]
    assert [entry["epoch"] for stage in found.stages for entry in stage.history] == [1, 2, 1, 2, 3]
    assert len(found.scales) == sum(len(m.weight) for m in decoded.weighted().values())
    np.testing.assert_array_equal(found.scales, scales(decoded))
    assert [h.name for h in found.weights] == ["layer 0", "layer 3", "layer 7", "layer 11"]
    middle = BINS // 2
    assert all(h.before is not None and h.after[middle] > h.before[middle] for h in found.weights)
    assert not found.uses and not found.drift
    assert [picture.title for picture in draw(found, 0)] == TITLES


def test_a_rule_with_an_index_shows_its_use_and_its_drift(toys, model, tmp_path):
    recipe = ["levels=1", "tune=3,lr=0.1", "levels=0.01"]
    result = mignon.compress(model, *recipe, data="digits", out=tmp_path / "r")
    found = analyze(find_run(result.run))
    assert found.uses.columns == ["0", "1", "2"], "weights that were made small have index 2 only"
    assert found.uses.values[:, :2].sum() == 0 and found.uses.values.sum() > 1000
    assert found.drift.columns == ["tune=3,lr=0.1", "levels=0.01"]
    assert found.drift.rows == ["layer 0", "layer 3", "layer 7"]
    assert (found.drift.values > 0).all() and (found.drift.values < 1).all()
    titles = [picture.title for picture in draw(found, 0)]
    assert "Use of references" in titles and "Drift of the indices" in titles and "Scales" not in titles


def test_an_index_in_bytes_is_put_together(toys, model, tmp_path):
    result = mignon.compress(model, "levels=1,wide=true", data="digits", out=tmp_path / "r")
    found = analyze(find_run(result.run)).uses
    rule = weight_rule(mignon.load(result.file).weighted()["3"])
    index = (rule.index0 + 256 * rule.index1).numpy().ravel()
    assert index.max() > 255 > index.min()
    width = int(found.columns[0].split(" to ")[1]) + 1
    counts = np.bincount(index // width, minlength=len(found.columns))
    np.testing.assert_array_equal(found.values[found.rows.index("layer 3")], counts)


def test_rounds_of_a_step_come_in_their_order(small, tmp_path):
    folder = tmp_path / "r"
    shutil.copytree(small, folder)
    (history,) = [p for p in folder.glob("steps/*/history.json") if len(json.loads(p.read_bytes())) == 2]
    for number in (10, 9):
        write_json(history.parent / f"round-{number}" / "history.json", [{"epoch": 1, "validation_top1": number / 100}])
    write_json(history.parent / "round-11" / "history.json", "not a history")
    names = [stage.name for stage in analyze(find_run(folder)).stages]
    assert names == [
        "tune=2,share=0.2", "tune=2,share=0.2 round-9", "tune=2,share=0.2 round-10", "tune=3,share=0.2"
    ]  # fmt: skip


def test_a_run_that_is_not_finished_or_damaged_shows_what_there_is(small, tmp_path):
    folder = tmp_path / "r"
    shutil.copytree(small, folder)
    (folder / "model.mgn").unlink()
    (folder / "model.safetensors").write_bytes(b"no")
    next(iter(folder.glob("steps/*.safetensors"))).write_bytes(b"no")
    found = analyze(find_run(folder))
    assert found.stages and not found.weights and not found.correlation and not found.density
    shutil.rmtree(folder / "steps")
    write_report([find_run(folder)], folder / "report.html", analysis=True)
    assert "Nothing to analyze yet" in (folder / "report.html").read_text()


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_the_command_writes_the_pictures_into_the_page_and_nothing_is_loaded(small, model, tmp_path, capsys):
    path = tmp_path / "page.html"
    assert run(["report", small, model, "--analysis", "--out", str(path)]) == 0
    capsys.readouterr()
    page, markdown = path.read_text(), path.with_suffix(".md").read_text()
    for title in TITLES:
        assert f"<h3>{title}</h3>" in page
    assert page.count("<h3>Correlation of kernels</h3>") == 2 and page.count("<h3>Scales</h3>") == 1
    assert "## Density by layer" in markdown and "| layer 3 |" in markdown
    tags = Tags(page).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) | set(re.findall(r'href="#([^"]+)"', page)) == set(ids)
    for _, attributes in tags:
        for key, value in attributes.items():
            assert key not in ("src", "href", "xlink:href", "srcset") or value.startswith(("data:", "#"))
    assert "<script" not in page and not re.search(r"https?://|@import", page)
    assert run(["report", small, "--out", str(path)]) == 0
    capsys.readouterr()
    assert TITLES[3] not in path.read_text()
