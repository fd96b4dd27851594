"""Features of a frozen trunk: equal to the direct way, computed once, made again when they are damaged."""

import numpy as np
import pytest
import torch

from mignon.classifier import fresh
from mignon.data.imageset import Split
from mignon.data.inputs import InputSpec, to_network
from mignon.files import cache_folder
from mignon.models.graph import between
from mignon.progress import Quiet
from mignon.training import course, features
from mignon.training.features import features_of, mirrored, plain
from mignon.training.layers import Layers
from mignon.training.loop import fit
from mignon.training.settings import Settings

SPEC = InputSpec(32, 32, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Counting(Quiet):
    def __init__(self):
        super().__init__()
        self.labels = []

    def track(self, items, total, label):
        self.labels.append(label)
        yield from items


def photos(count, seed=0):
    dice = np.random.default_rng(seed)
    return Split("train", dice.integers(0, 256, (count, 32, 32, 3), np.uint8), dice.integers(0, 2, count), [""] * count)


def small(seed=0):
    return fresh("mobilenetv1", {"width": 0.25}, SPEC, ("no", "yes"), seed)


def trunk_of(classifier, text):
    layers = Layers.of(classifier, text)
    return between(classifier.network, [next(iter(classifier.network.graph.nodes))], layers.border), layers.trained


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGNON_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("text", ["head", "last:1", "last:2"])
@pytest.mark.parametrize("copy", [plain, mirrored])
def test_cached_features_give_the_logits_of_the_direct_way(text, copy):
    classifier, split = small(), photos(80)
    trunk, rest = trunk_of(classifier, text)
    held = features_of(trunk, SPEC, split, copy, "cpu", Quiet())
    pixels = split.take(slice(None))[:, :, :: 1 if copy is plain else -1]
    with torch.no_grad():
        direct = classifier.network(to_network(np.ascontiguousarray(pixels), SPEC))
        assert torch.allclose(rest(to_network(held.take(slice(None)), SPEC)), direct, atol=1e-5)
    assert np.array_equal(held.labels, split.labels)


def test_features_are_computed_once_and_anew_when_anything_differs():
    screen, split = Counting(), photos(8)

    def ask(classifier, spec=SPEC, split=split, copy=plain):
        features_of(trunk_of(classifier, "head")[0], spec, split, copy, "cpu", screen)
        return len(screen.labels)

    moved = small()
    moved.network.features.init_block.bn.running_mean += 0.1
    assert [ask(small()), ask(small()), ask(small(1)), ask(moved)] == [1, 1, 2, 3]
    assert ask(small(), InputSpec(32, 32, 3, (0.5,) * 3, (0.2,) * 3)) == 4
    assert ask(small(), split=photos(8, 1)) == 5 and ask(small(), copy=mirrored) == 6


def test_damaged_features_are_made_again():
    screen, split = Counting(), photos(8)
    trunk, _ = trunk_of(small(), "head")
    before = features_of(trunk, SPEC, split, plain, "cpu", screen).take(slice(None))
    (path,) = (cache_folder() / "features").glob("*.npy")
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    features._checked.clear()
    assert np.array_equal(features_of(trunk, SPEC, split, plain, "cpu", screen).take(slice(None)), before)
    assert len(screen.labels) == 2


def test_what_would_fill_the_disk_is_not_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(features, "LARGEST", 0.0)
    assert features_of(trunk_of(small(), "head")[0], SPEC, photos(8), plain, "cpu", Quiet()) is None
    settings = Settings(epochs=1, batch=8, layers="head")
    fitted = fit(small(), photos(16), photos(16), settings, 0, "cpu", tmp_path / "run", Quiet(), choose_from=1)
    assert fitted.history and not list(tmp_path.rglob("*.npy"))


def test_training_on_features_is_training_on_pixels(tmp_path, monkeypatch):
    settings = Settings(epochs=3, batch=8, layers="last:1", lr=0.05, freeze=1.0, augment="none")

    def train(name):
        folder = tmp_path / name
        return fit(small(), photos(40), photos(20, 1), settings, 0, "cpu", folder, Quiet(), choose_from=1)

    cached = train("a")
    assert list((cache_folder() / "features").glob("*.npy"))
    monkeypatch.setattr(course, "_on_features", lambda given, *_: given)
    direct = train("b")
    assert [h["train_loss"] for h in cached.history] == pytest.approx(
        [h["train_loss"] for h in direct.history], rel=1e-4
    )
    pixels = photos(8, 2).take(slice(None))
    assert np.allclose(cached.classifier.logits(pixels), direct.classifier.logits(pixels), atol=1e-3)
