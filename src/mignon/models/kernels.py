"""Layers whose kernels are of one kind and can be compared with each other: found from the graph, for any network."""

from dataclasses import dataclass

from torch import fx

from mignon.models.graph import Block, blocks
from mignon.models.ops import is_convolution, is_depthwise, role


@dataclass(frozen=True)
class KernelFamily:
    """Layers (names in the order of the graph) whose kernels are compared with each other."""

    kernel: tuple[int, int]
    layers: tuple[str, ...]

    @property
    def pointwise(self) -> bool:
        """Whether its kernels are windows of the inputs."""
        return self.kernel == (1, 1)

    def __str__(self) -> str:
        return f"{self.kernel[0]} x {self.kernel[1]}"


def kernel_families(network: fx.GraphModule) -> list[KernelFamily]:
    """Kernels of a size belong together; where a network has depthwise ones of it, only those.

    Of pointwise convolutions those beside a depthwise one (any, where the network has none), but no shortcuts around
    other layers. Linear layers and BatchNorm take no part.
    """
    convolutions = [b for b in blocks(network) if is_convolution(b.module)]
    depthwise = [b for b in convolutions if _is_depthwise(b)]
    found: dict[tuple[int, int], list[str]] = {}
    for block in convolutions:
        kernel = block.module.kernel_size
        if kernel == (1, 1):
            member = _beside(block, depthwise) if depthwise else not _is_shortcut(block, network)
        else:
            member = _is_depthwise(block) or not any(b.module.kernel_size == kernel for b in depthwise)
        if member:
            found.setdefault(kernel, []).append(block.name)
    return [KernelFamily(kernel, tuple(names)) for kernel, names in found.items()]


def stem(network: fx.GraphModule) -> str:
    """The first convolution, which sees the picture."""
    return next(b.name for b in blocks(network) if is_convolution(b.module))


def _is_depthwise(block: Block) -> bool:
    return is_depthwise(block.module) and block.module.kernel_size != (1, 1)


def _beside(block: Block, depthwise: list[Block]) -> bool:
    return any(other.end in block.sources or block.end in other.sources for other in depthwise)


def _is_shortcut(block: Block, network: fx.GraphModule) -> bool:
    added = any(
        user.op == "call_module" and role(network.get_submodule(str(user.target))) == "join" for user in block.end.users
    )
    return added and block.activation is None and any(len(source.users) > 1 for source in block.sources)
