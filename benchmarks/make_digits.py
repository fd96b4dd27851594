"""Write src/mignon/data/digits.npz from scikit-learn's copy of the UCI digits, with splits of 1,078 / 269 / 450."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

digits = load_digits()
index = np.arange(len(digits.target))
rest, test = train_test_split(index, test_size=450, random_state=0, stratify=digits.target)
train, validation = train_test_split(rest, test_size=269, random_state=0, stratify=digits.target[rest])
splits = np.zeros(len(index), np.uint8)
splits[validation], splits[test] = 1, 2
target = Path(__file__).parents[1] / "src" / "mignon" / "data" / "digits.npz"
np.savez_compressed(target, images=digits.images.astype(np.uint8), labels=digits.target.astype(np.uint8), splits=splits)
print(target.name, target.stat().st_size, "bytes", np.bincount(splits))
