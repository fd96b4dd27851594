"""Files that mignon 0.1.0 wrote, one of every rule: they decode for ever, to the same numbers bit for bit."""

import hashlib
import json
from pathlib import Path

import pytest

from mignon import mgn

FOLDER = Path(__file__).parent / "golden"
WEIGHTS = json.loads((FOLDER / "weights.json").read_text())


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_a_file_of_an_older_version_holds_the_same_numbers(name):
    data = (FOLDER / f"{name}.mgn").read_bytes()
    classifier = mgn.decode(data)
    sha = hashlib.sha256()
    for module in classifier.weighted().values():
        for tensor in (module.weight, module.bias):
            sha.update(tensor.detach().contiguous().numpy().tobytes())
    assert sha.hexdigest() == WEIGHTS[name]
    assert sum(size for _, size in mgn.parts(data)) == len(data)
    again = mgn.decode(mgn.encode(classifier))
    assert all((a.weight == b.weight).all() for a, b in zip(classifier.weighted().values(), again.weighted().values()))
