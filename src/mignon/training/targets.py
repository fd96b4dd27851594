"""What the answer to an image should be, where it is more than its label: smoothed, weighed, or of two images mixed."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mignon.training.settings import Settings


def mixed(
    pixels: np.ndarray, settings: Settings, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Each image mixed with another of the batch: pixels, the number of the other, the share of the image itself.

    Mixup (Zhang et al. 2018) mixes all pixels, CutMix (Yun et al. 2019) puts a part of the other one over it; with both
    a coin decides for each batch.
    """
    other = generator.permutation(len(pixels))
    whole = settings.mixup and (not settings.cutmix or generator.random() < 0.5)
    strength = settings.mixup if whole else settings.cutmix
    share = float(generator.beta(strength, strength))
    if whole:
        both = share * pixels.astype(np.float32) + (1 - share) * pixels[other].astype(np.float32)
        return (both + 0.5).astype(np.uint8), other, share
    _, height, width, _ = pixels.shape
    half = np.sqrt(1 - share) / 2
    y, x = generator.random(2)
    top, bottom = (int(np.clip(v, 0, 1) * height) for v in (y - half, y + half))
    left, right = (int(np.clip(v, 0, 1) * width) for v in (x - half, x + half))
    pixels = pixels.copy()
    pixels[:, top:bottom, left:right] = pixels[other, top:bottom, left:right]
    return pixels, other, 1 - (bottom - top) * (right - left) / (height * width)


def class_weights(labels: np.ndarray, classes: int) -> Tensor:
    """So that every class weighs the same and an image weighs 1 in the mean; 0 for classes without images."""
    counts = np.bincount(labels, minlength=classes)
    weights = np.where(counts > 0, len(labels) / (np.maximum(counts, 1) * np.count_nonzero(counts)), 0.0)
    return torch.from_numpy(weights).float()


def soft(labels: Tensor, classes: int, smoothing: float, weights: Tensor | None = None) -> Tensor:
    """Shares of the classes for cross-entropy, N x classes, times the weight of the label's class."""
    shares = F.one_hot(labels, classes).float() * (1 - smoothing) + smoothing / classes
    return shares if weights is None else shares * weights.to(labels.device)[labels, None]
