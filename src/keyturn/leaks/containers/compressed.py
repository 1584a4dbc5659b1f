"""One loop for all formats that compress one stream: bounded output, several streams in a row, damage said.

What each of them is called and how it begins stands in its own file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from keyturn.leaks.containers.interface import CHUNK, DamagedError, Member, Stream, swollen

_INPUT: Final = 64 * 1024


class Decompressor(Protocol):
    """What bz2's and lzma's decompressors are, and zlib's are made to be."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def member(
    content: Stream,
    new: Callable[[], Decompressor],
    faults: tuple[type[Exception], ...],
    follows: Callable[[bytes], bool] = bool,
) -> Iterator[Member]:
    """The one member of a compressed stream. `follows` tells whether another stream begins behind the first."""
    yield Member("", Stream(_decompressed(content, new, faults, follows)))


def _decompressed(
    content: Stream,
    new: Callable[[], Decompressor],
    faults: tuple[type[Exception], ...],
    follows: Callable[[bytes], bool],
) -> Iterator[bytes]:
    made = taken = 0
    data = content.read(_INPUT)
    while True:
        decompressor = new()
        while not decompressor.eof:
            if decompressor.needs_input and not data:
                data = content.read(_INPUT)
                if not data:
                    raise DamagedError("it ends in the middle")
            try:
                out = decompressor.decompress(data, CHUNK)
            except faults as error:
                raise DamagedError(f"it is damaged: {error}") from error
            taken += len(data)
            made += len(out)
            data = b""
            if swollen(made, taken):
                raise DamagedError(f"a bomb: {taken} bytes became more than {made}")
            if out:
                yield out
        data = decompressor.unused_data
        taken -= len(data)
        data = data or content.read(_INPUT)
        if len(data) < 16:
            data += content.read(_INPUT)
        if not data or not follows(data):
            return
