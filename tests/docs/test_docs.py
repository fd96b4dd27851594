"""What the docs say is so: pages made from the program are up to date, commands and code run, links lead somewhere."""

import dataclasses
import re
import shlex
import statistics
import subprocess
import tarfile
from pathlib import Path

import make_docs
import pytest
from PIL import Image

from mignon.cli.start import run
from mignon.cli.verbs import app
from mignon.data.cache import open_images
from mignon.data.look import neutral_spec
from mignon.registry import STEPS
from mignon.steps import parse_step

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
NEWEST = [p for p in PAGES if p.name not in ("log.md", "CHANGELOG.md", *make_docs.PAGES)]  # two tell of other days
SLOW = ("photos", "demo", "model.safetensors")  # commands that are only parsed


def blocks(page, kind):
    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / page).read_text(), re.S)


def commands(page):
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("mignon ")]


@pytest.mark.parametrize("name", make_docs.PAGES)
def test_pages_made_from_the_program_are_as_it_is_now(name):
    def words(text):  # lines and frames around them may differ from one version of cyclopts to the next
        return re.sub(r"[\s─│╭╮╰╯]+", " ", text)

    assert words((ROOT / "docs" / name).read_text()) == words(make_docs.page(name)), "type: make docs"


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_commands_in_the_docs_can_be_parsed(page):
    for words in commands(page):
        app.parse_args(words, exit_on_error=False, print_error=False)


def test_the_commands_of_the_guide_run_in_their_order(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIGNON_RUNS", raising=False)
    done = [words for words in commands("docs/guide.md") if not any(slow in " ".join(words) for slow in SLOW)]
    for words in done:
        assert run(words) == 0, words
    assert len(done) >= 8 and (tmp_path / "runs" / "report.html").exists()
    capsys.readouterr()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_in_the_docs_runs(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    digits = open_images("digits", neutral_spec(8, 1)).test
    Image.fromarray(digits.take([0])[0][..., 0]).save("digit.png")
    for block in blocks(page, "python"):
        names: dict = {}
        exec(block, names)
        assert names["classifier"].predict("digit.png")[0]["label"] == "0123456789"[digits.labels[0]]


def test_the_readme_shows_what_the_program_prints_of_the_photos(shared_data, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    with tarfile.open(shared_data / "cats-dogs-1000.tar") as archive:
        archive.extractall(filter="data")
    (tmp_path / "cats-dogs-1000").rename("photos")
    assert run(["data", "photos"]) == 0
    printed = capsys.readouterr().out.splitlines()
    shown = next(block for block in blocks("README.md", "text") if "images of 2 classes" in block)
    assert set(shown.splitlines()) <= set(printed)


@pytest.mark.parametrize("page", NEWEST, ids=lambda page: page.name)
def test_flags_steps_and_scripts_that_a_page_names_exist(page):
    known = {"--help", "--version", "--debug", "--index-url", "--ff-only"}
    for path in ROOT.glob("benchmarks/*.py"):
        known |= set(re.findall(r'"(--[a-z-]+)"', path.read_text()))
    for verb in app:
        if not verb.startswith("-"):
            known |= {name for argument in app[verb].assemble_argument_collection() for name in argument.names}
    text = page.read_text()
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= known
    for name in re.findall(r"benchmarks/(\w+\.py)", text):
        assert (ROOT / "benchmarks" / name).exists(), name
    settings = {field.name for name in STEPS for field in dataclasses.fields(STEPS[name])}
    for words in re.findall(r"`([a-z-]+=[\w.:,=+]+(?: [a-z-]+=[\w.:,=+]+)*)`", text):
        for word in words.split():
            if word.partition("=")[0] in set(STEPS) - settings:
                parse_step(word)


def test_links_lead_to_files_and_headings(capsys):
    checked = 0
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if target.startswith("http"):
                continue
            path, _, heading = target.partition("#")
            place = (page.parent / path) if path else page
            assert place.exists(), f"{page.name}: {target}"
            if heading:
                assert heading in anchors(place), f"{page.name}: {target}"
            checked += 1
    with capsys.disabled():
        print(f"\n{checked} links lead somewhere")
    assert checked > 20


def anchors(page):
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_table_of_the_results_has_its_script_and_every_benchmark_its_table():
    text = (ROOT / "docs" / "results.md").read_text()
    sections = re.split(r"^## ", text, flags=re.M)[1:]
    for section in sections:
        title = section.splitlines()[0]
        assert re.search(r"benchmarks/bench_\w+\.py|pytest ", section.partition("\n|")[0]), title
        assert re.search(r"\d{4}-\d\d-\d\d, commit [0-9a-f]{7}", section), f"{title}: no date and commit"
    for path in ROOT.glob("benchmarks/bench_*.py"):
        assert path.name in text, path.name


def test_make_bench_runs_every_benchmark():
    told = subprocess.run(["make", "-n", "bench"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "benchmarks/bench_*.py" in told
    others = {path.name for path in ROOT.glob("benchmarks/*.py") if not path.name.startswith("bench_")}
    assert others == {"common.py", "make_digits.py", "make_docs.py", "make_picture.py"}


def test_the_readme_has_the_median_and_range_of_the_demo_s_table():
    section = (ROOT / "docs" / "results.md").read_text().partition("## The demo\n")[2].partition("\n## ")[0]
    head, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line
    ]
    native = [dict(zip(head, row)) for row in rows if row[0] == "native" and row[1].isdigit()]
    tops = [float(row["top-1"].removesuffix(" %")) for row in native]
    sizes = sorted((row["bytes"] for row in native), key=lambda size: int(size.replace(",", "")))
    text = " ".join((ROOT / "README.md").read_text().split())
    assert len(native) == 10
    assert f"a median of {statistics.median(tops):.2f} % ({min(tops):.2f} to {max(tops):.2f} %)" in text
    assert f"in {sizes[0]} to {sizes[-1]} bytes" in text
    shown = next(row for row in native if row["seed"] == "3")
    assert f"model.mgn: {shown['bytes']} bytes" in text and f"{float(shown['top-1'][:-2]):.1f} % of the 450" in text


def test_the_guide_s_tree_names_every_room():
    tree = next(block for block in blocks("docs/guide.md", "text") if "src/mignon/" in block)
    for room in (ROOT / "src" / "mignon").iterdir():
        if (room.is_dir() and any(room.glob("*.[pt]*"))) or room.name in ("classifier.py", "checkpoint.py"):
            assert re.search(rf"\b{room.name}\b", tree), room.name
