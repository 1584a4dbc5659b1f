"""Archives that stand as base64 inside of a text: user data of a machine, Helm's releases, data URIs, mail.

Found by how their first bytes look in base64; the text that goes on from there is decoded as one blob.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from keyturn.leaks.containers.interface import Member, Stream

try:
    import hyperscan

    _CAN_BE_QUICK = True
except ImportError:  # pragma: no cover - where it can't be installed
    _CAN_BE_QUICK = False

LITERALS: Final = (
    b"H4sI",  # gzip
    b"UEsDB",  # zip
    b"/Td6WFoA",  # xz
    b"QlpoO",  # bzip2
    b"KLUv/",  # zstd
    b"JVBERi",  # PDF
    b"U1FMaXRlIGZv",  # SQLite
    b"SDRzSU",  # gzip in base64 in base64, as Kubernetes keeps Helm's releases
)
_LEAST: Final = 64
_RUN: Final = re.compile(
    rb"[A-Za-z0-9+/\-_]+(?:(?:\\[rn]|[\r\n \t]|\"[\s+]{0,16}\")*[A-Za-z0-9+/\-_]+)*+={0,2}"
)
_BREAKS: Final = re.compile(rb"\\[rn]|[^A-Za-z0-9+/\-_]+")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")


def stands_in(text: bytes) -> bool:
    """Whether one of the literals stands in it: asked of all there is."""
    if not text:
        return False
    if not _CAN_BE_QUICK:  # pragma: no cover - as above
        return any(literal in text for literal in LITERALS)
    try:
        _database().scan(text, match_event_handler=lambda *_match: True)
    except hyperscan.ScanTerminated:  # how Hyperscan says that the callback returned something true
        return True
    return False


@cache
def _database() -> Any:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    count = len(LITERALS)
    expressions = [re.escape(literal) for literal in LITERALS]
    database.compile(expressions=expressions, ids=list(range(count)), elements=count, flags=[0] * count)
    return database


def members(text: bytes, *, starts_at: int = 0) -> Iterator[Member]:
    """Each blob, named for where it begins."""
    begins = sorted({at for literal in LITERALS for at in _found(text, literal)})
    end = 0
    for begin in begins:
        if begin < end:
            continue
        run = _RUN.match(text, begin)
        if run is None or run.end() - begin < _LEAST:
            continue
        end = run.end()
        characters = _BREAKS.sub(b"", run[0]).translate(_URL_SAFE)
        characters = characters[: len(characters) // 4 * 4] if len(characters) % 4 == 1 else characters
        try:
            data = base64.b64decode(characters + b"=" * (-len(characters) % 4))
        except (binascii.Error, ValueError):
            continue
        yield Member(f"base64@{starts_at + begin}", Stream([data]))


def _found(text: bytes, literal: bytes) -> Iterator[int]:
    at = text.find(literal)
    while at >= 0:
        yield at
        at = text.find(literal, at + 1)
