"""What holds the house together: imports point down, help is quick, public things are documented."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mignon"
RANKS = {
    name: rank
    for rank, names in enumerate(
        [
            ("errors",),
            ("registry", "files", "progress", "settings"),
            ("download",),
            ("coding",),
            ("data",),
            ("rules",),
            ("models",),
            ("importing",),
            ("classifier",),
            ("checkpoint",),
            ("mgn", "measure", "runs"),
            ("training",),
            ("steps",),
            ("report", "search"),
            ("jobs",),
            ("cli",),
        ]
    )
    for name in names
}


def room(module: str) -> str:
    return module.split(".")[1]


def imports_of(text: str):
    """Full module names, inside functions too; `from mignon import mgn` is mignon.mgn."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports of this package are absolute"
            if node.module == "mignon":
                yield from (f"mignon.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
            else:
                yield node.module or ""


def test_the_walk_sees_every_form_of_import():
    text = "import a.b\nfrom mignon import mgn, __version__\ndef f():\n    from mignon.jobs.build import build\n"
    assert sorted(imports_of(text)) == ["a.b", "mignon.jobs.build", "mignon.mgn"]


def test_imports_point_down(capsys):
    checked = 0
    for path in sorted(SOURCE.rglob("*.py")):
        if path == SOURCE / "__init__.py":
            continue
        own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        assert own in RANKS, f"{own} has no place among the rooms"
        for module in imports_of(path.read_text()):
            assert module != "mignon", f"{path.name} imports the whole package"
            if module.startswith("mignon."):
                other = room(module)
                assert other == own or RANKS[other] < RANKS[own], f"{path.name} imports {module}, which is above it"
                checked += 1
    with capsys.disabled():
        print(f"\n{checked} imports point down")
    assert checked > 150


@pytest.mark.parametrize(
    "code",
    [
        "import mignon",
        "import mignon.registry, mignon.settings, mignon.files",
        "from mignon.cli.start import run; run(['--help'])",
    ],
)
def test_import_and_help_load_no_torch(code):
    check = f"import sys; {code}; print('loaded', 'torch' in sys.modules, 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("loaded False False\n")


def test_every_public_name_has_a_docstring(capsys):
    checked = 0
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), f"{path} says not what it is"
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.ClassDef)
                or (isinstance(node, ast.FunctionDef) and any(node in getattr(p, "body", []) for p in _holders(tree)))
            ) and not node.name.startswith("_"):
                assert ast.get_docstring(node) or node.name == "run_node", f"{path.name}: {node.name}"
                checked += 1
    with capsys.disabled():
        print(f"\n{checked} public names have a docstring")
    assert checked > 200


def _holders(tree):
    return [tree, *(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))]


def test_public_names_of_the_package_can_be_used():
    import mignon

    for name in mignon.__all__:
        assert getattr(mignon, name) is not None
    with pytest.raises(AttributeError):
        mignon.nothing  # noqa: B018


def test_no_machine_path_and_no_large_file_is_tracked(capsys):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    bad = (
        "/wo" + "rk/",
        "/ro" + "ot/",
        "/ho" + "me/",
        "/Us" + "ers/",
        "pypi" + ".org",
        "python" + "hosted.org",
        "registry" + ".npmjs",
    )
    checked = 0
    for name in filter(None, names):
        data = (ROOT / name).read_bytes()
        assert len(data) < 1_000_000, name
        assert not any(word.encode() in data for word in bad), name
        checked += 1
    with capsys.disabled():
        print(f"\n{checked} tracked files name no machine")
    assert checked > 80


