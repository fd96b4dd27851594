"""Codebooks: centroid[index], centroids of one's own or another's, trained by the gradients of all their weights."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mignon.errors import FormatError
from mignon.models.weights import set_rule
from mignon.rules import build_rule
from mignon.rules.codebook import TOP, Codebook
from mignon.rules.scales import scale


def owner(shape=(2, 3), k=4, low=-1, masked=False, centers=None, index=None):
    spec = {"rule": "codebook", "indices": k} | ({"masked": True} if masked else {})
    rule = Codebook(spec, shape)
    count = int(np.prod(shape))
    rule.set_index(torch.as_tensor(np.arange(count) % k + low if index is None else index).reshape(shape))
    rule.assign(torch.linspace(-1, 2, k - masked) if centers is None else torch.as_tensor(centers), low)
    return rule


def reader(source, name, shape, index):
    rule = Codebook({**source.spec, "from": name}, shape)
    rule.set_index(torch.as_tensor(index).reshape(shape))
    return rule


def numbers(rule):
    return {name: s.values for name, s in rule.streams().items()}


@pytest.mark.parametrize("masked", [False, True])
def test_a_weight_is_the_centroid_of_its_index(masked):
    rule = owner(k=4, low=-1, masked=masked)
    stored = (scale(rule.step, 16) * rule.centroids).tolist()
    table = [stored[0], 0.0, *stored[1:]] if masked else stored
    assert rule.weight().flatten().tolist() == [table[i + 1] for i in rule.index.flatten().tolist()]
    assert (rule.mask is None) is not masked
    assert not masked or torch.equal(rule.mask, rule.weight() != 0)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.sampled_from([1e-15, 1e-3, 1.0, 1e12]))
def test_stored_centroids_are_right_to_a_four_thousandth_of_the_largest(centers, size):
    wanted = torch.tensor(centers) * size
    rule = owner((len(centers),), len(centers), 0, centers=wanted)
    assert bool(((rule.weight() - wanted).abs() <= 0.5001 * 2 ** (1 / 16) / TOP * wanted.abs().max() + 1e-18).all())
    assert int(rule.centroids.abs().max()) <= TOP
    again = Codebook.from_streams(rule.spec, rule.shape, numbers(rule))
    assert torch.equal(again.weight(), rule.weight()) and torch.equal(again.centers, rule.weight())
    again.fit(torch.zeros(rule.shape))
    torch.testing.assert_close(again.weight(), rule.weight(), rtol=0, atol=1e-3 * float(wanted.abs().max()))


def test_a_centroid_gets_the_gradient_of_all_its_weights():
    rule, factor = owner((3, 4), 4, -1), torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    module = torch.nn.Linear(4, 3, bias=False)
    set_rule(module, rule, torch.zeros(3, 4))
    module.train()
    assert torch.equal(module.weight, rule.weight()), "what is trained is what is stored"
    (module.weight * factor).sum().backward()
    expected = torch.stack([factor[rule.index == i - 1].sum() for i in range(4)])
    torch.testing.assert_close(rule.centers.grad, expected)  # the sum of Deep Compression before uses are counted
    rule.connect({"0.weight": rule})
    rule.centers.grad = None
    (module.weight * factor).sum().backward()
    torch.testing.assert_close(rule.centers.grad, expected / 3)
    assert module.parametrizations["weight"].original.grad is None


def test_a_step_of_tied_weights_is_the_mean_of_their_free_steps():
    rule, wanted = owner((2, 5), 3, 0), torch.randn(2, 5, generator=torch.Generator().manual_seed(2))
    module = torch.nn.Linear(5, 2, bias=False)
    set_rule(module, rule, torch.zeros(2, 5))
    rule.connect({"0.weight": rule})
    module.train()
    free = module.weight.detach().clone().requires_grad_()
    for weight in (free, module.weight):
        (0.5 * (weight - wanted).square()).sum().backward()
    stepped = free.detach() - 0.1 * free.grad
    means = torch.stack([stepped[rule.index == i].mean() for i in range(3)])
    before = free.detach().unique(sorted=True)
    torch.testing.assert_close(before - 0.1 * rule.centers.grad, means)


@pytest.mark.parametrize("masked", [False, True])
def test_a_shared_codebook_gets_the_gradients_of_all_its_tensors(masked):
    first = owner((2, 3), 4, -1, masked)
    second = reader(first, "a.weight", (2, 2), [-1, 0, 2, 2])
    third = reader(first, "a.weight", (1, 2), [0, 1])
    rules = {"b.weight": second, "a.weight": first, "c.weight": third}
    for rule in rules.values():
        rule.connect(rules)
    modules = []
    for rule in rules.values():
        modules.append(torch.nn.Linear(*reversed(rule.shape), bias=False))
        set_rule(modules[-1], rule, torch.zeros(rule.shape))
        modules[-1].train()
    assert sum(len(list(m.parameters())) for m in modules) == 4, "three latent weights and one set of centroids"
    factors = [torch.arange(float(m.weight.numel())).reshape(m.weight.shape) + 1 for m in modules]
    sum((m.weight * f).sum() for m, f in zip(modules, factors)).backward()
    found = []
    for i in (-1, 1, 2) if masked else (-1, 0, 1, 2):
        hits = torch.cat([f[r.index == i] for f, r in zip(factors, rules.values())])
        found.append(hits.sum() / len(hits))
    torch.testing.assert_close(first.centers.grad, torch.stack(found))
    for module, rule in zip(modules, rules.values()):
        assert torch.equal(module.weight, rule.weight())


def test_pruned_weights_stay_zero_however_the_centroids_move():
    rule = owner((2, 6), 4, -2, masked=True)
    zero = rule.index == 0
    module = torch.nn.Linear(6, 2, bias=False)
    set_rule(module, rule, torch.zeros(2, 6))
    rule.connect({"0.weight": rule})
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        (module.weight - 3).square().sum().backward()
        optimizer.step()
    module.eval()
    rule.fit(module.parametrizations["weight"].original)
    assert torch.equal(module.weight == 0, zero)
    assert float((module.weight[~zero] - 3).abs().max()) < 2.5
    read = Codebook.from_streams(rule.spec, rule.shape, numbers(rule))
    assert torch.equal(read.mask, ~zero)


def test_the_gain_of_a_batchnorm_is_stored_beside_and_takes_part_in_training():
    rule = owner((4, 6), 4, -1)
    gain = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    absorbed = rule.absorb(torch.zeros(4, 6), gain)
    torch.testing.assert_close(absorbed.weight(), (rule.weight() * gain[:, None]).float(), rtol=0, atol=1e-17)
    assert torch.equal(absorbed.index, rule.index) and torch.equal(absorbed.centroids, rule.centroids)
    absorbed.train()
    out = absorbed(torch.zeros(4, 6))
    assert torch.equal(out.detach(), absorbed.weight())
    out[0].sum().backward()
    assert absorbed.centers.grad.tolist() == [float((rule.index[0] == i - 1).sum()) for i in range(4)]


def test_a_reader_of_shared_centroids_keeps_its_own_gain():
    first = owner((2, 3))
    second = reader(first, "a.weight", (2, 2), [-1, 0, 1, 2])
    rules = {"a.weight": first, "b.weight": second}
    second.connect(rules)
    absorbed = second.absorb(torch.zeros(2, 2), torch.tensor([2.0, 4.0], dtype=torch.float64))
    absorbed.connect({"a.weight": first.absorb(torch.zeros(2, 3), torch.tensor([8.0, 8.0], dtype=torch.float64))})
    assert torch.equal(absorbed.weight(), second.weight() * torch.tensor([[2.0], [4.0]]))


@pytest.mark.parametrize(
    "change",
    [
        {"indices": 0},
        {"indices": 4097},
        {"indices": 4.0},
        {"indices": True},
        {"indices": None},
        {"masked": 1},
        {"masked": "yes"},
        {"from": 3},
        {"from": None},
        {"gain": 1},
    ],
    ids=str,
)
def test_specs_that_make_no_sense_are_refused(change):
    spec = {"rule": "codebook", "indices": 4, **change}
    with pytest.raises(FormatError):
        build_rule(spec)(spec, (2, 3))


@pytest.mark.parametrize(
    "change",
    [
        {"index": [[9, 0]]},
        {"index": [[-2, 0]]},
        {"index": [[2**31 - 1, -(2**31)]]},
        {"low": [1]},
        {"low": [-4]},
        {"step": [10**6]},
        {"step": [-(2**31)]},
        {"centroids": [0, 0, 0, TOP + 1]},
        {"centroids": [0, 0, 0, -(2**31)]},
    ],
    ids=str,
)
def test_numbers_that_break_the_rule_are_refused(change):
    good = {"step": [0], "low": [-1], "centroids": [-5, 1, 2, 3], "index": [[-1, 2]]}
    spec = {"rule": "codebook", "indices": 4}
    arrays = {name: np.array(values, np.int32) for name, values in (good | change).items()}
    with pytest.raises(FormatError):
        Codebook.from_streams(spec, (1, 2), arrays)
    assert Codebook.from_streams(spec, (1, 2), {n: np.array(v, np.int32) for n, v in good.items()}).weight().any()


@pytest.mark.parametrize("problem", ["missing", "itself", "chain", "other rule", "other size", "masked", "index"])
def test_a_source_without_fitting_centroids_is_refused(problem):
    from mignon.rules.float32 import Float32

    first = owner((2, 3))
    second = reader(first, "a.weight", (1, 2), [0, 1])
    rules = {"a.weight": first, "b.weight": second}
    if problem == "missing":
        del rules["a.weight"]
    if problem == "itself":
        second = rules["b.weight"] = reader(first, "b.weight", (1, 2), [0, 1])
    if problem == "chain":
        rules["a.weight"] = reader(first, "c.weight", (2, 3), [0] * 6)
        rules["c.weight"] = first
    if problem == "other rule":
        rules["a.weight"] = Float32({"rule": "float"}, (2, 3))
    if problem == "other size":
        rules["a.weight"] = owner((2, 3), 3)
    if problem == "masked":
        rules["a.weight"] = owner((2, 3), masked=True)
    if problem == "index":
        second.index.fill_(7)
        with pytest.raises(FormatError):
            first.connect(rules)
    with pytest.raises(FormatError):
        second.connect(rules)


WILD = st.integers(-(2**31), 2**31 - 1) | st.integers(-6, 6)


@given(st.lists(WILD, min_size=2 + 4 + 4 + 3, max_size=2 + 4 + 4 + 3), st.integers(1, 4), st.booleans())
def test_any_numbers_from_outside_are_refused_or_make_finite_weights(wild, k, masked):
    values = np.array(wild, np.int64).astype(np.int32)
    spec = {"rule": "codebook", "indices": k} | ({"masked": True} if masked else {})
    own = {"step": values[:1], "low": values[1:2], "centroids": values[2 : 2 + k - masked]}
    try:
        first = Codebook.from_streams(spec, (2, 2), {**own, "index": values[6:10].reshape(2, 2)})
        second = Codebook.from_streams({**spec, "from": "a.weight"}, (3,), {"index": values[10:]})
        rules = {"b.weight": second, "a.weight": first}
        for rule in rules.values():
            rule.connect(rules)
    except FormatError:
        return
    assert all(bool(torch.isfinite(rule.weight()).all()) for rule in rules.values())
    assert int(first.uses.sum()) >= sum(int((rule.weight() != 0).sum()) for rule in rules.values())
