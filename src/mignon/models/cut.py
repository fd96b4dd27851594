"""A network that ends behind one of its blocks: most of what a pretrained trunk knows sits in few parameters."""

from torch import Tensor, fx, nn

from mignon.errors import ModelError
from mignon.models.graph import blocks, shapes, trace
from mignon.models.layers import Concat, GlobalAverage, GlobalMaximum, initialize


class Head(nn.Module):
    """Mean and maximum of every channel over the map, and a linear layer of both."""

    def __init__(self, inputs: int, classes: int):
        super().__init__()
        self.mean, self.maximum, self.concat = GlobalAverage(), GlobalMaximum(), Concat()
        self.linear = nn.Linear(2 * inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """N x inputs x H x W to N x classes logits."""
        return self.linear(self.concat(self.mean(x), self.maximum(x)))


def cut(network: nn.Module, unit: str, classes: int, size: tuple[int, int, int]) -> fx.GraphModule:
    """The network up to the end of a unit, with its BatchNorm and activation, and a fresh `head`; names stay.

    `size`: channels, height, width of a picture that the network takes. Raises ModelError when there is no such unit.
    """
    network = trace(network)
    end, graph = end_of(network, unit), network.graph
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    head = Head(shapes(network, *size)[end.name][0], classes)
    network.add_submodule("head", initialize(head))
    with graph.inserting_before(output):
        output.args = (graph.call_module("head", (end,)),)
    graph.eliminate_dead_code()
    network.delete_all_unused_submodules()
    network.recompile()
    return network


def end_of(network: fx.GraphModule, unit: str) -> fx.Node:
    """The value that leaves a unit, behind its BatchNorm and activation. Raises ModelError when there is none."""
    inside = [block for block in blocks(network) if f"{block.name}.".startswith(f"{unit}.")]
    if not inside:
        raise ModelError(f"the network has no layer {unit!r} to end behind")
    return inside[-1].end
