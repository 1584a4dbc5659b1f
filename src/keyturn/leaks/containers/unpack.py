"""Takes containers apart, nested ones too, and hands out what they hold in windows, within bounds for each content.

Nothing is written to a disk and no link is followed. What costs too much is cut, and the report says so; how a
format is read stands in its own file.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from keyturn.leaks.containers import (
    base64_blob,
    bz2_stream,
    closed,
    gzip,
    ipynb,
    office_xml,
    pdf,
    sqlite,
    tar,
    xz,
    zip,  # noqa: A004 - the format's name
    zlib_stream,
    zstd,
)
from keyturn.leaks.containers.interface import HEAD, DamagedError, Format, Job, Member, SpentError, Stream
from keyturn.leaks.findings import Place, Skipped
from keyturn.leaks.sources.interface import Buffer, Content, MayHold, Report

_FORMATS: Final[tuple[Format, ...]] = tuple(
    module.FORMAT
    for module in (gzip, xz, bz2_stream, zstd, sqlite, pdf, tar, ipynb, office_xml, closed, zip, zlib_stream)
)
"""In this order they are asked. zip is late: it also looks at the end, where another format may hold one."""


_LARGEST_BLOB: Final = 16 << 20
_TEXTS: Final = (ipynb.FORMAT, office_xml.FORMAT)
"""Whose own bytes have lines."""
_PACKED: Final = (gzip.FORMAT, xz.FORMAT, bz2_stream.FORMAT, zstd.FORMAT)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one piece of content may cost. Each is a setting for whoever has honest archives beyond it."""

    depth: int = 8
    members: int = 1_000_000
    unpacked: int = 64 << 30
    """Bytes that all levels may become together."""
    ratio: int = 150
    """How often the content's own size that may be, beyond `allowance`."""
    allowance: int = 256 << 20
    held: int = 128 << 20
    """Bytes of containers that must be at hand as a whole (zip, PDF, SQLite), of all levels together."""
    window: int = 16 << 20
    """What a piece is at most; longer content comes in several."""
    overlap: int = 64 << 10
    """How far each piece reaches into the one before it, for what stands across."""
    pool: int = 16 << 30
    """What all contents of a scan may use of their allowances together: many small bombs."""
    clean: int = 500_000
    """How many members of zips are remembered as clean."""


@dataclass(slots=True)
class _Cost:
    """What one content has cost so far."""

    taken: int = 0
    made: int = 0
    members: int = 0
    held: int = 0
    skipped: int = 0


@dataclass(slots=True)
class Unpacker:
    """For one scan: it remembers what was clean. `may_hold` is for keys alone, not for containers."""

    may_hold: MayHold
    limits: Limits = field(default_factory=Limits)
    is_worth_it: MayHold = lambda _data: True
    """Whether a text may hold a key or, as base64, an archive: one search, where two would follow for nothing."""
    _pool: int = 0
    _clean: set[Hashable] = field(default_factory=set)

    def contents(self, place: Place, content: Stream, report: Report) -> Iterator[Content]:
        """Every piece that may hold a key: of the content itself, and of all that is in it."""
        cost = _Cost()
        walk = _Walk(self, place, report, cost)
        try:
            yield from walk.content((), walk.metered_input(content), 0)
        except SpentError as error:
            walk.skipped((), str(error))
        finally:
            self._pool += min(self.limits.allowance, max(0, cost.made - self.limits.ratio * cost.taken))

    def knows_as_clean(self, identity: Hashable) -> bool:
        return identity in self._clean

    def remember_as_clean(self, identity: Hashable) -> None:
        if len(self._clean) < self.limits.clean:
            self._clean.add(identity)

    def allowance(self) -> int:
        return min(self.limits.allowance, max(0, self.limits.pool - self._pool))


def is_container(head: bytes, tail: bytes = b"") -> bool:
    """Whether some format takes this for its own."""
    return _format_of(head, tail) is not None


