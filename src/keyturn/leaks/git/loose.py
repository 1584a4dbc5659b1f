"""Loose objects: one file each, deflated, with a header of its own. Trees are not handed on.

What is large is left to be streamed, what is damaged to be asked of git.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from isal import isal_zlib

from keyturn.leaks.git.inflate import NOT_INFLATED
from keyturn.leaks.git.objects import BLOB, COMMIT, KINDS, TAG, GitObject
from keyturn.leaks.git.pack import LARGEST, Wanted
from keyturn.leaks.sources.interface import MayHold

_FANOUT: Final = re.compile(r"[0-9a-f]{2}")
_NAME: Final = re.compile(r"[0-9a-f]{38}|[0-9a-f]{62}")
_HEADER: Final = re.compile(rb"(commit|blob|tag|tree) (\d{1,18})\0")
_LONGEST_HEADER: Final = 28
_HARMLESS: Final = 1 << 14
_SEARCHED_KINDS: Final = {KINDS[kind].encode(): KINDS[kind] for kind in (COMMIT, BLOB, TAG)}


def loose_ids(objects: Path, oid_size: int) -> Iterator[tuple[bytes, Path]]:
    """What lies loose in one object directory, in the order of ids."""
    for directory in sorted(_entries(objects), key=lambda entry: entry.name):
        if _FANOUT.fullmatch(directory.name) and directory.is_dir():
            for entry in sorted(_entries(Path(directory.path)), key=lambda entry: entry.name):
                if _NAME.fullmatch(entry.name) and len(entry.name) == 2 * oid_size - 2 and entry.is_file():
                    yield bytes.fromhex(directory.name + entry.name), Path(entry.path)


def loose_objects(
    objects: Path,
    oid_size: int,
    may_hold: MayHold,
    wanted: Wanted | None,
    elsewhere: list[bytes],
    advanced: Callable[[int], None],
) -> Iterator[GitObject]:
    """Those that may hold a key. Ids of what is damaged or large are added to `elsewhere`."""
    for oid, path in loose_ids(objects, oid_size):
        if wanted is not None and not wanted(oid):
            continue
        try:
            with path.open("rb") as file:
                compressed = file.read(LARGEST + 1)
        except FileNotFoundError:
            elsewhere.append(oid)  # packed by another process meanwhile
            continue
        except OSError:
            elsewhere.append(oid)
            continue
        advanced(len(compressed))
        read = _read(compressed)
        if read is None:
            elsewhere.append(oid)
            continue
        kind, data = read
        if kind in _SEARCHED_KINDS and may_hold(data):
            yield GitObject(oid, _SEARCHED_KINDS[kind], data)


def _read(compressed: bytes) -> tuple[bytes, bytes] | None:
    """Kind and content; None if it is damaged or too large to be held."""
    if len(compressed) > LARGEST:
        return None
    try:
        if len(compressed) < _HARMLESS:
            data = isal_zlib.decompress(compressed)
        else:
            data = isal_zlib.decompressobj().decompress(compressed, LARGEST + _LONGEST_HEADER)
    except NOT_INFLATED:
        return None
    header = _HEADER.match(data)
    if header is None or len(data) - header.end() != int(header[2]):
        return None
    return header[1], data[header.end() :]


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []
