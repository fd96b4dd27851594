"""A row of the ledger from logits that were made by hand."""

import json

import numpy as np
import pytest

from mignon.classifier import fresh
from mignon.data.imageset import Split
from mignon.data.look import neutral_spec
from mignon.measure.row import all_logits, measure
from mignon.progress import Quiet


def split(labels, pixels=8):
    images = np.random.default_rng(0).integers(0, 256, (len(labels), pixels, pixels, 1), dtype=np.uint8)
    return Split("validation", images, np.array(labels), [str(i) for i in range(len(labels))])


def row(labels, predicted, before, classes, **changes):
    eye = np.eye(classes, dtype=np.float32)
    classifier = fresh("digits-cnn", {}, neutral_spec(8, 1), tuple("abcdefghij"[:classes]), 0)
    logits, reference = 3 * eye[predicted], 3 * eye[before]
    return measure("quant", classifier, 1000, split(labels), logits, reference, 2.0, 1.5, **changes)


def test_a_row_counts_what_was_lost_and_gained():
    made = row([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 0, 2], [0, 0, 1, 0, 2, 2], 3)
    assert (made.images, made.top1, made.lost, made.gained) == (6, pytest.approx(4 / 6), 2, 1)
    assert made.top1_change == pytest.approx(-1 / 6) and made.p_value == 1 and made.within_noise
    assert made.top1_low < made.top1 < made.top1_high
    assert made.balanced_accuracy == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert made.worst_class_change == pytest.approx(-0.5) and made.worst_class in "ac"
    assert made.top5 == 1 and made.roc_auc is None and made.threshold is None
    assert made.kl > 0 and (made.seconds, made.cpu_seconds, made.split, made.step) == (2, 1.5, "validation", "quant")


def test_a_row_holds_the_cost_of_the_network():
    made = row([0, 1], [0, 1], [0, 1], 10)
    assert made.parameters == 3_778 and made.size_bytes == 1000 and made.ratio == pytest.approx(4 * 3_778 / 1000)
    assert made.nonzeros == 8 * 9 + 16 * 8 * 9 + 16 * 16 * 9 + 160
    assert made.macs == 64 * 8 * 9 + 64 * 16 * 8 * 9 + 16 * 16 * 16 * 9 + 160
    assert made.peak_activation_bytes == 4 * 64 * (8 + 16)
    assert made.top1_change == made.lost == made.gained == made.kl == 0 and made.within_noise


def test_a_large_change_is_not_within_noise():
    made = row([0] * 40, [1] * 20 + [0] * 20, [0] * 40, 10)
    assert made.lost == 20 and not made.within_noise and made.p_value < 1e-5


def test_top5_looks_at_five():
    labels, n = np.arange(10), 10
    classifier = fresh("digits-cnn", {}, neutral_spec(8, 1), tuple("abcdefghij"), 0)
    logits = np.tile(np.arange(n, dtype=np.float32), (n, 1))  # class 9 first, then 8, 7, 6, 5
    made = measure("x", classifier, 1, split(labels), logits, logits, 0, 0)
    assert made.top5 == pytest.approx(0.5) and made.top1 == pytest.approx(0.1)


def test_two_classes_have_an_auc_and_keep_the_threshold_they_are_given():
    made = row([0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], 2)
    assert made.roc_auc == pytest.approx(0.75) and 0 < made.threshold < 1
    assert row([0, 1], [0, 1], [0, 1], 2, threshold=0.123).threshold == 0.123


def test_a_row_is_json_even_when_a_class_has_no_image():
    made = row([0, 0, 0], [0, 1, 0], [0, 0, 0], 2)
    json.dumps(made.to_dict(), allow_nan=False)
    assert made.roc_auc is None and made.balanced_accuracy == pytest.approx(2 / 3)


def test_logits_of_a_split_are_in_its_order_whatever_the_batches():
    part = split([0] * 1203)
    classifier = fresh("digits-cnn", {}, neutral_spec(8, 1), tuple("abc"), 0)
    logits = all_logits(classifier, part, Quiet(), "measuring")
    assert logits.shape == (1203, 3) and logits.dtype == np.float32
    for i in (0, 499, 500, 1202):
        np.testing.assert_allclose(logits[i], classifier.logits(part.take(slice(i, i + 1)))[0], rtol=1e-4, atol=1e-5)
