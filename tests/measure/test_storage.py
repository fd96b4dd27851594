"""Bytes of a network with its weights in other forms, beside the bytes of its file."""

import numpy as np
import pytest
from helpers import context_for

from mignon import mgn
from mignon.measure.storage import CHOICES, numbers_of, storage_forms
from mignon.models.weights import rules_of
from mignon.steps import parse_recipe

COLUMNS = ("values", "indices", "side", "other", "header")


@pytest.fixture
def about(digits, tiny_classifier, tmp_path):
    def go(recipe, choice="all"):
        classifier = tiny_classifier
        for number, step in enumerate(parse_recipe(recipe.split())):
            classifier = step.apply(classifier, context_for(digits, tmp_path / f"{recipe}{number}"))
        data = mgn.encode(classifier)
        decoded = mgn.decode(data)
        found = storage_forms(decoded, mgn.parts(data), choice)
        return {row["form"]: row for row in found["forms"]}, found["not_comparable"], decoded, len(data)

    return go


@pytest.mark.parametrize(
    "recipe",
    [
        "prune=0.9 quant=w8",
        "quant=w4a8 code=range",
        "cluster=16 code=huffman",
        "prune=0.7 cluster=8,shared=true",
        "prune=0.6",
    ],
)
def test_the_row_of_the_file_has_all_its_bytes(about, recipe):
    rows, missing, decoded, size = about(recipe)
    assert list(rows)[: len(CHOICES)] == list(CHOICES) and list(rows)[-1] == ".mgn"
    assert rows[".mgn"]["total"] == size and not missing
    for row in rows.values():
        assert row["total"] == sum(row[column] for column in COLUMNS)
        assert row["header"] == rows[".mgn"]["header"] < 300
    assert ("order-0 entropy" in rows) is (recipe != "prune=0.6"), "floats have none"
    weights = sum(m.weight.numel() for m in decoded.weighted().values())
    biases = sum(m.bias.numel() for m in decoded.weighted().values())
    assert rows["dense"]["other"] == 4 * biases and rows["dense"]["indices"] == 0
    assert rows["bitmap"]["indices"] == sum(-(-m.weight.numel() // 8) for m in decoded.weighted().values())
    assert rows["dense"]["values"] <= 4 * weights


def test_a_pruned_network_of_bytes_takes_what_system_002_would_give_it(about):
    rows, _, decoded, _ = about("prune=0.9 quant=w8")
    tensors = [m.weight.detach() for m in decoded.weighted().values()]
    nonzeros = [int((w != 0).sum()) for w in tensors]
    assert rows["dense"]["values"] == sum(w.numel() for w in tensors)
    assert rows["coo"]["values"] == rows["bitmap"]["values"] == rows["flat"]["values"] == sum(nonzeros)
    assert rows["coo"]["indices"] == sum(n * w.dim() for n, w in zip(nonzeros, tensors)), "no axis is above 128"
    assert rows["gaps"]["side"] == 4 * sum(len(w) for w in tensors), "one scale an output channel"
    assert rows["coo"]["total"] > rows["bitmap"]["total"] > rows["gaps"]["total"] > rows["order-0 entropy"]["total"]


def test_activation_grids_and_codebooks_are_side_values(about):
    plain, _, decoded, _ = about("quant=w4", "dense")
    grids, _, _, _ = about("quant=w4a8", "dense")
    assert list(plain) == ["dense", ".mgn"]
    assert grids["dense"]["side"] - plain["dense"]["side"] == 8 * 6, "six grids: a scale and a zero point"
    books, _, decoded, _ = about("cluster=4", "dense")
    gains = sum(
        len(m.weight) for n, m in decoded.weighted().items() if "gain" in rules_of(decoded.network)[f"{n}.weight"].spec
    )
    assert books["dense"]["side"] == 4 * (gains + (4 + 2) * len(decoded.weighted()))
    assert books["dense"]["values"] == sum(-(-2 * m.weight.numel() // 8) for m in decoded.weighted().values())


def test_numbers_are_those_of_the_weight(about):
    for recipe, width in [("prune=0.5", 32), ("prune=0.5 quant=w5", 5), ("prune=0.5 cluster=16", 4)]:
        _, _, decoded, _ = about(recipe)
        for name, module in decoded.weighted().items():
            _, values, bits = numbers_of(rules_of(decoded.network)[f"{name}.weight"])
            assert values.shape == module.weight.shape and bits == width
            assert ((values != 0) == (module.weight != 0).numpy()).all()


def test_plain_float_weights_are_not_compared(about):
    rows, missing, decoded, size = about("code=range")
    assert list(missing) == [f"{name}.weight" for name in decoded.weighted()]
    assert set(missing.values()) == {"float32, nothing pruned"}
    assert rows["coo"]["values"] == rows["coo"]["indices"] == 0
    assert rows["coo"]["other"] == 4 * sum(m.weight.numel() + m.bias.numel() for m in decoded.weighted().values())
    assert rows[".mgn"]["total"] == size


def test_an_unknown_rule_is_named_and_counted_as_in_the_file(about):
    from mignon.models.weights import set_rule
    from mignon.rules import Rule

    class Odd(Rule):
        @classmethod
        def layouts(cls, spec, shape):
            from mignon.coding import Layout

            return {"h": Layout((3,), "weights")}

        def fit(self, latent):
            self.h.fill_(1)

        def value(self):
            return self.h.sum() * np.ones(1, np.float32)

    _, _, decoded, _ = about("prune=0.5 quant=w8")
    name, module = next(iter(decoded.weighted().items()))
    parts = [("header", 9), (f"{name}.weight h", 5), *((f"{n}.weight q", 7) for n in list(decoded.weighted())[1:])]
    set_rule(module, Odd({"rule": "odd"}, tuple(module.weight.shape)), module.weight)
    found = storage_forms(decoded, parts, "coo")
    assert found["not_comparable"] == {f"{name}.weight": "rule odd"}
    biases = 4 * sum(m.bias.numel() for m in decoded.weighted().values())
    assert found["forms"][0]["other"] == 5 + biases and found["forms"][1]["other"] == 5
