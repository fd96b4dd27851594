"""The step `share`: the versions of MESS, learned shapes, and tuning with either."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers import context_for

from mignon import mgn
from mignon.checkpoint import load_safetensors, save_safetensors
from mignon.classifier import fresh
from mignon.data.imageset import Split
from mignon.data.inputs import InputSpec
from mignon.errors import RecipeError
from mignon.models.weights import rules_of, weight_rule
from mignon.progress import Quiet
from mignon.rules.linear import source
from mignon.rules.pieces import windows
from mignon.steps import parse_recipe, parse_step
from mignon.steps.share.presets import PRESETS

SPEC = InputSpec(height=32, width=32, channels=3, resize="squash", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class Pictures:
    """A few random training pictures; nothing else may be read."""

    def __init__(self, count=8):
        pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        self.train = Split("train", pixels, np.zeros(count, np.int64), [str(i) for i in range(count)])

    def __getattr__(self, name):
        raise AssertionError(f"{name} was read")


class Blind:
    """Validation images that nobody may look at."""

    def __getattr__(self, name):
        raise AssertionError("validation images were read")


@pytest.fixture
def context(digits, tmp_path):
    return dataclasses.replace(
        context_for(digits, tmp_path, None), train=Pictures().train, validation=Blind(), screen=Quiet()
    )


def network(family="resnet20-cifar", options=None, odd=False):
    classifier = fresh(family, options or {}, SPEC, ("a", "b"), 0)
    if odd:  # constant and all-zero kernels, in the reference layers too
        with torch.no_grad():
            for module in classifier.weighted().values():
                weight = module.weight.clone(memory_format=torch.contiguous_format)
                kernels = weight.reshape(-1, weight[0, 0].numel() if weight[0, 0].numel() > 1 else len(weight[0]))
                kernels[0::4], kernels[1::4] = 0, 0.25
                module.weight.copy_(weight)
    return classifier


def weights_of(classifier):
    return {name: module.weight.detach() for name, module in classifier.weighted().items()}


REFUSING = ("v2", "v2q", "v2qq")


MOBILE = [("mobilenetv1", {"width": 0.3}, p) for p in ("v1", "v2nb", "v2qq-epsv1", "v2.5", "learned")]
MOBILE += [("mobilenetv2-cifar", {"width": 0.1}, p) for p in ("v2f", "learned")]


@pytest.mark.parametrize(
    ("family", "options", "preset"), [("resnet20-cifar", {}, p) for p in PRESETS if p not in REFUSING] + MOBILE
)
def test_every_preset_ends_with_finite_weights_that_the_file_holds(family, options, preset, context):
    more = ",shapes=8" if preset == "learned" else ",transforms=square" if preset == "v3" else ""
    shared = parse_step(f"share={preset}{more}").apply(network(family, options, odd=True), context)
    assert all(bool(torch.isfinite(w).all()) for w in weights_of(shared).values())
    settled, decoded = mgn.settle(shared), mgn.decode(mgn.encode(shared))
    assert all(torch.equal(w, weights_of(decoded)[n]) for n, w in weights_of(settled).items())
    for name, weight in weights_of(shared).items():  # a settled weight is the live one times the gain of its channel
        rule = rules_of(settled.network)[f"{name}.weight"]
        if rule.spec.get("gain"):
            torch.testing.assert_close(weights_of(settled)[name], weight * rule.channel_gain())


@pytest.mark.parametrize("preset", REFUSING)
def test_versions_without_a_rule_refuse_constant_references_with_the_reason(preset, context):
    with pytest.raises(RecipeError, match="reference kernels are constant") as error:
        parse_step(f"share={preset}").apply(network(odd=True), context)
    assert "eps=clamp" in str(error.value)
    shared = parse_step(f"share={preset}").apply(network(), context)
    assert all(bool(torch.isfinite(w).all()) for w in weights_of(shared).values())


@pytest.mark.parametrize("reference", [0, 1, 6])
def test_every_layer_but_the_reference_is_coded_and_the_reference_is_kept(reference, context):
    before = network()
    names = list(before.weighted())[:-1]
    names = [n for n in names if before.weighted()[n].kernel_size == (3, 3)]
    shared = parse_step(f"share=v2,reference={reference}").apply(before, context)
    rules = rules_of(shared.network)
    assert {n: r.name for n, r in rules.items()} == {
        f"{n}.weight": "reference" if i == reference else "share" for i, n in enumerate(names)
    }
    kept = weights_of(shared)[names[reference]]
    assert torch.equal(kept, before.weights()[names[reference]])
    references = windows(kept.double(), 9)
    for i, name in enumerate(names):
        if i != reference and i < 4:
            rule = rules[f"{name}.weight"]
            chosen = references[rule.index().flatten()]
            rest = weights_of(shared)[name].double().reshape(-1, 9)
            both = torch.stack([chosen, torch.ones_like(chosen)], 2)
            solution = torch.linalg.lstsq(both, rest[:, :, None]).solution
            torch.testing.assert_close((both @ solution)[:, :, 0], rest, rtol=0, atol=1e-5)


def test_quantized_references_are_on_the_grid_of_the_source(context):
    before = network()
    shared = parse_step("share=v2qq").apply(before, context)
    step = source(before.weights()["conv1"].double(), 8).step
    rule = rules_of(shared.network)["conv1.weight"]
    assert int(rule.q.min()) == -128 or int(rule.q.max()) == 127
    torch.testing.assert_close(weights_of(shared)["conv1"], rule.q * step, rtol=1e-5, atol=1e-8)
    coded = rules_of(shared.network)["layer1.0.conv1.weight"]
    assert int(coded.a.min()) >= -128 and int(coded.a.max()) <= 127


def test_learned_shapes_are_stored_once_and_leave_stem_and_classifier_alone(context):
    before = network()
    shared = parse_step("share=learned,shapes=64").apply(before, context)
    rules = rules_of(shared.network)
    assert [n for n, r in rules.items() if "shape_bits" in r.spec] == ["layer1.0.conv1.weight"]
    assert len(rules) == 18 and all(len(r.streams().get("index0").values) for r in rules.values())
    for name in ("conv1", "linear", "layer2.0.shortcut.0"):
        assert torch.equal(weights_of(shared)[name], before.weights()[name])


@pytest.mark.parametrize("text", ["share=learned,shapes=8,calibrate=false", "share=v2qq,reference=3"])
def test_a_checkpoint_holds_everything(text, context, tmp_path):
    shared = parse_step(text).apply(network(), context)
    save_safetensors(shared, tmp_path / "point.safetensors")
    again = load_safetensors(tmp_path / "point.safetensors")
    before, after = shared.network.state_dict(), again.network.state_dict()
    names = {n for n in before if not n.endswith("num_batches_tracked")}
    assert all(torch.equal(before[n], after[n]) for n in names)
    assert mgn.encode(again) == mgn.encode(shared)


def test_more_bits_and_more_shapes_are_closer(context):
    before = network()

    def error(text):
        after = weights_of(parse_step(text).apply(before, context))
        return sum(float((after[n] - w).square().sum()) for n, w in before.weights().items())

    plain = "share=learned,calibrate=false"
    errors = [error(f"{plain},shapes={n}") for n in (4, 8, 32)]
    assert errors == sorted(errors, reverse=True)
    assert error(f"{plain},shapes=8,abits=8,bbits=8") < errors[1] < error(f"{plain},shapes=8,abits=2,bbits=2")


def test_choosing_on_training_images_brings_the_outputs_closer(context):
    before = network()
    pixels = context.train.take(slice(None))

    def distance(text):
        after = parse_step(text).apply(before, context)
        return float(np.square(after.logits(pixels) - before.logits(pixels)).mean())

    assert distance("share=learned,shapes=16") < 0.7 * distance("share=learned,shapes=16,calibrate=false")


def test_same_bytes_with_one_thread_and_two(context):
    files = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            files.append(mgn.encode(parse_step("share=learned,shapes=16").apply(network(), context)))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("recipe", "word"),
    [
        ("share=v9", "v2qq"),
        ("share=v2,match=cosine", "pcc"),
        ("share=v2nb,match=pcc", "match=l2"),
        ("share=v1,match=pcc", "match=l2"),
        ("share=v2,abits=1", "2 to 16"),
        ("share=v2,bbits=17", "float"),
        ("share=v2,length=1", "2 to"),
        ("share=v2,stride=0", "1 to"),
        ("share=v2,bind=0", "1 to 16"),
        ("share=v2,eps=1e-8", "clamp"),
        ("share=v2,transforms=spin", "square"),
        ("share=v2,shapes=16", "normalized=true"),
        ("share=v1,normalized=true", "scale=true"),
        ("share=v2,calibrate=true", "calibrate=false"),
        ("share=learned,reference=1", "shapes=0"),
        ("share=learned,wbits=8", "shapes=0"),
        ("share=learned,stride=2", "leave it out"),
        ("share=v2,windows=false,length=4", "leave windows=false out"),
        ("share=v2nb,bbits=8", "offset=true"),
        ("share=v1,abits=8", "scale=true"),
        ("share=v2f,fixed=false", "every=1"),
        ("share=v2,warmup=2", "every=1"),
        ("share=learned share=v2", "whole numbers already"),
        ("quant=w4 share=learned", "use one of them only"),
        ("prune=0.5 share=learned", "filled again"),
        ("cluster=4 share=learned", "use one of them only"),
        ("share=learned quant=w4", "cannot follow share"),
        ("share=learned prune=0.5", "cannot follow share"),
        ("share=learned cluster=4", "cannot follow share"),
    ],
)
def test_recipes_that_make_no_sense_say_what_to_type(recipe, word):
    with pytest.raises(RecipeError) as error:
        parse_recipe(recipe.split())
    assert word in str(error.value)


def test_networks_with_nothing_to_share_are_refused(tiny_classifier, context):
    with pytest.raises(RecipeError, match="no two convolutions"):
        parse_step("share=v2,reference=5").apply(tiny_classifier, context)
    with pytest.raises(RecipeError, match="cannot teach 4000 shapes"):
        parse_step("share=learned,shapes=4000,calibrate=false").apply(tiny_classifier, context)


# ---- tuning ----


@pytest.fixture
def tuned(digits, tmp_path, tiny_classifier):
    def go(text, recipe="tune=2,lr=0.05"):
        context = context_for(digits, tmp_path / text, tiny_classifier)
        shared = dataclasses.replace(parse_step(text).apply(tiny_classifier, context), recipe=(text,))
        return shared, parse_step(recipe).apply(shared, context)

    return go


def validation_top1(classifier, digits):
    return float((classifier.logits(digits.validation.take(slice(None))).argmax(1) == digits.validation.labels).mean())


def test_tuning_keeps_the_index_and_trains_scales_means_and_shapes(tuned, digits):
    shared, after = tuned("share=learned,shapes=16")
    old, new = rules_of(shared.network), rules_of(after.network)
    owner = next(n for n, r in old.items() if "shape_bits" in r.spec)
    for name, rule in old.items():
        assert torch.equal(rule.index(), new[name].index())
        assert not torch.equal(rule.a, new[name].a)
    assert not torch.equal(old[owner].shapes, new[owner].shapes)
    assert validation_top1(after, digits) > validation_top1(shared, digits) + 0.2
    decoded = mgn.decode(mgn.encode(after))
    pixels = digits.validation.take(slice(50))
    assert np.abs(decoded.logits(pixels) - after.logits(pixels)).max() < 0.1


@pytest.mark.parametrize("text", ["share=v2qq,eps=clamp,every=1", "share=learned,shapes=16,every=1,fixed=false"])
def test_free_weights_are_projected_after_epochs(tuned, digits, text):
    shared, after = tuned(text, "tune=2,lr=0.2")
    old, new = rules_of(shared.network), rules_of(after.network)
    changed = [n for n, r in old.items() if r.name == "share" and not torch.equal(r.index(), new[n].index())]
    assert changed, "the index follows the weights"
    assert validation_top1(after, digits) > validation_top1(shared, digits)
    for name, module in after.weighted().items():
        if f"{name}.weight" in changed:
            assert torch.equal(module.parametrizations["weight"].original, module.weight)


def test_projection_waits_for_its_epochs_and_can_keep_the_index(tiny_classifier, context):
    step = parse_step("share=v2f,every=2,warmup=1")
    shared = step.apply(tiny_classifier, context)
    moved = shared.copy()
    dice = torch.Generator().manual_seed(0)
    rules = {n: m for n, m in moved.weighted().items() if getattr(weight_rule(m), "name", "") == "share"}
    with torch.no_grad():
        for module in rules.values():
            latent = module.parametrizations["weight"].original
            latent += torch.randn(latent.shape, generator=dice)
    latents = {n: m.parametrizations["weight"].original.clone() for n, m in rules.items()}
    for epoch in (1, 2):
        step.after_epoch(moved, epoch)
        assert all(torch.equal(m.parametrizations["weight"].original, latents[n]) for n, m in rules.items())
    step.after_epoch(moved, 3)
    for name, module in rules.items():
        assert not torch.equal(module.parametrizations["weight"].original, latents[name])
        assert torch.equal(module.parametrizations["weight"].original, module.weight)
        assert torch.equal(weight_rule(module).index(), weight_rule(shared.weighted()[name]).index())


# ---- the trained ResNet-20 ----


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("v2", 0.28700),
        ("v2,match=pcc", 0.26887),
        ("v1", 0.82102),
        ("v2nb,match=l2", 0.36808),
        ("v2nb", 0.39438),
        ("v2qq-epsv1", 0.36296),
        ("v2qq-epsv2", 0.36297),
        ("v2qq-epsv3", 0.36297),
        ("v2qq,eps=clamp", 0.36297),
        ("v2qq,eps=clamp,wbits=6", 0.30038),
        ("v2qq,eps=clamp,wbits=4", 0.32791),
        ("v2q-ab", 0.45225),
        ("v2q-ab,match=pcc", 0.43596),
        ("v2,match=pcc,normalized=true,eps=clamp,abits=8,bbits=8,grid=affine", 0.26892),
        ("v3,match=pcc,transforms=square", 0.15159),
        ("v3,match=pcc,transforms=shifts", 0.14332),
        ("v3,match=pcc", 0.08459),
        ("v2,match=pcc,eps=zero,reference=1", 0.14159),
        ("v2,match=pcc,eps=zero,reference=12", 0.09682),
    ],
)
def test_errors_on_a_trained_resnet20(shared_data, text, error, context):
    before = load_safetensors(shared_data / "resnet20-cifar10.safetensors")
    after = weights_of(parse_step(f"share={text}").apply(before, context))
    coded = [n for n in before.weights() if weight_rule(before.weighted()[n]) is None and after[n].dim() == 4]
    reference = int(text.partition("reference=")[2] or 0)
    names = [n for i, n in enumerate(coded) if i != reference]
    squares = sum(float((after[n].double() - before.weights()[n]).square().sum()) for n in names)
    assert squares / sum(float(before.weights()[n].double().square().sum()) for n in names) == pytest.approx(
        error, abs=1e-4
    )


@pytest.mark.parametrize(("bits", "constant"), [(8, 2), (6, 6), (5, 7), (4, 10), (3, 11), (2, 19)])
def test_constant_references_of_a_trained_resnet20(shared_data, bits, constant, context):
    with pytest.raises(RecipeError, match=f"{constant} of 48 reference kernels are constant"):
        parse_step(f"share=v2qq,wbits={bits}").apply(
            load_safetensors(shared_data / "resnet20-cifar10.safetensors"), context
        )


def test_learned_shapes_leave_less_than_was_published(shared_data, context):
    before = load_safetensors(shared_data / "resnet20-cifar10.safetensors")
    for count, error in ((16, 0.24507), (256, 0.10823)):
        text = f"share=learned,calibrate=false,shapes={count},abits=8,bbits=8,grid=affine"
        after = weights_of(parse_step(text).apply(before, context))
        names = [n for n, w in before.weights().items() if w.dim() == 4][1:]
        squares = sum(float((after[n].double() - before.weights()[n]).square().sum()) for n in names)
        assert squares / sum(float(before.weights()[n].double().square().sum()) for n in names) < error + 1e-3
