"""Parts of docx, pptx, xlsx and of OpenDocument files: the text that a reader sees, without the marks between.

An editor cuts a paragraph into runs wherever it checked the spelling or something was pasted, so that a key stands in
pieces. A piece of a paragraph follows the next without a gap; paragraphs, cells and rows are lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from keyturn.leaks.containers.interface import CHUNK, DamagedError, Format, Job, Member, Stream

_MOST: Final = 64 << 20
_NAMESPACE: Final = re.compile(
    rb"schemas\.openxmlformats\.org/(?:wordprocessingml|presentationml|spreadsheetml|drawingml)"
    rb"|purl\.oclc\.org/ooxml/|urn:oasis:names:tc:opendocument:xmlns:"
)
_OPEN_DOCUMENT: Final = re.compile(rb"urn:oasis:names:tc:opendocument:xmlns:office")
_PART: Final = re.compile(
    rb"<(?:[A-Za-z0-9]{1,16}:)?t(?:\s[^<>]{0,200})?>(?P<text>[^<]{1,65536})"
    rb"|<(?:(?:/(?:w:|a:)(?:p|tr|tc))|/(?:x:)?(?:si|c|row|is)|w:br|w:cr|w:tab|a:br)(?=[\s/>])(?P<end>)"
)
_FLOWING: Final = re.compile(
    rb">(?P<text>[^<>]{1,65536})(?=<)|</?(?:text:(?:p|h|line-break|tab|list-item)|table:table-cell)(?=[\s/>])(?P<end>)"
)


def recognises(head: bytes, _tail: bytes) -> bool:
    return head[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and _NAMESPACE.search(head) is not None


def members(content: Stream, _job: Job) -> Iterator[Member]:
    data = content.whole()
    if len(data) > _MOST:
        raise DamagedError(f"a part of more than {_MOST >> 20} MiB: searched as it stands")
    yield Member("", Stream(_texts(data)), is_reading=True)


def _texts(data: memoryview) -> Iterator[bytes]:
    part = _FLOWING if _OPEN_DOCUMENT.search(data[:16_384]) else _PART
    line: list[bytes] = []
    size = 0
    is_ended = True
    for match in part.finditer(data):
        text = match["text"]
        if text is None:
            if not is_ended:
                line.append(b"\n")
            is_ended = True
        elif text.strip() or not is_ended:
            line.append(text.strip(b"\r\n"))
            size += len(text)
            is_ended = False
        if size > CHUNK:
            yield b"".join(line)
            line, size = [], 0
    yield b"".join(line)


FORMAT: Final = Format("office document", recognises, members, needs_whole=True)
