"""The rule of shared kernels: what it stores, what it refuses, what it learns."""

import itertools

import numpy as np
import pytest
import torch

from mignon.errors import FormatError
from mignon.models.weights import set_rule
from mignon.rules import build_rule
from mignon.rules.float32 import Float32
from mignon.rules.linear import affine
from mignon.rules.pieces import cut, unit
from mignon.rules.reference import Reference
from mignon.rules.share import Share

OWN = {"rule": "share", "length": 9, "references": 5, "shape_bits": 8, "a": 4, "m": 4, "unit": True}


def random(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(spec, shape, source=None, seed=0):
    """A rule with random numbers everywhere."""
    rule = Share(spec, shape)
    rules = {"x.weight": rule} if source is None else {"conv1.weight": source, "x.weight": rule}
    rule.connect(rules)
    parts = cut(shape, spec["length"])
    dice = torch.Generator().manual_seed(seed)
    if rule.stores_shapes:
        rule.set_shapes(random((spec["references"], spec["length"]), seed))
    rule.set_index(torch.randint(spec["references"] * len(rule.turns), (parts.rows, parts.pieces), generator=dice))
    for name in ("a", "m"):
        values = random((parts.rows, parts.pieces), seed + 1)
        bits = spec[name]
        rule.set_numbers(name, values, affine(values.double(), bits) if 0 < bits < 32 else None)
    return rule


def again(rule, source=None):
    copy = build_rule(rule.spec).from_streams(rule.spec, rule.shape, {k: s.values for k, s in rule.streams().items()})
    copy.connect({"x.weight": copy} if source is None else {"conv1.weight": source, "x.weight": copy})
    return copy


def slow_weight(rule, references):
    """The weight number by number."""
    parts, flat = rule.parts, []
    index, a, m = rule.index().tolist(), rule._numbers("a").tolist(), rule._numbers("m").tolist()
    for row, piece in itertools.product(range(parts.rows), range(parts.pieces)):
        k, t = divmod(index[row][piece], len(rule.turns))
        shape = references[k][rule.turns[t].numpy()]
        if piece == parts.pieces - 1:
            shape = shape[: parts.last]
        if rule.unit:
            shape = shape - shape.mean()
            shape = shape / np.linalg.norm(shape) if np.abs(shape).max() > 1e-12 else shape * 0
        flat += (a[row][piece] * shape + m[row][piece]).tolist()
    return np.array(flat).reshape(rule.shape)


@pytest.mark.parametrize(
    ("shape", "length"),
    [((4, 3, 3, 3), 9), ((4, 3, 3, 3), 18), ((7, 1, 3, 3), 9), ((7, 1, 3, 3), 18), ((4, 10, 1, 1), 4), ((3, 2), 5)],
)
@pytest.mark.parametrize("turn", ["none", "square", "shifts", "all"])
def test_the_weight_is_a_times_the_reference_plus_m(shape, length, turn):
    for bits in (3, 32):
        spec = {**OWN, "length": length, "turn": turn, "a": bits, "m": bits}
        rule = filled(spec, shape)
        np.testing.assert_allclose(rule.weight().numpy(), slow_weight(rule, rule.shapes.double().numpy()), atol=1e-5)
        assert rule.weight().dtype == torch.float32
        assert torch.equal(again(rule).weight(), rule.weight())


@pytest.mark.parametrize(("a", "m"), [(0, 0), (8, 0), (32, 32), (8, 8)])
@pytest.mark.parametrize("bits", [8, 32])
def test_references_of_another_tensor_as_they_are(a, m, bits):
    source = Reference({"rule": "reference"} | ({"bits": bits} if bits < 32 else {}), (4, 2, 3, 3))
    source.fit(random((4, 2, 3, 3)))
    spec = {"rule": "share", "length": 9, "references": 8, "from": "conv1.weight", "a": a, "m": m}
    rule = filled(spec, (5, 4, 3, 3), source)
    np.testing.assert_allclose(rule.weight(), slow_weight(rule, source.value().reshape(8, 9).numpy()), atol=1e-5)
    assert torch.equal(again(rule, source).weight(), rule.weight())
    assert ("a" in rule.streams(), "m" in rule.streams()) == (a > 0, m > 0)


def test_windows_of_a_pointwise_reference():
    source = Reference({"rule": "reference"}, (3, 11, 1, 1))
    source.fit(random((3, 11, 1, 1)))
    spec = {"rule": "share", "length": 4, "stride": 3, "references": 12, "from": "conv1.weight", "a": 32, "m": 32}
    rule = filled(spec, (5, 6, 1, 1), source)
    references = np.concatenate([source.value()[o].flatten().unfold(0, 4, 1)[[0, 3, 6, 7]] for o in range(3)])
    np.testing.assert_allclose(rule.weight(), slow_weight(rule, references), atol=1e-5)


def test_a_reference_keeps_its_kernels_when_batchnorm_is_absorbed():
    weight, gain = random((4, 2, 3, 3)), torch.tensor([0.5, -2.0, 0.0, 3.0], dtype=torch.float64)
    for spec in ({"rule": "reference"}, {"rule": "reference", "bits": 8}):
        rule = Reference(spec, (4, 2, 3, 3))
        rule.fit(weight)
        stored = rule.absorb(weight, gain)
        assert torch.equal(stored.value(), rule.value())
        wanted = rule.value().double() * gain[:, None, None, None]
        torch.testing.assert_close(stored.weight().double(), wanted, rtol=2e-3, atol=1e-12)
    assert torch.equal(
        Reference.from_streams({"rule": "reference"}, (2, 3), _streams(weight[:2, 0, 0])).value(), weight[:2, 0, 0]
    )


def _streams(weight):
    rule = Reference({"rule": "reference"}, tuple(weight.shape))
    rule.fit(weight)
    return {k: s.values for k, s in rule.streams().items()}


def test_fitting_finds_the_best_numbers_for_the_references_that_are_there():
    rule = filled({**OWN, "a": 32, "m": 32}, (4, 3, 3, 3))
    target = rule.weight().clone()
    rule.set_numbers("a", torch.zeros(4, 3))
    rule.set_numbers("m", torch.zeros(4, 3))
    rule.fit(target)
    torch.testing.assert_close(rule.weight(), target, rtol=1e-5, atol=1e-6)


def test_absorbing_batchnorm_leaves_every_stored_number():
    rule = filled(OWN, (4, 3, 3, 3))
    gain = torch.tensor([0.5, -2.0, 1.0, 3.0], dtype=torch.float64)
    stored = rule.absorb(rule.weight(), gain)
    for name, stream in rule.streams().items():
        assert np.array_equal(stored.streams()[name].values, stream.values)
    wanted = rule.weight().double() * gain[:, None, None, None]
    torch.testing.assert_close(stored.weight().double(), wanted, rtol=2e-3, atol=1e-12)
    refitted = again(stored)
    refitted.fit(stored.weight())  # the latent weight of a file has the gain in it
    torch.testing.assert_close(refitted.weight(), stored.weight(), rtol=1e-5, atol=1e-6)


def test_training_computes_with_what_would_be_stored_and_teaches_shapes_scales_and_means():
    rule = filled(OWN, (4, 3, 3, 3))
    module = torch.nn.Conv2d(3, 4, 3, bias=False)
    set_rule(module, rule, rule.weight())
    module.train()
    torch.testing.assert_close(module.weight, rule.weight(), rtol=1e-5, atol=1e-6)
    factor = random((4, 3, 3, 3), 9)
    (module.weight * factor).sum().backward()
    assert float(rule.live_shapes.grad.abs().max()) > 0
    gradient = module.parametrizations["weight"].original.grad.reshape(12, 9).double()
    shapes = unit(rule.shapes.double())[rule.index().flatten()]
    flat = factor.reshape(12, 9).double()
    inside = (flat * shapes).sum(1, keepdim=True) * shapes + flat.mean(1, keepdim=True)
    torch.testing.assert_close(gradient, inside, rtol=1e-4, atol=1e-5)  # the part along shape and mean, no other


def test_the_gradient_of_a_learned_shape_is_that_of_the_weight():
    rule = filled({**OWN, "a": 32, "m": 32}, (2, 2, 3, 3)).train()
    latent, factor = rule.weight(), random((2, 2, 3, 3), 5)
    (rule(latent) * factor).sum().backward()

    def loss(shapes):
        chosen = unit(shapes.double() * rule.top)[rule.index().flatten()]
        weight = chosen * rule._numbers("a").reshape(-1, 1) + rule._numbers("m").reshape(-1, 1)
        return (weight.reshape(2, 2, 3, 3) * factor).sum()

    stored = (rule.shapes / rule.top).requires_grad_()
    (wanted,) = torch.autograd.grad(loss(stored), stored)
    torch.testing.assert_close(rule.live_shapes.grad, wanted, rtol=1e-3, atol=1e-5)


def test_training_goes_on_from_a_file_whose_batchnorm_is_in_the_gain():
    gain = torch.tensor([0.5, -2.0, 1.0, 3.0], dtype=torch.float64)
    stored = again(filled(OWN, (4, 3, 3, 3)).absorb(torch.zeros(4, 3, 3, 3), gain)).train()
    latent = stored.weight().requires_grad_()
    weight = stored(latent)
    torch.testing.assert_close(weight, stored.weight(), rtol=1e-5, atol=1e-6)
    weight.square().sum().backward()
    assert float(latent.grad.abs().max()) > 0 and float(stored.live_shapes.grad.abs().max()) > 0


def test_free_weights_are_trained_without_the_rule():
    rule = filled({**OWN, "free": True}, (4, 3, 3, 3)).train()
    latent = random((4, 3, 3, 3), 3)
    assert rule(latent) is latent
    assert torch.equal(rule.eval()(latent), rule.weight())


def test_a_reference_tensor_gets_the_gradient_of_those_that_follow_it():
    source = Reference({"rule": "reference"}, (4, 2, 3, 3)).train()
    source.fit(random((4, 2, 3, 3)))
    kernels = source.value().requires_grad_()
    spec = {"rule": "share", "length": 9, "references": 8, "from": "conv1.weight", "a": 32, "m": 32}
    rule = filled(spec, (5, 4, 3, 3), source).train()
    source(kernels)
    (rule(rule.weight()) * random((5, 4, 3, 3), 4)).sum().backward()
    assert float(kernels.grad.abs().max()) > 0


@pytest.mark.parametrize("kind", ["constant", "zero", "tiny"])
def test_degenerate_references_and_weights_stay_finite(kind):
    weight = {
        "constant": torch.full((4, 2, 3, 3), 0.7),
        "zero": torch.zeros(4, 2, 3, 3),
        "tiny": random((4, 2, 3, 3)) * 1e-20,
    }[kind]
    source = Reference({"rule": "reference"}, (4, 2, 3, 3))
    source.fit(weight)
    for normalized in (True, False):
        spec = {
            "rule": "share",
            "length": 9,
            "references": 8,
            "from": "conv1.weight",
            "a": 32,
            "m": 32,
            "unit": normalized,
        }
        rule = filled(spec, (4, 2, 3, 3), source)
        rule.fit(random((4, 2, 3, 3)))
        assert bool(torch.isfinite(rule.weight()).all())


@pytest.mark.parametrize(
    "change",
    [
        {"length": 8}, {"length": 0}, {"length": 9.0}, {"length": 9 * 1024}, {"length": None},
        {"references": 0}, {"references": 1 << 17}, {"references": True}, {"references": 1 << 16, "length": 18},
        {"a": 1}, {"a": 17}, {"m": "8"}, {"m": -1}, {"turn": "spin"}, {"turn": 3}, {"turn": ["none"]}, {"stride": 0},
        {"unit": 1}, {"free": 0}, {"from": "conv1.weight"}, {"shape_bits": 1}, {"shape_bits": 40}, {"unit": False},
        {"shape_bits": None}, {"gain": 1},
    ],
    ids=str,
)  # fmt: skip
def test_specs_that_make_no_sense_are_refused(change):
    with pytest.raises(FormatError):
        spec = {**OWN, **change}
        build_rule(spec)(spec, (4, 3, 3, 3))


def test_references_stand_somewhere():
    spec = {k: v for k, v in OWN.items() if k != "shape_bits"}
    for wrong in (spec, {**spec, "from": 3}, {**spec, "from": None}):
        with pytest.raises(FormatError):
            Share(wrong, (4, 3, 3, 3))


@pytest.mark.parametrize(
    ("stream", "number"),
    [("index0", 5), ("shapes", 128), ("a", 8), ("a", -9), ("m", 100)],
)
def test_numbers_that_break_the_rule_are_refused(stream, number):
    streams = {k: s.values.copy() for k, s in filled(OWN, (4, 3, 3, 3)).streams().items()}
    streams[stream].flat[0] = number
    with pytest.raises(FormatError):
        Share.from_streams(OWN, (4, 3, 3, 3), streams)


@pytest.mark.parametrize("stream", ["a_scale", "m_scale"])
def test_scales_that_are_not_finite_are_refused(stream):
    streams = {k: s.values.copy() for k, s in filled(OWN, (4, 3, 3, 3)).streams().items()}
    streams[stream][:, 0] = [127, 192, 0, 0]
    with pytest.raises(FormatError):
        Share.from_streams(OWN, (4, 3, 3, 3), streams)
    with pytest.raises(FormatError):
        Reference.from_streams({"rule": "reference"}, (1,), {"planes": np.array([[127], [192], [0], [0]])})
    with pytest.raises(FormatError):
        Reference.from_streams(
            {"rule": "reference", "bits": 2}, (1,), {"step": np.zeros((4, 2), int), "q": np.array([2])}
        )
    with pytest.raises(FormatError):
        Reference({"rule": "reference", "bits": 1}, (1,))


def test_sources_that_are_not_there_do_not_fit_or_read_themselves_are_refused():
    spec = {"rule": "share", "length": 9, "references": 8, "from": "conv1.weight", "a": 32, "m": 32}
    rule = Share(spec, (4, 2, 3, 3))
    chained = Share({**spec, "from": "other.weight"}, (4, 2, 3, 3))
    shapes = {**OWN, "references": 8}
    wrong = [
        {},
        {"conv1.weight": rule},
        {"conv1.weight": chained},
        {"conv1.weight": Float32({"rule": "float"}, (4, 3, 3, 3))},
        {"conv1.weight": Float32({"rule": "float"}, (4, 18, 1, 1))},
        {"conv1.weight": Share({**shapes, "length": 18}, (4, 2, 3, 3))},
    ]
    for rules in wrong:
        with pytest.raises(FormatError):
            rule.connect({**rules, "x.weight": rule})
    for source in (Float32({"rule": "float"}, (4, 2, 3, 3)), Share(shapes, (4, 2, 3, 3))):
        rule.connect({"conv1.weight": source, "x.weight": rule})
        assert rule.source is source


def test_sums_run_from_first_to_last():
    pieces = torch.tensor([[1e16, 1.0, -1e16, 3.0, 5.0]], dtype=torch.float64)
    mean = ((((1e16 + 1.0) - 1e16) + 3.0) + 5.0) / 5
    centered = [x - mean for x in pieces[0].tolist()]
    power = 0.0
    for x in centered:
        power += x * x
    assert unit(pieces)[0].tolist() == [x / power**0.5 for x in centered]
