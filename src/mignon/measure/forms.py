"""Other ways to store an array of whole numbers, to compare with: dense, bitmap, COO, flat index, gaps with fillers.

Every form is exact in both directions and has no header: shape, width and the number of stored entries are known
beforehand. Also what ideal codes would take (order-0 entropy, Huffman codes without their tables).

>>> form = FORMS["bitmap"]
>>> data, entries = form.encode(values, width=8)
>>> form.decode(data, values.shape, entries, width=8)
"""

import math
from typing import ClassVar, NamedTuple

import numpy as np

from mignon.errors import FormatError


class Size(NamedTuple):
    """Bits of a stored array."""

    values: int
    indices: int

    @property
    def bytes(self) -> int:
        """Bytes of both in one run, the last one filled up."""
        return -(-(self.values + self.indices) // 8)


class Form:
    """Every number is an entry, in the order of the array; members leave out zeros and store where the others are."""

    name = "dense"

    def entries(self, values: np.ndarray) -> int:
        """How many numbers are stored."""
        return len(self.take(values)[1])

    def parts(self, shape: tuple[int, ...], entries: int) -> list[tuple[int, int]]:
        """(how many, bits each) of every array of positions that stands before the numbers."""
        return []

    def take(self, values: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The arrays of positions, and the stored numbers."""
        return [], values.ravel()

    def put(self, positions: list[np.ndarray], stored: np.ndarray, values: np.ndarray) -> None:
        """Fill the zeros of `values`; positions come from outside."""
        values[...] = stored.reshape(values.shape)

    def size(self, shape: tuple[int, ...], entries: int, width: int = 8) -> Size:
        """From the shape and the number of entries alone (for all but `gaps`: of the non-zeros)."""
        count = math.prod(shape) if self.name == "dense" else entries
        return Size(count * width, sum(many * bits for many, bits in self.parts(shape, entries)))

    def encode(self, values: np.ndarray, width: int = 8, low: int | None = None) -> tuple[bytes, int]:
        """The bytes (positions, then numbers, all most significant bit first) and the number of entries.

        `width`: bits a number; they lie in `low` (default -2^(width-1)) to low + 2^width - 1.
        """
        low = -(1 << width - 1) if low is None else low
        if values.size and not low <= values.min() <= values.max() < low + (1 << width):
            raise ValueError(f"the numbers do not lie in {low} to {low + (1 << width) - 1}")
        positions, stored = self.take(values)
        widths = [bits for _, bits in self.parts(values.shape, len(stored))]
        runs = [_bits(array, bits) for array, bits in zip([*positions, stored], [*widths, width])]
        return np.packbits(np.concatenate(runs)).tobytes(), len(stored)

    def decode(
        self, data: bytes, shape: tuple[int, ...], entries: int, width: int = 8, low: int | None = None
    ) -> np.ndarray:
        """The int64 array. Raises FormatError when the bytes are not those of such an array."""
        low = -(1 << width - 1) if low is None else low
        parts = [*self.parts(shape, entries), (entries, width)]
        if len(data) != -(-sum(count * bits for count, bits in parts) // 8):
            raise FormatError(f"{len(data)} bytes are not the length of this array as {self.name}")
        bits, arrays, at = np.unpackbits(np.frombuffer(data, np.uint8)), [], 0
        for count, each in parts:
            arrays.append(_numbers(bits[at : at + count * each], count, each))
            at += count * each
        stored = arrays.pop()
        values = np.zeros(shape, np.int64)
        self.put(arrays, np.where(stored < low + (1 << width), stored, stored - (1 << width)), values)
        return values


class Bitmap(Form):
    """One bit a place, then the numbers that are not zero."""

    name = "bitmap"

    def parts(self, shape: tuple[int, ...], entries: int) -> list[tuple[int, int]]:
        """A bit for every place."""
        return [(math.prod(shape), 1)]

    def take(self, values: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Where it is not zero."""
        flat = values.ravel()
        return [flat != 0], flat[flat != 0]

    def put(self, positions: list[np.ndarray], stored: np.ndarray, values: np.ndarray) -> None:
        """As many bits as numbers."""
        if int(positions[0].sum()) != len(stored):
            raise FormatError("a bitmap does not fit its numbers")
        values.reshape(-1)[positions[0] == 1] = stored


class Flat(Form):
    """The index of each non-zero in the flattened array, in ceil(log2 n) bits or in a fixed width."""

    def __init__(self, bits: int | None = None):
        self.bits = bits
        self.name = "flat" if bits is None else f"flat int{bits}"

    def parts(self, shape: tuple[int, ...], entries: int) -> list[tuple[int, int]]:
        """One index an entry."""
        return [(entries, max(0, math.prod(shape) - 1).bit_length() if self.bits is None else self.bits)]

    def take(self, values: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Places in order."""
        flat = values.ravel()
        places = np.flatnonzero(flat)
        return [places], flat[places]

    def put(self, positions: list[np.ndarray], stored: np.ndarray, values: np.ndarray) -> None:
        """Numbers at their places."""
        _fill(values, positions[0], stored)


class Coo(Form):
    """One index an axis for each non-zero.

    `rule` says how wide: "signed" the smallest of int8 (an axis of at most 128), int16, int32, int64; "int64" always
    that; "trimmed" uint8 (at most 256), uint16, uint32, and none for axes of 1.
    """

    WIDTHS: ClassVar[dict[str, tuple[tuple[int, int], ...]]] = {
        "signed": ((1 << 7, 8), (1 << 15, 16), (1 << 31, 32), (1 << 63, 64)),
        "int64": ((1 << 63, 64),),
        "trimmed": ((1, 0), (1 << 8, 8), (1 << 16, 16), (1 << 32, 32), (1 << 63, 64)),
    }

    def __init__(self, rule: str = "signed"):
        self.widths = self.WIDTHS[rule]
        self.name = "coo" if rule == "signed" else f"coo {rule}"

    def parts(self, shape: tuple[int, ...], entries: int) -> list[tuple[int, int]]:
        """An index for each axis."""
        return [(entries, next(bits for limit, bits in self.widths if size <= limit)) for size in shape]

    def take(self, values: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Indices in order of the places."""
        flat = values.ravel()
        places = np.flatnonzero(flat)
        return list(np.unravel_index(places, values.shape)) if values.ndim else [], flat[places]

    def put(self, positions: list[np.ndarray], stored: np.ndarray, values: np.ndarray) -> None:
        """Numbers at their indices."""
        for index, size in zip(positions, values.shape):
            if index.size and not 0 <= index.min() <= index.max() < size:
                raise FormatError("an index lies outside of its axis")
        values[tuple(positions)] = stored if values.ndim else stored.sum()


class Gaps(Form):
    """Zeros skipped since the last entry, in `bits` bits (Han, Mao, Dally 2016).

    Where more are skipped, fillers stand between: an entry of the number 0 after 2^bits - 1 skipped zeros.
    """

    def __init__(self, bits: int):
        self.bits = bits
        self.name = f"gaps {bits}"

    def parts(self, shape: tuple[int, ...], entries: int) -> list[tuple[int, int]]:
        """One gap an entry."""
        return [(entries, self.bits)]

    def take(self, values: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Gaps and numbers, fillers included."""
        flat = values.ravel()
        places = np.flatnonzero(flat)
        gaps = np.diff(places, prepend=-1) - 1
        ends = np.cumsum((gaps >> self.bits) + 1) - 1
        count = int(ends[-1]) + 1 if len(ends) else 0
        fields, stored = np.full(count, (1 << self.bits) - 1), np.zeros(count, flat.dtype)
        fields[ends], stored[ends] = gaps & (1 << self.bits) - 1, flat[places]
        return [fields], stored

    def put(self, positions: list[np.ndarray], stored: np.ndarray, values: np.ndarray) -> None:
        """Places are the running sums."""
        _fill(values, np.cumsum(positions[0] + 1) - 1, stored)


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form(),
        Bitmap(),
        Coo(),
        Coo("trimmed"),
        Coo("int64"),
        Flat(),
        Flat(32),
        *(Gaps(bits) for bits in range(2, 9)),
    )
}
GAP_BITS = range(3, 9)  # the widths that are tried


def best_gaps(values: np.ndarray, width: int = 8) -> Gaps:
    """The gaps of 3 to 8 bits that are smallest for this array."""
    gaps = np.diff(np.flatnonzero(values), prepend=-1) - 1
    return Gaps(min(GAP_BITS, key=lambda b: (len(gaps) + int((gaps >> b).sum())) * (b + width)))


def entropy_bits(values: np.ndarray) -> float:
    """Order-0 entropy of all numbers together: what no code with one table can beat."""
    counts = np.unique(values, return_counts=True)[1]
    return float((counts * np.log2(counts.sum() / counts)).sum()) if counts.size else 0.0


def _fill(values: np.ndarray, places: np.ndarray, stored: np.ndarray) -> None:
    if places.size and not 0 <= places.min() <= places.max() < values.size:
        raise FormatError("a number lies outside of its array")
    values.reshape(-1)[places] = stored


def _bits(values: np.ndarray, width: int) -> np.ndarray:
    """The lowest bits of each number, most significant first, in one row of 0 and 1."""
    shifts = np.arange(width - 1, -1, -1)
    return (values.astype(np.int64).reshape(-1, 1) >> shifts & 1).astype(np.uint8).ravel()


def _numbers(bits: np.ndarray, count: int, width: int) -> np.ndarray:
    """The inverse of `_bits`, without sign."""
    numbers = np.zeros(count, np.int64)
    for column in bits.reshape(count, width).T if width else ():
        numbers = numbers << 1 | column
    return numbers
