"""A repository's whole object database: every object that may hold a key, reachable or not, each once.

Packs and loose objects of the repository and its alternates are read as files; git is asked for what those
readers leave. What nobody can read is reported, and the rest goes on.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from keyturn.leaks.git.cat_file import Unread, read
from keyturn.leaks.git.command import Git, GitError
from keyturn.leaks.git.inflate import DamagedError
from keyturn.leaks.git.layout import Layout
from keyturn.leaks.git.loose import loose_ids, loose_objects
from keyturn.leaks.git.objects import GitObject
from keyturn.leaks.git.pack import Leftovers, Pack, Wanted
from keyturn.leaks.git.pack_index import PackIndex, is_among
from keyturn.leaks.sources.interface import MayHold

_SHOWN: Final = 3
_INDEX_HEAD: Final = 4096
_MOST_INDEX: Final = 8
"""An object takes nine bytes of a pack at least, and at most 48 of its index."""

Skip = Callable[[Path | None, str], None]
Advanced = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Known:
    """What an earlier scan has searched."""

    packs: AbstractSet[bytes] = frozenset()
    """Checksums: an equal pack has the same content and is not opened."""
    prefixes: array[int] = field(default_factory=lambda: array("Q"))
    """Sorted: the first eight bytes of each object's id."""


@dataclass(frozen=True, slots=True)
class _PackFile:
    """A pack as it was found, its index not yet read."""

    path: Path
    size: int
    checksum: bytes


