"""Intervals and tests against scipy and scikit-learn."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, rel_entr
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from mignon.measure.statistics import best_threshold, kl_divergence, mcnemar, roc_auc, wilson


@given(st.integers(1, 20_000), st.floats(0, 1))
def test_wilson_is_scipys(total, share):
    right = round(share * total)
    interval = binomtest(right, total).proportion_ci(0.95, "wilson")
    assert wilson(right, total) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_wilson_stays_inside_and_knows_nothing_of_nothing():
    assert wilson(0, 0) == (0, 1)
    assert (wilson(0, 10)[0], wilson(10, 10)[1]) == pytest.approx((0, 1), abs=1e-12)
    assert wilson(0, 10)[0] >= 0 and wilson(10, 10)[1] <= 1
    assert wilson(0, 10)[1] == pytest.approx(0.2775, abs=1e-4)


@given(st.integers(0, 1500), st.integers(0, 1500))
def test_mcnemar_is_the_exact_binomial_test(lost, gained):
    # in whole numbers, since scipy's own value underflows to 0 below about 1e-300
    flips = lost + gained
    tail = sum(math.comb(flips, i) for i in range(min(lost, gained) + 1))
    expected = 1.0 if lost == gained else min(1.0, float(Fraction(2 * tail, 2**flips)))
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-8, abs=1e-320)


def test_mcnemar_is_scipys():
    assert mcnemar(10, 25) == pytest.approx(binomtest(10, 35).pvalue, rel=1e-12)


@given(st.integers(0, 10_000))
def test_auc_is_sklearns_with_ties(seed):
    dice = np.random.default_rng(seed)
    labels = np.append([0, 1], dice.integers(0, 2, 50))
    scores = dice.integers(0, 8, 52) / 8
    assert roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


@given(st.integers(0, 10_000))
def test_no_threshold_is_better_on_the_set_it_was_chosen_on(seed):
    dice = np.random.default_rng(seed)
    labels = np.append([0, 1], dice.integers(0, 2, 40))
    scores = np.clip(dice.normal(0.3 + 0.3 * labels, 0.3), 0, 1)
    chosen = balanced_accuracy_score(labels, scores >= best_threshold(labels, scores))
    tried = [balanced_accuracy_score(labels, scores >= t) for t in np.linspace(0, 1, 101)]
    assert chosen >= max(tried) - 1e-9


def test_kl_is_the_definition_and_zero_for_equal_networks():
    dice = np.random.default_rng(0)
    a, b = dice.normal(0, 3, (2, 50, 7))
    p, q = np.exp(log_softmax(a, 1)), np.exp(log_softmax(b, 1))
    assert kl_divergence(a, b) == pytest.approx(rel_entr(p, q).sum(1).mean())
    assert kl_divergence(a, a + 5) == pytest.approx(0, abs=1e-12)
    assert np.isfinite(kl_divergence(a * 1e4, b * 1e4))
    assert kl_divergence(a.astype(np.float32), b.astype(np.float32)) == pytest.approx(kl_divergence(a, b), rel=1e-5)


@given(st.integers(0, 10_000))
def test_kl_is_never_negative_and_tells_the_two_networks_apart(seed):
    a, b = np.random.default_rng(seed).normal(0, 2, (2, 5, 4))
    assert kl_divergence(a, b) > 0 and kl_divergence(a, b) != kl_divergence(b, a)
    assert kl_divergence(a, a + (b - a) / 2) < kl_divergence(a, b)


def test_auc_of_one_class_alone_is_not_a_number():
    assert np.isnan(roc_auc(np.ones(4, int), np.arange(4))) and np.isnan(roc_auc(np.zeros(4, int), np.arange(4)))
