"""Storage forms to compare with: exact both ways, and the byte counts of system 002 and Deep Compression."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mignon.coding.huffman import code_lengths
from mignon.errors import FormatError
from mignon.measure.forms import (
    FORMS,
    Coo,
    Form,
    Gaps,
    best_gaps,
    entropy_bits,
)

# System 002's MobileNetV2, CIFAR-10: shape and non-zeros of each of its 53 weights (spec 2.6).
BLOCKS = """
32x3x3x3 195,32x1x3x3 47,16x32x1x1 141,96x16x1x1 327,96x1x3x3 172,24x96x1x1 547,144x24x1x1 202,144x1x3x3 86,
24x144x1x1 155,144x24x1x1 1336,144x1x3x3 562,32x144x1x1 1634,192x32x1x1 761,192x1x3x3 361,32x192x1x1 657,
192x32x1x1 1205,192x1x3x3 583,32x192x1x1 961,192x32x1x1 1365,192x1x3x3 618,64x192x1x1 2183,384x64x1x1 2132,
384x1x3x3 846,64x384x1x1 2426,384x64x1x1 2154,384x1x3x3 645,64x384x1x1 1775,384x64x1x1 1155,384x1x3x3 308,
64x384x1x1 850,384x64x1x1 3118,384x1x3x3 613,96x384x1x1 3873,576x96x1x1 2313,576x1x3x3 531,96x576x1x1 2025,
576x96x1x1 1756,576x1x3x3 365,96x576x1x1 1319,576x96x1x1 4301,576x1x3x3 714,160x576x1x1 5408,960x160x1x1 7042,
960x1x3x3 1330,160x960x1x1 6810,960x160x1x1 6161,960x1x3x3 849,160x960x1x1 3522,960x160x1x1 4481,960x1x3x3 486,
320x960x1x1 1676,1280x320x1x1 1652,10x1280 10137"""
NETWORK = [(tuple(map(int, item.split()[0].split("x"))), int(item.split()[1])) for item in BLOCKS.split(",")]


def expected_fillers(density: float, bits: int) -> float:
    """Fillers for each non-zero when zeros are independent: q / (1 - q) with q = (1 - density)^(2^bits)."""
    q = (1 - density) ** (1 << bits)
    return q / (1 - q)


def position_bits(places: int, nonzeros: int) -> float:
    """n H(p): the entropy of where the non-zeros are."""
    return sum(c * math.log2(places / c) for c in (nonzeros, places - nonzeros) if c)


def huffman_bits(values: np.ndarray) -> int:
    """Bits of a Huffman code for each different number, without its table; 0 when all are equal."""
    counts = np.unique(values, return_counts=True)[1]
    return int((counts * code_lengths(counts)).sum()) if counts.size else 0


def deep_compression_bytes(entries: int, biases: int, code_bits: int, gap_bits: int = 4) -> int:
    """A layer as the published decoder of Deep Compression reads it.

    uint32 count, 2^code_bits float32 centroids, float32 biases, codes, gaps, each to a whole byte.
    """
    return 4 + 4 * (1 << code_bits) + 4 * biases + -(-entries * code_bits // 8) + -(-entries * gap_bits // 8)


def synthetic():
    """The made tensor of spec 6.8."""
    x, found = 12345, []
    for _ in range(64 * 32 * 9):
        x = (1103515245 * x + 12345) % 2**31
        u = x >> 16
        x = (1103515245 * x + 12345) % 2**31
        v = (x >> 16) % 255 - 127 or 1
        found.append(v if u % 10 == 0 else 0)
    return np.array(found, np.int32).reshape(64, 32, 3, 3)


BY_HAND = np.zeros(40, int)
BY_HAND[[0, 1, 5, 14, 31]] = [3, -1, 3, 3, 2]


def whole(form, values, width=8, low=None):
    """The size of what `encode` gives, after checking that it comes back."""
    data, entries = form.encode(values, width, low)
    size = form.size(values.shape, entries, width)
    assert len(data) == size.bytes and (form.decode(data, values.shape, entries, width, low) == values).all()
    return size.values + size.indices


def test_the_network_of_system_002_in_every_form():
    total = dict.fromkeys(FORMS, 0)
    for shape, nonzeros in NETWORK:
        for name, form in FORMS.items():
            total[name] += form.size(shape, nonzeros).bytes
    assert sum(math.prod(shape) for shape, _ in NETWORK) == total["dense"] == 2_202_560
    assert sum(nonzeros for _, nonzeros in NETWORK) == 96_871 and len(NETWORK) == 53
    assert sum(FORMS["coo"].size(shape, n).indices for shape, n in NETWORK) == 8 * 499_404
    assert total["coo"] == 596_275 and total["coo int64"] == 3_034_551 and total["coo trimmed"] == 386_220
    assert total["bitmap"] == 372_191 and total["flat int32"] == 484_355
    flat = [FORMS["flat"].size(shape, n) for shape, n in NETWORK]
    assert sum(size.values + size.indices for size in flat) / 8 == 286_669.75
    channels = sum(shape[0] for shape, _ in NETWORK if len(shape) == 4)
    others = (
        4 * (4 * channels + 10) + 8 * 52
    )  # BatchNorm and biases as float32, a counter of 8 bytes for each BatchNorm
    assert channels == 17_056 and others == 273_352
    assert 1_040_842 - total["coo"] - others == 163_583 + 53 * (120 + 24), "its container, and list objects in no file"


def test_the_formulas_of_system_002_count_sixteen_bits_for_a_place():
    nonzeros, others = sum(n for _, n in NETWORK), 34_122
    for width, expected in [
        (32, 717_714), (16, 523_972), (12, 475_536.5), (8, 427_101), (6, 402_883.25), (4, 378_665.5)
    ]:  # fmt: skip
        size = Flat16().size((2_202_560,), nonzeros, width)
        assert (size.values + size.indices + 32 * others) / 8 == expected
    assert 4 * (2_202_560 + others) / 427_101 == pytest.approx(20.948, abs=5e-4)


class Flat16(Form):
    name = "assumed"

    def parts(self, shape, entries):
        return [(entries, 16)]


def test_the_real_weights_of_system_002(shared_data):
    from safetensors.numpy import load_file

    tensors = load_file(shared_data / "mobilenetv2-002-pruned-int8.safetensors")
    weights = [v for n, v in tensors.items() if n.endswith(".weight") and v.dtype == np.int8]
    assert sorted((w.shape, int(np.count_nonzero(w))) for w in weights) == sorted(NETWORK)
    expected = {
        3: (461_718.125, 238_924), 4: (312_949.5, 111_762), 5: (240_298.5, 51_005),
        6: (209_055.0, 22_589), 7: (199_640.625, 9_604), 8: (201_416.0, 3_837),
    }  # fmt: skip
    for bits, (size, fillers) in expected.items():
        entries = [Gaps(bits).entries(w) for w in weights]
        assert sum(entries) - 96_871 == fillers and sum(entries) * (bits + 8) / 8 == size
    assert sum(f.entries(w) * (f.bits + 8) for w in weights for f in [best_gaps(w)]) / 8 == 183_687.375
    assert sum(huffman_bits(w[w != 0]) for w in weights) / 8 == 79_289.375
    assert huffman_bits(np.concatenate([Gaps(8).take(w)[0][0] for w in weights])) / 8 == 54_222.625
    # the specification says .375: two bits above the best code
    assert sum(huffman_bits(w) for w in weights) / 8 == 354_204.125
    assert sum(position_bits(w.size, np.count_nonzero(w)) for w in weights) / 8 == pytest.approx(59_005.6, abs=0.1)
    assert sum(entropy_bits(w[w != 0]) for w in weights) / 8 == pytest.approx(78_923.5, abs=0.1)
    assert sum(entropy_bits(w) for w in weights) / 8 == pytest.approx(137_929, abs=1)
    for weight in weights[::9]:
        for form in (*FORMS.values(), best_gaps(weight)):
            whole(form, weight)


def test_a_made_tensor_has_the_sizes_that_were_computed_for_it():
    values = synthetic()
    flat = values.ravel()
    first = np.flatnonzero(flat)[:8]
    assert list(zip(first.tolist(), flat[first].tolist())) == [
        (4, -106), (29, -57), (37, 40), (43, 106), (48, 79), (66, -95), (72, -126), (75, 53)
    ]  # fmt: skip
    assert (values.size, np.count_nonzero(values), values.sum(), np.abs(values).sum()) == (18_432, 1_813, -511, 116_725)
    sizes = {name: whole(form, values) for name, form in FORMS.items()}
    assert sizes["dense"] == 147_456 and sizes["bitmap"] == 32_936
    assert sizes["coo"] == 72_520 and sizes["flat"] == 41_699
    for bits, entries, size in [
        (3, 3_201, 35_211), (4, 2_246, 26_952), (5, 1_890, 24_570), (6, 1_815, 25_410),
        (7, 1_813, 27_195), (8, 1_813, 29_008),
    ]:  # fmt: skip
        assert (Gaps(bits).entries(values), sizes[f"gaps {bits}"]) == (entries, size)
    assert best_gaps(values).bits == 5
    for bits, gaps, numbers in [(3, 7_860, 17_585), (4, 8_391, 15_995), (5, 8_549, 14_849), (6, 8_551, 14_407)]:
        (fields,), stored = Gaps(bits).take(values)
        assert (huffman_bits(fields), huffman_bits(stored)) == (gaps, numbers)
    nonzero = flat[flat != 0]
    assert huffman_bits(nonzero) == 14_384 and huffman_bits(Gaps(8).take(values)[0][0]) == 8_545
    assert huffman_bits(values) == 32_816
    assert entropy_bits(nonzero) == pytest.approx(14_326.8, abs=0.05)
    assert position_bits(18_432, 1_813) == pytest.approx(8_548.4, abs=0.05)
    assert entropy_bits(values) == pytest.approx(22_875.2, abs=0.05)


@pytest.mark.parametrize(
    ("bits", "fields", "size"),
    [
        (2, [(0, 3), (0, -1), (3, 3), (3, 0), (3, 0), (0, 3), (3, 0), (3, 0), (3, 0), (3, 0), (0, 2)], 110),
        (3, [(0, 3), (0, -1), (3, 3), (7, 0), (0, 3), (7, 0), (7, 0), (0, 2)], 88),
        (4, [(0, 3), (0, -1), (3, 3), (8, 3), (15, 0), (0, 2)], 72),
    ],
)
def test_gaps_by_hand(bits, fields, size):
    (gaps,), stored = Gaps(bits).take(BY_HAND)
    assert list(zip(gaps.tolist(), stored.tolist())) == fields
    assert whole(Gaps(bits), BY_HAND) == size


def test_huffman_by_hand():
    assert huffman_bits(BY_HAND[BY_HAND != 0]) == 7 and huffman_bits(Gaps(3).take(BY_HAND)[0][0]) == 12
    assert huffman_bits(np.zeros(9, int)) == 0 and entropy_bits(np.array([4, 4])) == 0


def test_expected_fillers():
    expected = {3: 1.9711, 4: 0.78612, 5: 0.24025, 6: 0.03899, 7: 0.00141, 8: 2.0e-6}
    for bits, fillers in expected.items():
        assert expected_fillers(0.05, bits) == pytest.approx(fillers, abs=1e-4)
    dice = np.random.default_rng(0)
    values = (dice.random(400_000) < 0.05).astype(int)
    for bits in (3, 4, 5):
        found = Gaps(bits).entries(values) / values.sum() - 1
        assert found == pytest.approx(expected_fillers(0.05, bits), rel=0.03)


def test_the_published_layout_of_deep_compression():
    entries = [422_083 // 26] * 26
    entries[0] += 422_083 - sum(entries)  # 26 layers of SqueezeNet 1.0, 15,904 bytes of biases
    for layer in range(0, 26, 2):  # half of them odd: a last half byte of gaps each
        move = 1 - entries[layer] % 2
        entries[layer] += move
        entries[layer + 1] -= move
    odd = sum(n % 2 for n in entries)
    total = sum(deep_compression_bytes(n, 0, code_bits=8) for n in entries) + 15_904
    assert total == 104 + 42_528 + 422_083 + (422_083 + odd) // 2
    assert 675_763 - total == (13 - odd) // 2
    bits = 8 * (deep_compression_bytes(16, 0, code_bits=2, gap_bits=0) - 4)
    assert 16 * 32 / bits == 3.2  # its example: 16 weights, 4 clusters


ALEXNET = [
    (34_848, 84, 8, 32.6), (307_200, 38, 8, 14.5), (884_736, 35, 8, 13.1), (663_552, 37, 8, 14.1),
    (442_368, 37, 8, 14.0), (37_748_736, 9, 5, 3.0), (16_777_216, 9, 5, 3.0), (4_096_000, 25, 5, 7.3),
]  # fmt: skip


def test_the_rates_of_alexnet_follow_from_density_codes_and_gaps():
    total = 0.0
    for weights, percent, code, printed in ALEXNET:
        density = percent / 100
        entries = round(weights * density * (1 + expected_fillers(density, 4)))
        rate = 100 * deep_compression_bytes(entries, 0, code) / (4 * weights)
        assert rate == pytest.approx(printed, rel=0.14)  # density has two digits; real zeros are not independent
        total += weights * printed
    assert total / sum(row[0] for row in ALEXNET) == pytest.approx(3.711, abs=5e-4)


@st.composite
def arrays(draw):
    shape = tuple(draw(st.lists(st.integers(0, 9), max_size=4)))
    width = draw(st.integers(1, 32))
    low = draw(st.sampled_from([None, 0, -1]))
    first = -(1 << width - 1) if low is None else low
    numbers = st.one_of(st.just(0), st.integers(max(first, -3), min(first + 2**width - 1, 3)))
    edges = st.sampled_from([first, first + 2**width - 1])
    count = math.prod(shape)
    style = draw(st.sampled_from([numbers, st.just(0), edges, st.one_of(st.just(0), st.just(0), st.just(0), edges)]))
    return np.array(draw(st.lists(style, min_size=count, max_size=count)), np.int64).reshape(shape), width, low


@given(arrays())
def test_every_form_comes_back_exactly(item):
    values, width, low = item
    for form in (*FORMS.values(), best_gaps(values, width)):
        whole(form, values, width, low)


def test_long_runs_and_wide_axes_come_back():
    values = np.zeros((2, 300, 1, 70), int)
    values[[0, 0, 1, 1], [0, 299, 128, 299], 0, [69, 0, 5, 69]] = [1, -128, 127, 5]
    for form in FORMS.values():
        whole(form, values)
    assert [bits for _, bits in Coo().parts((128, 129, 32_768, 32_769), 1)] == [8, 16, 16, 32]
    assert [bits for _, bits in Coo("trimmed").parts((1, 256, 257, 65_536), 1)] == [0, 8, 16, 16]


def test_every_form_is_checked(capsys):
    with capsys.disabled():
        print(f"\n{len(FORMS)} forms come back exactly: {', '.join(FORMS)}")
    assert len(FORMS) == 14


def test_numbers_outside_of_the_width_are_refused():
    for form in FORMS.values():
        with pytest.raises(ValueError, match="-8 to 7"):
            form.encode(np.array([8, 0]), 4)


@pytest.mark.parametrize("name", list(FORMS))
def test_damaged_bytes_are_refused_or_decoded_within_the_array(name):
    values, form, dice = synthetic()[:4], FORMS[name], np.random.default_rng(0)
    good, entries = form.encode(values)
    refused = 0
    for _ in range(200):
        data = np.frombuffer(good, np.uint8).copy()
        data[dice.integers(len(data), size=3)] = dice.integers(256, size=3)
        try:
            assert form.decode(data.tobytes(), values.shape, entries).shape == values.shape
        except FormatError:
            refused += 1
    assert name in ("dense", "flat") or name.startswith("gaps") or refused
    for data in (b"", good[:-1], good + b"\0"):
        with pytest.raises(FormatError):
            form.decode(data, values.shape, entries)
