"""Carries rotations on: re-read the world, decide by `plan.next_step`, note the intent, act, note the outcome.

`advance` is the whole engine. Nothing of a rotation lives in memory, so every start is a recovery; a crash
between an act and its record is found out from the world by the next call.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccessKeyStatus
from keyturn.model.errors import KeyturnError
from keyturn.rotation.endpoint import (
    Consumer,
    Endpoint,
    EndpointError,
    EndpointUnavailableError,
    LiveSession,
    NeverSeen,
    NoSuchKeyError,
    NoSuchUserError,
    Proof,
    QuotaError,
    Unknown,
    UserKey,
)
from keyturn.rotation.plan import (
    Act,
    ActKind,
    Ask,
    Facts,
    Finish,
    Health,
    Move,
    NotAsked,
    Other,
    Question,
    UserGone,
    Wait,
    next_step,
)
from keyturn.rotation.progress import Intent, Progress, SinkProgress, SinkStage, Stage, Terms, Wish
from keyturn.rotation.sinks.interface import (
    Held,
    ReadBack,
    Sink,
    SinkChangedError,
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
    WriteContext,
)
from keyturn.rotation.state import State
from keyturn.rotation.storage import journal
from keyturn.rotation.storage.journal import NEW_PAIR, Rotation

_HISTORY: Final = 90 * 24 * 3600 * 1000
_MOST_STEPS: Final = 500
"""Steps in one call of `advance`: far more than a rotation has, so that a fault can't spin for ever."""
_PROBLEM_LENGTH: Final = 400
_LONGEST_BACKOFF: Final = 300_000


class Ended(StrEnum):
    """Why `advance` returned."""

    WAITING = "waiting"
    ATTENTION = "attention"
    DONE = "done"
    ROLLED_BACK = "rolled-back"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Outcome:
    progress: Progress
    ended: Ended
    why: str


class WindowSizer(Protocol):
    def __call__(
        self,
        progress: Progress,
        samples: Sequence[tuple[int, int | None]],
        consumers: Sequence[Consumer],
        now: int,
    ) -> int:
        """For how long the old key has to be quiet, in milliseconds, from its own history."""


