"""Terms on kernels: by hand, against plain loops, and their gradients."""

import math

import pytest
import torch

from mignon.classifier import fresh
from mignon.data.inputs import InputSpec
from mignon.errors import ModelError, RecipeError
from mignon.rules.pieces import unit
from mignon.training import terms
from mignon.training.terms import KernelTerm, cor, group_cor, nuclear, ortho, ortho_cor, parse_terms, pcc, tv

R0, R1 = [1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 0, -1, 2, 0, -2, 1, 0, -1]
W0, W1 = [2 * x + 0.5 for x in R0], [-2, 0, 2, -4, 0, 4, -2, 0, 2.9]


@pytest.fixture
def kernels():
    return [torch.tensor(k, dtype=torch.float64, requires_grad=True) for k in ([R0, R1], [W0, W1])]


@pytest.mark.parametrize(
    ("term", "value"),
    [
        (nuclear, 0.0492150070),
        (pcc, 0.2981423970),
        (tv, 300.0),
        (ortho, 401064.5489),
        (cor, 1.0031374273),
        (ortho_cor, 402322.8597),
    ],
)
def test_the_values_by_hand(term, value, kernels):
    assert float(term(kernels).detach()) == pytest.approx(value, rel=2e-9)


def rho(x, y):
    a, b = [v - sum(x) / len(x) for v in x], [v - sum(y) / len(y) for v in y]
    size = math.sqrt(sum(v * v for v in a) * sum(v * v for v in b))
    return abs(sum(v * w for v, w in zip(a, b))) / size if size else 0.0


@pytest.fixture
def layers():
    dice = torch.Generator().manual_seed(0)
    found = [torch.randn(n, 9, generator=dice, dtype=torch.float64) for n in (12, 32, 64)]
    found[0][3], found[1][5] = 0.25, 0.0
    return found


def test_terms_are_what_plain_loops_give(layers, monkeypatch):
    monkeypatch.setattr(terms, "CHUNK", 30)
    rows = [x.tolist() for x in layers]
    likeness = [max(rho(w, r) for r in rows[0]) for layer in rows[1:] for w in layer]
    assert float(cor(layers)) == pytest.approx(len(likeness) / sum(likeness), rel=1e-9)
    pairs = sum(rho(rows[0][x], rows[0][y]) for x in range(12) for y in range(x + 1, 12))
    assert float(pcc(layers)) == pytest.approx(pairs, rel=1e-9)
    wide = [rows[0][2 * i] + rows[0][2 * i + 1] for i in range(6)]
    bound = sum(rho(wide[x], wide[y]) for x in range(6) for y in range(x + 1, 6))
    assert float(pcc(layers, 2)) == pytest.approx(bound, rel=1e-9)
    plain = sum(((x @ x.T - torch.eye(len(x))) ** 2).mean() for x in layers)
    assert float(ortho(layers)) == pytest.approx(float(plain), rel=1e-9)
    for channels in (1, 2, 4):  # a reference layer of 4 output and 3 input channels
        found = []
        for layer in rows[1:]:
            size = len(layer) * channels // 4
            for i, w in enumerate(layer):
                first = 3 * channels * (i // size)
                found.append(max(rho(w, r) for r in rows[0][first : first + 3 * channels]))
        assert float(group_cor(layers, channels, 4)) == pytest.approx(len(found) / sum(found), rel=1e-9)
    assert float(group_cor(layers, 4, 4)) == pytest.approx(float(cor(layers)), rel=1e-12)


@pytest.mark.parametrize("term", [nuclear, pcc, tv, ortho, cor, ortho_cor, lambda k: group_cor(k, 1, 2)])
def test_gradients_are_those_of_finite_differences(term, kernels):
    moved = [
        k.detach().clone() + 0.1 * torch.randn(k.shape, generator=torch.Generator().manual_seed(1)) for k in kernels
    ]
    inputs = [k.requires_grad_() for k in moved]
    assert torch.autograd.gradcheck(lambda *k: term(k), inputs, rtol=1e-4, atol=1e-4)


def test_constant_kernels_have_no_correlation_and_no_gradient_that_is_not_a_number():
    references = torch.tensor([R0, [4] * 9, [0] * 9], dtype=torch.float64, requires_grad=True)
    coded = torch.tensor([W1, [7] * 9, [0] * 9], dtype=torch.float64, requires_grad=True)
    assert unit(references)[1:].abs().max() == 0
    for term in (pcc, cor, ortho_cor, nuclear, lambda k: group_cor(k, 1, 3)):
        value = term([references, coded])
        gradients = torch.autograd.grad(value, [references, coded], allow_unused=True)
        assert bool(torch.isfinite(value)) and all(g is None or bool(torch.isfinite(g).all()) for g in gradients)


def test_only_the_chosen_reference_gets_a_gradient(kernels):
    cor([kernels[0], kernels[1][1:]]).backward()
    assert float(kernels[0].grad[0].abs().max()) == 0 < float(kernels[0].grad[1].abs().max())


def test_texts_become_terms():
    assert parse_terms("") == ()
    assert parse_terms("cor:1e-5+nuclear:1+group-cor:1e+2:4") == (
        KernelTerm("cor", 1e-5),
        KernelTerm("nuclear", 1.0),
        KernelTerm("group-cor", 100.0, 4),
    )
    for term in parse_terms("cor:1e-05+tv:0.5+pcc:2:3"):
        assert parse_terms(term.key) == (term,)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("corr:1", "known: nuclear"),
        ("cor", "cor:1e-5"),
        ("cor:x", "positive number"),
        ("cor:-1", "positive number"),
        ("cor:nan", "positive number"),
        ("cor:inf", "positive number"),
        ("cor:1:2", "third number"),
        ("pcc:1:0", "1 to 64"),
        ("pcc:1:x", "1 to 64"),
        ("cor:1+cor:2", "twice"),
        ("cor:1+", "no term ''"),
    ],
)
def test_texts_that_make_no_sense_say_what_to_type(text, word):
    with pytest.raises(RecipeError) as error:
        parse_terms(text)
    assert word in str(error.value)


@pytest.mark.parametrize("family", ["resnet20-cifar", "mobilenetv1"])
@pytest.mark.parametrize("name", terms.TERMS)
def test_terms_of_a_network_reach_its_kernels(family, name):
    spec = InputSpec(height=32, width=32, channels=3, mean=(0.5,) * 3, std=(0.2,) * 3)
    options = {"width": 0.25} if family == "mobilenetv1" else {}
    network = fresh(family, options, spec, ("a", "b"), 0).network
    value = KernelTerm(name, 2.0)(network)
    assert value.dim() == 0 and math.isfinite(float(value.detach()))
    assert float(KernelTerm(name, 1.0)(network).detach()) == pytest.approx(float(value.detach()) / 2)
    value.backward()
    touched = [n for n, p in network.named_parameters() if p.grad is not None and float(p.grad.abs().max()) > 0]
    assert touched and all(n.endswith("weight") for n in touched)
    if name == "tv":
        assert any("pw_conv" in n for n in touched) == (family == "mobilenetv1")


def test_a_network_without_kernels_to_compare_is_refused():
    spec = InputSpec(height=8, width=8, channels=1, mean=(0.5,), std=(0.2,))
    network = fresh("digits-cnn", {}, spec, ("a", "b"), 0).network
    assert math.isfinite(float(KernelTerm("cor", 1.0)(network).detach()))
    alone = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3))
    from mignon.models.graph import trace

    with pytest.raises(ModelError, match="no two layers"):
        KernelTerm("cor", 1.0)(trace(alone))
