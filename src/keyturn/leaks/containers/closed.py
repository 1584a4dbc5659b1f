"""Containers that are recognised and not unpacked, so that the report can say so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from keyturn.leaks.containers.interface import Format, Job, Member, Stream

_MAGICS: Final = {
    b"7z\xbc\xaf\x27\x1c": "7z archives are not unpacked",
    b"Rar!\x1a\x07": "rar archives are not unpacked",
    b"MSCF\0\0\0\0": "cabinet archives are not unpacked",
    b"\x1f\x9d": "files of `compress` are not unpacked",
    b"\x04\x22\x4d\x18": "lz4 is not unpacked",
    b"PACK\0\0\0\2": "a Git pack inside of something else is not unpacked",
}


def recognises(head: bytes, _tail: bytes) -> bool:
    return head.startswith(tuple(_MAGICS))


def members(content: Stream, job: Job) -> Iterator[Member]:
    head = content.peek(16)
    job.skipped("", next(reason for magic, reason in _MAGICS.items() if head.startswith(magic)))
    yield Member("", Stream(content.pieces()), is_reading=True)


FORMAT: Final = Format("closed", recognises, members)
