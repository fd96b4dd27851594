"""A new method touches nothing: a step and a rule defined here go through recipe, file, ledger, report and screen."""

import json
from dataclasses import dataclass

import pytest
import torch
from helpers import context_for

from mignon import mgn
from mignon.cli.start import run
from mignon.coding import Layout
from mignon.errors import FormatError
from mignon.models.weights import put_rules
from mignon.registry import RULES, STEPS
from mignon.rules import Rule, example_weight
from mignon.steps import FLOAT_WEIGHTS, Step, parse_recipe


class SignRule(Rule):
    """weight = magnitude[output channel, in 1/1024] * sign: one bit a weight."""

    @classmethod
    def examples(cls):
        rule = cls({"rule": "toy-sign", "unit": 1024}, (4, 3, 3, 3))
        rule.fit(example_weight(4, 3, 3, 3))
        return [rule]

    @classmethod
    def layouts(cls, spec, shape):
        if spec.get("unit") != 1024:
            raise FormatError("the toy rule has one unit")
        return {"magnitude": Layout((shape[0],), "side"), "positive": Layout(shape, "bits")}

    def fit(self, latent):
        rows = latent.reshape(len(latent), -1)
        self.magnitude.copy_((rows.abs().mean(1) * 1024).round().clamp_min(1))
        self.positive.copy_(latent > 0)

    def value(self):
        signs = 2.0 * self.positive - 1
        return signs * (self.magnitude / 1024).reshape(-1, *[1] * (len(self.shape) - 1))


@dataclass(frozen=True)
class Sign(Step):
    """`sign=convs`: the weights of all convolutions but the first become one bit."""

    what: str = "convs"

    summary = "a toy"
    version = 1
    examples = ("sign",)
    leaves = ("whole weights",)
    cannot_follow = FLOAT_WEIGHTS

    def apply(self, classifier, context):
        assert not hasattr(context, "test"), "a step must not reach the test images"
        result = classifier.copy()
        for name, module in list(result.weighted().items())[1:]:
            if module.weight.dim() == 4:
                latent = result.weights()[name]
                rule = SignRule({"rule": "toy-sign", "unit": 1024}, tuple(latent.shape))
                rule.fit(latent)
                put_rules(result.network, {f"{name}.weight": (rule, latent)})
        return result


@pytest.fixture
def toys():
    STEPS.register("sign")(Sign)
    RULES.register("toy-sign")(SignRule)
    yield
    STEPS.remove("sign")
    RULES.remove("toy-sign")


@pytest.mark.usefixtures("toys")
def test_a_step_and_a_rule_from_outside_travel_through_everything(tmp_path, capsys):
    model = tmp_path / "trained"
    assert run(["train", "digits-cnn", "--data", "digits", "--epochs", "6", "--out", str(model)]) == 0
    capsys.readouterr()
    out = tmp_path / "signed"
    recipe = ["sign", "tune=2,lr=0.01", "code=range"]
    assert run(["compress", str(model), "--data", "digits", "--out", str(out), "--json", *recipe]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["step"] for row in result["rows"]] == ["float", "sign=convs", "tune=2,lr=0.01", "code=range"]
    signed, tuned, coded = result["rows"][1:]
    assert signed["size_bytes"] < 0.2 * result["rows"][0]["size_bytes"]
    assert coded["size_bytes"] < tuned["size_bytes"]
    assert coded["top1"] == tuned["top1"] > 0.5
    decoded = mgn.decode((out / "model.mgn").read_bytes())
    weight = decoded.network.get_submodule("3").weight
    assert all(len(channel.abs().unique()) == 1 for channel in weight)
    assert "sign=convs" in (out / "report.html").read_text()
    assert run(["compress", str(model), "--data", "digits", "quant=w4", "sign"]) == 2
    assert "sign cannot follow quant" in capsys.readouterr().err


@pytest.mark.usefixtures("toys")
def test_a_rule_that_knows_no_batchnorm_keeps_its_numbers_when_it_is_absorbed(tiny_classifier):
    classifier = tiny_classifier.copy()
    norm = classifier.network.get_submodule("4")
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-2, 2, 16))
        norm.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
    signed = Sign().apply(classifier, object())
    before = signed.network.get_submodule("3").parametrizations["weight"][0]
    decoded = mgn.decode(mgn.encode(signed))
    after = decoded.network.get_submodule("3").parametrizations["weight"][0]
    assert torch.equal(before.positive, after.positive) and torch.equal(before.magnitude, after.magnitude)
    pixels = torch.randint(0, 256, (20, 8, 8, 1), generator=torch.Generator().manual_seed(1)).byte().numpy()
    live, stored = torch.from_numpy(signed.logits(pixels)), torch.from_numpy(decoded.logits(pixels))
    torch.testing.assert_close(live, stored, rtol=0.02, atol=0.02)


@pytest.mark.usefixtures("toys")
def test_zeros_pruned_before_a_rule_from_outside_stay_zero_in_training_and_file(tiny_classifier, digits, tmp_path):
    prune, *others = parse_recipe(["prune=0.7", "sign", "tune=1,share=0.1"])
    classifier = prune.apply(tiny_classifier, context_for(digits, tmp_path))
    pruned = {name: weight == 0 for name, weight in classifier.weights().items()}
    for number, step in enumerate(others):
        classifier = step.apply(classifier, context_for(digits, tmp_path / str(number)))
    decoded = mgn.decode(mgn.encode(classifier))
    for network in (classifier, decoded):
        for name, module in network.weighted().items():
            assert not module.weight[pruned[name]].any(), name
            assert bool((module.weight[~pruned[name]] != 0).any()), name


def test_a_member_that_does_not_say_what_it_must_is_refused_when_it_is_registered():
    class Silent(Step):
        summary = "a toy"
        version = 1
        examples = ("silent",)

    with pytest.raises(ValueError, match="leaves"):
        STEPS.register("silent")(Silent)
    with pytest.raises(ValueError, match="examples"):
        RULES.register("silent")(type("Silent", (Rule,), {}))
