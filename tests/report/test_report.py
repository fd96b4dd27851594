"""The report is written from run folders alone, loads nothing, and shows names from outside as text."""

import json
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from mignon.report.page import write_report
from mignon.runs import Run
from mignon.runs.record import read_record

SCRIPT = "<script>alert(1)</script>"
HOSTILE_FILE = 'x&"<b>/`|.png'
VERDICT = "model.mgn: 1,500 bytes, 10.0x smaller than float32; 90.5 % of the 200 test images right"


class Tags(HTMLParser):
    """Every tag with its attributes, the text, and whether each tag that must be closed is."""

    VOID = frozenset(("meta", "link", "br", "img", "wbr"))

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def row(step="float", **changes):
    values = {
        "step": step, "split": "test", "images": 200, "top1": 0.91, "top1_low": 0.8623, "top1_high": 0.9422,
        "top5": 1.0, "top1_change": 0.0, "lost": 0, "gained": 0, "p_value": 1.0, "within_noise": True, "kl": 0.0,
        "size_bytes": 15000, "ratio": 1.0, "parameters": 3750, "nonzeros": 3741, "macs": 115360,
        "peak_activation_bytes": 6144, "balanced_accuracy": 0.9087, "worst_class": "cat",
        "worst_class_change": 0.0, "roc_auc": None, "threshold": None, "seconds": 0.0, "cpu_seconds": 0.0,
    }  # fmt: skip
    return values | changes


FINAL = row(
    "quant=w4a8", top1=0.905, top1_change=-0.005, lost=13, gained=12, p_value=0.845, kl=0.0321, size_bytes=1500,
    ratio=10.0, nonzeros=3187, worst_class_change=-0.0667, balanced_accuracy=0.9043, seconds=4.25,
)  # fmt: skip


def info(classes=("cat", "dog", "eel"), **changes):
    values = {
        "verb": "compress", "title": "pets", "key": "0123456789ab", "status": "done", "started": "2030-01-02 03:04:05",
        "settings": {"data": "feedbeef", "seed": 7}, "versions": {"mignon": "0.1.0", "torch": "2.6"},
        "command": "mignon compress pets.safetensors quant=w4a8 --seed 7", "verdict": VERDICT,
        "bytes": [["magic, version", 5], ["conv1.weight q", 1200], ["conv1.bias q", 90], ["head.weight q", 205]],
        "classes": list(classes), "confusion": np.diag([5, 6, 7]).tolist(), "final": FINAL,
        "flip_names": ["a/1.png", HOSTILE_FILE],
        "card": {"source": "pets", "images": 900, "counts": {"train": 500, "test": 200}, "hash": "feedbeef"},
    }  # fmt: skip
    return values | changes


def make(folder, values, rows=(), channels=3):
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(values))
    if rows:
        lines = [json.dumps({"key": str(i), "row": r}) + "\n" for i, r in enumerate(rows)]
        (folder / "ledger.jsonl").write_text("".join(lines))
    if "flip_names" in values:
        images = np.random.default_rng(0).integers(0, 255, (2, 8, 9, channels), dtype=np.uint8)
        answers = {"labels": [0, 1], "before": [0, 2], "after": [2, 1]}
        np.savez_compressed(folder / "flips.npz", images=images, **{k: np.array(v) for k, v in answers.items()})
    return Run(folder, read_record(folder / "run.json"))


def written(tmp_path, *runs):
    path = tmp_path / "report.html"
    write_report(list(runs), path)
    page = path.read_text("utf-8")
    tags = Tags(page)
    assert not tags.open
    return page, tags, path.with_suffix(".md").read_text("utf-8")


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "pets", info(), [row(), FINAL])


def test_page_has_the_verdict_and_the_figures_of_each_row(tmp_path, run):
    page, tags, _ = written(tmp_path, run)
    assert VERDICT in tags.text
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    final = ["1,500", "10.0×", "90.50", "86.2–94.2", "−0.50", "0.84", "0.0321", "3,187", "90.43", "−6.7", "4.2"]
    cost = ["115,360", "6,144"]
    for figure in [
        "15,000",
        "91.00",
        "3,741",
        "90.87",
        *final,
        *cost,
        "13 lost, 12 gained",
        "within noise",
        "none flipped",
    ]:
        assert any(figure in cell for cell in cells), figure
    assert page.index(">float<") < page.index(">quant=w4a8<")


