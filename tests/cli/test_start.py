"""What a start loads: no torch to list or to help, no compiler of torch to read a file; plugins that fail are named."""

import json
import os
import subprocess
import sys

import pytest
from helpers import make_pictures

import mignon

LOADED = "import sys; from mignon.cli.start import run; run(sys.argv[1:]); print(sorted(sys.modules), file=sys.stderr)"
PLUGIN = """
from mignon.registry import CODERS

@CODERS.register("toy-coder")
class Toy:
    summary, cost = "a toy", None
"""


def loaded(*words, **env):
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, words)], env=os.environ | env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said, modules = done.stderr.rstrip("\n").rpartition("\n")[::2]
    return done.stdout, said, modules


@pytest.fixture
def plugin(tmp_path):
    """`plugin(text)` installs a package with a coder."""

    def install(text):
        info = tmp_path / "toys-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[mignon.coders]\ntoy-coder = toys\n")
        (tmp_path / "toys.py").write_text(text)
        return {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}

    return install


def test_a_listing_is_kept_and_follows_every_member(plugin, tmp_path):
    env = {"MIGNON_CACHE": str(tmp_path / "cache")}
    first, _, _ = loaded("ls", "coders", "--json", **env)
    again, _, modules = loaded("ls", "coders", "--json", **env)
    assert again == first and "'torch'" not in modules and "'numba'" not in modules
    env |= plugin(PLUGIN)
    added, _, _ = loaded("ls", "coders", "--json", **env)
    assert {entry["name"] for entry in json.loads(added)} - {e["name"] for e in json.loads(first)} == {"toy-coder"}
    plugin(PLUGIN.replace("a toy", "another toy"))
    assert "another toy" in loaded("ls", "coders", **env)[0]
    assert mignon.ls("coders") == json.loads(first)


def test_a_plugin_that_fails_is_named_in_one_line_and_the_rest_goes_on(plugin, tmp_path):
    env = plugin("import nothing_of_this_name") | {"MIGNON_CACHE": str(tmp_path / "cache")}
    for _ in range(2):
        out, said, _ = loaded("ls", "coders", **env)
        assert "huffman" in out
        assert said.startswith("warning: the coder toy-coder (toys)") and len(said.splitlines()) == 1, said


def test_predict_loads_neither_the_compiler_of_torch_nor_what_only_training_needs(tmp_path):
    photos = make_pictures(tmp_path / "photos", {"dark": 30, "light": 30}, size=12)
    mignon.train("digits-cnn", data=photos, epochs=1, out=tmp_path / "run")
    mignon.compress(tmp_path / "run", "quant=w4a8", "code=range", data=photos, out=tmp_path / "small")
    for name in ("run", "small"):
        out, _, modules = loaded("predict", tmp_path / name / "model.mgn", photos / "dark" / "0000.png")
        assert "0000.png" in out
        for module in ("torch._dynamo", "sympy", "lightning_fabric", "matplotlib"):
            assert f"'{module}'" not in modules, module