class Database:
    """Looks for packs once, when it is made: what another process adds later waits for the next scan."""

    def __init__(self, layout: Layout, git: Git, skip: Skip, *, remembers: bool = True) -> None:
        """`remembers`: `now_known` will be asked."""
        self._remembers = remembers
        self._layout = layout
        self._git = git
        self._skip = skip
        self._packs = sorted(self._pack_files(), key=lambda pack: -pack.size)
        self._new: set[int] = set()
        """Prefixes of the ids in packs that were read."""

    @property
    def size(self) -> int:
        """Bytes of all packs."""
        return sum(pack.size for pack in self._packs)

    def now_known(self, known: Known) -> Known:
        """What is known after `objects` was read to its end. A pack that is gone takes nothing with it."""
        packs = frozenset(pack.checksum for pack in self._packs)
        prefixes = self._new
        for directory in self._layout.object_dirs:
            prefixes.update(int.from_bytes(oid[:8]) for oid, _ in loose_ids(directory, self._layout.oid_size))
        if not packs.isdisjoint(known.packs):
            prefixes.update(known.prefixes)
        return Known(packs, array("Q", sorted(prefixes)))

    def objects(self, may_hold: MayHold, known: Known, advanced: Advanced) -> Iterator[GitObject]:
        """Those that may hold a key and are not known, in whatever order they lie. Windows of one come in order."""
        whole = self.size
        wanted = _unknown(known) if known.prefixes else None
        seen: set[bytes] = set()
        elsewhere: list[bytes] = []
        for found in self._from_files(may_hold, known, wanted, elsewhere, lambda size: advanced(size, whole)):
            if found.oid not in seen:
                seen.add(found.oid)
                yield found
        if elsewhere:
            yield from self._asked_for(elsewhere, may_hold, wanted, seen)

    def again(self, oids: AbstractSet[bytes]) -> Iterator[GitObject]:
        """These, whole, judged by nobody. What is no longer there is no fault: it was collected."""
        yield from read(self._git, sorted(oids), Unread([]))

    def _from_files(
        self,
        may_hold: MayHold,
        known: Known,
        wanted: Wanted | None,
        elsewhere: list[bytes],
        advanced: Callable[[int], None],
    ) -> Iterator[GitObject]:
        oid_size = self._layout.oid_size
        for found in self._packs:
            path = found.path
            if found.checksum in known.packs:
                advanced(found.size)
                continue
            try:
                index = self._index(path)
            except (DamagedError, GitError, OSError, ValueError, IndexError, OverflowError) as error:
                self._skip(path, f"the pack is damaged: {error}")
                continue
            if self._remembers:
                self._new.update(index.prefixes())
            leftovers = Leftovers()
            try:
                with Pack(path, index, oid_size) as pack:
                    yield from pack.objects(may_hold, wanted, leftovers, advanced)
            except (DamagedError, OSError, ValueError) as error:
                self._skip(path, f"the pack is damaged: {error}")
                elsewhere.extend(filter(wanted, map(index.oid, range(len(index)))))
                continue
            elsewhere.extend(leftovers.elsewhere)
            if leftovers.hopeless:
                self._skip(
                    path, f"the pack is damaged: the deltas of {_some(leftovers.hopeless)} run in a circle"
                )
            if leftovers.unsearched:
                self._skip(
                    path, f"the pack grows beyond measure: {leftovers.unsearched} objects were not searched"
                )
        for directory in self._layout.object_dirs:
            yield from loose_objects(directory, oid_size, may_hold, wanted, elsewhere, lambda _: None)

    def _asked_for(
        self, oids: list[bytes], may_hold: MayHold, wanted: Wanted | None, seen: set[bytes]
    ) -> Iterator[GitObject]:
        unread = Unread([])
        try:
            asked = [
                oid for oid in dict.fromkeys(oids) if oid not in seen and (wanted is None or wanted(oid))
            ]
            for found in read(self._git, asked, unread):
                if may_hold(found.data):
                    seen.add(found.oid)
                    yield found
        except GitError as error:
            self._skip(None, f"git can't read what is left: {error}")
        if unread.oids:
            self._skip(None, f"{_some(unread.oids)} can't be read: {unread.reason}")

    def _pack_files(self) -> Iterator[_PackFile]:
        for directory in self._layout.object_dirs:
            for path in sorted((directory / "pack").glob("pack-*.pack")):
                try:
                    if not path.is_file():
                        continue
                    yield _PackFile(path, path.stat().st_size, self._checksum(path))
                except FileNotFoundError:
                    continue  # removed by another process meanwhile
                except OSError as error:
                    self._skip(path, f"the pack can't be read: {error.strerror}")

    def _checksum(self, pack: Path) -> bytes:
        """What the pack says of its own content, at its end, and its size."""
        with pack.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - self._layout.oid_size))
            return file.read(self._layout.oid_size).rjust(self._layout.oid_size, b"\0") + size.to_bytes(8)

    def _index(self, pack: Path) -> PackIndex:
        """The one beside it. Where a multi-pack-index has replaced it, or it is damaged, git makes another."""
        beside = pack.with_suffix(".idx")
        try:
            if not beside.is_file():
                raise FileNotFoundError(beside)
            if beside.stat().st_size > _INDEX_HEAD + _MOST_INDEX * pack.stat().st_size:
                raise DamagedError("its index is larger than its objects can make it")
            return PackIndex(beside, self._layout.oid_size)
        except (FileNotFoundError, DamagedError, ValueError, IndexError, OverflowError):
            if not pack.exists():
                raise
        with tempfile.TemporaryDirectory(prefix="keyturn-") as directory:
            made = Path(directory) / "pack.idx"
            self._git.output("index-pack", "--no-rev-index", "-o", str(made), str(pack.resolve()))
            return PackIndex(made, self._layout.oid_size)


def _unknown(known: Known) -> Wanted:
    prefixes = known.prefixes
    return lambda oid: not is_among(prefixes, oid)


def _some(oids: list[bytes]) -> str:
    """`object 1a2b…`, `object 1a2b… and 41 more`."""
    shown = ", ".join(oid.hex() for oid in oids[:_SHOWN])
    more = f" and {len(oids) - _SHOWN} more" if len(oids) > _SHOWN else ""
    return f"{'object' if len(oids) == 1 else 'objects'} {shown}{more}"