def test_sections_come_in_order_and_the_line_that_repeats_it_is_last(tmp_path, run):
    page, tags, _ = written(tmp_path, run)
    names = ["Ledger", "Accuracy against bytes", "Bytes by layer", "Confusion", "Flipped images", "Data", "Provenance"]
    places = [page.index(f"<h2>{name}") for name in names]
    assert places == sorted(places)
    assert run.record.command in tags.text[tags.text.index("Provenance") :]
    for fact in ("feedbeef", "2030-01-02 03:04:05", "torch 2.6", "0123456789ab"):
        assert fact in tags.text


def test_bytes_by_layer_adds_the_parts_of_a_layer_and_all_parts_add_up(tmp_path, run):
    _, tags, markdown = written(tmp_path, run)
    assert "1,290" in tags.text and "1,500 bytes in all" in tags.text
    assert "| conv1 | 1,290 |" in markdown


def test_very_many_layers_become_the_largest_and_a_rest(tmp_path):
    parts = [[f"l{i}.weight q", 100 + i] for i in range(50)]
    _, tags, markdown = written(tmp_path, make(tmp_path / "deep", info(bytes=parts), [row()]))
    assert "rest (21 parts)" in tags.text
    assert f"| rest (21 parts) | {sum(size for _, size in parts[:21]):,} |" in markdown


@pytest.mark.parametrize("kept", [(), ("title", "status", "settings", "versions"), ("classes", "bytes")])
def test_a_run_that_is_not_finished_is_shown_as_far_as_it_is(tmp_path, kept):
    values = {key: value for key, value in info(status="training").items() if key in ("verb", "key", *kept)}
    _, tags, markdown = written(tmp_path, make(tmp_path / "early", values))
    assert "not finished" in tags.text and "Nothing is measured yet" in tags.text
    assert "not finished" in markdown


def test_rows_of_an_unfinished_run_are_there(tmp_path):
    values = {"verb": "compress", "title": "pets", "key": "k", "settings": {}, "status": "running"}
    _, tags, _ = written(tmp_path, make(tmp_path / "half", values, [{"step": "float", "split": "validation"}, row()]))
    assert "15,000" in tags.text


def test_a_broken_file_of_flips_does_not_stop_the_page(tmp_path, run):
    (run.folder / "flips.npz").write_bytes(b"PK\x03\x04 nothing")
    _, tags, _ = written(tmp_path, run)
    assert "Flipped images" not in tags.text


def test_names_from_outside_are_shown_as_text_everywhere(tmp_path):
    names = (SCRIPT, '"><img src=x onerror=alert(2)>', "$\\frac{$ 犬 \x07")
    values = info(
        names,
        title=SCRIPT,
        verdict=SCRIPT,
        command=f"mignon '{SCRIPT}' ```",
        bytes=[[f"{SCRIPT}.weight q", 10]],
        card={"source": SCRIPT, "bad": [[HOSTILE_FILE, "no image"]], "notes": [SCRIPT]},
    )
    rows = [row(worst_class=SCRIPT), row(SCRIPT, split=SCRIPT)]
    page, tags, markdown = written(tmp_path, make(tmp_path / "pets", values, rows))
    assert (
        "<script" not in page.lower()
        and "<img src=x" not in page
        and "<script" not in markdown.replace(values["command"], "")
    )
    assert {name for name, _ in tags.tags if name in ("script", "b", "iframe")} == set()
    assert not [key for _, attributes in tags.tags for key in attributes if key.startswith("on")]
    images = [attributes for name, attributes in tags.tags if name == "img"]
    assert [image["alt"] for image in images] == ["a/1.png", HOSTILE_FILE]
    assert SCRIPT in tags.text and HOSTILE_FILE in tags.text
    svg = "".join(re.findall(r"<svg.*?</svg>", page, re.S))
    assert "<script>" in unescape(svg) and "犬" in svg and "\x07" not in svg


