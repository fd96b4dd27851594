"""A look at the pictures before anything is decided: sizes, color, how many of each class; the rule that follows."""

from dataclasses import dataclass, replace

import numpy as np

from mignon.data.imageset import Split
from mignon.data.inputs import InputSpec
from mignon.data.pictures import DEEP, picture
from mignon.data.sources import Listing
from mignon.errors import DataError

SAMPLE = 200
FEW_A_CLASS = 200
SIZES = (32, 48, 64, 96, 128, 160, 192, 224)
TINY, SMALL = 16, 48  # pixels of a side
PHOTO = 128  # pixels that photos are read at: what a pretrained network needs at least
MANY_A_CLASS = 1000  # small pictures so many do better with a network of their own
PRETRAINED = "efficientnet-lite0"


@dataclass(frozen=True)
class Look:
    """What a sample of the pictures looks like."""

    side: int  # median of the shorter side, pixels
    uniform: bool  # all of one square size
    grey: bool
    fewest: int  # images of the smallest class

    @property
    def channels(self) -> int:
        """1 for grey pictures, 3 otherwise."""
        return 1 if self.grey else 3


def look(listing: Listing) -> Look:
    """Open the headers of up to 200 pictures spread over the source. Raises DataError when none can be opened."""
    places = np.unique(np.linspace(0, len(listing.names) - 1, SAMPLE).astype(int))
    sizes, modes = [], set()
    for i in places.tolist():
        try:
            with picture(listing.open(i)) as image:
                sizes.append(image.size)
                modes.add(image.mode)
        except (DataError, OSError):
            continue
    if not sizes:
        raise DataError(f"none of the images of {listing.title} can be opened", "give pictures that open elsewhere")
    return Look(
        side=int(np.median([min(size) for size in sizes])),
        uniform=len(set(sizes)) == 1 and sizes[0][0] == sizes[0][1],
        grey=modes <= {"L", "1", *DEEP},
        fewest=int(np.bincount(listing.labels).min()),
    )


def choose_pixels(seen: Look, wanted: int | None, usual: int | None) -> int:
    """Input size: as asked for; small square pictures as they are; else the model's usual size, never enlarged."""
    if wanted is not None:
        if not 4 <= wanted <= 1024:
            raise DataError(f"--image {wanted} is not possible", "use 4 to 1024 pixels")
        return wanted
    if seen.uniform and seen.side <= 48:
        return seen.side
    limit = min(seen.side, usual or 32)
    return max([size for size in SIZES if size <= limit], default=max(8, limit))


def wants_pretrained(seen: Look) -> bool:
    """Whether a network that has seen a million photos is the better start: for photos, and where there are few."""
    return seen.side > SMALL or (seen.side > TINY and seen.fewest < MANY_A_CLASS)


def choose_model(seen: Look, pixels: int) -> tuple[str, str]:
    """(family, the rule in words) for training from scratch in minutes on a CPU."""
    if pixels <= TINY:
        return "digits-cnn", f"pictures of {pixels} pixels: digits-cnn"
    return "resnet20-cifar", f"pictures of {seen.side} pixels, read at {pixels}: resnet20-cifar"


def input_spec(train: Split, spec: InputSpec) -> InputSpec:
    """The same input with mean and std of the training images (of x/255, three decimals)."""
    sample = train.take(slice(None, None, max(1, len(train) // 5000))).astype(np.float64) / 255
    mean = tuple(round(float(x), 3) for x in sample.mean((0, 1, 2)))
    std = tuple(max(0.01, round(float(x), 3)) for x in sample.std((0, 1, 2)))
    return replace(spec, mean=mean, std=std)


def neutral_spec(pixels: int, channels: int) -> InputSpec:
    """An input of a size, before mean and std are known."""
    return InputSpec(pixels, pixels, channels, (0.5,) * channels, (0.25,) * channels)
