"""zip, and what is one by another name: jar, docx, xlsx, whl. Also behind a program, without an end, or with zip64.

Members are read as the central directory lists them; without one (a cut-off file), as they follow each other.
Written here and not with `zipfile`, which believes sizes, and knows neither zstd nor a missing end.
"""

from __future__ import annotations

import bz2
import lzma
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from isal import isal_zlib

from keyturn.leaks.containers import compressed, zstd
from keyturn.leaks.containers.compressed import Decompressor
from keyturn.leaks.containers.inflating import FAULTS, RAW, Inflater
from keyturn.leaks.containers.interface import DamagedError, Format, Job, Member, Stream, swollen

_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_LOCATOR: Final = struct.Struct("<4sIQI")
_END64: Final = struct.Struct("<4sQ2H2I4Q")
_FULL: Final = 0xFFFFFFFF
_ENCRYPTED: Final = 0x1
_DESCRIPTOR: Final = 0x8
_UTF8: Final = 0x800


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    flags: int
    method: int
    crc: int
    compressed_size: int
    size: int
    at: int
    """Where the data begins, or the local header if that is still to be read."""


def recognises(head: bytes, tail: bytes) -> bool:
    """Behind a program it shows at its end; behind a shell script (Java's executable jars) where that ends."""
    return (
        head.startswith((b"PK\3\4", b"PK\5\6", b"PK\7\x08PK\3\4"))
        or b"PK\5\6" in tail
        or (head.startswith(b"#!") and b"PK\3\4" in head)
    )


def members(content: Stream, job: Job) -> Iterator[Member]:
    data = content.whole()
    directory = _directory(data)
    entries = _walked(data) if directory is None else _listed(data, directory, job)
    for entry in entries:
        if entry.name.endswith("/") and not entry.size:
            continue
        if entry.flags & _ENCRYPTED:
            job.skipped(entry.name, "it is encrypted")
            continue
        try:
            entry_at = entry.at if directory is None else _data_begins(data, entry)
            chunks = _content(data[entry_at : entry_at + entry.compressed_size], entry)
        except DamagedError as error:
            job.skipped(entry.name, str(error))
            continue
        # What the directory says of a member is not believed alone: it could name one that was clean.
        packed = isal_zlib.crc32(data[entry_at : entry_at + entry.compressed_size])
        identity = (entry.crc, entry.size, entry.compressed_size, entry.name, packed) if entry.crc else None
        yield Member(entry.name, chunks, identity=identity)


def _directory(data: memoryview) -> tuple[int, int, int] | None:
    """Where the central directory begins, how long it is, and by how much all offsets are shifted."""
    tail_at = max(0, len(data) - _END.size - 0xFFFF)
    tail = bytes(data[tail_at:])
    found = tail.rfind(b"PK\5\6")
    if found < 0 or len(tail) - found < _END.size:
        return None
    end_at = tail_at + found
    *_, size, offset, _comment = _END.unpack_from(data, end_at)
    if end_at >= _LOCATOR.size:
        magic, _disk, end64_at, _disks = _LOCATOR.unpack_from(data, end_at - _LOCATOR.size)
        if magic == b"PK\6\7":
            # Behind a program the locator may count from the program's end: then it stands right before.
            for at in (end64_at, end_at - _LOCATOR.size - _END64.size):
                if 0 <= at <= len(data) - _END64.size and bytes(data[at : at + 4]) == b"PK\6\6":
                    *_, size, offset = _END64.unpack_from(data, at)
                    end_at = at
                    break
    shift = end_at - size - offset
    return (offset + shift, size, shift) if shift >= 0 and offset + shift <= len(data) else None


def _listed(data: memoryview, directory: tuple[int, int, int], job: Job) -> Iterator[_Entry]:
    at, size, shift = directory
    end = min(at + size, len(data))
    while at + _CENTRAL.size <= end:
        (
            magic,
            _by,
            _needs,
            flags,
            method,
            _time,
            _date,
            crc,
            packed,
            unpacked,
            name_size,
            extra_size,
            *rest,
        ) = _CENTRAL.unpack_from(data, at)
        comment_size, _disk, _internal, _external, offset = rest
        if magic != b"PK\1\2":
            job.skipped("", "the zip's directory is damaged: what it lists behind that is not looked into")
            return
        at += _CENTRAL.size
        name = _text(bytes(data[at : at + name_size]), flags)
        extra = bytes(data[at + name_size : at + name_size + extra_size])
        unpacked, packed, offset = _zip64(extra, [unpacked, packed, offset])
        at += name_size + extra_size + comment_size
        yield _Entry(name, flags, method, crc, packed, unpacked, offset + shift)


