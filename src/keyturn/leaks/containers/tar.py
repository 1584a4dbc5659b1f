"""tar as a stream: ustar, GNU long names and sparse files, pax. Links and devices hold nothing and are passed by.

Written here and not with `tarfile`, which reads headers of any size into memory. A sparse file is searched as
it is packed: its holes hold nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from keyturn.leaks.containers.interface import DamagedError, Format, Job, Member, Stream

_BLOCK: Final = 512
_MOST_NAME: Final = 1 << 20
"""What a long name or a pax header may take. PATH_MAX is 4 KiB; attributes may stand beside it."""
_FILES: Final = b"0\x007S"


def recognises(head: bytes, _tail: bytes) -> bool:
    return len(head) >= _BLOCK and _is_header(head[:_BLOCK])


def members(content: Stream, job: Job) -> Iterator[Member]:
    name: str | None = None
    size: int | None = None
    while True:
        block = content.read(_BLOCK)
        if len(block) < _BLOCK:
            if block:
                raise DamagedError("it ends in the middle")
            return
        if block == bytes(_BLOCK):
            # Two of them end an archive; others may have been appended behind it (`cat a.tar b.tar`).
            continue
        if not _is_header(block):
            raise DamagedError("it is damaged: a header's checksum is wrong")
        kind = block[156:157]
        length = _number(block[124:136])
        if kind in {b"L", b"K", b"x", b"X", b"g"}:
            header = _metadata(content, length, job)
            if kind == b"L":
                name = _text(header.rstrip(b"\0"))
            elif kind in b"xX":
                fields = _pax(header)
                name = _text(fields.get(b"GNU.sparse.name", fields.get(b"path", b""))) or name
                size = _decimal(fields.get(b"size"))
            continue
        if kind == b"S":
            _skip_sparse_map(content, block)
        length = size if size is not None else length
        this, name, size = name or _name(block), None, None
        if kind in b"23456":
            length = 0  # what some writers put there is not data
        begin = content.position
        if kind in _FILES and length:
            yield Member(this, Stream(content.pieces(length)))
        read = content.position - begin
        left = length - read
        if content.skip(left) < left:
            raise DamagedError("it ends in the middle")
        content.skip(-length % _BLOCK)


def _is_header(block: bytes) -> bool:
    """The checksum is the sum of the header's bytes with its own field as spaces; some wrote it signed."""
    try:
        told = int(block[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    rest = block[:148] + block[156:]
    unsigned = sum(rest) + 8 * 0x20
    return told in {unsigned, unsigned - 256 * sum(byte > 127 for byte in rest)} and bool(
        block[0] or any(rest)
    )


def _number(field: bytes) -> int:
    """Octal, or GNU's base 256 where the first bit is set."""
    if field[0] & 0x80:
        number = int.from_bytes(field, "big") & ((1 << 95) - 1)
        if number > 1 << 62:
            raise DamagedError("it is damaged: a member's size is impossible")
        return number
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise DamagedError("it is damaged: a member's size is no number") from error


def _metadata(content: Stream, length: int, job: Job) -> bytes:
    header = content.read(min(length, _MOST_NAME))
    if length > _MOST_NAME:
        job.skipped("", f"a header of {length} bytes was cut")
        content.skip(length - _MOST_NAME)
    content.skip(-length % _BLOCK)
    return header


def _pax(header: bytes) -> dict[bytes, bytes]:
    r"""Records of `LENGTH KEY=VALUE\\n`, the length counting all of it (POSIX pax, "pax Header Block")."""
    fields = {}
    at = 0
    while at < len(header):
        space = header.find(b" ", at, at + 20)
        length = _decimal(header[at:space]) if space > at else None
        if not length or length <= space - at:
            break
        key, _, value = header[space + 1 : at + length - 1].partition(b"=")
        fields[key] = value
        at += length
    return fields


def _decimal(text: bytes | None) -> int | None:
    return int(text) if text and len(text) < 20 and text.isdigit() else None


def _skip_sparse_map(content: Stream, block: bytes) -> None:
    """Old GNU sparse files: the map may go on in further blocks, each telling at 504 whether one follows."""
    more = block[482]
    while more:
        block = content.read(_BLOCK)
        if len(block) < _BLOCK:
            raise DamagedError("it ends in the middle")
        more = block[504]


def _name(block: bytes) -> str:
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace").removeprefix("./")


FORMAT: Final = Format("tar", recognises, members)
