"""Every registered coder: what goes in comes out, the same bytes each time, nothing but FormatError for damage."""

import hashlib
import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mignon.coding import Stream, decode, decode_streams, encode, encode_streams
from mignon.coding.bits import Reader, write_varint
from mignon.errors import FormatError
from mignon.registry import CODERS

LIMITS = {np.int8: (-128, 127), np.int16: (-(2**15), 2**15 - 1), np.int32: (-(2**31), 2**31 - 1)}


@st.composite
def streams(draw):
    kind = draw(st.sampled_from(["weights", "side", "bits", "bytes"]))
    shape = tuple(draw(st.lists(st.integers(0, 6), min_size=0, max_size=4)))
    dtype = draw(st.sampled_from(list(LIMITS)))
    low, high = {"bits": (0, 1), "bytes": (0, 127)}.get(kind, LIMITS[dtype])
    style = draw(st.sampled_from(["any", "small", "constant", "edges", "near"]))
    count = int(np.prod(shape, dtype=int))
    if style == "constant":
        values = [draw(st.integers(low, high))] * count
    elif style == "edges":
        edges = st.sampled_from(sorted({low, max(low, -1), 0, min(high, 1), high - 1, high}))
        values = draw(st.lists(edges, min_size=count, max_size=count))
    else:
        middle = draw(st.integers(low, high))
        near = (max(low, middle - 3000), min(high, middle + 3000))
        span = {"small": (max(low, -3), min(high, 3)), "near": near, "any": (low, high)}[style]
        values = draw(st.lists(st.integers(*span), min_size=count, max_size=count))
    return Stream(np.array(values, dtype).reshape(shape), kind)


@settings(max_examples=60, deadline=None)
@given(st.lists(streams(), max_size=5))
def test_any_streams_come_back_with_shape_and_type(items):
    for coder in CODERS:
        data = encode(items, coder)
        assert encode(items, coder) == data
        back = decode(data)
        assert len(back) == len(items)
        for a, b in zip(items, back):
            assert a.values.dtype == b.values.dtype and a.kind == b.kind
            assert a.values.shape == b.values.shape and (a.values == b.values).all()


def test_every_coder_is_checked(capsys):
    with capsys.disabled():
        print(f"\n{len(list(CODERS))} coders keep the contract: {', '.join(CODERS)}")
    assert len(list(CODERS)) >= 3


@pytest.mark.parametrize("kind", ["weights", "side", "bits", "bytes"])
def test_costs_add_up_to_what_is_written(kind):
    values = sample(shape=(40, 30, 3, 3))
    values = {"bits": values > 3, "bytes": np.abs(values) % 256}.get(kind, values).astype(np.int32)
    for name in CODERS:
        coder = CODERS[name]()
        costs = coder.cost(Stream(values, kind))
        written = 8 * len(coder.encode([Stream(values, kind)]))
        assert costs.shape == values.shape and costs.dtype == np.float64 and (costs >= 0).all()
        assert -0.001 * written <= written - costs.sum() <= 0.002 * written + 8 * 700, name
        assert coder.cost(Stream(values[:0], kind)).shape == values[:0].shape
    if kind == "weights":
        costs = CODERS["range"]().cost(Stream(values, kind))
        assert costs[values == 0].mean() < costs[np.abs(values) > 8].mean(), "rare numbers cost more"


def sample(scale=4.0, shape=(32, 20, 3, 3), seed=0):
    return np.round(np.random.default_rng(seed).laplace(0, scale, shape)).astype(np.int32)


@pytest.mark.parametrize("coder", list(CODERS))
@pytest.mark.parametrize("kind", ["weights", "side"])
def test_extreme_numbers_come_back_even_when_nothing_lets_foresee_them(coder, kind):
    least, most = -(2**31), 2**31 - 1
    late = np.zeros(2000, np.int32)
    late[-1] = least
    for values in ([least], [most], [least, most] * 50, [0, least, 1, most] * 30, late):
        items = [Stream(np.array(values, np.int32), kind)]
        assert (decode(encode(items, coder))[0].values == items[0].values).all()
    alone = [Stream(np.array([value], np.int32), kind) for value in (least, most, 0) * 20]
    assert [s.values.item() for s in decode(encode(alone, coder))] == [least, most, 0] * 20


