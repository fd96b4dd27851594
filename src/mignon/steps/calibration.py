"""The training images that steps look at to choose numbers: no labels, no gradients."""

import numpy as np

from mignon.classifier import Classifier
from mignon.data.imageset import Split
from mignon.models.graph import shapes

IMAGES = 512
MEMORY = 1 << 28  # bytes that the largest map of all images may take


def draw(train: Split, seed: int, most: int) -> np.ndarray:
    """Places of at most so many training images: a seeded draw, in order."""
    generator = np.random.default_rng(seed)
    return np.sort(generator.choice(len(train), min(most, len(train)), replace=False))


def calibration_pixels(classifier: Classifier, train: Split, seed: int) -> np.ndarray:
    """Training images for one pass through the network, uint8 N x H x W x C: fewer where maps are large."""
    largest = max(4 * int(np.prod(s)) for s in shapes(classifier.network, *classifier.size).values())
    return train.take(draw(train, seed, max(32, min(IMAGES, MEMORY // largest))))
