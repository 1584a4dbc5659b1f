"""Carries rotations on: re-read the world, decide by `plan.next_step`, note the intent, act, note the outcome.

`advance` is the whole engine. Nothing of a rotation lives in memory, so every start is a recovery; a crash
between an act and its record is found out from the world by the next call.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from keyturn.model.access_keys import AccessKeyId, AccessKeyStatus
from keyturn.model.errors import KeyturnError
from keyturn.rotation.delivery import Delivery
from keyturn.rotation.endpoint import (
    Endpoint,
    EndpointError,
    EndpointUnavailableError,
    NoSuchKeyError,
    NoSuchUserError,
    Proof,
    QuotaError,
    Unknown,
)
from keyturn.rotation.observation import Observer, WindowSizer, short
from keyturn.rotation.plan import (
    REPEATABLE,
    Act,
    ActKind,
    Ask,
    Facts,
    Finish,
    Health,
    Move,
    NotAsked,
    UserGone,
    Wait,
    next_step,
)
from keyturn.rotation.progress import Intent, Progress, SinkProgress, SinkStage, Stage, Terms, Wish
from keyturn.rotation.record import Record
from keyturn.rotation.sinks.interface import Sink
from keyturn.rotation.state import State
from keyturn.rotation.storage.journal import NEW_PAIR, Rotation

_MOST_STEPS: Final = 500
"""Steps in one call of `advance`: far more than a rotation has, so that a fault can't spin for ever."""
_TOO_OLD: Final = 5 * 60_000
"""A process that was paused for so long since it looked, in milliseconds, looks again before it acts."""


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
        self._boundary = boundary
        self._record = Record(state, endpoint.now_ms, boundary)
        self._observer = Observer(self._record, endpoint, sinks=sinks, check=check, window=window)
        self._delivery = Delivery(self._record, endpoint, self._observer, sinks=sinks, boundary=boundary)

    def advance(self, rotation_id: str, *, told: Callable[[Progress], None] | None = None) -> Outcome:
        """Go on until there is something to wait for. KeyturnError if there is no such rotation.

        LockedByAnotherError if another process is at it. `told` hears of each change on the way.
        """
        rotation = self._record.rotation(rotation_id)
        with self._state.user_lock(rotation.progress.account_id, rotation.progress.user_name):
            rotation = self._record.rotation(rotation_id)  # read again: the one before us may have gone on
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
        rotation = self._record.rotation(rotation_id)
        with self._state.user_lock(rotation.progress.account_id, rotation.progress.user_name):
            rotation = self._record.rotation(rotation_id)
            progress = rotation.progress
            if rotation.finished_at is not None:
                raise KeyturnError(f"the rotation {rotation_id} is over: {progress.stage.value}")
            is_resumed = not (pause or roll_back or abort)
            is_going_back = progress.stage is Stage.ROLL_BACK
            if is_going_back and is_resumed and progress.wish is not Wish.PAUSE:
                raise KeyturnError(
                    f"the rotation {rotation_id} is on its way back",
                    f"it goes on by itself; keyturn rollback {rotation_id} asks a sink that refused again",
                )
            if abort and any(sink.stage is not SinkStage.PENDING or sink.was_out for sink in progress.sinks):
                raise KeyturnError(
                    "sinks have taken the new key already: to stop here would leave them between two keys",
                    f"keyturn rollback {rotation_id} puts the old key back",
                )
            wanted = (
                Wish.ABORT
                if abort
                else Wish.ROLL_BACK
                if roll_back or (is_going_back and is_resumed)
                else Wish.PAUSE
                if pause
                else Wish.RUN
            )
            sinks = progress.sinks
            if not pause:
                sinks = tuple(_asked_again(sink, progress, deliver_again) for sink in sinks)
            changed = replace(
                progress,
                wish=wanted,
                next_at=0,
                attention=None,
                sinks=sinks,
                terms=terms(progress.terms) if terms else progress.terms,
            )
            if deliver_again and is_resumed and progress.stage in {Stage.ADOPT, Stage.WATCH}:
                changed = replace(changed, stage=Stage.DELIVER, stage_since=self._endpoint.now_ms())
            return self._record.keep(rotation, changed, "wish", wanted.value).progress

    def _advance(self, rotation: Rotation, told: Callable[[Progress], None]) -> Outcome:
        facts = self._observer.fresh_facts()
        for _ in range(_MOST_STEPS):
            step = next_step(rotation.progress, facts)
            match step:
                case Ask(questions):
                    facts = self._observer.found_out(rotation.progress, facts, questions)
                    continue
                case Move(progress, why):
                    rotation = self._record.keep(rotation, progress, "moved", why)
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
            facts = self._observer.fresh_facts()
        raise KeyturnError(
            f"the rotation {rotation.progress.rotation_id} goes in circles: this is a fault of Keyturn"
        )

    def _wait(self, rotation: Rotation, step: Wait) -> Outcome:
        progress = rotation.progress
        changed = replace(progress, next_at=step.until, waiting_for=step.why, attention=step.attention)
        if changed != progress:
            is_news = step.attention is not None and step.attention != progress.attention
            is_other = _without_times(step.why) != _without_times(progress.waiting_for)
            if is_news or is_other:
                kind = "attention" if step.attention is not None else "waiting"
                text = step.attention or step.why
                rotation = self._record.keep(rotation, changed, kind, text, boundary="kept:wait")
            else:
                rotation = self._record.keep_quietly(rotation, changed)
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
        kept = self._record.finish(rotation, progress, why)
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
                return self._delivery.deliver(rotation, act.target, facts), None
            case ActKind.RESTORE:
                return self._delivery.restore(rotation, act.target, facts), None
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
            rotation = self._record.keep(rotation, replace(progress, intent=intent), "intent", "create a key")
            progress = rotation.progress
        intent_now = progress.intent
        assert intent_now is not None
        self._boundary("before:create")
        late = self._endpoint.now_ms() - (facts.now if act.kind is ActKind.CREATE else intent_now.at)
        if late > REPEATABLE:
            # Paused in between: others may have made keys meanwhile, and a repeat would make a second one.
            kept_intent = None if act.kind is ActKind.CREATE else replace(intent_now, may_repeat=False)
            changed = replace(progress, intent=kept_intent)
            return self._record.keep(rotation, changed, "outcome", "not asked: it is too late for that"), None
        try:
            pair = self._endpoint.create(
                progress.user_name,
                invocation_id=intent_now.invocation_id,
                rotation_id=progress.rotation_id,
            )
        except EndpointUnavailableError as error:
            # Whether a key was made is not known: the intent stays, and the next round looks.
            return rotation, Wait(
                facts.now + 1_000, f"whether the key was created is not known: {short(error)}"
            )
        except EndpointError as error:
            if act.kind is ActKind.CREATE_AGAIN:
                given_up = replace(progress, intent=replace(intent_now, may_repeat=False))
                return self._record.keep(
                    rotation, given_up, "outcome", f"not answered again: {short(error)}"
                ), None
            rotation = self._record.keep(
                rotation, replace(progress, intent=None), "outcome", f"no key was created: {short(error)}"
            )
            if isinstance(error, NoSuchUserError):
                return rotation, Wait(facts.now + 1_000, f"no key could be created: {short(error)}")
            then = "free a slot" if isinstance(error, QuotaError) else "look at the permissions"
            why = f"no key could be created: {short(error)}"
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
        text = f"created {pair.access_key_id}"
        return self._record.keep(
            rotation, created, "outcome", text, seal=(NEW_PAIR, pair), boundary="kept:create"
        ), None

    def _prove(self, rotation: Rotation) -> tuple[Rotation, Wait | None]:
        progress = rotation.progress
        pair = self._delivery.new_pair(progress)
        if pair is None:
            text = "the new secret is lost: it was sealed in the state file and is not there any more"
            lost = replace(progress, wish=Wish.ROLL_BACK)
            return self._record.keep(rotation, lost, "outcome", text), None
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
            return self._record.keep(
                rotation, proven, "outcome", f"the new key signed (proof {proven.proofs})"
            ), None
        # One refusal after a success means that the key is still on its way through the endpoint's copies.
        again = replace(progress, proofs=0, first_proof_at=None)
        why = "refused, still on its way" if Proof.REFUSED in found else "no answer"
        if again != progress:
            rotation = self._record.keep(rotation, again, "outcome", f"the new key does not sign yet: {why}")
        if now <= progress.stage_since + progress.terms.prove_patience:
            return rotation, Wait(now + 2_000, f"proving the new key: {why}")
        what = "the new key is still not accepted"
        until = now + min(progress.terms.poll, 60_000)
        return rotation, Wait(
            until, what, f"{what}: keyturn rollback {progress.rotation_id} removes it again"
        )

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
        text = f"every sink holds {progress.new_key}; its secret is erased here"
        return self._record.keep(rotation, delivered, "outcome", text, erase=NEW_PAIR, boundary="kept:erase")

    def _change_key(self, rotation: Rotation, act: Act, facts: Facts) -> tuple[Rotation, Wait | None]:
        """The acts on keys that may be repeated: what they leave is read from the world."""
        progress = rotation.progress
        target = AccessKeyId(act.target)
        keeps_create = progress.intent is not None and progress.intent.act == ActKind.CREATE
        if not keeps_create:
            intent = Intent(act=act.kind.value, at=facts.now, target=target)
            progress = replace(progress, intent=intent)
        why = f": {act.why}" if act.why else ""
        rotation = self._record.keep(rotation, progress, "intent", f"{act.kind.value} {target}{why}")
        self._boundary(f"before:{act.kind.value}")
        try:
            if not self._is_as_it_was(progress, facts):
                settled = progress if keeps_create else replace(progress, intent=None)
                why = "something has changed since it was looked at"
                rotation = self._record.keep(
                    rotation, settled, "outcome", f"{act.kind.value} left undone: {why}"
                )
                return rotation, Wait(facts.now + 1_000, why)
            self._do(act.kind, progress.user_name, target)
        except EndpointError as error:
            text = f"{act.kind.value} {target} did not succeed: {short(error)}"
            # What is gone is seen in the next round; but who misses a key that is gone has to be told.
            is_gone = (
                isinstance(error, NoSuchUserError | NoSuchKeyError) and act.kind is not ActKind.REACTIVATE
            )
            is_lasting = not isinstance(error, EndpointUnavailableError) and not is_gone
            attention = f"{text}: look at the permissions" if is_lasting else None
            return rotation, Wait(facts.now + min(progress.terms.poll, 5_000), text, attention)
        self._boundary(f"after:{act.kind.value}")
        now = self._endpoint.now_ms()
        done = _after_change(progress, act, facts.now, now)
        rotation = self._record.keep(
            rotation, done, _kind_of(act, progress), f"{act.kind.value} {target}{why}"
        )
        if facts.traits.exact_revocation:
            return rotation, None
        # The listing lags behind the act: to look at once would be to do it again.
        return rotation, Wait(now + 2_000, f"{act.kind.value} {target} is on its way through the endpoint")

    def _is_as_it_was(self, progress: Progress, facts: Facts) -> bool:
        """Whether the keys are still what the act was decided on: this process may have been paused meanwhile."""
        if self._endpoint.now_ms() - facts.now > _TOO_OLD:
            return False
        assert not isinstance(facts.keys, Unknown | UserGone | NotAsked)
        states = {key.access_key_id: key.status for key in self._endpoint.keys(progress.user_name)}
        return states == {key.access_key_id: key.status for key in facts.keys}

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


