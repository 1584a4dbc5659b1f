"""A pack, mapped: its delta families are walked so that each stream is inflated once, and every object judged.

Trees are not inflated. The objects that can't be had from this pack alone (a base elsewhere, damage, a size that
should be streamed) are named at the end, for git to be asked. Memory is bounded: bases that wait for their other
children are given up over a budget, and made again.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from dulwich.errors import ApplyDeltaError
from dulwich.pack import apply_delta

from keyturn.leaks.git.additions import additions, is_worth_reading, result_size
from keyturn.leaks.git.inflate import DamagedError, inflate
from keyturn.leaks.git.objects import KINDS, TREE, GitObject
from keyturn.leaks.git.pack_index import PackIndex
from keyturn.leaks.sources.interface import MayHold

LARGEST: Final = 32 << 20
"""Bytes of an object that is held whole; what is larger is streamed by others."""
HELD: Final = 128 << 20
"""Bytes of bases that wait for their other children."""
_LEAST_WORK: Final = 64 << 30
_MOST_GROWTH: Final = 4000
"""A pack may hold this many times its size in content (real histories reach 400), or 64 GiB if that is more."""
_OFS_DELTA: Final = 6
_REF_DELTA: Final = 7
_ROOT: Final = -1
_ASTRAY: Final = -2
_JUDGE: Final = 2
_BASE: Final = 1
"""Marks: to be judged, or made only because it is a base of such. 0: neither, or done."""
_ALL_BUT_TREES: Final = bytes(0 if kind == TREE else _JUDGE for kind in range(256))
_TELL_EVERY: Final = 1 << 20

Wanted = Callable[[bytes], bool]


@dataclass(slots=True)
class Leftovers:
    """What a pack could not give."""

    elsewhere: list[bytes] = field(default_factory=list)
    """Ids of objects to ask git for: their base is in another place, or they are large, or damaged here."""
    hopeless: list[bytes] = field(default_factory=list)
    """Ids of objects that git must not be asked for: their deltas run in a circle."""
    unsearched: int = 0
    """Objects that were given up because the pack grows beyond all measure."""
    damage: str | None = None
    """The first damage that was met."""


class Pack:
    """One `.pack` with its index. Close it, or use it as a context manager."""

    def __init__(self, path: Path, index: PackIndex, oid_size: int) -> None:
        """DamagedError if it is no pack."""
        self._index = index
        self._oid_size = oid_size
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < 12 + oid_size:
                raise DamagedError("it is cut short")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._view = memoryview(self._map)
        self._end = size - oid_size
        self.size = size
        if self._map[:4] != b"PACK" or int.from_bytes(self._map[4:8]) not in {2, 3}:
            self.close()
            raise DamagedError("it is no pack")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._view.release()
        self._map.close()

    def objects(
        self, may_hold: MayHold, wanted: Wanted | None, leftovers: Leftovers, advanced: Callable[[int], None]
    ) -> Iterator[GitObject]:
        """Those that may hold a key. `wanted`: only these are judged; their bases are inflated as needed."""
        return _Walk(self._view, self._end, self._index, self._oid_size, leftovers).objects(
            may_hold, wanted, advanced
        )


@dataclass(slots=True)
class _Base:
    """A base whose children are being made. `data` None: it was let go."""

    data: bytes | None
    is_clean: bool
    next: int
    """The position of the first child that is still to come."""
    held: int = 0

    def __post_init__(self) -> None:
        self.held = 0 if self.data is None else len(self.data)


class _Walk:
    """The forest of deltas, numbered by position: the order in which objects lie in the pack."""

    def __init__(
        self, view: memoryview, end: int, index: PackIndex, oid_size: int, leftovers: Leftovers
    ) -> None:
        self._view = view
        self._end = end
        self._index = index
        self._oid_size = oid_size
        self._leftovers = leftovers
        self._ranks: array[int] | None = None
        count = len(index)
        self._offsets = array("Q", sorted(index.offsets))
        self._offsets.append(end)
        self._starts = array("Q", self._offsets)
        self._sizes = array("Q", bytes(8 * count))
        self._bases = array("i", [_ASTRAY]) * count
        self._kinds = bytearray(count)
        self._child = array("i", [-1]) * count
        self._sibling = array("i", [-1]) * count
        self._work_left = max(_LEAST_WORK, _MOST_GROWTH * end)
        self._roots: list[int] = []
        self._read_headers()

    def _read_headers(self) -> None:
        view, end, oid_size = self._view, self._end, self._oid_size
        offsets, starts, sizes, bases, kinds = (
            self._offsets,
            self._starts,
            self._sizes,
            self._bases,
            self._kinds,
        )
        child, sibling, roots = self._child, self._sibling, self._roots
        positions = dict(zip(offsets, range(len(self._kinds)), strict=False))  # the end stands there as well
        by_name: list[tuple[int, bytes]] = []
        for offset, position in positions.items():
            if offset < 12 or offset >= end:
                continue
            try:
                byte = view[offset]
                kind = byte >> 4 & 7
                size = byte & 15
                at, shift = offset + 1, 4
                while byte & 0x80:
                    byte = view[at]
                    size |= (byte & 0x7F) << shift
                    at += 1
                    shift += 7
                if kind == _OFS_DELTA:
                    byte = view[at]
                    back = byte & 0x7F
                    at += 1
                    while byte & 0x80:
                        byte = view[at]
                        back = ((back + 1) << 7) | (byte & 0x7F)
                        at += 1
                    base = positions.get(offset - back, _ASTRAY)
                    if base >= position or base < 0:
                        continue
                    kinds[position] = kind = kinds[base]
                    if kind == TREE:
                        continue
                    starts[position] = at
                    sizes[position] = size
                    bases[position] = base
                    sibling[position] = child[base]
                    child[base] = position
                elif kind == TREE:
                    kinds[position] = kind
                elif kind in KINDS:
                    kinds[position] = kind
                    starts[position] = at
                    sizes[position] = size
                    bases[position] = _ROOT
                    roots.append(position)
                elif kind == _REF_DELTA:
                    by_name.append((position, bytes(view[at : at + oid_size])))
                    starts[position] = at + oid_size
                    sizes[position] = size
            except (IndexError, OverflowError):
                self._bases[position] = _ASTRAY
        del positions
        self._read_names(by_name)

    def _read_names(self, by_name: list[tuple[int, bytes]]) -> None:
        if not by_name:
            return
        positions = array("i", bytes(4 * len(self._kinds)))
        for position, rank in enumerate(self._by_offset()):
            positions[rank] = position
        bases, kinds, child, sibling = self._bases, self._kinds, self._child, self._sibling
        for position, oid in by_name:
            base = self._index.rank(oid) if len(oid) == self._oid_size else None
            if base is not None and positions[base] != position:
                base = positions[base]
                bases[position] = base
                sibling[position] = child[base]
                child[base] = position
        # Their kinds come down from the roots. Nobody walks from the root of trees, nor around a circle.
        waiting = [position for position, _ in by_name if bases[position] >= 0 and kinds[bases[position]]]
        while waiting:
            position = waiting.pop()
            kinds[position] = kinds[bases[position]]
            following = child[position]
            while following >= 0:
                waiting.append(following)
                following = sibling[following]

    def objects(
        self, may_hold: MayHold, wanted: Wanted | None, advanced: Callable[[int], None]
    ) -> Iterator[GitObject]:
        marks = self._marks(wanted)
        told = 0
        for root in self._roots:
            if marks[root]:
                yield from self._family(root, may_hold, marks)
            if self._offsets[root] - told > _TELL_EVERY:
                advanced(self._offsets[root] - told)
                told = self._offsets[root]
        advanced(max(self._end - told, 0))
        self._gather(marks)

    def _marks(self, wanted: Wanted | None) -> bytearray:
        """What is to be judged, and the bases that this needs, each up to the first that is marked."""
        if wanted is None:
            return self._kinds.translate(_ALL_BUT_TREES)
        marks = bytearray(len(self._kinds))
        ranks = self._by_offset()
        for position, kind in enumerate(self._kinds):
            if kind == TREE or not wanted(self._index.oid(ranks[position])):
                continue
            marks[position] = _JUDGE
            base = self._bases[position]
            while base >= 0 and not marks[base]:
                marks[base] = _BASE
                base = self._bases[base]
        return marks

    def _family(self, root: int, may_hold: MayHold, marks: bytearray) -> Iterator[GitObject]:
        """Depth first. A base is kept while it has children to come; over the budget the outermost are let go."""
        if self._sizes[root] > LARGEST:
            return
        child, sibling = self._child, self._sibling
        kind = KINDS[self._kinds[root]]
        try:
            data = self._inflated(root)
        except DamagedError as error:
            self._damaged(error)
            return
        is_clean = False
        if marks[root] == _JUDGE:
            is_clean = not may_hold(data)
            if not is_clean:
                yield GitObject(self._oid(root), kind, data)
            marks[root] = 0
        waiting = [_Base(data, is_clean, child[root])] if child[root] >= 0 else []
        held = len(data)
        while waiting:
            base = waiting[-1]
            position = base.next
            while position >= 0 and not marks[position]:
                position = sibling[position]
            following = sibling[position] if position >= 0 else -1
            if following >= 0:
                base.next = following
            else:
                waiting.pop()
                held -= base.held
            if position < 0:
                continue
            try:
                if base.data is None:
                    base.data = self._made_again(self._bases[position])
                    base.held = len(base.data) if following >= 0 else 0
                    held += base.held
                made = self._applied(base.data, position)
            except DamagedError as error:
                self._damaged(error)
                continue
            if made is None:
                continue
            data, delta = made
            is_clean = False
            if marks[position] == _JUDGE:
                is_clean = (
                    base.is_clean
                    and is_worth_reading(delta, len(data))
                    and not may_hold(additions(delta, len(base.data), data))
                ) or not may_hold(data)
                if not is_clean:
                    yield GitObject(self._oid(position), kind, data)
            marks[position] = 0
            if child[position] >= 0:
                waiting.append(_Base(data, is_clean, child[position]))
                held += len(data)
                if held > HELD:
                    held = _let_go(waiting, held)

    def _inflated(self, position: int) -> bytes:
        return inflate(
            self._view[self._starts[position] : self._offsets[position + 1]], self._sizes[position]
        )

    def _applied(self, base: bytes, position: int) -> tuple[bytes, bytes] | None:
        """The result, and the delta. None if it is too large to be held, or the pack has grown beyond measure."""
        if self._sizes[position] > LARGEST:
            return None
        delta = self._inflated(position)
        try:
            size = result_size(delta)
            if size > LARGEST:
                return None
            self._work_left -= size
            if self._work_left < 0:
                return None
            return b"".join(apply_delta(base, delta)), delta
        except (ApplyDeltaError, AssertionError, ValueError, IndexError) as error:
            raise DamagedError(str(error)) from error

    def _made_again(self, position: int) -> bytes:
        chain = []
        while self._bases[position] >= 0:
            chain.append(position)
            position = self._bases[position]
        data = self._inflated(position)
        for each in reversed(chain):
            made = self._applied(data, each)
            if made is None:
                raise DamagedError("a base is too large")
            data, _ = made
        return data

    def _damaged(self, error: DamagedError) -> None:
        if self._leftovers.damage is None:
            self._leftovers.damage = str(error)

    def _gather(self, marks: bytearray) -> None:
        """What is still marked was not reached."""
        leftovers = self._leftovers
        is_exhausted = self._work_left < 0
        position = -1
        while (position := marks.find(_JUDGE, position + 1)) >= 0:
            if is_exhausted:
                leftovers.unsearched += 1
            elif self._is_circular(position):
                leftovers.hopeless.append(self._oid(position))
            else:
                leftovers.elsewhere.append(self._oid(position))

    def _is_circular(self, position: int) -> bool:
        for _ in range(len(self._bases) + 1):
            position = self._bases[position]
            if position < 0:
                return False
        return True

    def _oid(self, position: int) -> bytes:
        return self._index.oid(self._by_offset()[position])

    def _by_offset(self) -> array[int]:
        """Ranks by position. Sorted when an object has to be named: in most packs none has."""
        if self._ranks is None:
            self._ranks = array("I", self._index.by_offset())
        return self._ranks


def _let_go(waiting: list[_Base], held: int) -> int:
    """Forgets the outermost bases until half the budget is held: the innermost are needed next."""
    for base in waiting[:-1]:
        if held <= HELD // 2:
            break
        held -= base.held
        base.data, base.held = None, 0
    return held
