"""An adaptive model of integers for the binary coder, in whole numbers only; compiled by numba.

Model of one integer (kind weights or side): "is it 0", its sign, its bit length (unary), then the bits below the
leading one. The two highest of these are modelled, the rest is written as it is. Every modelled decision is predicted
by four counters, chosen by the expected magnitude from the neighbors, the row, the column and the stream so far; the
predictions are mixed in the logistic domain by weights that learn (Mahoney's PAQ mixing, see docs/file-format.md).
Counters start at what a geometric distribution of the expected magnitude would give, so that short streams do not pay
for learning, and they go on from stream to stream of the same kind.

`_run` is one function for both directions: encoder and decoder cannot disagree.
"""

from fractions import Fraction

import numpy as np

from mignon.coding.binary import LEAST, LIMIT, ONE, RATE, SQUASH, STRETCH, code, start
from mignon.coding.compiled import compiled

CLASSES = 24  # of the expected magnitude, two an octave, from below 1/16 on
LENGTHS = 32  # bit lengths 1 .. 32
NODES = 1 + 9 + LENGTHS + LENGTHS * 3  # zero flag; signs by the signs of two neighbors; lengths; two mantissa bits
CONTEXTS = 4  # neighbors, row, column, whole stream


def _start_probabilities() -> np.ndarray:
    """For each class of expected magnitude and each node: P(bit = 1) of 65536 under a geometric distribution."""
    table = np.full((CLASSES, NODES), ONE // 2, np.int64)
    for c in range(CLASSES):
        mean = Fraction(5 if c % 2 == 0 else 7, 4) * Fraction(2) ** (c // 2 - 6)  # the middle of the class
        theta = mean / (1 + mean)  # P(|q| >= j) = theta^j
        table[c, 0] = _fixed(theta)
        at_least = Fraction(1)
        for length in range(LENGTHS):
            # P(longer than length + 1 bits | at least length + 1 bits) = theta^(2^(l+1) - 2^l)
            power = 2**length
            if power > 4096:
                table[c, 10 + length] = 64
                continue
            at_least = Fraction(float(theta) ** power).limit_denominator(1 << 20)
            table[c, 10 + length] = _fixed(at_least)
    return table


def _fixed(p: Fraction) -> int:
    return max(64, min(ONE - 64, round(p * ONE)))


START = _start_probabilities()


@compiled
def _class_of(m):
    """Class of a magnitude in 1/4096: two an octave from 1/32 on."""
    c = 0
    edge = 128
    while c < CLASSES - 1 and m >= (edge if c % 2 == 0 else edge + edge // 2):
        if c % 2 == 1:
            edge *= 2
        c += 1
    return c


@compiled
def _predict(place, node, prob, weights, inputs):
    """Mix the predictions of the contexts of this decision; gives P(bit = 1) of 65536."""
    total = 0
    for j in range(CONTEXTS):
        inputs[j] = STRETCH[prob[j, place[j], node] >> 14]
        total += weights[node, j] * inputs[j]
    x = min(2047, max(-2047, total >> 16))
    return min(ONE - LEAST, max(LEAST, SQUASH[x + 2048]))


@compiled
def _learn(bit, p, place, node, prob, count, weights, inputs):
    error = (bit << 16) - p
    for j in range(CONTEXTS):
        weights[node, j] += (error * inputs[j] + 16384) >> 15
        n = count[j, place[j], node]
        prob[j, place[j], node] += ((bit << 26) - prob[j, place[j], node]) * RATE[n] >> 16
        prob[j, place[j], node] = min((1 << 26) - 1024, max(1024, prob[j, place[j], node]))
        if n < LIMIT:
            count[j, place[j], node] = n + 1


@compiled
def _decide(decoding, bit, place, node, prob, count, weights, inputs, registers, data):
    p = _predict(place, node, prob, weights, inputs)
    bit = code(decoding, bit, p, registers, data)
    _learn(bit, p, place, node, prob, count, weights, inputs)
    return bit


@compiled
def _integer(decoding, q, place, signs, prob, count, weights, inputs, registers, data):
    """Code one integer; a damaged file may ask for more than 32 bits, which gives 2^31 as a mark."""
    magnitude = abs(q)
    if not _decide(decoding, 1 if magnitude else 0, place, 0, prob, count, weights, inputs, registers, data):
        return 0
    negative = _decide(decoding, 1 if q < 0 else 0, place, 1 + signs, prob, count, weights, inputs, registers, data)
    length = 1
    while True:
        if length > 32:
            return 1 << 31
        more = 1 if magnitude >> length else 0
        if not _decide(decoding, more, place, 9 + length, prob, count, weights, inputs, registers, data):
            break
        length += 1
    value = 1
    for i in range(length - 1):
        bit = magnitude >> (length - 2 - i) & 1
        if i < 2:
            node = 10 + LENGTHS + 3 * (length - 1) + (0 if i == 0 else 1 + (value & 1))
            bit = _decide(decoding, bit, place, node, prob, count, weights, inputs, registers, data)
        else:
            bit = code(decoding, bit, ONE // 2, registers, data)
        value = value * 2 + bit
    return -value if negative else value


@compiled
def _integers(decoding, values, prob, count, weights, registers, data, costs):
    """A stream of integers, rows x columns; contexts from the row, the column and the neighbors so far."""
    rows, columns = values.shape
    column_sum = np.zeros(columns, np.int64)
    inputs = np.zeros(CONTEXTS, np.int64)
    place = np.zeros(CONTEXTS, np.int64)
    overall = 8192  # expected magnitude of the stream, in 1/4096
    total = 0
    for o in range(rows):
        row_sum = 0
        for i in range(columns):
            cm = (4096 * column_sum[i] + 2 * overall) // (o + 2)
            rm = (4096 * row_sum + 4 * overall) // (i + 4)
            p1 = abs(values[o, i - 1]) if i else 0
            p2 = abs(values[o, i - 2]) if i > 1 else p1
            o1 = abs(values[o - 1, i]) if o else 0
            near = (p1 * 2 + p2 + (o1 if o else p1)) * 1024
            m = (cm * 35 + rm * 40 + near * 25) // 100
            place[0] = _class_of(m)
            place[1] = _class_of(rm)
            place[2] = _class_of(cm)
            place[3] = _class_of(overall)
            s1 = 0 if i == 0 or values[o, i - 1] == 0 else 1 if values[o, i - 1] > 0 else 2
            s2 = 0 if o == 0 or values[o - 1, i] == 0 else 1 if values[o - 1, i] > 0 else 2
            spent = registers[4]
            q = _integer(decoding, values[o, i], place, s1 + 3 * s2, prob, count, weights, inputs, registers, data)
            if q > 2147483647 or q < -2147483648:
                return False
            values[o, i] = q
            if costs.size:
                costs[o, i] = registers[4] - spent
            a = min(abs(q), 1 << 20)
            column_sum[i] += a
            row_sum += a
            total += a
            n = o * columns + i + 1
            overall = (4096 * total + 8 * 8192) // (n + 8)
        if decoding and registers[3] > len(data) + 8:
            return False
    return True


@compiled
def _symbols(decoding, values, width, prob, count, registers, data, costs):
    """A stream of `width`-bit symbols (bits or bytes): a binary tree of counters, by row and neighbors."""
    rows, columns = values.shape
    for o in range(rows):
        for i in range(columns):
            before = values[o, i - 1] if width == 1 and i else 0
            above = values[o - 1, i] if width == 1 and o else 0
            context = before + 2 * above if width == 1 else min(o, 3)
            node, spent = 1, registers[4]
            for b in range(width - 1, -1, -1):
                p = min(ONE - LEAST, max(LEAST, prob[context, node] >> 10))
                bit = code(decoding, values[o, i] >> b & 1, p, registers, data)
                prob[context, node] += ((bit << 26) - prob[context, node]) * RATE[count[context, node]] >> 16
                if count[context, node] < LIMIT:
                    count[context, node] += 1
                node = node * 2 + bit
            values[o, i] = node - (1 << width)
            if costs.size:
                costs[o, i] = registers[4] - spent
        if decoding and registers[3] > len(data) + 8:
            return False
    return True


class Model:
    """The adaptive state of one coded run, and the registers of the binary coder."""

    def __init__(self, data: np.ndarray, decoding: bool):
        self.data, self.decoding = data, decoding
        self.registers = start(data, decoding)
        self.integer: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self.symbol: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def run(self, values: np.ndarray, kind: str, kernels: bool = True, costs: np.ndarray | None = None) -> bool:
        """Code rows x columns of int64 in place; False when damaged data led outside the int32 range.

        `kernels`: the stream has more than two axes; linear layers and side values have models of their own. `costs`
        (int64, rows x columns) gets the ideal cost of each number in 1/65536 bit.
        """
        spent = np.empty((0, 0), np.int64) if costs is None else costs
        if kind in ("bits", "bytes"):
            if kind not in self.symbol:
                shape = (4, 2 if kind == "bits" else 256)
                self.symbol[kind] = (np.full(shape, 1 << 25, np.int64), np.zeros(shape, np.int64))
            width = 1 if kind == "bits" else 8
            return _symbols(self.decoding, values, width, *self.symbol[kind], self.registers, self.data, spent)
        kind = kind if kernels else f"{kind} without kernels"
        if kind not in self.integer:
            prob = np.broadcast_to(START << 10, (CONTEXTS, CLASSES, NODES)).copy()
            count = np.full(prob.shape, 10, np.int64)
            weights = np.full((NODES, CONTEXTS), (ONE * 5) // (4 * CONTEXTS), np.int64)
            self.integer[kind] = (prob, count, weights)
        return _integers(self.decoding, values, *self.integer[kind], self.registers, self.data, spent)

    @property
    def position(self) -> int:
        """Bytes that are settled so far."""
        return int(self.registers[3]) - (4 if self.decoding else 0)
