"""Says in one pass whether bytes may hold an access key id in any spelling, or are a container to be unpacked.

It errs on the side of yes: `views` undoes a spelling, `detector` decides. Hyperscan searches for all spellings at
once; where it can't be imported, `re` gives the same answers, slower. Which magics count is told by the caller.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

from keyturn.leaks.compiled import database
from keyturn.leaks.containers import base64_blob, closed
from keyturn.leaks.sources.interface import Buffer

try:
    import hyperscan
except ImportError:  # pragma: no cover - the fallback is tested by asking for it
    hyperscan = None  # type: ignore[assignment]  # asked for before each use

_PREFIXES: Final = (b"AKIA", b"ASIA", b"ABIA", b"ACCA")
_COMMON: Final = _PREFIXES[:2]
_BODY: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_ANY: Final = frozenset(range(256))
_MAX_HITS: Final = 20_000
"""Of one content. A text of nothing but prefixes is no reason to collect millions of them."""


class Spelling(StrEnum):
    """How the prefix is written where it was hit: which of the views has to undo it."""

    PLAIN = "plain"
    BROKEN = "broken"
    """Plain, and interrupted: by an escape, a quote that opens a concatenation, the end of a line."""
    ESCAPED = "escaped"
    """Each character as an escape: `\\x41`, `%41`, `&#65;`, `\\u0041`, `=41`."""
    DECIMAL = "decimal"
    """Character codes: `65, 75, 73, 65`."""
    BASE64 = "base64"
    HEX = "hex"
    UTF16 = "utf-16"
    """Every second byte (or three of four) is NUL."""


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """Where a spelling of a prefix begins."""

    start: int
    spelling: Spelling


@dataclass(frozen=True, slots=True)
class Magic:
    """Bytes by which a container is known, and where they may stand."""

    literal: bytes
    offset: int = 0
    within: int = 0
    """How many bytes later than `offset` they may begin."""

    def is_in(self, data: Buffer) -> bool:
        end = self.offset + self.within + len(self.literal)
        return self.literal in bytes(data[self.offset : end])


MAGICS: Final = (
    Magic(b"PK\x03\x04"),
    Magic(b"PK\x05\x06"),
    Magic(b"\x1f\x8b\x08"),
    Magic(b"BZh"),
    Magic(b"\xfd7zXZ\x00"),
    Magic(b"\x28\xb5\x2f\xfd"),
    Magic(b"SQLite format 3\x00"),
    Magic(b"%PDF-", within=1024),
    Magic(b"ustar", offset=257),
    Magic(b"\0 ", offset=154),  # how the checksum of a tar ends that is older than its magic
    Magic(b"]\0\0"),  # .lzma, which has no magic: its usual properties, and a large dictionary
    *(Magic(bytes((0x78, level))) for level in (0x01, 0x5E, 0x9C, 0xDA)),
    *map(Magic, closed.BEGINNINGS),
)
_ANYWHERE: Final = (*base64_blob.LITERALS, b"PK\5\6")
"""Archives that need not stand at the beginning: as base64 in a text, and a zip behind a program, by its end."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """One expression in the part of the syntax that Hyperscan and `re` read alike."""

    spelling: Spelling
    expression: bytes
    longest: int
    """No match is longer."""

    @property
    def gate(self) -> bytes:
        """The expression for the engine: for some it matches more, and the match is looked at again.

        Hyperscan 5.4 does not see `X[ab]{1,24}YZ`, nor `X[ab]+YZ`, behind some 60 bytes of text, for a single X. The
        tests put every expression to this proof.
        """
        return _LOOSE_WRAP.sub(rb"\1", self.expression)

    @property
    def is_loose(self) -> bool:
        return self.gate != self.expression


_LOOSE_WRAP: Final = re.compile(rb"\A[A-Z](\[[^\]]*\])\{1,24\}")


def _base64_classes(text: Sequence[frozenset[int]], alignment: int) -> list[frozenset[int]]:
    """What the base64 characters of a text may be, if `alignment` unknown bytes stand before it in its group.

    Trailing characters that depend on unknown bytes are left out.
    """
    known = [_ANY] * alignment + list(text)
    classes = []
    for first in range(0, 8 * len(known) - 5, 6):
        values = {0}
        for index in dict.fromkeys((first // 8, (first + 5) // 8)):
            parts = _bits_of(known[index], first - 8 * index)
            values = {value | part for value in values for part in parts}
        classes.append(frozenset(_BASE64[value] for value in values))
    return classes


@cache
def _bits_of(byte: frozenset[int], first: int) -> frozenset[int]:
    """What six bits may be as far as one byte tells them, of which they begin at this bit (before it, if negative)."""
    return frozenset(
        (value << 8 + first >> 10) & 63 if first < 0 else (value << first & 255) >> 2 for value in byte
    )


def _class(of: frozenset[int]) -> bytes:
    if len(of) == 1:
        return re.escape(bytes(of))
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(of)) + b"]"


def _trimmed(classes: list[frozenset[int]], keep: int) -> list[frozenset[int]]:
    """Without leading characters that say too little, and no more of the rest than tells."""
    first = next(n for n, one in enumerate(classes) if len(one) <= 4)
    return classes[first : first + keep]


def _wrapped(classes: Sequence[frozenset[int]]) -> Iterator[bytes]:
    """An expression for each place where a line may end inside the head of a run of characters."""
    parts = [_class(one) for one in classes]
    head = next((n for n, one in enumerate(classes) if len(one) > 4), len(classes))
    end_of_line = rb"[\\rn\r\n \t\"'+,]{1,24}"
    for at in range(1, head):
        yield b"".join(parts[:at]) + end_of_line + b"".join(parts[at:])
    yield b"".join(parts[:head]) + rb"[A-Za-z0-9+/]{0,4}" + end_of_line + rb"[A-Za-z0-9+/]{4}"


def _hex_class(of: frozenset[int]) -> bytes:
    either = sorted({text for byte in of for text in (b"%02x" % byte, b"%02X" % byte)})
    return b"(?:" + b"|".join(either) + b")"


def _base64(classes: Sequence[frozenset[int]], *, can_wrap: bool) -> Iterator[_Pattern]:
    yield _Pattern(Spelling.BASE64, b"".join(map(_class, classes)), len(classes))
    for expression in _wrapped(classes) if can_wrap else ():
        yield _Pattern(Spelling.BASE64, expression, len(classes) + 48)


def _patterns() -> Iterator[_Pattern]:
    id_ = rb"(?:AKIA|ASIA|ABIA|ACCA)"
    yield _Pattern(Spelling.PLAIN, id_ + rb"[A-Z2-7]{16}", 20)
    yield _Pattern(Spelling.BROKEN, id_ + rb"[A-Z2-7]{0,15}[\"'`\\%&=\r\n$;{]", 20)
    # The prefix itself is taken apart: "AK" + "IA…", 'A','K','I','A', AK=\nIA, AK\\\nIA.
    near = rb"(?:\\{0,3}[\"'`].{0,24}[\"'`}]|[\\=\r\n \t>#*]{1,17})"
    wide = rb"(?:\\{0,3}[\"'`].{0,60}[\"'`}]|[\\=\r\n \t>#*]{1,17})"
    for prefix in _PREFIXES:
        indent = rb"[\\=]?\r?\n(?:    |        |\t)"
        yield _Pattern(Spelling.BROKEN, prefix[:1] + indent + prefix[1:] + rb"[A-Z2-7]", 24)
        for cuts in (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3):
            gap = wide if len(cuts) == 1 else near
            if cuts == (1,):  # no more: Hyperscan passes over longer ones, see `gate`
                gap = gap.replace(b"{1,17}", b"{1,4}")
            pieces = [prefix[i:j] for i, j in zip((0, *cuts), (*cuts, 4), strict=True)]
            yield _Pattern(Spelling.BROKEN, gap.join(pieces) + rb"[A-Z2-7\"'`]", 70)
    for prefix in _PREFIXES:
        known = [frozenset({byte}) for byte in prefix] + [frozenset(_BODY)] * 4
        for outer in range(3):
            once = _base64_classes(known, outer)
            yield from _base64(_trimmed(once, 8), can_wrap=True)
            for inner in range(3):
                twice = _base64_classes(_trimmed(once, len(once)), inner)
                yield from _base64(_trimmed(twice, 8), can_wrap=prefix in _COMMON)
        for text in (prefix.hex().encode(), prefix.hex().upper().encode()):
            for alignment in range(3):
                classes = _base64_classes([frozenset({byte}) for byte in text], alignment)
                yield from _base64(_trimmed(classes, 12), can_wrap=False)
        for alignment in range(3):
            once = _trimmed(_base64_classes(known, alignment), 6)
            yield _Pattern(Spelling.HEX, b"".join(_hex_class(one) for one in once), 12)
        spread = [frozenset({byte}) for letter in prefix for byte in (letter, 0)]
        for alignment in range(3):
            yield from _base64(_trimmed(_base64_classes(spread, alignment), 12), can_wrap=False)
        yield _Pattern(Spelling.UTF16, b"\\x00".join(bytes([b]) for b in prefix), 7)
        yield _Pattern(Spelling.UTF16, b"\\x00\\x00\\x00".join(bytes([b]) for b in prefix), 13)
        digits = [b"%02x" % byte for byte in prefix]
        either = [b"".join(b"[%c%c]" % (c, c - 32) if c > 96 else b"%c" % c for c in d) for d in digits]
        yield _Pattern(Spelling.HEX, b"".join(either) + rb"(?:[35][0-9a-fA-F]|4[0-9a-fA-F])", 10)
        for between in (
            rb"(?:[:,;-]|[ ]{1,2})",
            rb", ?0x",
            rb",?[ \r\n\t]{1,16}0x",
            rb"[:,]?\r?\n[ \t]{0,12}",
            rb"0x",
            rb"00",
        ):
            yield _Pattern(Spelling.HEX, between.join(either), 64)
        for cut in (1, 2, 3):  # over two lines of nothing but digits
            yield _Pattern(Spelling.HEX, b"".join(either[:cut]) + rb"\r?\n" + b"".join(either[cut:]), 10)
        yield _Pattern(Spelling.HEX, either[0] + either[1] + rb" " + either[2] + either[3], 9)
        yield _Pattern(Spelling.HEX, either[0] + rb" " + either[1] + either[2] + rb" " + either[3], 10)
        for cut in (
            1,
            2,
            3,
        ):  # over two rows of a dump: its column of text ends in one part, the next row begins with the other
            row = rb"\|?\r?\n[0-9a-fA-F]{6,8}:?[ ]{1,2}" + rb" ?".join(either[cut:])
            yield _Pattern(Spelling.HEX, prefix[:cut] + row, 32)
        for before, after in (
            (rb"\\x", rb""),
            (rb"%", rb""),
            (rb"%25", rb""),
            (rb"=", rb""),
            (rb"\\u00", rb""),
            (rb"\\u\{", rb"\}"),
            (rb"\\u\{00", rb"\}"),
            (rb"&#[xX]0{0,2}", rb";"),
            (rb"U\+00", rb" ?"),
        ):
            yield _Pattern(Spelling.ESCAPED, b"".join(before + d + after for d in either), 48)
        yield _Pattern(Spelling.ESCAPED, b"".join(rb"&#0{0,2}%d;" % byte for byte in prefix), 36)
        yield _Pattern(Spelling.ESCAPED, b"".join(rb"\\0?%o" % byte for byte in prefix), 24)
        yield _Pattern(Spelling.DECIMAL, rb"[, ]{1,2}".join(b"%d" % byte for byte in prefix), 16)
        called = rb"\) ?(?:\|\||[&.+,]) ?[A-Za-z$]{3,6}\("  # chr(65) || chr(75)
        yield _Pattern(Spelling.DECIMAL, called.join(b"%d" % byte for byte in prefix), 60)


_SECRET_NAME: Final = rb"[sS][eE][cC][rR][eE][tT]"
_MAX_NAMES: Final = 2_000
_PATTERNS: Final = tuple(_patterns())


class Prefilter:
    """Ready to be asked from any thread. Making one may compile the expressions, which takes a second: see `shared`."""

    def __init__(
        self, magics: Iterable[Magic] = MAGICS, *, pure: bool = False, kept_in: Path | None = None
    ) -> None:
        """`kept_in`: a private directory where the compiled expressions are kept between runs."""
        magics = tuple(magics)
        # Asked of every object of a repository: those that stand at the very start cost one comparison.
        self._literals = tuple(magic.literal for magic in magics if not magic.offset and not magic.within)
        self._farther = [
            (magic.literal, magic.offset, magic.offset + magic.within + len(magic.literal))
            for magic in magics
            if magic.offset or magic.within
        ]
        self._longest = max((magic.offset + magic.within + len(magic.literal) for magic in magics), default=0)
        has_engine = not pure and hyperscan is not None
        self._engine = (
            _Engine((*(pattern.gate for pattern in _PATTERNS), *map(re.escape, _ANYWHERE)), kept_in)
            if has_engine
            else None
        )
        self._names = _Engine((_SECRET_NAME,), None) if has_engine else None

    def may_hold(self, data: Buffer) -> bool:
        """Whether the bytes have to be looked into."""
        return self.is_container(data) or self.has_prefix_or_archive(data)

    def has_prefix_or_archive(self, data: Buffer) -> bool:
        """Whether a prefix stands in the bytes, or an archive that need not be at their beginning."""
        if self._engine is not None:
            return self._engine.matches(data, self._is_real_or_archive)
        return self.has_prefix(data) or any(bytes(data).find(literal) >= 0 for literal in _ANYWHERE)

    def is_container(self, data: Buffer) -> bool:
        head = data if isinstance(data, bytes) else bytes(data[: self._longest])
        if head.startswith(self._literals):
            return True
        # A loop, for a generator would cost as much again.
        for literal, offset, end in self._farther:  # noqa: SIM110 -- see above
            if head.find(literal, offset, end) >= 0:
                return True
        return False

    def has_prefix(self, data: Buffer) -> bool:
        """Whether a prefix stands in the bytes, in any spelling."""
        if self._engine is not None:
            return self._engine.matches(data, self._is_real)
        return any(_expression(index).search(data) for index in range(len(_PATTERNS)))

    def _is_real_or_archive(self, data: Buffer, index: int, end: int) -> bool:
        return index >= len(_PATTERNS) or self._is_real(data, index, end)

    def _is_real(self, data: Buffer, index: int, end: int) -> bool:
        if index >= len(_PATTERNS):
            return False
        pattern = _PATTERNS[index]
        start = max(0, end - pattern.longest)
        return not pattern.is_loose or _expression(index).search(data, start, end) is not None

    def hits(self, data: Buffer) -> list[Hit]:
        """Where the prefix stands, in order: at most 20,000 of each expression."""
        found: set[Hit] = set()
        if self._engine is None:
            for index, pattern in enumerate(_PATTERNS):
                found.update(_starts(pattern, _expression(index), data, [(0, len(data))]))
        else:
            for index, ends in self._engine.ends(data).items():
                if index >= len(_PATTERNS):
                    continue
                pattern = _PATTERNS[index]
                windows = _merged((max(0, end - pattern.longest), end) for end in ends)
                found.update(_starts(pattern, _expression(index), data, windows))
        return sorted(found)

    def secret_names(self, data: Buffer) -> list[int]:
        """Where something is called a secret: where it stands when it stands far from its id."""
        if self._names is None:
            return [match.end() for match in islice(re.finditer(_SECRET_NAME, data), _MAX_NAMES)]
        return self._names.ends(data).get(0, [])[:_MAX_NAMES]


_sharing: Final = threading.Lock()
_shared: list[Prefilter] = []


def shared(kept_in: Path | None = None) -> Prefilter:
    """The one of this process, for sources, unpacker and detector. Who asks first says where it is kept."""
    with _sharing:
        if not _shared:
            _shared.append(Prefilter(kept_in=kept_in))
        return _shared[0]


@cache
def _expression(index: int) -> re.Pattern[bytes]:
    """Compiled when it is needed: few of them ever are."""
    return re.compile(_PATTERNS[index].expression, re.DOTALL)


def _starts(
    pattern: _Pattern, expression: re.Pattern[bytes], data: Buffer, windows: Iterable[tuple[int, int]]
) -> Iterator[Hit]:
    count = 0
    for start, end in windows:
        at = start
        while (match := expression.search(data, at, end)) and count < _MAX_HITS:
            yield Hit(match.start(), pattern.spelling)
            count += 1
            at = match.start() + 1


def _merged(windows: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(windows):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


class _Engine:
    """Hyperscan with all expressions. The database is shared; each thread has a scratch space of its own."""

    def __init__(self, expressions: Sequence[bytes], kept_in: Path | None) -> None:
        self._database = database(expressions, kept_in)
        self._threads = threading.local()

    def _scratch(self) -> Any:
        scratch = getattr(self._threads, "scratch", None)
        if scratch is None:
            scratch = self._threads.scratch = hyperscan.Scratch(self._database)
        return scratch

    def matches(self, data: Buffer, is_real: Callable[[Buffer, int, int], bool]) -> bool:
        def stop(index: int, _start: int, end: int, _flags: int, _context: object) -> bool:
            return is_real(data, index, end)

        try:
            self._database.scan(
                data,
                match_event_handler=stop,
                scratch=self._scratch(),
            )
        except hyperscan.ScanTerminated:  # how Hyperscan says that the callback returned something true
            return True
        return False

    def ends(self, data: Buffer) -> dict[int, list[int]]:
        """For each expression that matched, where its matches end."""
        found: dict[int, list[int]] = {}

        def collect(index: int, _start: int, end: int, _flags: int, _context: object) -> None:
            ends = found.setdefault(index, [])
            if len(ends) < _MAX_HITS:
                ends.append(end)

        self._database.scan(
            data,
            match_event_handler=collect,
            scratch=self._scratch(),
        )
        return found
