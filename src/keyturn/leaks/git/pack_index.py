"""A pack's index: which objects it holds and where, read in one piece. Versions 1 and 2 (`gitformat-pack(5)`).

Nothing is trusted but its shape: offsets are checked against the pack by whoever reads there.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from pathlib import Path
from typing import Final

from keyturn.leaks.git.inflate import DamagedError

_MAGIC: Final = b"\xfftOc"
_FANOUT: Final = 256 * 4
_FAR: Final = 0x80000000


class PackIndex:
    """Objects are numbered by rank: their place in the order of their ids."""

    def __init__(self, path: Path, oid_size: int) -> None:
        """DamagedError if its parts don't fit its length."""
        data = path.read_bytes()
        self._oid_size = oid_size
        if data[:4] == _MAGIC:
            if int.from_bytes(data[4:8]) != 2:
                raise DamagedError("its index is of a version that is not known")
            self._read_second(data)
        else:
            self._read_first(data)
        self.checksum = data[-2 * oid_size :]
        """Of the pack and of the index: what names this pack's content."""

    def __len__(self) -> int:
        return len(self.offsets)

    def oid(self, rank: int) -> bytes:
        start = self._first + rank * self._stride
        return self._names[start : start + self._oid_size]

    def rank(self, oid: bytes) -> int | None:
        low = self._fanout[oid[0] - 1] if oid[0] else 0
        high = self._fanout[oid[0]]
        while low < high:
            middle = (low + high) // 2
            found = self.oid(middle)
            if found == oid:
                return middle
            if found < oid:
                low = middle + 1
            else:
                high = middle
        return None

    def by_offset(self) -> list[int]:
        """Ranks in the order in which the objects lie in the pack."""
        return sorted(range(len(self)), key=self.offsets.__getitem__)

    def prefixes(self) -> array[int]:
        """The first eight bytes of each id, in the order of ranks."""
        size, stride, first = self._oid_size, self._stride, self._first
        if stride == size:
            # The names lie side by side: one slice of slices is quicker than a call an object.
            names = self._names
            return array(
                "Q",
                [int.from_bytes(names[at : at + 8]) for at in range(first, first + size * len(self), size)],
            )
        return array("Q", [int.from_bytes(self.oid(rank)[:8]) for rank in range(len(self))])

    def _read_second(self, data: bytes) -> None:
        count = self._count(data, 8)
        size = self._oid_size
        names = 8 + _FANOUT
        near = names + count * (size + 4)
        far = near + count * 4
        left = len(data) - 2 * size - far
        if left < 0 or left % 8:
            raise DamagedError("its index is cut short")
        self._names, self._first, self._stride = data, names, size
        offsets = _numbers("I", data[near:far])
        farther = _numbers("Q", data[far : far + left])
        self.offsets = array("Q", offsets)
        if farther:
            for rank, offset in enumerate(offsets):
                if offset & _FAR:
                    at = offset & ~_FAR
                    if at >= len(farther):
                        raise DamagedError("its index points outside itself")
                    self.offsets[rank] = farther[at]

    def _read_first(self, data: bytes) -> None:
        count = self._count(data, 0)
        size = self._oid_size
        if len(data) != _FANOUT + count * (4 + size) + 2 * size:
            raise DamagedError("its index is cut short")
        self._names, self._first, self._stride = data, _FANOUT + 4, 4 + size
        self.offsets = array(
            "Q",
            [
                int.from_bytes(data[at : at + 4])
                for at in range(_FANOUT, _FANOUT + count * self._stride, self._stride)
            ],
        )

    def _count(self, data: bytes, at: int) -> int:
        if len(data) < at + _FANOUT + 2 * self._oid_size:
            raise DamagedError("its index is cut short")
        self._fanout = _numbers("I", data[at : at + _FANOUT])
        if any(self._fanout[each] > self._fanout[each + 1] for each in range(255)):
            raise DamagedError("its index is out of order")
        return self._fanout[255]


def is_among(prefixes: array[int], oid: bytes) -> bool:
    """Whether sorted prefixes hold this id's."""
    prefix = int.from_bytes(oid[:8])
    at = bisect_left(prefixes, prefix)
    return at < len(prefixes) and prefixes[at] == prefix


def _numbers(code: str, data: bytes) -> array[int]:
    """Big-endian, as everything of Git's is."""
    numbers = array(code)
    numbers.frombytes(data)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers
