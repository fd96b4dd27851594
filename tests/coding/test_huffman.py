"""Huffman codes against the table of the compression spec (section 6.8) and against the entropy."""

import numpy as np
import pytest

from mignon.coding.huffman import canonical_codes, code_lengths


def synthetic() -> np.ndarray:
    """The tensor of section 6.8: 64 x 32 x 3 x 3, one in ten not zero."""
    x, values = 12345, []
    for _ in range(18_432):
        x = (1103515245 * x + 12345) % 2**31
        u = x >> 16
        x = (1103515245 * x + 12345) % 2**31
        v = (x >> 16) % 255 - 127
        values.append((v or 1) if u % 10 == 0 else 0)
    return np.array(values)


def bits(values: np.ndarray) -> int:
    counts = np.bincount(values - values.min())
    return int((code_lengths(counts) * counts).sum())


def test_the_tensor_is_the_one_of_the_table():
    values = synthetic()
    places = np.flatnonzero(values)
    assert list(zip(places[:3], values[places[:3]])) == [(4, -106), (29, -57), (37, 40)]
    assert len(places) == 1813 and values.sum() == -511 and np.abs(values).sum() == 116_725


def test_code_lengths_give_the_bits_of_the_table():
    values = synthetic()
    places = np.flatnonzero(values)
    assert bits(values) == 32_816
    assert bits(values[places]) == 14_384
    assert bits(np.diff(places, prepend=-1) - 1) == 8_545


@pytest.mark.parametrize("seed", range(10))
def test_length_lies_between_entropy_and_one_bit_more(seed):
    values = np.round(np.random.default_rng(seed).laplace(20, 1 + seed, 500)).astype(int)
    counts = np.unique(values, return_counts=True)[1]
    entropy = -(counts * np.log2(counts / 500)).sum()
    assert entropy - 1e-6 <= bits(values) < entropy + 500


def test_codes_are_free_of_prefixes_and_at_most_15_bits():
    counts = np.array([int(1.6**i) + 1 for i in range(40)])
    lengths = code_lengths(counts)
    assert lengths.max() <= 15 and sum(2.0**-n for n in lengths) <= 1
    words = [f"{code:0{n}b}" for code, n in zip(canonical_codes(lengths), lengths)]
    assert not any(a != b and b.startswith(a) for a in words for b in words)
