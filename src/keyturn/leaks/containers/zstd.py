"""Zstandard (RFC 8878), skippable frames included. What a frame may keep of the past is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import zstandard

from keyturn.leaks.containers.interface import CHUNK, DamagedError, Format, Job, Member, Stream, swollen

_MAGIC: Final = b"\x28\xb5\x2f\xfd"


def recognises(head: bytes, _tail: bytes) -> bool:
    return head.startswith(_MAGIC) or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50)


def members(content: Stream, job: Job) -> Iterator[Member]:
    yield Member("", Stream(decompressed(content, job.window_limit)))


class _Reader:
    """The stream as the file that `zstandard` asks for."""

    def __init__(self, content: Stream) -> None:
        self._content = content

    def read(self, size: int) -> bytes:
        return self._content.read(size)


def decompressed(content: Stream, window_limit: int) -> Iterator[bytes]:
    # One call of `decompressobj` may return gigabytes; the reader returns what is asked for.
    decompressor = zstandard.ZstdDecompressor(max_window_size=window_limit)
    begin = content.position
    made = 0
    with decompressor.stream_reader(_Reader(content), read_across_frames=True, closefd=False) as reader:  # type: ignore[arg-type]  # it only calls read()
        while True:
            try:
                out = reader.read(CHUNK)
            except zstandard.ZstdError as error:
                raise DamagedError(f"it is damaged: {error}") from error
            if not out:
                return
            made += len(out)
            if swollen(made, content.position - begin):
                raise DamagedError(f"a bomb: it became more than {made} bytes")
            yield out


FORMAT: Final = Format("zstd", recognises, members)
