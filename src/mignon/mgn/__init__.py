"""The file that a classifier is shipped in; specified in docs/file-format.md."""

from mignon.mgn.reader import decode, parts
from mignon.mgn.settle import settle
from mignon.mgn.writer import encode

__all__ = ["decode", "encode", "parts", "settle"]
