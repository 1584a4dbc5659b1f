"""Finding out: each question of `plan` answered by the endpoint, the sinks, or the operator's own check.

What can't be found out is an answer of its own. Nothing here acts on a key or a sink, besides the signature that
proves the new key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from keyturn.model.access_keys import AccessKeyId
from keyturn.model.errors import KeyturnError
from keyturn.rotation.endpoint import (
    Consumer,
    Endpoint,
    EndpointError,
    LiveSession,
    NeverSeen,
    NoSuchUserError,
    Proof,
    Unknown,
    UserKey,
)
from keyturn.rotation.plan import Facts, Health, NotAsked, Other, Question, UserGone, listening_from
from keyturn.rotation.progress import Progress
from keyturn.rotation.record import Record
from keyturn.rotation.sinks.interface import Held, Sink, SinkError

_HISTORY: Final = 90 * 24 * 3600 * 1000
_PROBLEM_LENGTH: Final = 400


class WindowSizer(Protocol):
    def __call__(
        self,
        progress: Progress,
        samples: Sequence[tuple[int, int | None]],
        consumers: Sequence[Consumer],
        now: int,
    ) -> int:
        """For how long the old key has to be quiet, in milliseconds, from its own history."""


class Observer:
    """The eyes of one engine."""

    def __init__(
        self,
        record: Record,
        endpoint: Endpoint,
        *,
        sinks: Callable[[str], Sink],
        check: Callable[[Progress], Health],
        window: WindowSizer,
    ) -> None:
        self._record = record
        self._endpoint = endpoint
        self._sinks = sinks
        self._check = check
        self._window = window

    def fresh_facts(self) -> Facts:
        return Facts(self._endpoint.now_ms(), self._endpoint.traits())

    def found_out(self, progress: Progress, facts: Facts, questions: frozenset[Question]) -> Facts:
        for question in sorted(questions):
            facts = self._answer(progress, facts, question)
        return facts

    def _answer(self, progress: Progress, facts: Facts, question: Question) -> Facts:
        endpoint, old, new = self._endpoint, progress.old_key, progress.new_key
        match question:
            case Question.KEYS:
                return replace(facts, keys=self._keys(progress))
            case Question.OLD_USE:
                return replace(facts, old_use=NeverSeen() if old is None else endpoint.last_use(old))
            case Question.NEW_USE:
                return replace(facts, new_use=NeverSeen() if new is None else endpoint.last_use(new))
            case Question.OTHERS:
                assert not isinstance(facts.keys, Unknown | UserGone | NotAsked)
                others = {
                    key.access_key_id: Other(
                        endpoint.last_use(key.access_key_id),
                        self._maker(key.access_key_id, progress),
                    )
                    for key in facts.keys
                    if key.access_key_id not in {old, new}
                }
                return replace(facts, others=others)
            case Question.OLD_CONSUMERS:
                since = progress.delivered_at or facts.now - _HISTORY
                if progress.deactivated_at is not None:
                    since = listening_from(progress)
                return replace(facts, old_consumers=self._consumers(old, since))
            case Question.NEW_CONSUMERS:
                return replace(facts, new_consumers=self._consumers(new, progress.delivered_at or 0))
            case Question.SESSIONS:
                return replace(facts, sessions=self._sessions(progress))
            case Question.SINKS:
                return replace(facts, sinks={sink.name: self.held(sink.name) for sink in progress.sinks})
            case Question.PROOF:
                return replace(facts, proof=self._proof_through_sinks(progress))
            case Question.SIGNER:
                return replace(facts, signer=self._signer())
            case Question.CANARY:
                return replace(facts, canary=self._check(progress))
            case Question.INCIDENT:
                return replace(facts, is_under_incident=self._incident(progress))
            case Question.HISTORY:
                return replace(facts, quiet_window=self._quiet_window(progress, facts))

    def _keys(self, progress: Progress) -> Sequence[UserKey] | Unknown | UserGone:
        try:
            return self._endpoint.keys(progress.user_name)
        except NoSuchUserError:
            return UserGone()
        except EndpointError as error:
            return Unknown(str(error))

    def _maker(self, key: AccessKeyId, progress: Progress) -> str | None:
        try:
            return self._endpoint.created_by(key, progress.user_name)
        except EndpointError:
            return None

    def _consumers(self, key: AccessKeyId | None, since: int) -> Sequence[Consumer] | None:
        if key is None:
            return ()
        try:
            return self._endpoint.consumers(key, since=since)
        except EndpointError:
            return None

    def _sessions(self, progress: Progress) -> Sequence[LiveSession] | None:
        if progress.leaving is None:
            return ()
        try:
            return self._endpoint.sessions(progress.leaving)
        except EndpointError:
            return None

    def _signer(self) -> AccessKeyId | Unknown | None:
        try:
            return self._endpoint.identity().access_key_id
        except EndpointError as error:
            return Unknown(str(error))

    def _incident(self, progress: Progress) -> bool | None:
        try:
            return self._endpoint.is_under_incident(progress.user_name)
        except EndpointError:
            return None

    def held(self, name: str) -> Held | str:
        try:
            return self._sinks(name).read()
        except (SinkError, KeyturnError) as error:
            return short(error)

    def _proof_through_sinks(self, progress: Progress) -> Proof | None:
        """The key that stays, as its consumers read it: what a sink holds is tried, not what we remember."""
        worst: Proof | None = None
        tried: set[str] = set()
        for sink in progress.sinks:
            held = self.held(sink.name)
            pair = None if isinstance(held, str) else held.pair
            if pair is None or pair.access_key_id != progress.staying or pair.fingerprint in tried:
                continue
            tried.add(pair.fingerprint)
            proof = self._endpoint.prove(pair)
            if proof is Proof.REFUSED:
                return proof
            worst = proof if worst is None or proof is Proof.UNKNOWN else worst
        return worst

    def _quiet_window(self, progress: Progress, facts: Facts) -> int:
        if progress.old_key is None:
            return progress.terms.quiet
        samples = self._record.samples(progress.old_key)
        consumers = self._consumers(progress.old_key, facts.now - _HISTORY) or ()
        return self._window(progress, samples, consumers, facts.now)


def short(error: Exception) -> str:
    """What an error says, at most so long that a journal can keep it."""
    text = error.message if isinstance(error, KeyturnError) else str(error)
    return text if len(text) <= _PROBLEM_LENGTH else text[: _PROBLEM_LENGTH - 1] + "…"
