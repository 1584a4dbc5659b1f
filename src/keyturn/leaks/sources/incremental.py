"""What a scan remembers, so that the next one costs only what is new: packs, ids of objects, which may hold a key.

A file, written whole and put in place at once; the caller says where. Whoever changes what can be found (rules,
decoders) changes the version, and everything is searched again. A file that is damaged counts as none.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from array import array
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MAGIC: Final = b"keyturn scan state 1\n"
_DIGEST: Final = 32
_LARGEST: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one repository. Ids are bytes; all of one length within a set."""

    packs: AbstractSet[bytes]
    """Checksums of the packs that were searched."""
    prefixes: array[int]
    """Sorted: the first eight bytes of the id of every object that was searched."""
    found: AbstractSet[bytes]
    """Ids of the objects that may hold a key: they are handed out again, for a finding must not vanish by being known."""


class StateFile:
    """`version` stands for all that decides what is found."""

    def __init__(self, path: Path, version: str) -> None:
        self._path = path
        self._version = hashlib.sha256(version.encode()).digest()

    def read(self) -> Memory | None:
        """None if there is none, or none that still holds."""
        try:
            with self._path.open("rb") as file:
                data = file.read(_LARGEST + 1)
        except OSError:
            return None
        body = data[len(_MAGIC) + _DIGEST : -_DIGEST]
        if (
            len(data) > _LARGEST
            or not data.startswith(_MAGIC + self._version)
            or hashlib.sha256(data[:-_DIGEST]).digest() != data[-_DIGEST:]
        ):
            return None
        try:
            packs, body = _taken(body)
            found, body = _taken(body)
        except (ValueError, IndexError):
            return None
        prefixes = array("Q", body)
        if sys.byteorder == "big":
            prefixes.byteswap()
        return Memory(packs, prefixes, found)

    def write(self, memory: Memory) -> None:
        """In place of what was there, readable by its owner alone: it tells where keys were found."""
        prefixes = array("Q", memory.prefixes)
        if sys.byteorder == "big":
            prefixes.byteswap()
        data = b"".join(
            [_MAGIC, self._version, _packed(memory.packs), _packed(memory.found), prefixes.tobytes()]
        )
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.write(hashlib.sha256(data).digest())
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _packed(names: AbstractSet[bytes]) -> bytes:
    """How many, how long each is, and each."""
    length = len(next(iter(names))) if names else 0
    return len(names).to_bytes(8, "little") + length.to_bytes(8, "little") + b"".join(sorted(names))


def _taken(data: bytes) -> tuple[frozenset[bytes], bytes]:
    count, length = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:16], "little")
    end = 16 + count * length
    if len(data) < end or (count and not length):
        raise ValueError("cut short")
    return frozenset(data[at : at + length] for at in range(16, end, length or 1)), data[end:]
