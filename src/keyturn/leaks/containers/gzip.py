"""gzip (RFC 1952): one stream or several in a row, as logs that were appended to have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from keyturn.leaks.containers import compressed
from keyturn.leaks.containers.inflating import FAULTS, GZIP, Inflater
from keyturn.leaks.containers.interface import Format, Job, Member, Stream

_MAGIC: Final = b"\x1f\x8b\x08"


def recognises(head: bytes, _tail: bytes) -> bool:
    return head.startswith(_MAGIC)


def members(content: Stream, _job: Job) -> Iterator[Member]:
    return compressed.member(
        content, lambda: Inflater(GZIP), FAULTS, follows=lambda data: data.startswith(_MAGIC)
    )


FORMAT: Final = Format("gzip", recognises, members)
