"""Linear heads at every cut: the Classifier that comes out is the logistic regression that was judged."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers import make_pictures, opened
from sklearn.linear_model import LogisticRegression

from mignon.checkpoint import take
from mignon.classifier import fresh
from mignon.data.inputs import InputSpec
from mignon.importing import give
from mignon.models import build
from mignon.progress import Quiet
from mignon.training.probe import Probe, best, logistic, probing

SPEC = InputSpec(32, 32, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def trunk(shared_data):
    classifier = fresh("mobilenetv1", {"width": 0.25}, SPEC, ("dark", "light"), 0)
    return take(give(str(shared_data / "mobilenet-025-imagenet-trunk.safetensors")), classifier)[0]


def probe(trunk, folder, counts, spread=60):
    images = opened(make_pictures(folder, counts, size=32, spread=spread), spec=SPEC)
    classifier = dataclasses.replace(trunk, classes=images.classes)
    return images, Probe(classifier, images.train, images.validation, True, 0, "cpu", Quiet())


def test_every_cut_is_judged_and_its_head_is_a_classifier_of_that_size(trunk, tmp_path):
    images, found = probe(trunk, tmp_path / "p", {"dark": 50, "light": 50})
    cuts = found.cuts()
    assert [cut.cut for cut in cuts] == [*range(13), None] and found.judged == "10 validation images"
    pixels, labels = images.validation.take(slice(None)), images.validation.labels
    for cut in (cuts[0], cuts[7], cuts[-1]):
        head = found.head(cut, validation=False)
        assert head.options.get("cut") == cut.cut and head.parameters == cut.parameters
        logits = torch.from_numpy(head.logits(pixels))
        assert float((logits.argmax(1).numpy() == labels).mean()) == pytest.approx(cut.top1)
        assert float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))) == pytest.approx(
            cut.loss, rel=1e-3, abs=1e-4
        )
    assert best(cuts).top1 == max(cut.top1 for cut in cuts) >= 0.9
    assert [row["images"] for row in found.curve(best(cuts))] == [10, 30]


def test_few_images_are_judged_by_cross_validation(trunk, tmp_path):
    images, found = probe(trunk, tmp_path / "p", {"dark": 12, "light": 13}, spread=150)
    assert found.judged == f"5-fold cross-validation of {len(images.train) + len(images.validation)} images"
    assert found.cuts()[-1].top1 > 0.8
    held = np.sort(np.concatenate([part for _, part in found.folds]))
    assert np.array_equal(held, np.arange(len(found.labels)))
    assert all(not np.intersect1d(own, part).size for own, part in found.folds)


@pytest.mark.parametrize("classes", [2, 3])
def test_what_standardizes_is_folded_into_weight_and_bias(classes):
    dice = np.random.default_rng(0)
    labels = dice.integers(0, classes, 60)
    features = dice.normal(5, 3, (60, 4)) + labels[:, None]
    weight, bias = logistic(features, labels, 0.1, classes)
    scaled = (features - features.mean(0)) / features.std(0)
    model = LogisticRegression(C=0.1, tol=1e-3, max_iter=200).fit(scaled, labels)
    ours = torch.softmax(torch.from_numpy(features @ weight.T + bias), 1).numpy()
    assert np.allclose(ours, model.predict_proba(scaled), atol=1e-3)


def test_a_class_without_images_is_never_the_answer():
    weight, bias = logistic(np.random.default_rng(0).normal(size=(10, 3)), np.array([0, 2] * 5), 0.1, 4)
    assert set((np.random.default_rng(1).normal(size=(50, 3)) @ weight.T + bias).argmax(1)) <= {0, 2}
    weight, bias = logistic(np.ones((3, 2)), np.array([1, 1, 1]), 0.1, 3)
    assert (np.ones((5, 2)) @ weight.T + bias).argmax(1).tolist() == [1] * 5


def test_columns_are_mean_and_maximum_behind_each_unit(trunk):
    network, columns = probing(trunk)
    batch = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        values = network(batch)
        plain = build("mobilenetv1", {"width": 0.25}, 2, 3).eval()
        plain.load_state_dict(trunk.network.state_dict())
        block = plain.features
        direct = block.stage2(block.stage1(block.init_block(batch)))
        assert torch.allclose(
            values[:, columns[2]], torch.cat([direct.mean((2, 3)), direct.amax((2, 3))], 1), atol=1e-5
        )
        assert torch.allclose(values[:, columns[None]], block(batch), atol=1e-5)
    assert columns[None].stop == values.shape[1]
