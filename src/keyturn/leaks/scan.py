"""From sources to findings: each piece that may hold a key is unpacked, searched, and put in its place.

What a source reads, what an id looks like and how findings are told stand elsewhere; here is the order of it, and
what is one finding and not two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final, Protocol

from keyturn.leaks.baseline import Baseline
from keyturn.leaks.containers.interface import Stream
from keyturn.leaks.containers.unpack import Unpacker
from keyturn.leaks.findings import Detection, Finding, Kind, Place, Skipped, Verdict
from keyturn.leaks.sources.interface import Buffer, Content, MayHold, Source, SourceError
from keyturn.model.access_keys import AccessKeyPair, AccountId, account_of

_MOST_SKIPPED: Final = 10_000
"""Remembered by name. All are counted."""

Judge = Callable[[Finding], Verdict]
"""Asks a key's issuer, for one that nobody has judged yet."""
Progress = Callable[[int, int | None], None]
"""Takes the bytes searched so far of one source, and its size if that is known."""


class Detect(Protocol):
    def __call__(
        self, data: Buffer, /, *, first_line: int, starts_at: int, cut: Callable[[str], None]
    ) -> list[Detection]:
        """`cut` takes the reason why not all of it was looked into."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    findings: tuple[Finding, ...]
    """Sorted by place. Ids alone are among them only if they were asked for."""
    skipped: tuple[Skipped, ...]
    skipped_in_all: int
    searched: int
    """Bytes of content."""
    pieces: int
    """Pieces of content that were looked into closely."""
    ids: int
    """Ids that stood alone, asked for or not."""
    allowed: int
    """Left out because of a comment beside them."""
    accepted: int
    """Left out because the baseline knows them."""
    ours: frozenset[AccountId] = frozenset()

    @property
    def leaks(self) -> int:
        """Pairs that are neither placeholders nor out of somebody's documentation. An id alone is none."""
        shown = (Verdict.PLACEHOLDER, Verdict.DOCUMENTATION)
        return sum(each.kind is Kind.PAIR and each.verdict not in shown for each in self.findings)

    def is_ours(self, finding: Finding) -> bool:
        return finding.account_id in self.ours


@dataclass(slots=True)
class _Notes:
    """Told by a source while it is read."""

    progress: Progress
    searched: int = 0
    begun_at: int = 0
    skipped_in_all: int = 0
    kept: dict[Skipped, None] = field(default_factory=dict)
    skipped_here: dict[Skipped, None] = field(default_factory=dict)
    """Of the source that is being read: where it stands in there is not settled yet."""

    def advanced(self, searched: int, whole: int | None) -> None:
        self.searched += searched
        self.progress(self.searched - self.begun_at, whole)

    def skipped(self, what: Skipped) -> None:
        self.skipped_in_all += 1
        if len(self.kept) + len(self.skipped_here) < _MOST_SKIPPED:
            self.skipped_here[what] = None