def needs_whole(head: bytes, tail: bytes = b"") -> bool:
    """Whether it is a container that can't be read from front to back."""
    found = _format_of(head, tail)
    return found is not None and found.needs_whole


def _is_sound(blob: Stream) -> bool:
    """Whether what looked like the base64 of an archive unpacks at least to something: chance makes four letters."""
    data = blob.peek(_LARGEST_BLOB)
    found = _format_of(data[:HEAD], b"")
    if found not in _PACKED:
        return True
    quiet = Job(lambda _name, _reason: None, lambda _data: False, lambda _made: None, 8 << 20)
    try:
        return bool(next(found.members(Stream([data]), quiet)).content.read(1))
    except DamagedError:
        return False


def _format_of(head: bytes, tail: bytes) -> Format | None:
    return next((each for each in _FORMATS if each.recognises(head, tail)), None)


Path = tuple[str, ...]
_MEMBER_COSTS: Final = 4096
"""Counted as so many bytes: a million empty members are work too."""


class _Lines:
    """The number of the line in which a window begins. Counted only when asked for, where the source can count."""

    def __init__(self, recount: Callable[[int, int], int] | None) -> None:
        self._recount = recount
        self._line = 1
        self._counted = 0

    def before(self, position: int) -> int:
        if self._recount is not None:
            self._line += self._recount(self._counted, position)
            self._counted = position
        return self._line

    def passed(self, overlap: bytes, fresh: bytes, kept: int) -> None:
        """The next window begins `kept` bytes before the end of this one."""
        if self._recount is None:
            leaves = max(0, len(overlap) + len(fresh) - kept)
            self._line += overlap.count(b"\n", 0, leaves)
            self._line += fresh.count(b"\n", 0, max(0, leaves - len(overlap)))


