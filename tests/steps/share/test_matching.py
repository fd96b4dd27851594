"""Matching kernels with references: against plain loops, the table by hand, and the fixtures of a real network."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mignon.checkpoint import load_safetensors
from mignon.errors import RecipeError
from mignon.steps.share import matching
from mignon.steps.share.matching import CRITERIA, EPSILON, EPSILON_RULES, match

R0 = [1, 2, 3, 4, 5, 6, 7, 8, 9]
R1 = [1, 0, -1, 2, 0, -2, 1, 0, -1]
R2 = [4] * 9
W0 = [2 * x + 0.5 for x in R0]
W1 = [-2, 0, 2, -4, 0, 4, -2, 0, 2.9]
W2 = [7] * 9
W3 = [0, 1, 0, 1, 5, 1, 0, 1, 0]


def doubles(rows):
    return torch.tensor(rows, dtype=torch.float64)


def slow_fit(w, r, scale, offset, epsilon):
    """alpha and beta of one pair, number by number."""
    n = len(w)
    w_mean, r_mean = (sum(w) / n, sum(r) / n) if offset else (0.0, 0.0)
    power = sum((y - r_mean) ** 2 for y in r)
    power = 0.0 if offset and max(r) == min(r) else power
    alpha = 1.0
    if scale:
        denominator = {
            "none": power,
            "add": power + EPSILON,
            "zero": power or EPSILON,
            "nan1": power,
            "clamp": max(power, EPSILON),
        }[epsilon]
        product = sum((x - w_mean) * (y - r_mean) for x, y in zip(w, r)) if power else 0.0
        alpha = product / denominator if denominator else 1.0
    return alpha, (w_mean - alpha * r_mean if offset else 0.0)


def slow_score(w, r, alpha, beta, criterion, scale):
    n = len(w)
    rest = [alpha * y + beta - x for x, y in zip(w, r)]
    if criterion == "l1":
        return sum(abs(x) for x in rest)
    if criterion == "l2":
        return sum(x * x for x in rest)
    if criterion == "distance":
        return sum(abs(x - y) for x, y in zip(w, r))
    if max(w) == min(w) or max(r) == min(r):
        return 0.0
    a, b = [x - sum(w) / n for x in w], [y - sum(r) / n for y in r]
    rho = sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return -abs(rho) if scale else -rho


def slow_match(rows, references, criterion, scale, offset, epsilon):
    found = []
    for w in rows.tolist():
        fits = [slow_fit(w, r, scale, offset, epsilon) for r in references.tolist()]
        scores = [slow_score(w, r, *fit, criterion, scale) for r, fit in zip(references.tolist(), fits)]
        size = sum(x * x for x in w) if criterion == "l2" else 1.0 if criterion == "pcc" else sum(abs(x) for x in w)
        index = next(j for j, s in enumerate(scores) if s <= min(scores) + matching.TIE * size)
        found.append((index, *fits[index]))
    return found


@pytest.mark.parametrize(
    ("criterion", "scale", "offset", "epsilon"),
    list(itertools.product(CRITERIA, [False, True], [False, True], EPSILON_RULES)),
)
def test_every_combination_of_settings_is_what_a_plain_loop_finds(criterion, scale, offset, epsilon, monkeypatch):
    monkeypatch.setattr(matching, "CHUNK", 20)  # several chunks
    dice = np.random.default_rng(3)
    for length in (1, 2, 5, 9):
        rows = dice.normal(size=(12, length))
        references = dice.normal(size=(7, length)) * 10.0 ** dice.integers(-2, 2, size=(7, 1))
        rows[3], rows[4] = 0, 0.25
        references[5] = references[2]
        if epsilon != "none":
            references[6], references[1] = 0, 3
        rows, references = doubles(rows), doubles(references)
        if epsilon == "none" and scale and offset and length == 1:
            continue  # one number is always constant
        expected = slow_match(rows, references, criterion, scale, offset, epsilon)
        index, alpha, beta = match(rows, references, criterion, scale, offset, epsilon)
        assert index.tolist() == [e[0] for e in expected]
        torch.testing.assert_close(alpha, doubles([e[1] for e in expected]), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(beta, doubles([e[2] for e in expected]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("w", "r", "alpha", "beta", "l1", "squared", "pcc", "alone", "alone_l1", "alone_squared", "plain"),
    [
        (W0, R0, 2, 0.5, 0, 0, 1, 2.078947, 1.736842, 0.473684, 49.5),
        (W0, R1, -1.333333, 10.5, 37.333333, 218.666667, -0.298142, -1.333333, 94.5, 1210.916667, 94.5),
        (W1, R0, 0.326667, -1.533333, 17.0, 45.917333, 0.349822, 0.084561, 17.661053, 50.372070, 44.1),
        (W1, R1, -2.075, 0.1, 1.55, 0.6525, -0.993745, -2.075, 1.35, 0.7425, 24.9),
        (W2, R0, 0, 7, 0, 0, 0, 1.105263, 24.315789, None, 24),
        (W2, R1, 0, 7, 0, 0, 0, 0, 63, None, 63),
        (W3, R0, 0, 1, 8, 20, 0, 0.157895, 8.736842, None, 36),
        (W3, R1, 0, 1, 8, 20, 0, 0, 9, None, 15),
    ],
)
def test_the_table_by_hand(w, r, alpha, beta, l1, squared, pcc, alone, alone_l1, alone_squared, plain):
    rows, references = doubles([w]), doubles([r])
    fit = match(rows, references, "l1")
    assert (float(fit.alpha), float(fit.beta)) == pytest.approx((alpha, beta), abs=1e-6)
    rest = fit.alpha * references + fit.beta - rows
    assert float(rest.abs().sum()) == pytest.approx(l1, abs=1e-6)
    assert float(rest.square().sum()) == pytest.approx(squared, abs=1e-6)
    rho = float((matching.unit(rows) * matching.unit(references)).sum())
    assert rho == pytest.approx(pcc, abs=1e-6)
    fit = match(rows, references, "l1", offset=False)
    rest = fit.alpha * references - rows
    assert float(fit.alpha) == pytest.approx(alone, abs=1e-6) and float(fit.beta) == 0
    assert float(rest.abs().sum()) == pytest.approx(alone_l1, abs=1e-6)
    assert alone_squared is None or float(rest.square().sum()) == pytest.approx(alone_squared, abs=1e-6)
    assert float((references - rows).abs().sum()) == pytest.approx(plain)


def test_the_choices_by_hand():
    rows, references = doubles([W0, W1, W2, W3]), doubles([R0, R1])
    for criterion in ("l1", "l2", "pcc"):
        assert match(rows, references, criterion).reference.tolist() == [0, 1, 0, 0]
    copied = match(rows, references, "distance", scale=False, offset=False)
    assert copied.reference.tolist() == [0, 1, 0, 1]
    assert copied.alpha.tolist() == [1] * 4 and copied.beta.tolist() == [0] * 4


def test_a_constant_reference_is_refused_or_handled_by_its_rule():
    rows = doubles([W0, W1, W2, W3])
    with pytest.raises(RecipeError, match="1 of 3 reference kernels are constant") as error:
        match(rows, doubles([R0, R1, R2]), "l1", epsilon="none")
    assert "eps=clamp" in str(error.value)
    for epsilon, alpha in (("add", 0), ("zero", 0), ("clamp", 0), ("nan1", 1)):
        fit = match(rows, doubles([R2]), "l1", epsilon=epsilon)
        assert fit.alpha.tolist() == [alpha] * 4
        torch.testing.assert_close(fit.beta, rows.mean(1) - 4 * alpha)
    fit = match(doubles([W1]), doubles([R2]), "l1")
    assert float((fit.beta - doubles([W1])).abs().sum()) == pytest.approx(17.2)
    with pytest.raises(RecipeError):
        match(rows, doubles([R0, [0] * 9]), "l1", offset=False, epsilon="none")
    match(rows, doubles([R0, R2]), "l1", offset=False, epsilon="none")  # without offset a constant divides by no zero


@given(st.integers(0, 10_000), st.floats(-5, 5), st.floats(-5, 5))
def test_what_is_made_of_a_reference_is_found_with_its_scale_and_offset(seed, alpha, beta):
    references = doubles(np.random.default_rng(seed).normal(size=(6, 9)))
    fit = match(alpha * references + beta, references, "pcc")
    again = fit.alpha[:, None] * references[fit.reference] + fit.beta[:, None]
    torch.testing.assert_close(again, alpha * references + beta, rtol=1e-7, atol=1e-7)


@given(st.integers(0, 10_000))
def test_correlation_and_squared_error_choose_alike_where_scale_and_offset_are_free(seed):
    dice = np.random.default_rng(seed)
    rows, references = doubles(dice.normal(size=(20, 9))), doubles(dice.normal(size=(8, 9)))
    assert torch.equal(match(rows, references, "pcc").reference, match(rows, references, "l2").reference)


def test_ties_go_to_the_lowest_index_whatever_the_rounding():
    base = doubles(np.random.default_rng(1).normal(size=(3, 9)))
    references = torch.cat([base, base * 3, base / 7 + 2, -base])
    for criterion in ("l1", "l2", "pcc"):
        assert match(base * 1.7 - 0.3, references, criterion).reference.tolist() == [0, 1, 2]


@pytest.fixture(scope="module")
def resnet20(shared_data):
    weights = load_safetensors(shared_data / "resnet20-cifar10.safetensors").weights()
    return [w.double() for w in weights.values() if w.dim() == 4]


def test_the_first_kernels_of_a_trained_network_get_the_known_references(resnet20):
    stem, first = resnet20[0].reshape(-1, 9), resnet20[1].reshape(-1, 9)
    known = {
        "l1": (
            [1, 1, 27, 46, 13],
            [0.630756, -0.467664, -0.312023, -0.679268, 0.653984],
            [0.052455, -0.171871, 0.091437, -0.071424, -0.015538],
        ),
        "pcc": (
            [1, 5, 42, 46, 13],
            [0.630756, 0.818452, 54.87249, -0.679268, 0.653984],
            [0.052455, -0.066353, 0.076302, -0.071424, -0.015538],
        ),
    }
    for criterion, (index, alpha, beta) in known.items():
        fit = match(first[:5], stem, criterion)
        assert fit.reference.tolist() == index
        assert fit.alpha.tolist() == pytest.approx(alpha, abs=1e-5) and fit.beta.tolist() == pytest.approx(
            beta, abs=1e-6
        )


def test_l1_and_correlation_agree_on_the_known_number_of_kernels_of_a_trained_network(resnet20):
    rows = torch.cat([w.reshape(-1, 9) for w in resnet20[1:]])
    stem = resnet20[0].reshape(-1, 9)
    l1, pcc = match(rows, stem, "l1").reference, match(rows, stem, "pcc").reference
    assert len(rows) == 29_696 and int((l1 == pcc).sum()) == 18_904
    shares = torch.bincount(l1, minlength=48).double() / len(rows)
    assert float(-(shares[shares > 0] * shares[shares > 0].log2()).sum()) == pytest.approx(5.248, abs=5e-4)
