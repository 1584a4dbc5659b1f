"""`POST /-/alerts`: others tell of leaked keys, and hear what came of it. The kind is in the headers, the proof too.

A stranger costs one hash, or one check of a signature, and hears nothing. What is genuine is counted, and worked on
behind this door by the leaks room; the answer says for each id whether its pair was real and the key is dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from keyturn.leaks import alerts
from keyturn.leaks.alert_desk import AgainError, Bench, Desk, Judged, Label, Task, Work
from keyturn.leaks.alerts import (
    GitHubAlert,
    Kind,
    NotBelievedError,
    NotReadableError,
    PartnerToken,
    Replays,
    Reported,
)
from keyturn.leaks.github_alerts import GitHubAlerts, GitHubError
from keyturn.leaks.partner_keys import PartnerKeys
from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.clock import Clock
from keyturn.model.secrets import Secret

ALERTS_PATH: Final = b"/-/alerts"
_ANSWER_SECONDS: Final = 8.0
"""GitHub waits for ten ("Best practices for using webhooks")."""
_MOST_TRIED: Final = 64
"""Pairs that are put together out of the tokens of one partner alert."""
_NOT_FOUND: Final = (404, b'{"error": "there is nothing at this path"}')
_REFUSED: Final = (401, b"{}")
_TOO_LARGE: Final = (413, b'{"error": "an alert has at most 1048576 bytes"}')
_TOO_MANY: Final = (429, b'{"error": "too many alerts: try again later"}')
_BROKEN: Final = (503, b'{"error": "alerts can\'t be worked on now: the server\'s log says why"}')
_IGNORED: Final = (200, b'{"results": [], "ignored": true}')
_UNDER_WAY: Final = (202, b'{"results": [], "under_way": true}')

Answer = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Trusted:
    """What each kind is known by; None: that kind is not taken."""

    github_secret: Secret | None = None
    github: GitHubAlerts | None = None
    webhook_secret: Secret | None = None
    partner_keys: PartnerKeys | None = None

    def takes(self, kind: Kind | None) -> bool:
        match kind:
            case Kind.GITHUB:
                return self.github_secret is not None and self.github is not None
            case Kind.SIGNED:
                return self.webhook_secret is not None
            case Kind.PARTNER:
                return self.partner_keys is not None
            case _:
                return False


class AlertDoor:
    """Belongs to the event loop; the work is the desk's."""

    def __init__(
        self,
        trusted: Trusted,
        desk: Desk,
        clock: Clock,
        *,
        per_minute: int,
        answer_seconds: float = _ANSWER_SECONDS,
    ) -> None:
        self._trusted = trusted
        self._desk = desk
        self._clock = clock
        self._per_minute = per_minute
        self._answer_seconds = answer_seconds
        self._replays = Replays()
        self._left = float(per_minute)
        self._counted_at = clock.monotonic()

    async def answer(self, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Answer:
        """Status and JSON."""
        named = dict(headers)
        kind = alerts.kind_of(named)
        if not self._trusted.takes(kind) or kind is None:
            return _NOT_FOUND
        if len(body) > alerts.LARGEST:
            return _TOO_LARGE
        try:
            told = await self._told(kind, named, body)
        except NotBelievedError:
            return _REFUSED
        except NotReadableError as error:
            return 400, _json({"error": str(error)})
        if told is None:
            return _IGNORED
        # The delivery's id is not signed, so that it is the body that tells whether this came before.
        name = hashlib.sha256(
            kind.encode() + b"\0" + named.get(alerts.SIGNED_TIMESTAMP, b"") + b"\0" + body
        ).digest()
        before: Answer | None = self._replays.known(name, self._clock.monotonic())
        if before is not None:
            return before
        if self._desk.is_broken:
            return _BROKEN
        if not self._may_take():
            return _TOO_MANY
        return await self._worked_on(name, told)

    async def _told(
        self, kind: Kind, headers: alerts.Headers, body: bytes
    ) -> GitHubAlert | Reported | Sequence[PartnerToken] | None:
        trusted = self._trusted
        if kind is Kind.GITHUB:
            assert trusted.github_secret is not None
            return alerts.read_github_alert(headers, body, trusted.github_secret)
        if kind is Kind.SIGNED:
            assert trusted.webhook_secret is not None
            return alerts.read_signed(headers, body, trusted.webhook_secret, self._clock.now_ms())
        keys = trusted.partner_keys
        assert keys is not None
        key_id = alerts.partner_key_id(headers)
        key = keys.known(key_id)
        if key is None and keys.may_ask():
            key = await asyncio.to_thread(keys.asked, key_id)
        if key is None:
            raise NotBelievedError
        return alerts.read_partner(headers, body, key)

    async def _worked_on(self, name: bytes, told: GitHubAlert | Reported | Sequence[PartnerToken]) -> Answer:
        loop = asyncio.get_running_loop()

        def ended(is_done: bool) -> None:  # noqa: FBT001 - as the desk calls it
            # What proved nothing may be sent again and looked at anew: GitHub's other half may have come meanwhile.
            was_real = any(each.label is Label.TRUE_POSITIVE for each in task.judged)
            final = shown() if is_done and (was_real or isinstance(told, Reported)) else None
            with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
                loop.call_soon_threadsafe(self._ended, name, final)

        work: Work
        if isinstance(told, GitHubAlert):
            assert self._trusted.github is not None
            work = _github_work(self._trusted.github, told)
        else:
            work = _work(told)
        task = Task(work, on_end=ended)
        matches = told if isinstance(told, Sequence) else None

        def shown(*, is_over: bool = True) -> Answer:
            judged = list(task.judged)
            if matches is not None:
                return 200, alerts.partner_answer(_labelled(matches, judged))
            is_over = is_over and all(each.label is not Label.UNKNOWN for each in judged)
            return 200 if is_over else 202, _results(judged, is_over=is_over)

        if not self._desk.take(task):
            return _TOO_MANY
        self._replays.note(name, self._clock.monotonic(), _UNDER_WAY)
        try:
            async with asyncio.timeout(self._answer_seconds):
                is_done = await asyncio.wrap_future(task.tried)
        except TimeoutError:
            is_done = False
        return shown(is_over=is_done)

    def _ended(self, name: bytes, final: Answer | None) -> None:
        if final is None:
            self._replays.forget(name)
        else:
            self._replays.note(name, self._clock.monotonic(), final)

    def _may_take(self) -> bool:
        """A bucket that holds a minute's alerts."""
        now = self._clock.monotonic()
        refilled = self._left + (now - self._counted_at) * self._per_minute / 60
        self._left, self._counted_at = min(float(self._per_minute), refilled), now
        if self._left < 1:
            return False
        self._left -= 1
        return True


# What is done for each kind


def _work(told: Reported | Sequence[PartnerToken]) -> Work:
    def work(bench: Bench, task: Task) -> None:
        """Pairs first: each is proved, and dies, before anything else is looked at."""
        if isinstance(told, Reported):
            task.judged += (bench.judge(pair, place) for pair, place in told.pairs)
            task.judged += (bench.mention(key, place) for key, place in told.ids)
            return
        for pair, place in _pairs_of(told, bench):
            task.judged.append(bench.judge(pair, place))
        judged = {each.access_key_id for each in task.judged}
        for token in told:
            if token.access_key_id is not None and token.access_key_id not in judged:
                judged.add(token.access_key_id)
                task.judged.append(bench.mention(token.access_key_id, token.place))

    return work


def _github_work(github: GitHubAlerts, alert: GitHubAlert) -> Work:
    def work(bench: Bench, task: Task) -> None:
        """Pairs are tried until one is proved; the alert's own id is noted if none is."""
        alone, judged = None, False
        try:
            for found, place in github.halves(alert, bench.is_ours):
                if not isinstance(found, AccessKeyPair):
                    alone = found, place
                    continue
                judged = True
                task.judged.append(bench.judge(found, place))
                if task.judged[-1].label is Label.TRUE_POSITIVE:
                    break
        except GitHubError as error:
            raise AgainError(str(error)) from error
        if alone is not None and not judged:
            task.judged.append(bench.mention(*alone))

    return work


def _pairs_of(tokens: Sequence[PartnerToken], bench: Bench) -> Sequence[tuple[AccessKeyPair, str]]:
    """Whole pairs, then halves of one place; never with an id of another account."""
    found = [
        (AccessKeyPair(token.access_key_id, token.secret), token.place)
        for token in tokens
        if token.access_key_id is not None and token.secret is not None
    ]
    keys = [token for token in tokens if token.access_key_id is not None and token.secret is None]
    secrets = [token for token in tokens if token.access_key_id is None and token.secret is not None]
    halves: list[tuple[AccessKeyPair, str]] = []
    for key in keys:
        for other in secrets:
            if len(halves) >= _MOST_TRIED:
                break
            assert key.access_key_id is not None
            assert other.secret is not None
            if key.place == other.place and bench.is_ours(key.access_key_id):
                halves.append((AccessKeyPair(key.access_key_id, other.secret), key.place))
    return found + halves


# What is answered


def _labelled(
    tokens: Sequence[PartnerToken], judged: Sequence[Judged]
) -> Sequence[tuple[PartnerToken, bool]]:
    """Tokens of which something is known. A secret alone takes the label of no id, for nobody can say whose it is."""
    by_id: dict[str, bool] = {}
    for each in judged:
        if each.label is not Label.UNKNOWN:
            is_real = each.label is Label.TRUE_POSITIVE
            by_id[each.access_key_id] = by_id.get(each.access_key_id, False) or is_real
    return [
        (token, by_id[token.access_key_id])
        for token in tokens
        if token.access_key_id is not None and token.access_key_id in by_id
    ]


def _results(judged: Sequence[Judged], *, is_over: bool) -> bytes:
    """One row an id: the best that was said of it."""
    rows: dict[str, Judged] = {}
    for each in judged:
        held = rows.get(each.access_key_id)
        if held is None or _rank(each.label) > _rank(held.label):
            rows[each.access_key_id] = each
    shown = [
        {"access_key_id": key, "label": each.label.value, "incident": each.incident_id}
        for key, each in rows.items()
    ]
    return _json({"results": shown} if is_over else {"results": shown, "under_way": True})


def _rank(label: Label) -> int:
    return (Label.FALSE_POSITIVE, Label.UNKNOWN, Label.TRUE_POSITIVE).index(label)


def _json(content: object) -> bytes:
    return json.dumps(content).encode()
