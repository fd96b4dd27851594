"""What shared kernels cost in bits, from shapes alone: the formula of MESS, with all that it leaves out counted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mignon.rules.pieces import count_windows, cut, kernel_size, permutations

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sizes:
    """One family: weights and references of its reference layer, and coded layers, weights and pieces."""

    reference_weights: int
    references: int
    layers: int
    weights: int
    pieces: int

    @property
    def index_bits(self) -> int:
        """ceil(log2(references)), at least 1."""
        return max(1, (self.references - 1).bit_length())


def sizes(shapes: Sequence[Shape], length: int, stride: int = 1, reference: int = 0, turn: str = "none") -> Sizes:
    """Of a family of weights with these shapes, in order; `length` numbers a piece (9 for single 3 x 3 kernels)."""
    coded = [shape for i, shape in enumerate(shapes) if i != reference]
    turns = len(permutations(turn, length, kernel_size(shapes[reference])))
    return Sizes(
        math.prod(shapes[reference]),
        count_windows(shapes[reference], length, stride) * turns,
        len(coded),
        sum(math.prod(shape) for shape in coded),
        sum(cut(shape, length).total for shape in coded),
    )


def learned_sizes(shapes: Sequence[Shape], length: int, count: int) -> Sizes:
    """Of a family whose references are `count` learned shapes, which take the place of the reference layer."""
    weights = sum(math.prod(shape) for shape in shapes)
    return Sizes(0, count, len(shapes), weights, sum(cut(shape, length).total for shape in shapes))


def total_bits(
    parameters: int,
    families: Sequence[Sizes],
    weight_bits: int,
    alpha_bits: int,
    beta_bits: int,
    other_bits: int = 32,
) -> int:
    """References + index, alpha, beta of each piece + 32 bits a scale + all other parameters.

    0 bits: there is no alpha or beta; 32: they are floats and need no scale.
    """
    bits = other_bits * (parameters - sum(f.reference_weights + f.weights for f in families))
    for family in families:
        bits += family.reference_weights * weight_bits + 32 * (weight_bits < 32)
        bits += family.pieces * (family.index_bits + alpha_bits + beta_bits)
        bits += 32 * family.layers * ((0 < alpha_bits < 32) + (0 < beta_bits < 32))
    return bits


def bits_a_weight(family: Sizes, length: int, alpha_bits: int, beta_bits: int) -> float:
    """Of index, alpha and beta of a whole piece."""
    return (family.index_bits + alpha_bits + beta_bits) / length


def shape_bits(count: int, length: int, bits: int = 8) -> int:
    """What learned shapes take themselves."""
    return count * length * bits


def ratio(parameters: int, bits: int) -> float:
    """To float32."""
    return 32 * parameters / bits
