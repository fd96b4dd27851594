"""Any sequence of steps refuses with a reason or ends in a file that holds exactly what was measured."""

import dataclasses
import tempfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mignon import mgn
from mignon.classifier import fresh
from mignon.data.cache import open_images
from mignon.data.look import input_spec, neutral_spec
from mignon.errors import RecipeError
from mignon.jobs.pipeline import Pipeline
from mignon.jobs.requests import Compress
from mignon.progress import Quiet
from mignon.registry import STEPS
from mignon.runs import Run
from mignon.steps import parse_step

STEP = st.sampled_from(sorted(STEPS)).flatmap(lambda name: st.sampled_from(STEPS[name].examples))
SEQUENCES = st.lists(STEP, max_size=5)


@pytest.fixture(scope="module")
def images():
    """The first digits only."""
    whole = open_images("digits", neutral_spec(8, 1))
    parts = {
        split.name: dataclasses.replace(
            split, store=split.take(slice(n)), labels=split.labels[:n], names=split.names[:n]
        )
        for split, n in zip(whole.splits, (160, 40, 40))
    }
    return dataclasses.replace(whole, **parts, key="few digits")


@pytest.fixture(scope="module")
def start(images):
    """A digits network before training, with BatchNorm statistics and gains of both signs."""
    classifier = fresh("digits-cnn", {}, input_spec(images.train, images.input), images.classes, 0)
    dice = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in classifier.network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2, generator=dice)
                module.running_var.uniform_(0.5, 2, generator=dice)
                module.weight.uniform_(-0.5, 1.5, generator=dice)
    return classifier


@pytest.fixture(scope="module")
def pipeline(images, tmp_path_factory):
    """Makes pipelines, each in a run folder of its own."""
    root = tmp_path_factory.mktemp("runs")

    def make(classifier):
        request = Compress.of("any", data="digits")
        with Run.start(request, "any", {}, tempfile.mkdtemp(dir=root)) as run:
            return Pipeline(run, classifier, images, 0, "cpu", Quiet())

    return make


def go(pipe, texts):
    """The points of a recipe; each step goes on from what the one before left in memory. Refused ones are left out."""
    points = [pipe.parent]
    for text in texts:
        try:
            points.append(pipe.apply(points[-1], text))
        except RecipeError as error:
            assert error.what and error.instead, f"{text} after {points[-1].step} is refused without a way out"
            assert "\n" not in error.what + error.instead
    return points


def go_on_from_disk(pipe, texts):
    """The same; each step goes on from the checkpoint that was kept of the one before."""
    points = [pipe.parent]
    for text in texts:
        first = pipe.apply(points[-1], text)
        points.append(pipe.apply(points[-1], text))
        assert points[-1].classifier is not first.classifier
    return points


def same_tensors(a, b):
    ours, theirs = mgn.settle(a).weighted(), b.weighted()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name].weight, theirs[name].weight), name
        assert torch.equal(ours[name].bias, theirs[name].bias), name
    return True


def test_every_registered_step_is_among_the_examples(capsys):
    texts = {name: STEPS[name].examples for name in STEPS}
    for name, examples in texts.items():
        assert examples, f"{name} has no example of itself"
        assert all(parse_step(text).name == name for text in examples)
    with capsys.disabled():
        print(f"\nsequences are drawn from {sum(map(len, texts.values()))} settings of {len(texts)} steps")


@settings(max_examples=20)
@given(texts=SEQUENCES)
def test_any_sequence_is_refused_with_a_reason_or_its_file_is_what_was_measured(pipeline, images, start, texts):
    live = go(pipeline(start), texts)
    pipe = pipeline(start)
    kept = go_on_from_disk(pipe, [point.step for point in live[1:]])
    pixels = images.test.take(slice(None))
    for a, b in zip(live, kept):
        data, decoded = pipe.file(b)
        assert mgn.encode(a.classifier) == data, f"going on from the checkpoint of {a.step} gives other bytes"
        assert mgn.encode(decoded) == data, f"the file of {a.step} changes when it is written again"
        assert same_tensors(a.classifier, decoded)
        measured = decoded.logits(pixels)
        assert np.isfinite(measured).all()
        assert np.array_equal(mgn.settle(a.classifier).logits(pixels), measured)
    path, row = pipe.finish(kept[-1])
    again = mgn.decode(path.read_bytes())
    assert row["size_bytes"] == path.stat().st_size
    assert row["top1"] == np.mean(again.logits(pixels).argmax(1) == images.test.labels)
    assert list(again.recipe) == [point.step for point in live[1:]]


@settings(max_examples=10)
@given(before=SEQUENCES, after=SEQUENCES)
def test_a_file_can_be_given_to_further_steps(pipeline, images, start, before, after):
    first = go(pipeline(start), before)[-1]
    for point in go(pipeline(mgn.decode(mgn.encode(first.classifier))), after):
        data = mgn.encode(point.classifier)
        again = mgn.decode(data)
        assert mgn.encode(again) == data and same_tensors(point.classifier, again)
        assert np.isfinite(again.logits(images.test.take(slice(None)))).all()
