"""Huffman codes against the table of the compression spec (section 6.8) and against the entropy."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mignon.coding import Stream, encode_streams
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


def bits_of(values: np.ndarray) -> int:
    counts = np.bincount(values - values.min())
    return int((code_lengths(counts) * counts).sum())


def test_the_tensor_is_the_one_of_the_table():
    values = synthetic()
    places = np.flatnonzero(values)
    assert list(zip(places[:3], values[places[:3]])) == [(4, -106), (29, -57), (37, 40)]
    assert len(places) == 1813 and values.sum() == -511 and np.abs(values).sum() == 116_725


@pytest.mark.parametrize(
    ("bits", "entries", "of_gaps", "of_values"),
    [(3, 3201, 7_860, 17_585), (4, 2246, 8_391, 15_995), (5, 1890, 8_549, 14_849), (6, 1815, 8_551, 14_407)],
)
def test_gaps_with_fillers_give_the_bits_of_the_table(bits, entries, of_gaps, of_values):
    values, gaps, kept = synthetic(), [], []
    for gap, value in zip(np.diff(np.flatnonzero(values), prepend=-1) - 1, values[values != 0]):
        fillers = gap >> bits
        gaps += [2**bits - 1] * fillers + [gap - fillers * 2**bits]
        kept += [0] * fillers + [value]
    assert len(gaps) == entries
    assert (bits_of(np.array(gaps)), bits_of(np.array(kept))) == (of_gaps, of_values)


def test_packed_takes_the_bytes_of_the_dense_row_of_the_table():
    data = encode_streams([Stream(synthetic().reshape(64, 32, 3, 3))], "packed")
    assert 18_432 <= len(data) <= 18_432 + 3  # smallest value and width stand before


def test_huffman_takes_the_bytes_of_the_table_and_its_own_table():
    data = encode_streams([Stream(synthetic().reshape(64, 32, 3, 3))], "huffman")
    assert 4_102 <= len(data) <= 4_102 + 132  # 255 code lengths of 4 bits, smallest value, span


@given(st.lists(st.integers(1, 40), min_size=2, max_size=5))
def test_no_other_prefix_code_is_shorter(counts):
    best = min(
        sum(n * c for n, c in zip(lengths, counts))
        for lengths in product(range(1, len(counts)), repeat=len(counts))
        if sum(Fraction(1, 2**n) for n in lengths) <= 1
    )
    assert int((code_lengths(np.array(counts)) * counts).sum()) == best


def test_code_lengths_give_the_bits_of_the_table():
    values = synthetic()
    places = np.flatnonzero(values)
    assert bits_of(values) == 32_816
    assert bits_of(values[places]) == 14_384
    assert bits_of(np.diff(places, prepend=-1) - 1) == 8_545


@pytest.mark.parametrize("seed", range(10))
def test_length_lies_between_entropy_and_one_bit_more(seed):
    values = np.round(np.random.default_rng(seed).laplace(20, 1 + seed, 500)).astype(int)
    counts = np.unique(values, return_counts=True)[1]
    entropy = -(counts * np.log2(counts / 500)).sum()
    assert entropy - 1e-6 <= bits_of(values) < entropy + 500


def test_codes_are_free_of_prefixes_and_at_most_15_bits():
    counts = np.array([int(1.6**i) + 1 for i in range(40)])
    lengths = code_lengths(counts)
    assert lengths.max() <= 15 and sum(2.0**-n for n in lengths) <= 1
    words = [f"{code:0{n}b}" for code, n in zip(canonical_codes(lengths), lengths)]
    assert not any(a != b and b.startswith(a) for a in words for b in words)
