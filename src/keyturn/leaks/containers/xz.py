"""xz, and the .lzma that came before it. What a dictionary may take of memory is bounded."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from typing import Final

from keyturn.leaks.containers import compressed
from keyturn.leaks.containers.interface import Format, Job, Member, Stream

_XZ: Final = b"\xfd7zXZ\x00"
_POWERS: Final = frozenset((1 << n).to_bytes(4, "little") for n in range(12, 31))


def recognises(head: bytes, _tail: bytes) -> bool:
    return head.startswith(_XZ) or _is_lzma(head)


def _is_lzma(head: bytes) -> bool:
    """The .lzma header has no magic: properties, a dictionary of a power of two, a size or -1, a zero."""
    if len(head) < 14 or head[0] != 0x5D or head[1:5] not in _POWERS or head[13]:
        return False
    return head[5:13] == b"\xff" * 8 or int.from_bytes(head[5:13], "little") < 1 << 40


def members(content: Stream, job: Job) -> Iterator[Member]:
    return compressed.member(
        content,
        lambda: lzma.LZMADecompressor(memlimit=job.window_limit + (16 << 20)),
        (lzma.LZMAError, EOFError, ValueError),
        follows=lambda data: data.startswith(_XZ),
    )


FORMAT: Final = Format("xz", recognises, members)