@dataclass(slots=True)
class _Walk:
    """The way through one content."""

    unpacker: Unpacker
    place: Place
    report: Report
    cost: _Cost

    def content(self, path: Path, content: Stream, depth: int) -> Iterator[Content]:
        head = content.peek(HEAD)
        found = _format_of(head, content.tail() or (head if len(head) < HEAD else b""))
        if found is None:
            yield from self._windows(path, content, depth)
            return
        if depth >= self.unpacker.limits.depth:
            self.skipped(path, f"nested deeper than {self.unpacker.limits.depth}")
            yield from self._windows(path, content, depth, has_lines=False)
            return
        held = 0
        if found.needs_whole:
            try:
                whole = content.whole(self.unpacker.limits.held - self.cost.held)
            except DamagedError as error:
                self.skipped(path, str(error))
                yield from self._windows(path, content, depth, has_lines=False)
                return
            held = 0 if not depth else len(whole)
            content = Stream(backing=whole)
            yield from self._windows(path, Stream(backing=whole), depth, has_lines=found in _TEXTS)
        self.cost.held += held
        try:
            yield from self._members(path, found, content, depth)
        finally:
            self.cost.held -= held

    def _members(self, path: Path, found: Format, content: Stream, depth: int) -> Iterator[Content]:
        job = Job(
            skipped=lambda name, reason: self.skipped((*path, name) if name else path, reason),
            may_hold=self.unpacker.may_hold,
            pay=self._pay,
            window_limit=(128 << 20) if depth < 2 else (8 << 20),
        )
        members = found.members(content, job)
        while True:
            try:
                member = next(members, None)
            except DamagedError as error:
                self.skipped(path, str(error))
                return
            if member is None:
                return
            self.cost.members += 1
            self._pay(_MEMBER_COSTS)
            if self.cost.members > self.unpacker.limits.members:
                raise SpentError(f"more than {self.unpacker.limits.members} members: the rest was left out")
            yield from self._member(path, member, depth)

    def _member(self, path: Path, member: Member, depth: int) -> Iterator[Content]:
        if member.identity is not None and self.unpacker.knows_as_clean(member.identity):
            return
        below = (*path, member.name) if member.name else path
        skipped, pieces = self.cost.skipped, 0
        try:
            stream = self._metered(member.content)
            if member.is_reading:
                inner = self._windows(below, stream, depth + 1, has_lines=False, has_blobs=False)
            else:
                inner = self.content(below, stream, depth + 1)
            for piece in inner:
                pieces += 1
                yield piece
        except DamagedError as error:
            self.skipped(below, str(error))
        if member.identity is not None and not pieces and skipped == self.cost.skipped:
            self.unpacker.remember_as_clean(member.identity)

    def _windows(
        self, path: Path, content: Stream, depth: int, *, has_lines: bool = True, has_blobs: bool = True
    ) -> Iterator[Content]:
        """The content itself, piece by piece, as far as a piece may hold a key.

        A piece is searched as it comes, and where it meets the one before; only what is worth it is copied.
        """
        limits, may_hold, is_worth_it = (
            self.unpacker.limits,
            self.unpacker.may_hold,
            self.unpacker.is_worth_it,
        )
        place, recount = self._place(path), content.recount if not depth else None
        lines = _Lines(recount)
        begin, overlap = content.position, b""
        while fresh := content.read(limits.window - limits.overlap):
            seam = overlap + fresh[: limits.overlap] if overlap else b""
            is_hit = is_worth_it(fresh) or (seam and is_worth_it(seam))
            holds_key = is_hit and (may_hold(fresh) or (seam and may_hold(seam)))
            holds_blob = (
                is_hit
                and has_blobs
                and depth <= limits.depth
                and (base64_blob.stands_in(fresh) or base64_blob.stands_in(seam))
            )
            starts_at = content.position - begin - len(fresh) - len(overlap)
            if holds_key or holds_blob:
                data = overlap + fresh
                if holds_key:
                    first_line = lines.before(starts_at) if has_lines else 0
                    yield Content(place, data, starts_at, first_line, is_unpacked=True)
                if holds_blob:
                    for blob in base64_blob.members(data, starts_at=starts_at):
                        if _is_sound(blob.content):
                            yield from self._member(path, blob, depth)
            if has_lines:
                lines.passed(overlap, fresh, limits.overlap)
            overlap = (fresh if len(fresh) >= limits.overlap else overlap + fresh)[-limits.overlap :]

    def metered_input(self, content: Stream) -> Stream:
        """The content as it comes: what it is, is what its members are measured by."""
        backing = content.backing
        if backing is not None:
            self.cost.taken = len(backing)
            return content

        def pieces() -> Iterator[Buffer]:
            for piece in content.pieces():
                self.cost.taken += len(piece)
                yield piece

        return Stream(pieces(), recount=content.recount)

    def _metered(self, content: Stream) -> Stream:
        """A member, each byte of it counted. SpentError when it is too much."""
        backing = content.backing
        if backing is not None:
            self._pay(len(backing))
            return content

        def pieces() -> Iterator[Buffer]:
            for piece in content.pieces():
                self._pay(len(piece))
                yield piece

        return Stream(pieces())

    def _pay(self, made: int) -> None:
        limits, cost = self.unpacker.limits, self.cost
        cost.made += made
        if cost.made > limits.unpacked:
            raise SpentError(f"unpacked to more than {limits.unpacked} bytes: the rest was left out")
        if cost.made > limits.ratio * cost.taken + self.unpacker.allowance():
            raise SpentError(
                f"{cost.taken} bytes were unpacked to {cost.made}, which is a bomb: the rest was left out"
            )

    def skipped(self, path: Path, reason: str) -> None:
        self.cost.skipped += 1
        self.report.skipped(Skipped(self._place(path), reason))

    def _place(self, path: Path) -> Place:
        if not path:
            return self.place
        outer = (self.place.member,) if self.place.member else ()
        return replace(self.place, member="!/".join((*outer, *path)))