def _after_change(progress: Progress, act: Act, began: int, now: int) -> Progress:
    """What is known once the act has succeeded. An attempt may have failed as soon as it `began`."""
    keeps_create = progress.intent is not None and progress.intent.act == ActKind.CREATE
    settled = progress if keeps_create else replace(progress, intent=None)
    match act.kind:
        case ActKind.DEACTIVATE if progress.stage is Stage.REHEARSE:
            return replace(settled, deactivated_at=began, is_deactivated_by_us=True)
        case ActKind.DEACTIVATE:
            return replace(
                settled,
                stage=Stage.WATCH,
                stage_since=now,
                deactivated_at=began,
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
                is_deactivated_by_us=False,
                reactivations=progress.reactivations + 1,
                old_active_since=now,
                attention=act.why,
            )
        case ActKind.REACTIVATE if progress.stage is Stage.ROLL_BACK:
            if act.target == progress.new_key:
                return replace(settled, new_deactivated_at=None)
            return replace(settled, deactivated_at=None, is_deactivated_by_us=False, old_active_since=now)
        case ActKind.DEACTIVATE_NEW:
            return replace(settled, new_deactivated_at=now)
        case _:
            return settled


def _asked_again(sink: SinkProgress, progress: Progress, deliver_again: bool) -> SinkProgress:  # noqa: FBT001 - a word of the wish
    """Who resumes has mended what was wrong: a sink that refused is asked again."""
    stage = sink.stage
    if progress.stage is Stage.ROLL_BACK:
        stage = SinkStage.RELOADED if stage is SinkStage.RESTORED else stage
    elif deliver_again:
        stage = SinkStage.PENDING
    was_out = sink.was_out or sink.stage is not SinkStage.PENDING
    return replace(sink, needs_someone=False, next_at=0, attempts=0, stage=stage, was_out=was_out)


def _kind_of(act: Act, progress: Progress) -> str:
    """A re-activation is news for the operator; the other outcomes are only kept."""
    is_news = act.kind is ActKind.REACTIVATE and progress.stage is Stage.WATCH
    return "attention" if is_news else "outcome"


def _uuid(random: bytes) -> str:
    return str(uuid.UUID(bytes=random, version=4))


def _without_times(text: str) -> str:
    """Two waits that differ in their hours only are the same news."""
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z|\d+", "#", text)
