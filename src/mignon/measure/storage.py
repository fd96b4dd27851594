"""What a network would take with its weights in other forms, beside what its file takes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mignon.classifier import Classifier
from mignon.measure.forms import FORMS, Form, best_gaps, entropy_bits
from mignon.models.activations import grids_of
from mignon.models.weights import rules_of
from mignon.rules import Rule
from mignon.rules.float32 import Float32

WIDEST = 16  # bits: an entropy of float32 numbers says nothing, since nearly all are different
CHOICES: dict[str, Callable[[np.ndarray, int], Form]] = {
    "dense": lambda values, width: FORMS["dense"],
    "bitmap": lambda values, width: FORMS["bitmap"],
    "coo": lambda values, width: FORMS["coo"],
    "flat": lambda values, width: FORMS["flat"],
    "gaps": best_gaps,
}


def numbers_of(rule: Rule) -> tuple[str, np.ndarray, int] | None:
    """(stream, array, bits) of a weight that is whole numbers place by place, or pruned float32; None for others."""
    if isinstance(rule, Float32):
        return ("planes", rule.weight().cpu().numpy().view(np.int32), 32) if "kept" in rule.spec else None
    streams = {n: s.values for n, s in rule.streams().items() if s.kind == "weights" and s.values.shape == rule.shape}
    if len(streams) != 1:
        return None
    ((name, values),) = streams.items()
    span = max(0, int(values.max(initial=0))) - min(0, int(values.min(initial=0)))
    return name, values, rule.spec.get("bits") or max(1, span.bit_length())


def storage_forms(settled: Classifier, parts: list[tuple[str, int]], choice: str) -> dict[str, Any]:
    """`forms`: one row a form and one for the file, in bytes; `not_comparable`: weights that stand as in the file.

    `settled`: what the file holds, `parts`: its bytes by name, `choice`: a form or "all". In a form each scale, gain,
    centroid and other side value takes 4 bytes, a bias or float weight 4 bytes a number, and the header what it takes
    in the file.
    """
    rules = rules_of(settled.network)
    found = {name: numbers_of(rule) for name, rule in rules.items() if name.endswith(".weight")}
    compared = {name: numbers for name, numbers in found.items() if numbers is not None}
    file: dict[str, Any] = {"form": ".mgn", "values": 0, "indices": 0, "side": 0, "other": 0, "header": 0}
    for part, size in parts:
        tensor, _, stream = part.rpartition(" ")
        if tensor in compared:
            column = {compared[tensor][0]: "values", "mask": "indices"}.get(stream, "side")
        else:
            column = "other" if tensor in rules else "side" if tensor.startswith("activation") else "header"
        file[column] += size
    side = 8 * len(grids_of(settled.network)) + sum(
        4 * stream.values.size
        for name in compared
        for stream in rules[name].streams().values()
        if stream.kind == "side"
    )
    plain = [n for n, rule in rules.items() if n not in compared and (isinstance(rule, Float32) or n.endswith(".bias"))]
    kept = [n for n in rules if n not in compared and n not in plain]
    other = sum(4 * int(np.prod(rules[n].shape)) for n in plain)
    other += sum(size for part, size in parts if part.rpartition(" ")[0] in kept)
    rows: list[dict[str, Any]] = []
    for form in CHOICES if choice == "all" else [choice]:
        values = indices = 0
        for _, array, width in compared.values():
            member = CHOICES[form](array, width)
            stored = member.size(array.shape, member.entries(array), width)
            values, indices = values + -(-stored.values // 8), indices + -(-stored.indices // 8)
        rows.append({**file, "form": form, "values": values, "indices": indices, "side": side, "other": other})
    if choice == "all" and compared and all(width <= WIDEST for _, _, width in compared.values()):
        bound = sum(-(-entropy_bits(array) // 8) for _, array, _ in compared.values())
        rows.append(
            {**file, "form": "order-0 entropy", "values": int(bound), "indices": 0, "side": side, "other": other}
        )
    rows.append(file)
    for row in rows:
        row["total"] = sum(size for column, size in row.items() if column != "form")
    reasons = {n: "float32, nothing pruned" if n in plain else f"rule {rules[n].spec['rule']}" for n in found}
    return {"forms": rows, "not_comparable": {n: reasons[n] for n in found if n not in compared}}
