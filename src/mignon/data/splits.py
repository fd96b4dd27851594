"""Three disjoint sets out of what the source gives; identical images never end in two sets that are drawn here."""

from collections import Counter

import numpy as np

from mignon.data.imageset import SPLITS
from mignon.errors import DataError

SHARES = {"validation": 0.1, "test": 0.1}


def assign(labels: np.ndarray, contents: list[str], given: list[str | None], seed: int) -> tuple[list[str], str]:
    """The split of each image, and the rule in words.

    Three given splits stay. With two, the given one is the test set and validation is drawn from train, stratified.
    With one, 80/10/10 are drawn, stratified. Images with the same bytes are drawn together.
    """
    names = {name for name in given if name}
    if names == set(SPLITS):
        return [str(name) for name in given], "train, validation and test as given"
    if len(names) == 2:
        held = next(name for name in names if name != "train")
        splits = ["test" if name == held else "train" for name in given]
        members = [i for i, name in enumerate(splits) if name == "train"]
        for i in _draw(members, labels, contents, {"validation": SHARES["validation"]}, seed)["validation"]:
            splits[i] = "validation"
        rule = f"test = the given {held} folder; validation = 10 % of train, stratified, seed {seed}"
    else:
        splits = ["train"] * len(labels)
        for name, members in _draw(list(range(len(labels))), labels, contents, SHARES, seed).items():
            for i in members:
                splits[i] = name
        rule = f"80/10/10 drawn from one folder, stratified, seed {seed}"
    counts, different = Counter(splits), len(set(contents))
    images = f"{len(labels)} images" + (f" ({different} different ones)" if different < len(labels) else "")
    for name in SPLITS:
        if not counts[name]:
            raise DataError(
                f"{images} are too few to draw a {name} set",
                "give at least ten images a class, or your own train, val and test folders",
            )
    return splits, rule


def _draw(
    members: list[int], labels: np.ndarray, contents: list[str], shares: dict[str, float], seed: int
) -> dict[str, list[int]]:
    """Members for each share, class by class; a group of identical images goes as one, under its first label."""
    groups: dict[str, list[int]] = {}
    for i in members:
        groups.setdefault(contents[i], []).append(i)
    drawn: dict[str, list[int]] = {name: [] for name in shares}
    generator = np.random.default_rng(seed)
    of_label: dict[int, list[list[int]]] = {}
    for group in groups.values():
        of_label.setdefault(int(labels[group[0]]), []).append(group)
    for _, own in sorted(of_label.items()):
        order = iter(generator.permutation(len(own)))
        size = sum(len(group) for group in own)
        left = len(own)
        for name, share in shares.items():
            taken = 0
            while taken < round(share * size) and left > 1:  # every class keeps something to be trained on
                group = own[next(order)]
                drawn[name] += group
                taken += len(group)
                left -= 1
    return drawn
