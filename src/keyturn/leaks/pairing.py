"""Which secret belongs to which access key id, among all that were seen in one piece of content.

Names decide what may be a secret at all (`labels`); nearness decides whose it is. Each secret goes to at most one id
and each id gets at most one secret: the cheapest assignment of all, so that a row of profiles stays in its order.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from keyturn.leaks.rules import Label
from keyturn.leaks.views import View

_FAR: Final = 1e9
_MAX_BLOCK: Final = 48
"""Ids and secrets that are assigned at once: the work grows with the third power."""
_MAX_PLACES: Final = 8
"""Of one value: a key that is written a thousand times is compared at its first places."""

_PENALTY: Final = {
    Label.ACCESS_SECRET: 0.0,
    Label.SECRET: 1.0,
    Label.BARE: 4.0,
    Label.PASSWORD: 5.0,
    Label.UNKNOWN: 9.0,
}
_REACH: Final = {
    Label.ACCESS_SECRET: 10**9,
    Label.SECRET: 400,
    Label.BARE: 2,
    Label.PASSWORD: 6,
    Label.UNKNOWN: 3,
}
"""How many lines away the id may be."""
_BARE_REACH: Final = 400
"""In bytes, for a secret without a name."""


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """An id or a secret where it was seen."""

    value: bytes
    view: View
    start: int
    end: int
    label: Label
    stem: frozenset[bytes]
    """What its name says beside `secret access key` and `access key id`: the profile, the environment."""


@dataclass(frozen=True, slots=True)
class _Between:
    lines: int
    size: int
    borders: int
    is_before: bool
    """The secret stands before the id."""


def _path(sighting: Sighting) -> dict[int, tuple[int, View]]:
    """Where it stands in its view and in each view above."""
    at, view = sighting.start, sighting.view
    path = {id(view): (at, view)}
    while view.above is not None:
        at, view = view.position_above(at), view.above
        path[id(view)] = (at, view)
    return path


_BORDER: Final = re.compile(rb"\n\n|\r\n\r\n|\n\[|\n---|\},|\}\n|\n- ")
"""What ends a paragraph, a section, an object, an item."""
_TOO_FAR: Final = 1 << 20


@dataclass(slots=True)
class _Marks:
    """Where lines and sections end in the views that were asked about: each is read through once."""

    by_view: dict[int, tuple[View, list[int], list[int]]] = field(default_factory=dict)

    def of(self, view: View) -> tuple[View, list[int], list[int]]:
        held = self.by_view.get(id(view))
        if held is None:
            lines = [match.start() for match in re.finditer(rb"\n", view.data)]
            borders = [match.start() for match in _BORDER.finditer(view.data)]
            held = self.by_view[id(view)] = view, lines, borders
        return held

    def between(self, one: dict[int, tuple[int, View]], two: dict[int, tuple[int, View]]) -> _Between:
        """How far apart an id and a secret are, in the deepest view that holds both."""
        for key, (at, view) in one.items():
            if key not in two:
                continue
            other = two[key][0]
            low, high = min(at, other), max(at, other)
            if high - low > _TOO_FAR:
                return _Between((high - low) // 40, high - low, 3, other < at)
            _, lines, borders = self.of(view)
            return _Between(
                bisect_left(lines, high) - bisect_left(lines, low),
                high - low,
                min(bisect_left(borders, high) - bisect_left(borders, low), 3),
                other < at,
            )
        return _Between(10**9, 10**9, 3, is_before=False)  # unreachable: the root holds everything


def _cost(access_key: Sighting, secret: Sighting, between: _Between) -> float:
    label = secret.label
    shared = access_key.stem & secret.stem
    if label is Label.OTHER:
        if not shared:
            return _FAR
        label = Label.SECRET
    if between.lines > _REACH[label]:
        return _FAR
    if label is Label.BARE and between.size > _BARE_REACH:
        return _FAR
    if label is Label.UNKNOWN and not (
        b"+" in secret.value or b"/" in secret.value or (shared and secret.stem <= access_key.stem)
    ):
        return _FAR
    cost: float = _PENALTY[label] + (between.lines + between.size / 400) ** 1.02 + 3 * between.borders
    if access_key.stem != secret.stem and not shared:
        cost += 6
    elif shared:
        cost -= 1
    return cost + (0.4 if between.is_before else 0.0)


def pair(ids: Sequence[Sighting], secrets: Sequence[Sighting]) -> dict[bytes, tuple[Sighting, Sighting]]:
    """For each id that has one, the places of the id and of its secret that are nearest to each other.

    Beyond some dozens, they are assigned block by block in the order of the content. Of a block, the first two
    thirds are settled; the rest, whose partners may be yet to come, goes into the next.
    """
    id_places = _by_value(ids)
    secret_places = _by_value(secrets)
    marks = _Marks()
    in_step = _in_step(id_places, secret_places)
    if in_step:
        steps = [_assigned([one], [two], id_places, secret_places, marks) for one, two in in_step]
        return {value: found for step in steps for value, found in step.items()}
    line = sorted(
        [(_position(id_places, value), True, value) for value in id_places]
        + [(_position(secret_places, value), False, value) for value in secret_places]
    )
    paired: dict[bytes, tuple[Sighting, Sighting]] = {}
    while line:
        block = line[:_MAX_BLOCK]
        is_last = len(block) == len(line)
        settled = {value for _, _, value in (block if is_last else block[: _MAX_BLOCK * 2 // 3])}
        found = _assigned(
            [value for _, is_id, value in block if is_id],
            [value for _, is_id, value in block if not is_id],
            id_places,
            secret_places,
            marks,
        )
        for value, (one, two) in found.items():
            if value in settled or two.value in settled:
                paired[value] = one, two
                settled |= {value, two.value}
        line = [entry for entry in block if entry[2] not in settled] + line[_MAX_BLOCK:]
    return paired


def _assigned(
    some_ids: Sequence[bytes],
    some_secrets: Sequence[bytes],
    id_places: _Places,
    secret_places: _Places,
    marks: _Marks,
) -> dict[bytes, tuple[Sighting, Sighting]]:
    costs: list[list[float]] = []
    best: dict[tuple[int, int], tuple[Sighting, Sighting]] = {}
    for row, id_value in enumerate(some_ids):
        costs.append([])
        for column, secret_value in enumerate(some_secrets):
            lowest = _FAR
            for one, one_path in id_places[id_value]:
                for two, two_path in secret_places[secret_value]:
                    cost = _cost(one, two, marks.between(one_path, two_path))
                    if cost < lowest:
                        lowest = cost
                        best[row, column] = one, two
            costs[-1].append(lowest)
    return {some_ids[row]: best[row, column] for row, column in assign(costs)}


_Places = dict[bytes, list[tuple[Sighting, dict[int, tuple[int, View]]]]]


def _by_value(sightings: Sequence[Sighting]) -> _Places:
    places: _Places = {}
    for sighting in sightings:
        here = places.setdefault(sighting.value, [])
        if len(here) < _MAX_PLACES:
            here.append((sighting, _path(sighting)))
    return places


def _position(places: _Places, value: bytes) -> int:
    sighting = places[value][0][0]
    return sighting.view.position_in_root(sighting.start)


def _in_step(ids: _Places, secrets: _Places) -> list[tuple[bytes, bytes]]:
    """The fifth id with the fifth secret, where a long list of all ids stands before one of all secrets, or after."""
    if len(ids) != len(secrets) or len(ids) + len(secrets) <= _MAX_BLOCK:
        return []
    ordered_ids = sorted(ids, key=lambda value: _position(ids, value))
    ordered_secrets = sorted(secrets, key=lambda value: _position(secrets, value))
    if _position(ids, ordered_ids[-1]) < _position(secrets, ordered_secrets[0]) or _position(
        secrets, ordered_secrets[-1]
    ) < _position(ids, ordered_ids[0]):
        return list(zip(ordered_ids, ordered_secrets, strict=True))
    return []


def assign(costs: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """As many rows as can be get a column each, at the lowest sum of costs (the Hungarian method)."""
    rows = len(costs)
    columns = len(costs[0]) if rows else 0
    if not rows or not columns:
        return []
    # Every row may stay alone for _FAR: columns of its own make that so.
    width = columns + rows
    u = [0.0] * (rows + 1)
    v = [0.0] * (width + 1)
    row_of = [0] * (width + 1)
    for row in range(1, rows + 1):
        row_of[0] = row
        column = 0
        lowest = [math.inf] * (width + 1)
        way = [0] * (width + 1)
        used = [False] * (width + 1)
        while True:
            used[column] = True
            here = row_of[column]
            delta, following = math.inf, 0
            for other in range(1, width + 1):
                if used[other]:
                    continue
                cost = costs[here - 1][other - 1] if other <= columns else 1e6
                reduced = cost - u[here] - v[other]
                if reduced < lowest[other]:
                    lowest[other] = reduced
                    way[other] = column
                if lowest[other] < delta:
                    delta, following = lowest[other], other
            for other in range(width + 1):
                if used[other]:
                    u[row_of[other]] += delta
                    v[other] -= delta
                else:
                    lowest[other] -= delta
            column = following
            if not row_of[column]:
                break
        while column:
            row_of[column] = row_of[way[column]]
            column = way[column]
    return [
        (row_of[column] - 1, column - 1)
        for column in range(1, columns + 1)
        if row_of[column] and costs[row_of[column] - 1][column - 1] < 1e6
    ]
