"""Every registered optimizer: it learns, resumes to the bit, spares biases from weight decay."""

import pytest
import torch
from helpers import PressCtrlC

from mignon.classifier import fresh
from mignon.data.look import input_spec
from mignon.errors import RecipeError
from mignon.progress import Quiet
from mignon.registry import OPTIMIZERS
from mignon.training.loop import fit, optimizer_for
from mignon.training.optimizers import orthogonal
from mignon.training.settings import Options, Settings


def test_every_optimizer_keeps_the_contract(digits, tmp_path, capsys):
    spec, checked = input_spec(digits.train, digits.input), 0

    def train(name, folder, screen):
        settings = Settings.of(Options(epochs=3, batch=64, optimizer=name))
        start = fresh("digits-cnn", {}, spec, digits.classes, 0)
        return fit(start, digits.train, digits.validation, settings, 0, "cpu", tmp_path / folder, screen, choose_from=1)

    for name in OPTIMIZERS:
        whole = train(name, f"{name}-whole", Quiet())
        assert whole.best_top1 > 0.6, f"{name} does not learn at its usual rate: {whole.best_top1}"
        with pytest.raises(KeyboardInterrupt):
            train(name, f"{name}-cut", PressCtrlC(5))
        again = train(name, f"{name}-cut", Quiet())
        a, b = (fitted.classifier.network.state_dict() for fitted in (whole, again))
        assert all(torch.equal(a[key], b[key]) for key in a), name
        groups = optimizer_for(whole.classifier, Settings.of(Options(optimizer=name))).param_groups
        assert all(group["weight_decay"] == 0 for group in groups if group["params"][0].dim() == 1), name
        checked += 1
    with capsys.disabled():
        print(f"\n{checked} optimizers keep the contract")
    assert checked >= 4


@pytest.mark.parametrize("shape", [(16, 8, 3, 3), (64, 16), (8, 8, 1, 1)])
def test_muon_moves_along_a_nearly_orthogonal_matrix(shape):
    moved = orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0))).flatten(1)
    sizes = torch.linalg.svdvals(moved) / max(1, moved.shape[0] / moved.shape[1]) ** 0.5
    assert float(sizes.min()) > 0.3 and float(sizes.max()) < 1.3


def test_an_unknown_optimizer_is_named():
    with pytest.raises(RecipeError, match="no optimizer 'sgdd'"):
        Options(optimizer="sgdd")
