"""Strict settings and the few things that many tests start from."""

import os
import signal
import tempfile
from pathlib import Path

os.environ["OMP_WAIT_POLICY"] = "passive"
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
# compiled code is kept between runs, everything else of the cache is new for each
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path.home() / ".cache" / "mignon" / "numba"))
_folder = tempfile.TemporaryDirectory(prefix="mignon-test-cache-")
os.environ["MIGNON_CACHE"] = _folder.name

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

torch.set_num_threads(1)
# the same examples in every run, so that a submission does not fail by chance; `make test-all` draws new ones
settings.register_profile("house", deadline=None, max_examples=40, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=200, print_blob=True)
settings.load_profile(os.environ.get("MIGNON_EXAMPLES", "house"))


@pytest.fixture(autouse=True)
def _own_runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGNON_RUNS", str(tmp_path / "runs"))


@pytest.fixture(scope="session")
def shared_data():
    """The real images and weights, or a skip with the reason."""
    root = Path(os.environ.get("MIGNON_SHARED", Path(__file__).parents[2] / "shared"))
    if not (root / "data" / "SHA256SUMS").exists():
        pytest.skip(f"the shared data are not at {root}/data (set MIGNON_SHARED)")
    return root / "data"


@pytest.fixture
def digits():
    """The images that ship with the package."""
    from mignon.data.cache import open_images
    from mignon.data.look import neutral_spec

    return open_images("digits", neutral_spec(8, 1))


@pytest.fixture
def tiny_classifier(digits):
    """A digits network as it is before training."""
    from mignon.classifier import fresh
    from mignon.data.look import input_spec

    return fresh("digits-cnn", {}, input_spec(digits.train, digits.input), digits.classes, 0)