@dataclass(frozen=True, slots=True)
class Scan:
    """What all sources of one scan share."""

    may_hold: MayHold
    """For sources: a key's prefix in any spelling, or the magic of a container."""
    detect: Detect
    unpacker: Unpacker
    include_ids: bool = False
    ours: frozenset[AccountId] = frozenset()
    since: str | None = None
    """An ISO date: findings whose commit is older are left out."""
    baseline: Baseline = field(default_factory=Baseline)
    judge: Judge | None = None
    progress: Progress = lambda _searched, _whole: None

    def run(self, sources: Iterable[Source]) -> ScanResult:
        """Look through all of them. A source that can't be read is told as skipped; SourceError if none can."""
        notes = _Notes(self.progress)
        findings: list[Finding] = []
        pieces = allowed = 0
        failed: list[SourceError] = []
        readable = 0
        for source in sources:
            notes.begun_at = notes.searched
            notes.skipped_here = {}
            found: dict[Place, list[tuple[Detection, int | None]]] = {}
            try:
                for content in self._pieces(source, notes):
                    pieces += 1
                    for detection in self._detected(content, notes):
                        if detection.is_allowed:
                            allowed += 1
                        else:
                            line = detection.line if content.first_line else None
                            found.setdefault(content.place, []).append((detection, line))
            except SourceError as error:
                failed.append(error)
                notes.skipped(Skipped(Place(source.name), str(error)))
                notes.kept |= notes.skipped_here
                continue
            readable += 1
            located = self._located(source, [place for place in found if self._is_told(found[place])], notes)
            findings += [
                _finding(detection, line, located.get(place, place))
                for place, detections in found.items()
                for detection, line in detections
            ]
        if failed and not readable:
            raise failed[0]
        told = [finding for finding in _distinct(findings) if self._is_recent(finding)]
        new = [finding for finding in told if not self.baseline.accepts(finding)]
        return ScanResult(
            findings=tuple(
                self._judged(finding) for finding in new if self.include_ids or finding.kind is Kind.PAIR
            ),
            skipped=tuple(notes.kept),
            skipped_in_all=notes.skipped_in_all,
            searched=notes.searched,
            pieces=pieces,
            ids=sum(finding.kind is Kind.ID for finding in new),
            allowed=allowed,
            accepted=len(told) - len(new),
            ours=self.ours,
        )

    def _detected(self, content: Content, notes: _Notes) -> list[Detection]:
        return self.detect(
            content.data,
            first_line=max(1, content.first_line),
            starts_at=content.starts_at,
            cut=lambda reason: notes.skipped(Skipped(content.place, reason)),
        )

    def _is_told(self, detections: Sequence[tuple[Detection, int | None]]) -> bool:
        """Whether its place has to be known: for an id that is only counted, unless the baseline knows some by place."""
        if self.include_ids or self.baseline.ids:
            return True
        return any(detection.secret is not None for detection, _ in detections)

    @staticmethod
    def _located(source: Source, found: Iterable[Place], notes: _Notes) -> dict[Place, Place]:
        """Where it was found, told by the source's second look; and where something was skipped, which a source that
        remembers must hand out again.
        """
        innermost = [*found, *(each.place for each in notes.skipped_here if each.place.object is not None)]
        whole = {place: replace(place, member=None) for place in innermost}
        places = list(dict.fromkeys(whole.values()))
        told = dict(zip(places, source.located(places), strict=True))
        located = {place: replace(told[outer], member=place.member) for place, outer in whole.items()}
        for each in notes.skipped_here:
            notes.kept[replace(each, place=located.get(each.place, each.place))] = None
        return located

    def _pieces(self, source: Source, notes: _Notes) -> Iterator[Content]:
        """Of what a source hands out, all that is in it."""
        for content in source.contents(self.may_hold, notes):
            if content.is_unpacked or content.starts_at:
                yield content
            else:
                stream = Stream(backing=memoryview(content.data))
                yield from self.unpacker.contents(content.place, stream, notes)

    def _is_recent(self, finding: Finding) -> bool:
        return self.since is None or finding.place.date is None or finding.place.date >= self.since

    def _judged(self, finding: Finding) -> Finding:
        if self.judge is None or finding.verdict is not Verdict.UNVERIFIED:
            return finding
        return replace(finding, verdict=self.judge(finding))


def _finding(detection: Detection, line: int | None, place: Place) -> Finding:
    pair = AccessKeyPair(detection.access_key_id, detection.secret) if detection.secret is not None else None
    return Finding(
        kind=Kind.ID if pair is None else Kind.PAIR,
        access_key_id=detection.access_key_id,
        account_id=account_of(detection.access_key_id),
        fingerprint=pair.fingerprint if pair else None,
        place=place,
        line=line,
        encoding=detection.encoding,
        verdict=detection.verdict,
        pair=pair,
    )


def _order(place: Place) -> list[str]:
    parts = (place.source, place.path, place.layer, place.commit, place.object, place.author, place.date)
    return [part or "" for part in parts]


def _distinct(findings: Sequence[Finding]) -> Iterator[Finding]:
    """One finding for each key of each place: the innermost place, the first line, the pair rather than its id.

    A container's own bytes and a second reading of them show again what is in a member, and windows overlap.
    """
    by_place = sorted(findings, key=lambda finding: _order(finding.place))
    for _, group in groupby(by_place, key=lambda finding: _order(finding.place)):
        kept: dict[tuple[str, str | None, str | None], Finding] = {}
        inside: dict[tuple[str, str | None], set[str]] = {}
        paired: dict[str, set[str]] = {}
        for finding in group:
            key = (finding.access_key_id, finding.fingerprint, finding.place.member)
            kept.setdefault(key, finding)
            within = inside.setdefault((finding.access_key_id, finding.fingerprint), set())
            within.update(_enclosing(finding.place.member))
            if finding.kind is Kind.PAIR:
                covered = (finding.place.member or "", *_enclosing(finding.place.member))
                paired.setdefault(finding.access_key_id, set()).update(covered)
        for finding in sorted(kept.values(), key=lambda each: (each.place.member or "", each.line or 0)):
            member = finding.place.member or ""
            if member in inside[finding.access_key_id, finding.fingerprint]:
                continue
            if finding.kind is Kind.ID and member in paired.get(finding.access_key_id, ()):
                continue
            yield finding


def _enclosing(member: str | None) -> Iterator[str]:
    """The members that this one is in, and the content itself (empty)."""
    if member is not None:
        parts = member.split("!/")
        yield from ("!/".join(parts[:count]) for count in range(len(parts)))
