"""Inflating one stream whose size was declared: never more than that, and an error if it is less or damaged.

ISA-L is the faster from a few hundred bytes on, zlib below. Deflate grows a thousandfold at most, so that a
stream of a few kilobytes needs no watching; a longer one is stopped at its declared size.
"""

from __future__ import annotations

import zlib
from typing import Final

from isal import isal_zlib

_ISAL_ERROR: type[Exception] = isal_zlib.error  # type: ignore[assignment] # its stub calls the class an instance
NOT_INFLATED: Final = (zlib.error, _ISAL_ERROR, EOFError, ValueError)
"""What the libraries raise for a stream that is none."""
_SHORT: Final = 128
_HARMLESS: Final = 1 << 14
_MOST_GROWTH: Final = 1040


class DamagedError(Exception):
    """The bytes are not what they were declared to be. The message is a sentence part."""


def inflate(stream: memoryview, size: int) -> bytes:
    """Exactly `size` bytes. What follows the stream's end is not looked at."""
    compressed = len(stream)
    if size > compressed * _MOST_GROWTH:
        raise DamagedError("a size is declared that its bytes can't hold")
    try:
        if compressed < _SHORT:
            data = zlib.decompress(stream, 15, size or 1)
        elif compressed < _HARMLESS:
            data = isal_zlib.decompress(stream, 15, size or 1)
        else:
            inflater = isal_zlib.decompressobj()
            data = inflater.decompress(stream, size + 1)
            if not inflater.eof and len(data) == size and inflater.decompress(inflater.unconsumed_tail, 1):
                raise DamagedError("it is larger than declared")
    except NOT_INFLATED as error:
        raise DamagedError(str(error)) from error
    if len(data) != size:
        raise DamagedError("it is not as large as declared")
    return data
