"""Modules for what PyTorch writes as operators, so that every operation of a network is a named module."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Add(nn.Module):
    """Sum of two tensors of the same shape."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Elementwise sum."""
        return a + b


class Concat(nn.Module):
    """Concatenation along the channels."""

    def forward(self, *parts: Tensor) -> Tensor:
        """N x sum(C) x H x W."""
        return torch.cat(parts, 1)


class GlobalAverage(nn.Module):
    """N x C x H x W to N x C."""

    def forward(self, x: Tensor) -> Tensor:
        """Mean over the positions."""
        return x.mean((2, 3))


class Gate(nn.Module):
    """Every channel times its own number, as squeeze-excite has it (Hu et al. 2018)."""

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """N x C x H x W and N x C x 1 x 1 to N x C x H x W."""
        return x * gate


class GlobalMaximum(nn.Module):
    """N x C x H x W to N x C."""

    def forward(self, x: Tensor) -> Tensor:
        """Largest over the positions."""
        return x.amax((2, 3))


class SamePad(nn.Module):
    """Zeros around a map before a convolution without padding, as TensorFlow's "same" has them: the output is the map
    divided by the stride, rounded up; what is odd goes behind (0 before and 1 behind for 3 x 3 at stride 2).
    """

    def __init__(self, kernel: int, stride: int):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W to N x C x (H + 0 to kernel - 1) x (W + 0 to kernel - 1)."""
        extra = [max(0, self.kernel - self.stride + -side % self.stride) for side in (x.shape[3], x.shape[2])]
        return F.pad(x, [part for more in extra for part in (more // 2, more - more // 2)])


class PadShortcut(nn.Module):
    """Option A of He et al. 2016: every second pixel, zero channels added on both sides; no weights.

    `before` and `after` are how many; equal until channels are pruned.
    """

    def __init__(self, extra: int, stride: int):
        super().__init__()
        self.before, self.after, self.stride = extra, extra, stride

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W to N x (before + C + after) x H/stride x W/stride."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias that keeps the size (divided by the stride), and its BatchNorm."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]


def rounded(value: float) -> int:
    """Channels divisible by 8 and at most 10 % below the number asked for (Sandler et al. 2018)."""
    near = max(8, int(value + 4) // 8 * 8)
    return near + 8 if near < 0.9 * value else near


def initialize(network: nn.Module) -> nn.Module:
    """He et al. 2015 for convolutions (fan out), small normal weights for linear layers; biases are zero.

    Tensors on the meta device have no numbers to set: asking for them takes 2.5 s, since torch imports its compiler.
    """
    for module in network.modules():
        if getattr(module, "weight", None) is not None and module.weight.is_meta:
            continue
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, module.in_features**-0.5)
            nn.init.zeros_(module.bias)
    return network
