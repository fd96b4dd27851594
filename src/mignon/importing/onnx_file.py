"""Networks in ONNX files: the numbers of their convolutions, linear layers and BatchNorms; nothing of them is run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mignon.errors import ModelError
from mignon.files import machine_errors
from mignon.importing.given import Given
from mignon.importing.tensors import checked
from mignon.importing.torchvision import with_our_names
from mignon.progress import Screen
from mignon.registry import IMPORTERS

PARTS = {  # what the inputs of a node are, behind the map
    "Conv": ("weight", "bias"),
    "Gemm": ("weight", "bias"),
    "MatMul": ("weight",),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
}


@IMPORTERS.register("onnx")
@dataclass(frozen=True)
class Onnx:
    """Layers keep the names of their initializers; where an exporter has folded BatchNorm it has named them anew, and
    only their order is left."""

    summary: ClassVar[str] = "FILE.onnx, with --model; where BatchNorm was folded also --match order (the extra `onnx`)"

    def takes(self, place: str) -> bool:
        """By the end of its name."""
        path = Path(place).expanduser()
        return path.suffix == ".onnx" and path.is_file()

    def read(self, place: str, screen: Screen) -> Given:
        """The numbers, in the order of the graph. Raises ModelError."""
        path = Path(place).expanduser()
        onnx = _library()
        with machine_errors(path):
            data = path.read_bytes()
        try:
            graph = onnx.load_model_from_string(data).graph
            tensors = dict(_tensors(graph, onnx))
        except Exception as error:  # protobuf and numpy have many
            raise ModelError(f"{path} is no whole ONNX file ({error})", "export it again, weights inside") from None
        if not tensors:
            raise ModelError(f"{path} holds no convolutions or linear layers with numbers", "export the float network")
        return Given(path.name, with_our_names(checked(tensors, path)))

    @classmethod
    def example(cls, folder: Path) -> str:
        """A 1x1 convolution."""
        onnx = _library()
        weight = onnx.numpy_helper.from_array(torch.ones(2, 3, 1, 1).numpy(), "conv.weight")
        maps = [onnx.helper.make_tensor_value_info(n, 1, [1, c, 4, 4]) for n, c in (("x", 3), ("y", 2))]
        node = onnx.helper.make_node("Conv", ["x", "conv.weight"], ["y"])
        graph = onnx.helper.make_graph([node], "example", maps[:1], maps[1:], [weight])
        (folder / "conv.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
        return str(folder / "conv.onnx")


def _library() -> Any:
    try:
        import onnx
    except ImportError:
        raise ModelError("ONNX files need the package onnx", "pip install onnx") from None
    return onnx


def _tensors(graph: Any, onnx: Any) -> Iterator[tuple[str, Tensor]]:
    """`LAYER.weight` and so on; the layer is called as its weight is, else by its number."""
    stored = {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in graph.initializer}
    for number, node in enumerate(graph.node):
        given = [(part, name) for part, name in zip(PARTS.get(node.op_type, ()), node.input[1:]) if name in stored]
        if not given or given[0][0] != "weight":
            continue
        first = given[0][1]
        layer = first.removesuffix(".weight") if first.endswith(".weight") else f"layer{number}"
        turned = node.op_type == "MatMul" or (
            node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute)
        )
        for part, name in given:
            yield f"{layer}.{part}", stored[name].T if turned and part == "weight" else stored[name]
