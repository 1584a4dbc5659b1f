"""Finds access key pairs in a piece of content: the one function that sources' bytes are handed to.

The prefilter says where a prefix stands in any spelling; views undo the spelling; where an id comes to light, secrets
are looked for around it: as they stand, decoded, and, close to the id and to whatever is called a secret, rewritten.
`pairing` says which belongs to which.
"""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from keyturn.leaks import rules
from keyturn.leaks.encoded import encoded_texts, views_of
from keyturn.leaks.escapes import unescaped, unmarked, unquoted, without_controls
from keyturn.leaks.findings import Detection, Verdict
from keyturn.leaks.labels import label_before
from keyturn.leaks.literals import joined, listed, spelled_out, substituted, unwrapped
from keyturn.leaks.pairing import Sighting, pair
from keyturn.leaks.prefilter import Hit, Spelling, shared
from keyturn.leaks.rules import Label
from keyturn.leaks.sources.interface import Buffer
from keyturn.leaks.views import MAX_DEPTH, Budget, View, alphabet, encoding_of, runs, within
from keyturn.model.access_keys import AccessKeyId
from keyturn.model.secrets import Secret

MAX_DETECTIONS: Final = 2_000
"""In one piece of content."""
_AROUND: Final = 4_096
"""Bytes to each side of a hit in which spellings are undone."""
_NEAR: Final = 16_384
"""Bytes to each side of an id in which a secret is looked for, as it stands and decoded."""
_CLOSE: Final = 2_048
"""Bytes to each side of an id in which text is rewritten for a secret in pieces: that costs most of all."""
_AFTER_NAME: Final = 768
"""Bytes behind the word `secret`, near an id, in which text is rewritten too."""
_BEFORE_NAME: Final = 256
_MAX_SECRETS: Final = 4_000
_MANY_HITS: Final = 20_000
"""As many as the prefilter tells of one expression: there may be more."""
_LONGEST_LEFT: Final = 48
"""Of a run that ends in a secret: an escape before it is made of the same characters."""
_LINES_OF_A_BLOCK: Final = 8
_SECRET_CHARACTERS: Final = alphabet(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_FORTY: Final = re.compile(rb"[A-Za-z0-9+/]{40}\r?\Z")

Cut = Callable[[str], None]
"""Takes the reason why not all was looked into."""


@dataclass(slots=True)
class _Search:
    """What has been seen so far in one piece of content."""

    budget: Budget
    ids: list[Sighting] = field(default_factory=list)
    secrets: list[Sighting] = field(default_factory=list)
    seen_secrets: set[tuple[bytes, int, Label]] = field(default_factory=set)
    is_cut: bool = False
    has_too_many_secrets: bool = False
    known: set[bytes] = field(default_factory=set)
    """Of the first ids: their values."""
    counted: int = 0
    """How many ids `known` knows."""

    def known_ids(self) -> set[bytes]:
        self.known.update(one.value for one in self.ids[self.counted :])
        self.counted = len(self.ids)
        return self.known


def detect(
    data: Buffer, *, first_line: int = 1, starts_at: int = 0, cut: Cut | None = None
) -> list[Detection]:
    """The pairs and the bare ids in the bytes, in order, each once; at most 2,000.

    `first_line` and `starts_at` say where the bytes begin, for a window of something larger. `cut` is told when there
    was more than is looked into: such a content is not clean.
    """
    prefilter = shared()
    hits = prefilter.hits(data)
    if not hits:
        return []
    root = View(data if isinstance(data, bytes) else bytes(data))
    search = _Search(Budget(4 * len(root.data) + (4 << 20)))
    _find_ids(search, root, hits)
    found: list[Detection] = []
    if search.ids:
        pairs = _paired(search, root)
        found = _told(root, search, pairs, first_line, starts_at)
    if cut is not None:
        if search.is_cut or len(found) > MAX_DETECTIONS:
            cut(f"more than {MAX_DETECTIONS} keys in one piece: the rest was left out")
        elif search.has_too_many_secrets:
            cut(f"more than {_MAX_SECRETS} places that look like a secret: the rest was left out")
        elif len(hits) >= _MANY_HITS:
            cut("so much of it looks like the beginning of a key that not all was looked into")
        if search.budget.is_spent:
            cut("so much of it is encoded that not all was decoded")
    return found[:MAX_DETECTIONS]


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
            known = search.known_ids()
            count = len(search.ids)
            _find_ids(search, below, prefilter.hits(below.data), is_rewritten=True)
            search.ids[count:] = [one for one in search.ids[count:] if one.value not in known]


def _rewritings(view: View) -> Iterator[View]:
    """The text with escapes undone, with strings joined, and both."""
    plain = [view]
    plain += [
        one for undo in (unquoted, unmarked, spelled_out, without_controls) if (one := undo(view)) is not None
    ]
    again = unescaped(view)
    for _ in range(MAX_DEPTH):  # escapes of escapes: JSON in JSON
        if again is None:
            break
        plain.append(again)
        again = unescaped(again)
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
    return _merged([(max(0, position - around), min(size, position + around)) for position in positions])


def _merged(stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
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
        for window in windows if look is not _look_far else [_Window(root, [])]:
            look(search, window)
        if len(search.secrets) > before:
            pairs = pair(search.ids, search.secrets)
        if all(value in pairs and pairs[value][1].label >= Label.SECRET for value in real):
            break
    return pairs


@dataclass(frozen=True, slots=True)
class _Window:
    """A stretch of a view around places that lead to ids."""

    view: View
    places: list[int]


def _around_ids(ids: list[Sighting]) -> Iterator[_Window]:
    """In each view that leads to an id, the stretches around the places that lead there."""
    places: dict[int, tuple[View, list[int]]] = {}
    for one in ids:
        at, view = one.start, one.view
        places.setdefault(id(view), (view, []))[1].append(at)
        while view.above is not None:
            at, view = view.position_above(at), view.above
            places.setdefault(id(view), (view, []))[1].append(at)
    for view, positions in places.values():
        positions.sort()
        first = 0
        for start, end in _windows(positions, len(view.data), _NEAR):
            last = bisect_right(positions, end, first)
            stretch = view if end - start == len(view.data) else within(view, start, end)
            yield _Window(stretch, [at - start for at in positions[first:last]])
            first = last


def _look_plainly(search: _Search, window: _Window) -> None:
    if search.budget.take(len(window.view.data)):
        _collect(search, window.view)
        _collect_encoded(search, window.view, 0)


def _look_rewritten(search: _Search, window: _Window) -> None:
    view = window.view
    size = len(view.data)
    stretches = _windows(window.places, size, _CLOSE)
    if stretches != [(0, size)]:
        named = [
            (max(0, at - _BEFORE_NAME), min(size, at + _AFTER_NAME))
            for at in shared().secret_names(view.data)
        ]
        stretches = _merged([*stretches, *named])
    for start, end in stretches:
        for below in _rewritings(view if end - start == size else within(view, start, end)):
            if not search.budget.take(len(below.data)):
                return
            _collect(search, below)
            _collect_encoded(search, below, 0)


def _look_far(search: _Search, window: _Window) -> None:
    """In the whole content, where something is called a secret."""
    root = window.view
    for start, end in _windows(shared().secret_names(root.data), len(root.data), 256):
        if not search.budget.take(end - start):
            return
        stretch = within(root, start, end)
        _collect(search, stretch)
        _collect_encoded(search, stretch, 0)


def _collect_encoded(search: _Search, view: View, depth: int) -> None:
    for below in encoded_texts(view):
        if not search.budget.take(len(below.data)):
            return
        _collect(search, below)
        if depth < 2:
            _collect_encoded(search, below, depth + 1)


def _collect(search: _Search, view: View) -> None:
    for begin, end in runs(view.data, _SECRET_CHARACTERS, 40):
        start = end - 40
        if end - begin > _LONGEST_LEFT or not rules.SECRET.match(view.data, start):
            continue
        value = view.data[start:end]
        if not rules.may_be_secret(value):
            continue
        label, stem = label_before(view, start)
        key = (value, view.position_in_root(start), label)
        if key in search.seen_secrets:
            continue
        if len(search.secrets) >= _MAX_SECRETS:
            search.has_too_many_secrets = True
            return
        search.seen_secrets.add(key)
        if (label is Label.OTHER and not stem) or (
            label <= Label.BARE and _is_of_a_block(view.data, start, end, len(search.known_ids()))
        ):
            continue
        search.secrets.append(Sighting(value, view, start, end, label, stem))


def _is_of_a_block(data: bytes, start: int, end: int, most: int) -> bool:
    """Whether it is a line of some base64 that is wrapped at forty characters: more such lines than there are ids."""
    if data[start - 1 : start] not in {b"\n", b""} or data[end : end + 2].strip(b"\r")[:1] not in {
        b"\n",
        b"",
    }:
        return False
    lines = 1
    at = start
    for _ in range(_LINES_OF_A_BLOCK):
        above = data.rfind(b"\n", max(0, at - 50), max(0, at - 1)) + 1
        if not at or not _is_line_of_a_block(data[above : at - 1]):
            break
        lines += 1
        at = above
    at = data.find(b"\n", end, end + 2) + 1
    for _ in range(_LINES_OF_A_BLOCK if at else 0):
        below = data.find(b"\n", at, at + 50)
        if not _is_line_of_a_block(data[at : below if below >= 0 else at + 50]):
            break
        lines += 1
        at = below + 1
    return lines > max(1, min(most, 2 * _LINES_OF_A_BLOCK))


def _is_line_of_a_block(line: bytes) -> bool:
    return _FORTY.match(line) is not None and rules.may_be_secret(line[:40])


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
                _encoding(place, None if secret is None else pairs[value][1]),
                verdict,
                rules.allows(_line_around(root.data, offset)),
            )
        )
    found.sort(key=lambda one: (one.offset, one.access_key_id))
    return found


def _encoding(place: Sighting, secret: Sighting | None) -> str | None:
    """How the id was written; for an id that stands there plainly, how its secret was."""
    names = encoding_of(place.view, place.start, place.end)
    if not names and secret is not None:
        names = encoding_of(secret.view, secret.start, secret.end)
    told = [name for at, name in enumerate(names) if name != "concatenation" or name not in names[:at]]
    return "+".join(told) or None


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
