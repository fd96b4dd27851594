"""What writer and reader agree on: magic, version, the preset dictionary, the shape of the header."""

import hashlib
import json
import zlib
from typing import Any

import numpy as np

MAGIC = b"\x93MGN"
VERSION = 1
CHECKS = 8  # bytes at the end: fingerprint of the content, CRC-32 of the file
MAX_HEADER = 1 << 20  # bytes after inflating

# Text that most headers contain, so that deflate need not spell it; part of the format, never to be changed.
DICTIONARY = (
    b'resnetmobilenet"airplane","automobile","bird","cat","deer","dog","frog","horse","ship","truck"'
    b'"0","1","2","3","4","5","6","7","8","9""width":0.25,"last":1280"prune=0.8","tune=10","quant=w8a8","code=huffman"'
    b'{"rule":"float","kept":},{"rule":"grid","bits":8,"masked":true},{"rule":"accumulator","n":16},"gain":true'
    b',"tensors":[0,1,2,0,1,2,0,1,2],"recipe":["quant=w4a8","code=range"],"rules":[{"rule":"float"}'
    b'{"family":"resnet20-cifar","options":{"shortcut":"b"},"input":{"height":32,"width":32,"channels":3,'
    b'"mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225],"resize":"crop"},"classes":["'
    b'"],"coder":"range","activation_bits":8,"recipe":[],"rules":[{"rule":"grid","bits":4},'
    b'{"rule":"accumulator","n":16}],"tensors":[0,1,0,1,0,1,0,1]}'
)


def deflate(header: dict[str, Any]) -> bytes:
    """Compact JSON, raw deflate with the preset dictionary."""
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=DICTIONARY)
    return packer.compress(text) + packer.flush()


def fingerprint(header: dict[str, Any], arrays: list[np.ndarray]) -> bytes:
    """Four bytes over the meaning of the file: a reader that gets other numbers or another header notices."""
    sha = hashlib.sha256(json.dumps(header, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode())
    for array in arrays:
        sha.update(np.ascontiguousarray(array, dtype="<i4").tobytes())
    return sha.digest()[:4]