def _walked(data: memoryview) -> Iterator[_Entry]:
    """Without a directory: local headers one behind the other."""
    at = max(0, bytes(data[:4096]).find(b"PK\3\4"))
    while at + _LOCAL.size <= len(data):
        magic, _needs, flags, method, _time, _date, crc, packed, unpacked, name_size, extra_size = (
            _LOCAL.unpack_from(data, at)
        )
        if magic != b"PK\3\4":
            return
        at += _LOCAL.size
        name = _text(bytes(data[at : at + name_size]), flags)
        extra = bytes(data[at + name_size : at + name_size + extra_size])
        unpacked, packed, _offset = _zip64(extra, [unpacked, packed, 0])
        at += name_size + extra_size
        if flags & _DESCRIPTOR and not packed:
            # The size stands behind the data: the next header, or the end, bounds it.
            begin = at
            at = _next_header(data, at)
            yield _Entry(name, flags, method, 0, at - begin, 0, begin)
        else:
            yield _Entry(name, flags, method, crc, packed, unpacked, at)
            at += packed


def _next_header(data: memoryview, at: int) -> int:
    window = 1 << 20
    while at < len(data):
        part = bytes(data[at : at + window + 3])
        found = part.find(b"PK\3\4")
        if found >= 0:
            return at + found
        at += window
    return len(data)


def _zip64(extra: bytes, values: list[int]) -> list[int]:
    """Sizes and offset that did not fit into 32 bits stand in the extra field 1, in this order (APPNOTE 4.5.3)."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        at += 4
        if kind == 1:
            for index, value in enumerate(values):
                if value == _FULL and at + 8 <= len(extra):
                    values[index] = struct.unpack_from("<Q", extra, at)[0]
                    at += 8
            break
        at += size
    return values


def _data_begins(data: memoryview, entry: _Entry) -> int:
    if not 0 <= entry.at <= len(data) - _LOCAL.size or bytes(data[entry.at : entry.at + 4]) != b"PK\3\4":
        raise DamagedError("it is damaged: it does not stand where the zip's directory says")
    name_size, extra_size = struct.unpack_from("<HH", data, entry.at + 26)
    return int(entry.at + _LOCAL.size + name_size + extra_size)


def _content(packed: memoryview, entry: _Entry) -> Stream:
    if entry.method == 0:
        if len(packed) < entry.compressed_size:
            raise DamagedError("it ends in the middle")
        return Stream(backing=packed)
    if entry.method == 8:
        return Stream(_inflated(packed, entry))
    new = _METHODS.get(entry.method)
    if new is None:
        raise DamagedError(f"compressed by method {entry.method}, which is not read here")
    return new(Stream(backing=packed))


def _inflated(packed: memoryview, entry: _Entry) -> Iterator[bytes]:
    crc = made = 0
    inflater = Inflater(RAW)
    content = Stream(backing=packed)
    while not inflater.eof:
        data = content.read(64 * 1024) if inflater.needs_input else b""
        if not data and inflater.needs_input:
            raise DamagedError("it ends in the middle")
        try:
            out = inflater.decompress(data, 256 * 1024)
        except FAULTS as error:
            raise DamagedError(f"it is damaged: {error}") from error
        made += len(out)
        crc = isal_zlib.crc32(out, crc)
        if swollen(made, content.position):
            raise DamagedError(f"a bomb: {content.position} bytes became more than {made}")
        if out:
            yield out
    if entry.crc and crc != entry.crc:
        raise DamagedError("its checksum is wrong: what there was of it was searched")


def _only(members_of: Iterator[Member]) -> Stream:
    return next(members_of).content


def _by(new: Callable[[], Decompressor], *faults: type[Exception]) -> Callable[[Stream], Stream]:
    return lambda content: _only(compressed.member(content, new, faults, lambda _data: False))


def _lzma(content: Stream) -> Stream:
    """Zip's own header: version, size of the properties, properties (APPNOTE 5.8.8)."""
    head = content.read(9)
    if len(head) < 9 or head[4] >= 225:
        raise DamagedError("it is damaged: its LZMA header is wrong")
    dictionary = int.from_bytes(head[5:9], "little")
    if dictionary > 64 << 20:
        raise DamagedError("its LZMA dictionary is larger than 64 MiB")
    packed, lc = divmod(head[4], 9)
    pb, lp = divmod(packed, 5)
    if lc + lp > 4:
        raise DamagedError("it is damaged: its LZMA header is wrong")
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": dictionary, "lc": lc, "lp": lp, "pb": pb}]
    return _by(lambda: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters), lzma.LZMAError, EOFError)(
        content
    )


def _zstd(content: Stream) -> Stream:
    return Stream(zstd.decompressed(content, window_limit=8 << 20))


_METHODS: Final[dict[int, Callable[[Stream], Stream]]] = {
    12: _by(bz2.BZ2Decompressor, OSError, EOFError),
    14: _lzma,
    20: _zstd,
    93: _zstd,
    95: _by(lambda: lzma.LZMADecompressor(memlimit=80 << 20), lzma.LZMAError, EOFError),
}


def _text(name: bytes, flags: int) -> str:
    if not flags & _UTF8:
        try:
            return name.decode("utf-8")  # many writers forget the flag
        except UnicodeDecodeError:
            return name.decode("cp437")
    return name.decode("utf-8", "backslashreplace")


FORMAT: Final = Format("zip", recognises, members, needs_whole=True)
