"""float32 numbers as byte planes, so that they are whole numbers too."""

import numpy as np
import torch
from torch import Tensor


def to_planes(numbers: Tensor) -> Tensor:
    """4 x n int32 in 0..255, most significant byte first."""
    raw = numbers.detach().reshape(-1).float().cpu().numpy().astype(">f4").view(np.uint8).reshape(-1, 4)
    return torch.from_numpy(raw.T.astype(np.int32))


def from_planes(planes: Tensor) -> Tensor:
    """The n float32 numbers, on the device of the planes."""
    raw = np.ascontiguousarray(planes.cpu().numpy().astype(np.uint8).T)
    return torch.from_numpy(raw.view(">f4").astype(np.float32).reshape(-1)).to(planes.device)