class Engine:
    """The engine of one account on one endpoint.

    `sinks` opens a sink by its name in the configuration. `check` is the operator's own health check. `boundary`
    is called, with its name, before and after each effect and each commit: tests end the process there.
    """

    def __init__(
        self,
        state: State,
        endpoint: Endpoint,
        *,
        sinks: Callable[[str], Sink],
        check: Callable[[Progress], Health],
        window: WindowSizer,
        boundary: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._state = state
        self._endpoint = endpoint
        self._sinks = sinks
        self._check = check
        self._window = window
        self._boundary = boundary

    def advance(self, rotation_id: str, *, told: Callable[[Progress], None] | None = None) -> Outcome:
        """Go on until there is something to wait for. KeyturnError if there is no such rotation.

        LockedByAnotherError if another process is at it. `told` hears of each change on the way.
        """
        rotation = self._rotation(rotation_id)
        with self._state.user_lock(rotation.progress.account_id, rotation.progress.user_name):
            rotation = self._rotation(rotation_id)  # read again: the one before us may have gone on
            if rotation.finished_at is not None:
                return Outcome(rotation.progress, Ended(rotation.progress.stage.value), "it is over")
            return self._advance(rotation, told or (lambda _progress: None))

    def wish(
        self,
        rotation_id: str,
        *,
        pause: bool = False,
        roll_back: bool = False,
        abort: bool = False,
        terms: Callable[[Terms], Terms] | None = None,
        deliver_again: bool = False,
    ) -> Progress:
        """Note what the operator wants; with none of them, that it goes on. The next `advance` acts on it.

        KeyturnError if it can't be: a rotation is aborted only while no sink has taken the new key.
        """
        rotation = self._rotation(rotation_id)
        with self._state.user_lock(rotation.progress.account_id, rotation.progress.user_name):
            rotation = self._rotation(rotation_id)
            progress = rotation.progress
            if rotation.finished_at is not None:
                raise KeyturnError(f"the rotation {rotation_id} is over: {progress.stage.value}")
            if progress.stage is Stage.ROLL_BACK and not (pause or roll_back or abort):
                raise KeyturnError(
                    f"the rotation {rotation_id} is on its way back",
                    "it goes on by itself; begin a new one after it",
                )
            if abort and any(sink.stage is not SinkStage.PENDING for sink in progress.sinks):
                raise KeyturnError(
                    "sinks have taken the new key already: to stop here would leave them between two keys",
                    f"keyturn rollback {rotation_id} puts the old key back",
                )
            wanted = (
                Wish.ABORT if abort else Wish.ROLL_BACK if roll_back else Wish.PAUSE if pause else Wish.RUN
            )
            # Who resumes has mended what was wrong: the sinks that refused are asked again.
            sinks = tuple(
                replace(
                    sink,
                    needs_someone=False,
                    next_at=0,
                    attempts=0,
                    stage=SinkStage.PENDING if deliver_again and not pause else sink.stage,
                )
                for sink in progress.sinks
            )
            changed = replace(
                progress,
                wish=wanted,
                next_at=0,
                attention=None,
                sinks=progress.sinks if pause else sinks,
                terms=terms(progress.terms) if terms else progress.terms,
            )
            if deliver_again and progress.stage in {Stage.ADOPT, Stage.WATCH}:
                changed = replace(changed, stage=Stage.DELIVER, stage_since=self._endpoint.now_ms())
            return self._keep(rotation, changed, "wish", wanted.value).progress

    def _rotation(self, rotation_id: str) -> Rotation:
        with self._state.database.reading() as ledger:
            found = journal.by_id(ledger, rotation_id)
        if found is None:
            raise KeyturnError(f"there is no rotation {rotation_id}", "see `keyturn status`")
        return found

    def _advance(self, rotation: Rotation, told: Callable[[Progress], None]) -> Outcome:
        facts = self._fresh_facts()
        for _ in range(_MOST_STEPS):
            step = next_step(rotation.progress, facts)
            match step:
                case Ask(questions):
                    facts = self._found_out(rotation.progress, facts, questions)
                    continue
                case Move(progress, why):
                    rotation = self._keep(rotation, progress, "moved", why)
                case Act():
                    rotation, pause = self._act(rotation, step, facts)
                    if pause is not None:
                        told(rotation.progress)
                        return self._wait(rotation, pause)
                case Wait():
                    return self._wait(rotation, step)
                case Finish(stage, why):
                    return self._finish(rotation, stage, why)
            told(rotation.progress)
            facts = self._fresh_facts()
        raise KeyturnError(
            f"the rotation {rotation.progress.rotation_id} goes in circles: this is a fault of Keyturn"
        )

    def _fresh_facts(self) -> Facts:
        return Facts(self._endpoint.now_ms(), self._endpoint.traits())

    # Finding out

    def _found_out(self, progress: Progress, facts: Facts, questions: frozenset[Question]) -> Facts:
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
                since = progress.deactivated_at or progress.delivered_at or facts.now - _HISTORY
                return replace(facts, old_consumers=self._consumers(old, since))
            case Question.NEW_CONSUMERS:
                return replace(facts, new_consumers=self._consumers(new, progress.delivered_at or 0))
            case Question.SESSIONS:
                return replace(facts, sessions=self._sessions(progress))
            case Question.SINKS:
                return replace(facts, sinks={sink.name: self._held(sink.name) for sink in progress.sinks})
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
        if progress.old_key is None:
            return ()
        try:
            return self._endpoint.sessions(progress.old_key)
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

    def _held(self, name: str) -> Held | str:
        try:
            return self._sinks(name).read()
        except (SinkError, KeyturnError) as error:
            return _short(error)

    def _proof_through_sinks(self, progress: Progress) -> Proof | None:
        """The new key as its consumers read it: what a sink holds is tried, not what we remember."""
        worst: Proof | None = None
        tried: set[str] = set()
        for sink in progress.sinks:
            held = self._held(sink.name)
            pair = None if isinstance(held, str) else held.pair
            if pair is None or pair.access_key_id != progress.new_key or pair.fingerprint in tried:
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
        with self._state.database.reading() as ledger:
            samples = journal.samples(ledger, progress.old_key)
        consumers = self._consumers(progress.old_key, facts.now - _HISTORY) or ()
        return self._window(progress, samples, consumers, facts.now)

    # Keeping

    def _keep(self, rotation: Rotation, progress: Progress, kind: str, what: str) -> Rotation:
        """One transaction: where it stands, and the line that says so."""
        with self._state.database.writing() as ledger:
            kept = journal.keep(ledger, rotation, progress)
            journal.note(ledger, progress.rotation_id, self._endpoint.now_ms(), kind, what)
        self._boundary(f"kept:{kind}")
        return kept

    def _wait(self, rotation: Rotation, step: Wait) -> Outcome:
        progress = rotation.progress
        changed = replace(progress, next_at=step.until, waiting_for=step.why, attention=step.attention)
        if changed != progress:
            is_news = step.attention is not None and step.attention != progress.attention
            is_other = _without_times(step.why) != _without_times(progress.waiting_for)
            with self._state.database.writing() as ledger:
                rotation = journal.keep(ledger, rotation, changed)
                if is_news or is_other:
                    kind = "attention" if step.attention is not None else "waiting"
                    text = step.attention or step.why
                    journal.note(ledger, progress.rotation_id, self._endpoint.now_ms(), kind, text)
            self._boundary("kept:wait")
        ended = Ended.WAITING if step.attention is None else Ended.ATTENTION
        return Outcome(rotation.progress, ended, step.why)

    def _finish(self, rotation: Rotation, stage: Stage, why: str) -> Outcome:
        now = self._endpoint.now_ms()
        progress = replace(
            rotation.progress,
            stage=stage,
            stage_since=now,
            waiting_for="",
            attention=None,
            intent=None,
            next_at=now,
        )
        with self._state.database.writing() as ledger:
            kept = journal.keep(ledger, rotation, progress, finished_at=now)
            journal.erase_all(ledger, progress.rotation_id)
            journal.note(ledger, progress.rotation_id, now, stage.value, why)
        self._boundary("kept:finish")
        return Outcome(kept.progress, Ended(stage.value), why)

    # Acting

    def _act(self, rotation: Rotation, act: Act, facts: Facts) -> tuple[Rotation, Wait | None]:
        """Carry one act out. A `Wait` if there is a reason not to go on at once."""
        match act.kind:
            case ActKind.CREATE | ActKind.CREATE_AGAIN:
                return self._create(rotation, act, facts)
            case ActKind.PROVE:
                return self._prove(rotation)
            case ActKind.DELIVER:
                return self._deliver(rotation, act.target, facts), None
            case ActKind.RESTORE:
                return self._restore(rotation, act.target, facts), None
            case ActKind.ERASE:
                return self._erase(rotation, facts), None
            case _:
                return self._change_key(rotation, act, facts)

    def _create(self, rotation: Rotation, act: Act, facts: Facts) -> tuple[Rotation, Wait | None]:
        progress = rotation.progress
        if act.kind is ActKind.CREATE:
            assert not isinstance(facts.keys, Unknown | UserGone | NotAsked)
            intent = Intent(
                act=ActKind.CREATE.value,
                at=facts.now,
                invocation_id=_uuid(self._state.random_bytes(16)),
                keys_before=tuple(key.access_key_id for key in facts.keys),
            )
            rotation = self._keep(rotation, replace(progress, intent=intent), "intent", "create a key")
            progress = rotation.progress
        intent_now = progress.intent
        assert intent_now is not None
        self._boundary("before:create")
        try:
            pair = self._endpoint.create(
                progress.user_name,
                invocation_id=intent_now.invocation_id,
                rotation_id=progress.rotation_id,
            )
        except EndpointUnavailableError as error:
            # Whether a key was made is not known: the intent stays, and the next round looks.
            return rotation, Wait(
                facts.now + 1_000, f"whether the key was created is not known: {_short(error)}"
            )
        except EndpointError as error:
            if act.kind is ActKind.CREATE_AGAIN:
                given_up = replace(progress, intent=replace(intent_now, may_repeat=False))
                return self._keep(rotation, given_up, "outcome", f"not answered again: {_short(error)}"), None
            rotation = self._keep(
                rotation, replace(progress, intent=None), "outcome", f"no key was created: {_short(error)}"
            )
            then = "free a slot" if isinstance(error, QuotaError) else "look at the permissions"
            why = f"no key could be created: {_short(error)}"
            return rotation, Wait(facts.now + progress.terms.poll, why, f"{why}: {then}")
        self._boundary("after:create")
        created = replace(
            progress,
            new_key=pair.access_key_id,
            intent=None,
            stage=Stage.PROVE,
            stage_since=facts.now,
            attention=None,
        )
        with self._state.database.writing() as ledger:
            self._state.put_pair(ledger, progress.rotation_id, progress.account_id, NEW_PAIR, pair)
            rotation = journal.keep(ledger, rotation, created)
            journal.note(ledger, progress.rotation_id, facts.now, "outcome", f"created {pair.access_key_id}")
        self._boundary("kept:create")
        return rotation, None

    def _prove(self, rotation: Rotation) -> tuple[Rotation, Wait | None]:
        progress = rotation.progress
        pair = self._new_pair(progress)
        if pair is None:
            text = "the new secret is lost: it was sealed in the state file and is not there any more"
            lost = replace(progress, wish=Wish.ROLL_BACK)
            return self._keep(rotation, lost, "outcome", text), None
        self._boundary("before:prove")
        found = {self._endpoint.prove(pair, region=region) for region in progress.terms.regions or (None,)}
        now = self._endpoint.now_ms()
        if found == {Proof.ACCEPTED}:
            proven = replace(
                progress,
                proofs=progress.proofs + 1,
                first_proof_at=progress.first_proof_at or now,
                last_proof_at=now,
            )
            return self._keep(
                rotation, proven, "outcome", f"the new key signed (proof {proven.proofs})"
            ), None
        # One refusal after a success means that the key is still on its way through the endpoint's copies.
        again = replace(progress, proofs=0, first_proof_at=None)
        why = "refused, still on its way" if Proof.REFUSED in found else "no answer"
        if again != progress:
            rotation = self._keep(rotation, again, "outcome", f"the new key does not sign yet: {why}")
        return rotation, Wait(now + 2_000, f"proving the new key: {why}")

    def _erase(self, rotation: Rotation, facts: Facts) -> Rotation:
        progress = rotation.progress
        assert not isinstance(facts.quiet_window, NotAsked)
        delivered = replace(
            progress,
            stage=Stage.ADOPT,
            stage_since=facts.now,
            delivered_at=facts.now,
            quiet_window=max(facts.quiet_window, progress.terms.quiet),
            attention=None,
        )
        with self._state.database.writing() as ledger:
            rotation = journal.keep(ledger, rotation, delivered)
            journal.erase(ledger, progress.rotation_id, NEW_PAIR)
            text = f"every sink holds {progress.new_key}; its secret is erased here"
            journal.note(ledger, progress.rotation_id, facts.now, "outcome", text)
        self._boundary("kept:erase")
        return rotation

    def _change_key(self, rotation: Rotation, act: Act, facts: Facts) -> tuple[Rotation, Wait | None]:
        """The acts on keys that may be repeated: what they leave is read from the world."""
        progress = rotation.progress
        target = AccessKeyId(act.target)
        keeps_create = progress.intent is not None and progress.intent.act == ActKind.CREATE
        if not keeps_create:
            intent = Intent(act=act.kind.value, at=facts.now, target=target)
            progress = replace(progress, intent=intent)
        why = f": {act.why}" if act.why else ""
        rotation = self._keep(rotation, progress, "intent", f"{act.kind.value} {target}{why}")
        self._boundary(f"before:{act.kind.value}")
        try:
            self._do(act.kind, progress.user_name, target)
        except EndpointError as error:
            text = f"{act.kind.value} {target} did not succeed: {_short(error)}"
            is_lasting = not isinstance(error, EndpointUnavailableError)
            attention = f"{text}: look at the permissions" if is_lasting else None
            return rotation, Wait(facts.now + min(progress.terms.poll, 5_000), text, attention)
        self._boundary(f"after:{act.kind.value}")
        done = _after_change(progress, act, self._endpoint.now_ms())
        return self._keep(rotation, done, _kind_of(act, progress), f"{act.kind.value} {target}{why}"), None

    def _do(self, kind: ActKind, user_name: str, target: AccessKeyId) -> None:
        match kind:
            case ActKind.DEACTIVATE | ActKind.DEACTIVATE_NEW | ActKind.DEACTIVATE_ORPHAN:
                self._endpoint.set_status(user_name, target, AccessKeyStatus.INACTIVE)
            case ActKind.REACTIVATE:
                self._endpoint.set_status(user_name, target, AccessKeyStatus.ACTIVE)
            case _:
                try:
                    self._endpoint.delete(user_name, target)
                except NoSuchKeyError:
                    return  # a repeat: it is gone already

    # Sinks

    def _deliver(self, rotation: Rotation, name: str, facts: Facts) -> Rotation:
        """Snapshot, write, read back, reload; each kept before the next."""
        try:
            sink = self._sinks(name)
            rotation = self._deliver_to(rotation, sink)
        except (SinkError, KeyturnError) as error:
            rotation = self._sink_failed(rotation, name, error, facts)
        return rotation

    def _deliver_to(self, rotation: Rotation, sink: Sink) -> Rotation:
        progress = rotation.progress
        here = _sink(progress, sink.name)
        pair = self._new_pair(progress)
        if pair is None:
            raise SinkRefusedError("the new secret is not at hand any more, and no other sink shows it")
        traits = sink.describe()
        is_repeat = here.stage is SinkStage.WRITING
        if here.stage is SinkStage.PENDING:
            held = sink.read()
            if held.access_key_id not in {None, progress.old_key, progress.new_key}:
                raise SinkRefusedError(
                    f"it holds {held.access_key_id}, which is neither the old key nor the new one"
                )
            here = replace(
                here,
                stage=SinkStage.WRITING,
                version_before=held.version,
                had_key=held.access_key_id if held.access_key_id != progress.new_key else here.had_key,
                is_readable=traits.read_back is ReadBack.PAIR,
            )
            with self._state.database.writing() as ledger:
                if held.pair is not None and held.pair.access_key_id != progress.new_key:
                    self._state.put_pair(
                        ledger, progress.rotation_id, progress.account_id, sink.name, held.pair
                    )
                rotation = journal.keep(ledger, rotation, _with_sink(progress, here))
                journal.note(
                    ledger, progress.rotation_id, self._endpoint.now_ms(), "intent", f"write to {sink.name}"
                )
            self._boundary(f"kept:snapshot:{sink.name}")
        if here.stage is SinkStage.WRITING:
            context = _context(progress, here, "out", is_repeat=is_repeat)
            before = Held(
                here.had_key,
                self._state.pair(progress.rotation_id, progress.account_id, sink.name),
                here.version_before,
            )
            self._boundary(f"before:write:{sink.name}")
            sink.write(pair, expect=before, context=context)
            self._boundary(f"after:write:{sink.name}")
            if not sink.holds(pair, before=before):
                raise SinkUnavailableError("it says that it was written, and does not hold the new key")
            here = replace(here, stage=SinkStage.CONFIRMED, problem=None, attempts=0)
            text = f"{sink.name} holds {pair.access_key_id}"
            rotation = self._keep(rotation, _with_sink(rotation.progress, here), "outcome", text)
        self._boundary(f"before:reload:{sink.name}")
        sink.reload(_context(progress, here, "reload", is_repeat=False))
        self._boundary(f"after:reload:{sink.name}")
        here = replace(here, stage=SinkStage.RELOADED, problem=None, needs_someone=False)
        text = f"{sink.name}: consumers were told" if traits.has_reload else f"{sink.name} is done"
        return self._keep(rotation, _with_sink(rotation.progress, here), "outcome", text)

    def _restore(self, rotation: Rotation, name: str, facts: Facts) -> Rotation:
        try:
            return self._restore_to(rotation, self._sinks(name))
        except (SinkError, KeyturnError) as error:
            return self._sink_failed(rotation, name, error, facts)

    def _restore_to(self, rotation: Rotation, sink: Sink) -> Rotation:
        progress = rotation.progress
        here = _sink(progress, sink.name)
        held = sink.read()
        old = self._old_pair(progress, sink.name)
        # By the pair and not by the id: a sink of two fields may hold the one of the old and the other of the new.
        is_old = held.access_key_id == progress.old_key if old is None else held.pair == old
        context = _context(progress, here, "back", is_repeat=here.attempts > 0)
        if not (here.is_readable and is_old):
            if old is None:
                raise SinkRefusedError(
                    "what it held before is not known here: it does not show its values, and no other sink does"
                )
            if self._endpoint.prove(old) is Proof.REFUSED:
                raise SinkUnavailableError("the old pair is not accepted (yet): nothing was written back")
            if here.is_readable and held.access_key_id not in {progress.new_key, progress.old_key}:
                raise SinkChangedError(f"it holds {held.access_key_id}: somebody else has written it")
            self._boundary(f"before:restore:{sink.name}")
            sink.write(old, expect=held, context=context)
            self._boundary(f"after:restore:{sink.name}")
            if not sink.holds(old, before=held):
                raise SinkUnavailableError("it says that it was written, and does not hold the old key")
        sink.reload(context)  # also on a repeat: the one before may have died in front of it
        here = replace(here, stage=SinkStage.RESTORED, problem=None, needs_someone=False)
        changed = replace(_with_sink(progress, here), stage_since=self._endpoint.now_ms())
        return self._keep(rotation, changed, "outcome", f"{sink.name} holds {progress.old_key} again")

    def _sink_failed(
        self, rotation: Rotation, name: str, error: SinkError | KeyturnError, facts: Facts
    ) -> Rotation:
        rotation = self._rotation(rotation.progress.rotation_id)  # as far as it got
        here = _sink(rotation.progress, name)
        backoff = min(1_000 * 2 ** min(here.attempts, 10), _LONGEST_BACKOFF)
        if isinstance(error, SinkUnavailableError) and error.retry_after is not None:
            backoff = max(backoff, int(error.retry_after * 1_000))
        here = replace(
            here,
            attempts=here.attempts + 1,
            problem=_short(error),
            needs_someone=not isinstance(error, SinkUnavailableError),
            next_at=facts.now + backoff,
        )
        return self._keep(rotation, _with_sink(rotation.progress, here), "problem", f"{name}: {here.problem}")

    def _new_pair(self, progress: Progress) -> AccessKeyPair | None:
        """The new pair: sealed here until the last sink confirmed, and after that only where a sink shows it."""
        kept = self._state.pair(progress.rotation_id, progress.account_id, NEW_PAIR)
        if kept is not None:
            return kept
        for sink in progress.sinks:
            held = self._held(sink.name)
            if not isinstance(held, str) and held.pair and held.pair.access_key_id == progress.new_key:
                return held.pair
        return None

    def _old_pair(self, progress: Progress, name: str) -> AccessKeyPair | None:
        for holder in (name, *(sink.name for sink in progress.sinks)):
            pair = self._state.pair(progress.rotation_id, progress.account_id, holder)
            if pair is not None and pair.access_key_id == progress.old_key:
                return pair
        return None


def _after_change(progress: Progress, act: Act, now: int) -> Progress:
    """What is known once the act has succeeded."""
    keeps_create = progress.intent is not None and progress.intent.act == ActKind.CREATE
    settled = progress if keeps_create else replace(progress, intent=None)
    match act.kind:
        case ActKind.DEACTIVATE if progress.stage is Stage.REHEARSE:
            return replace(settled, deactivated_at=now, is_deactivated_by_us=True)
        case ActKind.DEACTIVATE:
            return replace(
                settled,
                stage=Stage.WATCH,
                stage_since=now,
                deactivated_at=now,
                is_deactivated_by_us=True,
                attention=None,
            )
        case ActKind.REACTIVATE if progress.stage is Stage.WATCH:
            return replace(
                settled,
                stage=Stage.ADOPT,
                stage_since=now,
                delivered_at=now,
                deactivated_at=None,
                reactivations=progress.reactivations + 1,
                attention=act.why,
            )
        case ActKind.DEACTIVATE_NEW:
            return replace(settled, new_deactivated_at=now)
        case _:
            return settled


def _kind_of(act: Act, progress: Progress) -> str:
    """A re-activation is news for the operator; the other outcomes are only kept."""
    is_news = act.kind is ActKind.REACTIVATE and progress.stage is Stage.WATCH
    return "attention" if is_news else "outcome"


def _sink(progress: Progress, name: str) -> SinkProgress:
    return next(sink for sink in progress.sinks if sink.name == name)


def _with_sink(progress: Progress, changed: SinkProgress) -> Progress:
    sinks = tuple(changed if sink.name == changed.name else sink for sink in progress.sinks)
    return replace(progress, sinks=sinks)


def _context(progress: Progress, sink: SinkProgress, way: str, *, is_repeat: bool) -> WriteContext:
    """The same key for each repeat of one write, and another one for each write that follows another state."""
    words = f"{progress.rotation_id}/{sink.name}/{way}/{sink.had_key}/{sink.version_before}"
    key = str(uuid.uuid5(uuid.NAMESPACE_URL, words))
    return WriteContext(progress.rotation_id, progress.user_name, key, is_repeat)


def _short(error: Exception) -> str:
    text = error.message if isinstance(error, KeyturnError) else str(error)
    return text if len(text) <= _PROBLEM_LENGTH else text[: _PROBLEM_LENGTH - 1] + "…"


def _uuid(random: bytes) -> str:
    return str(uuid.UUID(bytes=random, version=4))


def _without_times(text: str) -> str:
    """Two waits that differ in their hours only are the same news."""
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z|\d+", "#", text)