@pytest.mark.parametrize("coder", list(CODERS))
def test_different_numbers_of_one_bit_length_come_back(coder):
    values = np.array([65_536, 70_000, 100_000] * 7, np.int32)
    assert (decode(encode([Stream(values)], coder))[0].values == values).all()


@pytest.mark.parametrize("coder", list(CODERS))
def test_damaged_data_are_refused_or_decoded_quickly(coder):
    items = [
        Stream(sample()),
        Stream(np.arange(64, dtype=np.int32), "side"),
        Stream((sample(seed=1) > 0).astype(np.int8), "bits"),
    ]
    good, dice = encode(items, coder), random.Random(0)
    for _ in range(300):
        data = bytearray(good)
        if dice.random() < 0.5:
            data = data[: dice.randrange(len(data))]
        for _ in range(dice.randrange(1, 4)):
            if data:
                data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        started = time.perf_counter()
        try:
            decode(bytes(data))
        except FormatError as error:
            assert error.what
        assert time.perf_counter() - started < 1


@pytest.mark.parametrize("coder", list(CODERS))
def test_ends_of_streams_add_up_to_the_data(coder):
    items = [Stream(sample()), Stream(np.zeros((0, 3), np.int8)), Stream(np.arange(64), "side")]
    data = encode_streams(items, coder)
    _, ends = decode_streams(data, [s.layout for s in items], coder)
    assert ends == sorted(ends) and ends[-1] == len(data)


@pytest.mark.parametrize("coder", list(CODERS))
def test_a_few_bytes_never_stand_for_many_numbers(coder):
    many = Stream(np.zeros((1000, 1000), np.int8))
    data = encode_streams([many], coder)
    assert len(data) >= 1_000_000 / 1024
    with pytest.raises(FormatError):
        decode_streams(data[:100], [many.layout], coder)


def entropy_bytes(values):
    counts = np.unique(values, return_counts=True)[1]
    return -(counts * np.log2(counts / counts.sum())).sum() / 8


@pytest.mark.parametrize("scale", [0.3, 1, 3, 10, 40])
@pytest.mark.parametrize("draw", ["laplace", "normal"])
def test_range_coder_is_within_two_percent_of_the_entropy(scale, draw):
    values = np.round(getattr(np.random.default_rng(1), draw)(0, scale, (50, 400))).astype(np.int32)
    allowed = 40 if scale < 1 else 0  # learning costs as much in a stream of half a bit a number
    assert len(encode_streams([Stream(values)], "range")) <= 1.02 * entropy_bytes(values) + allowed


def test_range_coder_gains_from_rows_of_different_size():
    rows = np.geomspace(0.3, 30, 64)[:, None, None, None]
    values = np.round(np.random.default_rng(1).laplace(0, 1, (64, 64, 3, 3)) * rows).astype(np.int32)
    assert len(encode_streams([Stream(values)], "range")) < 0.9 * entropy_bytes(values)


def test_streams_that_break_their_own_hint_are_refused():
    wrong = [(np.array([2]), "bits"), (np.array([256]), "bytes"), (np.array([2**31]), "weights")]
    wrong += [(np.array([-1]), "bits"), (np.array([-1]), "bytes"), (np.array([2**64 - 1], np.uint64), "weights")]
    for values, kind in wrong:
        for coder in CODERS:
            with pytest.raises(ValueError, match="must lie"):
                encode_streams([Stream(values, kind)], coder)


def test_other_types_than_int8_to_int32_are_refused():
    with pytest.raises(ValueError, match="int64"):
        encode([Stream(np.arange(3))])


@pytest.mark.parametrize("coder", list(CODERS))
def test_no_beginning_of_the_data_passes_for_the_whole(coder):
    items = [Stream(sample(shape=(8, 9))), Stream(np.array([[1000], [-1000]], np.int16), "side")]
    good = encode(items, coder)
    for length in range(len(good)):
        try:  # an arithmetic coder may find other numbers in fewer bytes, never the same ones
            back = decode(good[:length])
        except FormatError:
            continue
        assert coder == "range" and any((a.values != b.values).any() for a, b in zip(items, back))


@pytest.mark.parametrize("coder", list(CODERS))
@pytest.mark.parametrize("more", [b"\0", b"\1", bytes(1000)])
def test_bytes_behind_the_streams_are_refused(coder, more):
    for items in ([], [Stream(np.zeros((0, 4), np.int8))], [Stream(np.arange(9, dtype=np.int8))]):
        with pytest.raises(FormatError):
            decode(encode(items, coder) + more)


