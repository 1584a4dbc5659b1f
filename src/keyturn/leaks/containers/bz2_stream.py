"""bzip2: one stream or several in a row (`pbzip2` writes many)."""

from __future__ import annotations

import bz2
from collections.abc import Iterator
from typing import Final

from keyturn.leaks.containers import compressed
from keyturn.leaks.containers.interface import Format, Job, Member, Stream

_BLOCK: Final = (b"1AY&SY", b"\x17rE8P\x90")
"""A first block, or the end of a stream without any."""


def recognises(head: bytes, _tail: bytes) -> bool:
    return head[:3] == b"BZh" and head[3:4] in b"123456789" and head[4:10] in _BLOCK


def members(content: Stream, _job: Job) -> Iterator[Member]:
    return compressed.member(
        content, bz2.BZ2Decompressor, (OSError, ValueError, EOFError), follows=lambda d: d.startswith(b"BZh")
    )


FORMAT: Final = Format("bzip2", recognises, members)