def test_the_page_loads_nothing_from_outside_itself(tmp_path):
    history = [{"epoch": 1, "lr": 0.1, "train_loss": 1.0}, {"epoch": 2, "lr": 0.0, "train_loss": None}]
    run = make(tmp_path / "pets", info(history=history, best_epoch=2), [row(), FINAL])
    page, tags, _ = written(tmp_path, run)
    assert sum(name == "svg" for name, _ in tags.tags) == 6
    for _, attributes in tags.tags:
        for key, value in attributes.items():
            if key in ("src", "href", "xlink:href", "srcset", "action", "data"):
                assert value.startswith(("data:", "#")), value
            assert not re.search(r"url\((?!#)", value or "")
    assert not re.search(r"https?://|@import|<!DOCTYPE svg|<\?xml|<metadata", page)
    assert page.lower().count("<!doctype") == 1


def test_ids_are_unique_and_every_reference_inside_the_page_has_its_target(tmp_path, run):
    other = make(tmp_path / "pets2", info(), [row(), FINAL])
    page, tags, _ = written(tmp_path, run, other)
    ids = [attributes["id"] for _, attributes in tags.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r"url\(#([^)]+)\)", page)) | set(re.findall(r'href="#([^"]+)"', page)) == set(ids)


@pytest.mark.parametrize("channels", [1, 3])
def test_flipped_images_stand_in_the_page_as_pngs(tmp_path, channels):
    run = make(tmp_path / "pets", info(), [row()], channels)
    _, tags, _ = written(tmp_path, run)
    images = [attributes for name, attributes in tags.tags if name == "img"]
    assert len(images) == 2
    assert all(image["src"].startswith("data:image/png;base64,iVBOR") for image in images)
    assert "lost, true: cat" in tags.text and "gained, true: dog" in tags.text


def test_markdown_has_the_same_table(tmp_path, run):
    _, _, markdown = written(tmp_path, run)
    lines = [line for line in markdown.splitlines() if line.startswith("| quant=w4a8")]
    assert len(lines) == 1
    for figure in ("1,500 (10.0×)", "90.50 (86.2–94.2)", "−0.50 (13 lost, 12 gained)", "0.84 (within noise)"):
        assert figure in lines[0]
    assert VERDICT in markdown and run.record.command in markdown
    assert 'x&amp;"&lt;b&gt;/\\`\\|.png' in markdown


def test_several_runs_have_a_ledger_each_and_share_one_picture(tmp_path, run):
    points = [{"recipe": "quant=w8a8", "size_bytes": 3000, "top1": 0.9, "chosen": True}]
    other = make(tmp_path / "birds", info(title="birds", points=points), [row(split="validation"), FINAL])
    page, tags, markdown = written(tmp_path, run, other)
    assert page.count('class="ledger"') == 2
    assert page.count("Accuracy against bytes</h2>") == 1
    assert "pets, test" in tags.text and "birds, chosen on validation" in tags.text
    assert "## Ledger: pets" in markdown and "## Ledger: birds" in markdown


def test_two_classes_show_the_area_under_the_curve(tmp_path):
    run = make(tmp_path / "pets", info(), [row(roc_auc=0.98765)])
    _, tags, markdown = written(tmp_path, run)
    assert "ROC AUC" in tags.text and "0.9877" in tags.text and "0.9877" in markdown


def test_more_than_forty_classes_list_the_most_frequent_confusions(tmp_path):
    confusion = np.eye(41, dtype=int)
    confusion[3, 5] = 17
    values = info([f"c{i}" for i in range(41)], confusion=confusion.tolist())
    page, _, markdown = written(tmp_path, make(tmp_path / "pets", values, [row()]))
    assert re.search(r">c3</td><td>c5</td><td>17</td>", page)
    assert "| c3 | c5 | 17 |" in markdown


def test_the_same_run_gives_the_same_page(tmp_path, run):
    assert written(tmp_path, run)[0] == written(tmp_path, run)[0]