@pytest.mark.parametrize("coder", list(CODERS))
def test_an_empty_stream_of_impossible_axes_is_refused(coder):
    data = bytearray(encode([], coder)[:-1])
    for value in (1, 0, 3, 2**34, 2**34, 0):  # one stream, int8 weights, three axes
        write_varint(data, value)
    for tail in (b"", b"\0\0"):
        with pytest.raises(FormatError):
            decode(bytes(data) + tail)


@pytest.mark.parametrize("coder", list(CODERS))
def test_streams_that_are_not_contiguous_come_back(coder):
    values = sample(shape=(6, 5, 4)).transpose(2, 0, 1)[:, ::-1]
    kept = values.copy()
    assert (decode(encode([Stream(values)], coder))[0].values == kept).all() and (values == kept).all()


@pytest.mark.parametrize("share", [0.9, 0.75, 0.5, 0.15, 0.02])
def test_geometric_numbers_are_within_two_percent_and_forty_bytes_of_the_entropy(share):
    values = np.random.default_rng(2).geometric(share, (50, 400)).astype(np.int32) - 1
    assert len(encode_streams([Stream(values)], "range")) <= 1.02 * entropy_bytes(values) + 40


def test_start_values_of_the_range_coder_are_right_by_exact_fractions():
    from fractions import Fraction

    from mignon.coding.integers import START

    for c in range(24):
        mean = Fraction(5 if c % 2 == 0 else 7, 4) * Fraction(2) ** (c // 2 - 6)
        theta = mean / (1 + mean)
        for length in range(13):
            exact = max(64, min(65_536 - 64, 65_536 * theta ** (2**length)))
            assert abs(exact - Fraction(int(START[c, 10 + length]))) <= Fraction(1, 2) + Fraction(1, 10)


@pytest.mark.parametrize("coder", list(CODERS))
def test_more_axes_than_eight_are_refused_on_both_sides(coder):
    deep = Stream(np.zeros((1,) * 8, np.int8))
    assert decode(encode([deep], coder))[0].values.shape == (1,) * 8
    with pytest.raises(ValueError, match="8 axes"):
        encode([Stream(np.zeros((1,) * 9, np.int8))], coder)
    data = bytearray(encode([], coder)[:-1])
    for value in (1, 0, 70, *[1] * 70, 0, 0):
        write_varint(data, value)
    with pytest.raises(FormatError):
        decode(bytes(data))


def test_variable_length_numbers_end_below_two_to_the_35():
    for value in (0, 127, 128, 2**31, 2**35 - 1):
        data = bytearray()
        write_varint(data, value)
        reader = Reader(bytes(data))
        assert reader.varint() == value and reader.position == len(data)
    for bad in (b"", b"\x80", b"\xff" * 5 + b"\1", b"\xff" * 40):
        with pytest.raises(FormatError):
            Reader(bad).varint()
    with pytest.raises(FormatError):
        Reader(b"abc").take(-1)


GOLDEN = {"packed": "6d9c0af155a718eb", "huffman": "5a2ea27c02f66d99", "range": "8421edaedf0b295d"}


@pytest.mark.parametrize("coder", sorted(GOLDEN))
def test_the_same_numbers_give_the_same_bytes_on_every_machine(coder):
    """Made from whole numbers only. Another digest means that old files cannot be read (raise the file's version),
    or that a coder has found shorter bytes which old readers understand as well."""
    x, numbers = 1, []
    for _ in range(1200):
        x = (1103515245 * x + 12345) % 2**31
        numbers.append((x >> 16) % 4096)
    v = np.array(numbers, np.int32)
    weights = np.sign(v - 2048) * (v % (1 + np.arange(1200) // 40 % 9))  # rows of different size
    items = [
        Stream(weights.astype(np.int32).reshape(30, 10, 2, 2)),
        Stream(v[:40] - 2000, "side"),
        Stream((v[:64].reshape(8, 8) > 2500).astype(np.int8), "bits"),
        Stream((v[:40] % 256).reshape(4, 10).astype(np.int32), "bytes"),
        Stream(np.array([-(2**31), 2**31 - 1], np.int32)),
    ]
    assert hashlib.sha256(encode(items, coder)).hexdigest()[:16] == GOLDEN[coder]
