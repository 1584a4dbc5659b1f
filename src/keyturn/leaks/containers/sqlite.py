"""SQLite's files, row by row: a row's texts stand in the file with nothing between them, and long ones go over pages.

The pages are read here, not by SQLite: a file from anywhere need not be opened by a database, and what no
schema leads to any more is read as well. (https://sqlite.org/fileformat2.html, sections 1.5 to 2.1)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from keyturn.leaks.containers.interface import Format, Job, Member, Stream

_MAGIC: Final = b"SQLite format 3\0"
_TABLE_LEAF: Final = 13
_INDEX_PAGES: Final = {10: 8, 2: 12}
"""Index leaf and interior pages, and the length of their headers: a table WITHOUT ROWID is kept in such."""
_WINDOW: Final = 16 << 20
_LONGEST: Final = 16 << 20
"""Of one row; what is longer is cut, and said."""


def recognises(head: bytes, _tail: bytes) -> bool:
    return head.startswith(_MAGIC) and len(head) >= 100


def members(content: Stream, job: Job) -> Iterator[Member]:
    data = content.whole()
    size = int.from_bytes(data[16:18], "big")
    page_size = 65536 if size == 1 else size
    if page_size < 512 or page_size & (page_size - 1):
        job.skipped("", "the database is damaged: its page size is impossible")
        return
    pages = _Pages(data, page_size, page_size - data[20], job)
    # Where no trace of a key shows, it may still be torn at the end of a page: long rows are read in any case.
    yield Member("", Stream(pages.rows(only_long=not _may_hold(data, job))), is_reading=True)


def _may_hold(data: memoryview, job: Job) -> bool:
    return any(job.may_hold(data[at : at + _WINDOW + 4096]) for at in range(0, len(data), _WINDOW))


class _Pages:
    def __init__(self, data: memoryview, page_size: int, usable: int, job: Job) -> None:
        self._data = data
        self._size = page_size
        self._usable = max(480, usable)
        self._job = job
        self._encoding = {2: "utf-16-le", 3: "utf-16-be"}.get(int.from_bytes(data[56:60], "big"))

    def rows(self, *, only_long: bool) -> Iterator[bytes]:
        """Each row's texts, one a line, and an empty line behind the row. `only_long`: those that go over pages."""
        for kind, size, page, at in self._cells():
            local = self._local(kind, size)
            if only_long and local == size:
                continue
            texts = [text for text in self._texts(self._payload(size, local, page, at)) if text]
            if texts:
                yield b"\n".join(texts) + b"\n\n"

    def _cells(self) -> Iterator[tuple[int, int, int, int]]:
        """The kind of page, the payload's size, the page's offset, and where the payload begins."""
        data = self._data
        for page in range(0, len(data) - 7, self._size):
            header = page + (100 if page == 0 else 0)
            kind = data[header]
            if kind == _TABLE_LEAF:
                first = header + 8
            elif kind in _INDEX_PAGES:
                first = header + _INDEX_PAGES[kind]
            else:
                continue
            count = int.from_bytes(data[header + 3 : header + 5], "big")
            pointers = data[first : min(first + 2 * count, page + self._size)]
            for index in range(0, len(pointers) - 1, 2):
                at = page + (pointers[index] << 8 | pointers[index + 1])
                if not first <= at < page + self._size:
                    continue
                if kind == 2:
                    at += 4
                size, at = _varint(data, at)
                if kind == _TABLE_LEAF:
                    _rowid, at = _varint(data, at)
                if size > 3:
                    yield kind, size, page, at

    def _local(self, kind: int, size: int) -> int:
        """How much of a payload stands in its own page (section 1.6)."""
        usable = self._usable
        most = usable - 35 if kind == _TABLE_LEAF else (usable - 12) * 64 // 255 - 23
        if size <= most:
            return size
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        return local if local <= most else least

    def _payload(self, size: int, local: int, page: int, at: int) -> bytes:
        payload = bytes(self._data[at : min(at + local, page + self._size)])
        if local == size:
            return payload
        if size > _LONGEST:
            self._job.skipped("", f"a row of {size} bytes was cut")
            size = _LONGEST
        self._job.pay(size)  # many rows may lead into one chain
        parts = [payload]
        held = len(payload)
        following = int.from_bytes(self._data[at + local : at + local + 4], "big")
        # A chain can't be longer than what the row says it holds: a circle ends there.
        while held < size and following:
            start = (following - 1) * self._size
            part = bytes(self._data[start + 4 : start + self._usable][: size - held])
            if not part:
                break
            parts.append(part)
            held += len(part)
            following = int.from_bytes(self._data[start : start + 4], "big")
        return b"".join(parts)

    def _texts(self, record: bytes) -> Iterator[bytes]:
        """The texts and blobs of a record (section 2.1)."""
        if not record:
            return
        header, at = _varint(record, 0)
        body = header
        while at < min(header, len(record)) and body < len(record):
            kind, at = _varint(record, at)
            if kind >= 12:
                size = (kind - 12) // 2
                value = record[body : body + size]
                body += size
                if kind & 1 and self._encoding:
                    value = value.decode(self._encoding, "replace").encode()
                yield value
            else:
                body += (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[kind]


def _varint(data: memoryview | bytes, at: int) -> tuple[int, int]:
    """One to nine bytes, seven bits each but the ninth, which has eight."""
    value = 0
    for count in range(9):
        if at >= len(data):
            return value, at
        byte = data[at]
        at += 1
        if count == 8:
            return value << 8 | byte, at
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value, at


FORMAT: Final = Format("sqlite", recognises, members, needs_whole=True)
