"""Variable-length whole numbers (LEB128) and a reader that never reads beyond the end."""

from mignon.errors import FormatError


def write_varint(out: bytearray, value: int) -> None:
    """Seven bits a byte, lowest first, the top bit set on all but the last byte."""
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def zigzag(value: int) -> int:
    """Signed to unsigned: 0, -1, 1, -2, ... to 0, 1, 2, 3, ..."""
    return value * 2 if value >= 0 else -value * 2 - 1


def unzigzag(value: int) -> int:
    """The inverse of `zigzag`."""
    return value >> 1 if value % 2 == 0 else -((value + 1) >> 1)


class Reader:
    """A position in bytes that came from outside."""

    def __init__(self, data: bytes):
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        """The next bytes. Raises FormatError when there are fewer."""
        if count < 0 or count > len(self.data) - self.position:
            raise FormatError("the data end too early")
        self.position += count
        return self.data[self.position - count : self.position]

    def varint(self) -> int:
        """A number below 2^35."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise FormatError("a number has too many digits")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self.data) - self.position)
