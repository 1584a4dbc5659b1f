"""A bare zlib stream (RFC 1950): a Git object that lies loose in an archive, and much else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from isal import isal_zlib

from keyturn.leaks.containers import compressed
from keyturn.leaks.containers.inflating import FAULTS, ZLIB, Inflater
from keyturn.leaks.containers.interface import Format, Job, Member, Stream


def recognises(head: bytes, _tail: bytes) -> bool:
    """Its mark is two bytes, so a beginning that does not inflate is none."""
    if len(head) < 8 or head[0] != 0x78 or int.from_bytes(head[:2], "big") % 31 or head[1] & 0x20:
        return False
    try:
        return bool(isal_zlib.decompressobj().decompress(head, 64))
    except FAULTS:
        return False


def members(content: Stream, _job: Job) -> Iterator[Member]:
    return compressed.member(content, lambda: Inflater(ZLIB), FAULTS, follows=lambda _data: False)


FORMAT: Final = Format("zlib", recognises, members)
