"""Containers that are recognised and not unpacked, so that the report can say so."""

from __future__ import annotations

import re
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
    b"!<arch>\ndebian-binary": "Debian packages are not unpacked",
    b"\xed\xab\xee\xdb": "rpm packages are not unpacked",
}
BEGINNINGS: Final = (*_MAGICS, b"070701", b"070702")
_CPIO: Final = re.compile(rb"07070[12][0-9A-Fa-f]{104}")
"""A header of the new ASCII format: thirteen numbers of eight digits behind the magic (cpio(5))."""


def recognises(head: bytes, _tail: bytes) -> bool:
    return head.startswith(tuple(_MAGICS)) or _CPIO.match(head) is not None


def members(content: Stream, job: Job) -> Iterator[Member]:
    head = content.peek(32)
    reasons = (reason for magic, reason in _MAGICS.items() if head.startswith(magic))
    job.skipped("", next(reasons, "what cpio archives hold is searched and not unpacked"))
    yield Member("", Stream(content.pieces()), is_reading=True)


FORMAT: Final = Format("closed", recognises, members)