TOYS = ROOT / "tests" / "toys"
ENTRIES = {
    "steps": "ternary_step",
    "models": "mobilenet_v3",
    "sources": "zip_source",
    "schedules": "halves",
    "importers": "arrays_importer",
}
CONTRACTS = [
    "tests/toys/proof.py",
    "tests/models/test_ops.py::test_every_claim_of_every_row_holds",
    "tests/steps/test_steps.py::test_every_step_keeps_the_contract",
    "tests/rules/test_rules.py::test_every_rule_keeps_the_contract",
    "tests/data/test_sources.py::test_every_source_keeps_the_contract",
    "tests/training/test_schedules.py::test_every_schedule_keeps_the_contract",
    "tests/models/test_families.py::test_every_family_keeps_the_contract",
    "tests/importing/test_importers.py::test_every_importer_keeps_the_contract",
]


def test_members_are_added_with_a_file_each_and_every_suite_finds_them(tmp_path, capsys):
    """A package of somebody else: a step and its rule, a family with an operation, a source, a schedule, weights."""
    package, info = tmp_path / "toy_mignon", tmp_path / "toy_mignon-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    for path in TOYS.glob("*.py"):
        if path.name != "proof.py":
            (package / path.name).write_text(path.read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-mignon\nVersion: 1.0\n")
    lines = [f"[mignon.{kind}]\n{name} = toy_mignon.{name}" for kind, name in ENTRIES.items()]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "toys_entry.py").write_text(f"from pathlib import Path\nPACKAGE = Path({str(package)!r})\n")
    paths = os.pathsep.join([str(tmp_path), str(SOURCE.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CONTRACTS]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, "MIGNON_ONLY": "toy_mignon"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    counts = re.findall(r"^(\d+) (operations|steps|rules|sources|schedules|networks|importers) keep", done.stdout, re.M)
    with capsys.disabled():
        print("\nwith the toys: " + ", ".join(f"{count} {what}" for count, what in counts))
    assert len(counts) == 7


ANOTHER_OPTION = {  # file: what stands there, and what instead
    "training/settings.py": (
        "    share: float = ranged(",
        '    nesterov: bool = named(True, "momentum looks ahead")\n    share: float = ranged(',
    ),
    "training/optimizers.py": ("nesterov=settings.momentum > 0", "nesterov=settings.nesterov"),
}
TRY_IT = """
import inspect, json, sys
import mignon
from mignon.cli.start import run
assert mignon.__file__.startswith(sys.argv[1])
assert inspect.signature(mignon.train).parameters["nesterov"].default is True
for name in ("a", "b"):
    words = ["train", "digits-cnn", "--data", "digits", "--epochs", "1", "--out", f"{sys.argv[1]}/{name}"]
    assert run(words + ["--no-nesterov"] * (name == "b")) == 0
recipe = 'steps = ["code=range"]\\n[train]\\nmodel = "digits-cnn"\\nnesterov = false\\n'
open(f"{sys.argv[1]}/recipe.toml", "w").write(recipe)
from mignon.jobs.recipe import read_recipe
assert read_recipe(f"{sys.argv[1]}/recipe.toml").train.nesterov is False
a, b = (json.load(open(f"{sys.argv[1]}/{name}/run.json")) for name in ("a", "b"))
assert "--no-nesterov" in b["command"] and "nesterov" not in a["command"]
assert a["history"][0]["train_loss"] != b["history"][0]["train_loss"]
"""


def test_one_more_training_option_touches_two_files(tmp_path):
    """Flag, Python function, recipe, record and repeat line have it at once."""
    shutil.copytree(SOURCE, tmp_path / "mignon")
    for name, (old, new) in ANOTHER_OPTION.items():
        text = (tmp_path / "mignon" / name).read_text()
        assert text.count(old) == 1
        (tmp_path / "mignon" / name).write_text(text.replace(old, new))
    done = subprocess.run(
        [sys.executable, "-c", TRY_IT, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    shown = subprocess.run(
        [sys.executable, "-c", "from mignon.cli.start import run; run(['train', '--help'])"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"}, check=True,
    )  # fmt: skip
    assert "--nesterov" in shown.stdout and "Momentum looks ahead" in shown.stdout
