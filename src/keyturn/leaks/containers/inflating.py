"""Inflates deflate in its three wrappings with `isal`, several times as fast as zlib. For gzip, zlib and zip."""

from __future__ import annotations

from typing import Final

from isal import isal_zlib

FAULTS: Final[tuple[type[Exception], ...]] = (isal_zlib.IsalError, ValueError, EOFError)  # type: ignore[assignment]  # its stub calls the class an instance
RAW: Final = -15
ZLIB: Final = 15
GZIP: Final = 31


class Inflater:
    """`isal`'s decompressor in the manners of bz2's."""

    def __init__(self, wbits: int) -> None:
        self._inner = isal_zlib.decompressobj(wbits=wbits)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail and not self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
