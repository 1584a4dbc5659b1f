"""Finds access key pairs in a piece of content: the one function that sources' bytes are handed to.

The prefilter says where a prefix stands in any spelling; views undo the spelling; where an id comes to light, secrets
are looked for around it, in plain and decoded; `pairing` says which belongs to which.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from keyturn.leaks import rules
from keyturn.leaks.findings import Detection, Verdict
from keyturn.leaks.labels import label_before
from keyturn.leaks.pairing import Sighting, pair
from keyturn.leaks.prefilter import Hit, Spelling, shared
from keyturn.leaks.rules import Label
from keyturn.leaks.sources.interface import Buffer
from keyturn.leaks.views import (
    MAX_DEPTH,
    Budget,
    View,
    encoded_texts,
    joined,
    listed,
    substituted,
    unescaped,
    unquoted,
    unwrapped,
    views_of,
    within,
)
from keyturn.model.access_keys import AccessKeyId
from keyturn.model.secrets import Secret

MAX_DETECTIONS: Final = 2_000
"""In one piece of content."""
_AROUND: Final = 4_096
"""Bytes to each side of a hit in which spellings are undone."""
_NEAR: Final = 16_384
"""Bytes to each side of an id in which a secret is looked for in every spelling."""
_MAX_SECRETS: Final = 4_000


@dataclass(slots=True)
class _Search:
    """What has been seen so far in one piece of content."""

    budget: Budget
    ids: list[Sighting] = field(default_factory=list)
    secrets: list[Sighting] = field(default_factory=list)
    seen_secrets: set[tuple[bytes, int, Label]] = field(default_factory=set)
    is_cut: bool = False


def detect(data: Buffer, *, first_line: int = 1, starts_at: int = 0) -> list[Detection]:
    """The pairs and the bare ids in the bytes, in order, each once; at most 2,000.

    `first_line` and `starts_at` say where the bytes begin, for a window of something larger.
    """
    prefilter = shared()
    hits = prefilter.hits(data)
    if not hits:
        return []
    root = View(data if isinstance(data, bytes) else bytes(data))
    search = _Search(Budget(4 * len(root.data) + (4 << 20)))
    _find_ids(search, root, hits)
    if not search.ids:
        return []
    pairs = _paired(search, root)
    return _told(root, search, pairs, first_line, starts_at)


def _find_ids(search: _Search, view: View, hits: list[Hit], *, is_rewritten: bool = False) -> None:
    unsolved: list[Hit] = []
    for hit in hits:
        match = rules.ID.match(view.data, hit.start) if hit.spelling is Spelling.PLAIN else None
        if match is None:
            unsolved.append(hit)
        elif len(search.ids) < 4 * MAX_DETECTIONS:
            label, stem = label_before(view, hit.start)
            search.ids.append(Sighting(match.group(), view, *match.span(), label, stem))
        else:
            search.is_cut = True
    if not unsolved or len(view.encoding) >= MAX_DEPTH:
        return
    prefilter = shared()
    for below in views_of(view, unsolved, prefilter.has_prefix, search.budget):
        _find_ids(search, below, prefilter.hits(below.data))
    if is_rewritten:
        return
    # What is written in escapes, or broken by them, shows once the text around is rewritten. A stretch of base64
    # may be broken too.
    for start, end in _windows([hit.start for hit in unsolved], len(view.data), _AROUND):
        for below in _rewritings(within(view, start, end)):
            if not search.budget.take(len(below.data)):
                return
            known = {one.value for one in search.ids}
            count = len(search.ids)
            _find_ids(search, below, prefilter.hits(below.data), is_rewritten=True)
            search.ids[count:] = [one for one in search.ids[count:] if one.value not in known]


def _rewritings(view: View) -> Iterator[View]:
    """The text with escapes undone, with strings joined, and both."""
    plain = [one for one in (view, unescaped(view), unquoted(view)) if one is not None]
    while len(plain) < 1 + MAX_DEPTH and (again := unescaped(plain[-1])) is not None:
        plain.append(again)
    for one in plain:
        if one is not view:
            yield one
        for text in (one, substituted(one)):
            if text is None:
                continue
            if text is not one:
                yield text
            for join in (joined, listed, unwrapped):
                other = join(text)
                if other is not None:
                    yield other


def _windows(positions: Iterable[int], size: int, around: int) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for position in sorted(positions):
        start, end = max(0, position - around), min(size, position + around)
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _paired(search: _Search, root: View) -> dict[bytes, tuple[Sighting, Sighting]]:
    """Looks for secrets where ids are, first as they stand and decoded, then rewritten, then far away."""
    real = {one.value for one in search.ids if rules.judge_id(one.value) is Verdict.UNVERIFIED}
    pairs: dict[bytes, tuple[Sighting, Sighting]] = {}
    if not real:
        return pairs
    windows = list(_around_ids(search.ids))
    for look in (_look_plainly, _look_rewritten, _look_far):
        before = len(search.secrets)
        for window in windows if look is not _look_far else [root]:
            look(search, window)
        if len(search.secrets) > before:
            pairs = pair(search.ids, search.secrets)
        if all(value in pairs and pairs[value][1].label >= Label.SECRET for value in real):
            break
    return pairs


def _around_ids(ids: list[Sighting]) -> Iterator[View]:
    """In each view that leads to an id, the stretches around the places that lead there."""
    places: dict[int, tuple[View, list[int]]] = {}
    for one in ids:
        at, view = one.start, one.view
        places.setdefault(id(view), (view, []))[1].append(at)
        while view.above is not None:
            at, view = view.position_above(at), view.above
            places.setdefault(id(view), (view, []))[1].append(at)
    for view, positions in places.values():
        for start, end in _windows(positions, len(view.data), _NEAR):
            yield view if end - start == len(view.data) else within(view, start, end)


def _look_plainly(search: _Search, window: View) -> None:
    if search.budget.take(len(window.data)):
        _collect(search, window)
        _collect_encoded(search, window, 0)


def _look_rewritten(search: _Search, window: View) -> None:
    for below in _rewritings(window):
        if not search.budget.take(len(below.data)):
            return
        _collect(search, below)
        _collect_encoded(search, below, 0)


def _look_far(search: _Search, root: View) -> None:
    """In the whole content, where something is called a secret."""
    named = shared().secret_names(root.data)
    for start, end in _windows(named, len(root.data), 256):
        if not search.budget.take(end - start):
            return
        stretch = within(root, start, end)
        _collect(search, stretch)
        _collect_encoded(search, stretch, 0)


def _collect_encoded(search: _Search, view: View, depth: int) -> None:
    for below in encoded_texts(view, 0, len(view.data)):
        if not search.budget.take(len(below.data)):
            return
        _collect(search, below)
        if depth < 2:
            _collect_encoded(search, below, depth + 1)


def _collect(search: _Search, view: View) -> None:
    for match in rules.SECRET.finditer(view.data):
        value = match.group()
        if not rules.may_be_secret(value):
            continue
        label, stem = label_before(view, match.start())
        key = (value, view.position_in_root(match.start()), label)
        if key in search.seen_secrets:
            continue
        if len(search.secrets) >= _MAX_SECRETS:
            search.is_cut = True
            return
        search.seen_secrets.add(key)
        if label is Label.OTHER and not stem:
            continue
        search.secrets.append(Sighting(value, view, *match.span(), label, stem))


def _told(
    root: View,
    search: _Search,
    pairs: dict[bytes, tuple[Sighting, Sighting]],
    first_line: int,
    starts_at: int,
) -> list[Detection]:
    first: dict[bytes, Sighting] = {}
    for one in search.ids:
        held = first.get(one.value)
        if held is None or len(one.view.encoding) < len(held.view.encoding):
            first[one.value] = one
    found: list[Detection] = []
    newlines = _Lines(root.data)
    for value, sighting in first.items():
        verdict = rules.judge_id(value)
        secret: bytes | None = None
        place = sighting
        if value in pairs and verdict is Verdict.UNVERIFIED:
            place, with_secret = pairs[value]
            secret = None if rules.is_example_secret(with_secret.value) else with_secret.value
        offset = place.view.position_in_root(place.start)
        found.append(
            Detection(
                AccessKeyId(value.decode("ascii")),
                Secret(secret) if secret is not None else None,
                starts_at + offset,
                first_line + newlines.before(offset),
                _encoding(root, place, offset),
                verdict,
                rules.allows(_line_around(root.data, offset)),
            )
        )
    found.sort(key=lambda one: (one.offset, one.access_key_id))
    return found[:MAX_DETECTIONS]


def _encoding(root: View, place: Sighting, offset: int) -> str | None:
    names = list(place.view.encoding)
    if not names and root.data[offset : offset + 20] != place.value:
        names = ["broken"]
    return "+".join(names) or None


def _line_around(data: bytes, at: int) -> bytes:
    start = data.rfind(b"\n", max(0, at - 512), at) + 1
    end = data.find(b"\n", at, at + 512)
    return data[max(start, at - 512) : end if end >= 0 else at + 512]


class _Lines:
    """Counts lines once, however many places ask, as long as they ask in any order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._known: dict[int, int] = {0: 0}
        self._positions = [0]

    def before(self, offset: int) -> int:
        nearest = self._positions[bisect_right(self._positions, offset) - 1]
        count = self._known[nearest] + self._data.count(b"\n", nearest, offset)
        if offset not in self._known:
            self._known[offset] = count
            insort(self._positions, offset)
        return count
