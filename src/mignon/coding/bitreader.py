"""The inner loop of Huffman decoding, compiled by numba."""

from mignon.coding.compiled import compiled


@compiled
def read_codes(data, table, lengths, classes, low, values):
    """Fill `values`; gives the bytes used, or -1 when a code does not exist or the data end."""
    position, total = 0, len(data) * 8
    for i in range(len(values)):
        window = 0
        for b in range(15):
            at = position + b
            window = window * 2 + (data[at >> 3] >> (7 - (at & 7)) & 1 if at < total else 0)
        symbol = table[window]
        if symbol < 0 or position + lengths[symbol] > total:
            return -1
        position += lengths[symbol]
        if not classes:
            values[i] = low + symbol
            continue
        extra = max(symbol - 1, 0)
        if position + extra > total:
            return -1
        unsigned = 1 if symbol else 0
        for _ in range(extra):
            unsigned = unsigned * 2 + (data[position >> 3] >> (7 - (position & 7)) & 1)
            position += 1
        values[i] = unsigned >> 1 if unsigned % 2 == 0 else -((unsigned + 1) >> 1)
    return (position + 7) >> 3
