"""The binary arithmetic coder: one decision of known probability at a time, in whole numbers only; compiled by numba.

Probabilities are of 65536. `registers` = [low, high, code, position, spent]: those of a 32-bit carryless coder (as in
Mahoney's PAQ), and the ideal cost of all decisions so far in 1/65536 bit. What is coded is not known here, nor how a
probability arises.
"""

import math

import numpy as np

from mignon.coding.compiled import compiled

ONE = 1 << 16
LEAST = 32  # a probability lies from here to ONE - LEAST
LIMIT = 1000  # a counter averages over at most so many decisions
RATE = np.array([(ONE * 2) // (2 * n + 3) for n in range(LIMIT + 1)], np.int64)
COST = np.array([round(-math.log2((i + 0.5) / 4096) * ONE) for i in range(4097)], np.int64)  # of p / 16


def _stretch_tables() -> tuple[np.ndarray, np.ndarray]:
    """squash(x) = 65536 / (1 + exp(-x / 256)) for x = -2047..2047 by interpolation of exact values, and its inverse."""
    # round(65536 / (1 + exp(-(i - 16) / 2))), i = 0..32: constants of the format, since exp differs between libraries
    knots = [22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108, 4971, 7812, 11955, 17625, 24743, 32768]
    knots += [65536 - k for k in reversed(knots[:-1])]
    squash = np.empty(4096, np.int64)
    for x in range(-2048, 2048):
        d = max(-2047, min(2047, x)) + 2048
        i, w = d >> 7, d & 127
        squash[x + 2048] = (knots[i] * (128 - w) + knots[i + 1] * w + 64) >> 7
    stretch = np.empty(4096, np.int64)
    filled = 0
    for x in range(-2047, 2048):
        upto = int(squash[x + 2048]) >> 4
        while filled <= min(upto, 4095):
            stretch[filled] = x
            filled += 1
    stretch[filled:] = 2047
    return squash, stretch


SQUASH, STRETCH = _stretch_tables()


def start(data: np.ndarray, decoding: bool) -> np.ndarray:
    """The registers before the first decision; a decoder has read four bytes."""
    registers = np.array([0, 0xFFFFFFFF, 0, 0, 0], np.int64)
    for _ in range(4 if decoding else 0):
        byte = int(data[registers[3]]) if registers[3] < len(data) else 255
        registers[2] = registers[2] << 8 | byte
        registers[3] += 1
    return registers


@compiled
def code(decoding, bit, p, registers, data):
    """One decision with P(bit = 1) = p / 65536: the bit goes out to `data`, or comes in from it and is returned."""
    x1, x2 = registers[0], registers[1]
    r = x2 - x1
    middle = x1 + (r >> 16) * p + (((r & 65535) * p) >> 16)
    if decoding:
        bit = 1 if registers[2] <= middle else 0
    registers[4] += COST[(p if bit else ONE - p) >> 4]
    if bit:
        x2 = middle
    else:
        x1 = middle + 1
    while (x1 ^ x2) & 0xFF000000 == 0:
        if decoding:
            following = data[registers[3]] if registers[3] < len(data) else 255
            registers[2] = ((registers[2] << 8) & 0xFFFFFFFF) | following
        elif registers[3] < len(data):  # compiled code does not check its bounds; the caller sees the position
            data[registers[3]] = x2 >> 24
        registers[3] += 1
        x1 = (x1 << 8) & 0xFFFFFFFF
        x2 = ((x2 << 8) & 0xFFFFFFFF) | 255
    registers[0], registers[1] = x1, x2
    return bit
