"""What a rotation does next: a pure function of how far it has come and of what was found out.

`next_step` never acts and never asks: where it lacks a fact it says which question is open. The engine asks,
acts and keeps the record. Every order of acts that keeps a service up, and every refusal to go on, stands here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import Final

from keyturn.model.access_keys import KEYS_PER_USER, AccessKeyId, AccessKeyStatus
from keyturn.model.clock import iso8601
from keyturn.rotation.endpoint import (
    Consumer,
    EndpointTraits,
    LastUse,
    LiveSession,
    Proof,
    Unknown,
    Used,
    UserKey,
)
from keyturn.rotation.progress import Progress, Seen, SinkProgress, SinkStage, Stage, Wish
from keyturn.rotation.sinks.interface import Held

OWN_AGENT: Final = "keyturn-rotation"
"""What the user agent of our own control calls holds."""
REPEATABLE: Final = 55_000
"""For how long a create may be asked again where that is idempotent: within the 60 s that are promised."""
CLOCK_SLACK: Final = 60_000
_CLOSE: Final = 3_000
"""Clocks that differ by less count as one. Milliseconds."""
SETTLE: Final = 30_000
"""How long a change may take to be everywhere, and its listing to show it, where revocation is not exact.

Milliseconds; twice the longest that was seen."""
_FAR: Final = 365 * 24 * 3600 * 1000
_BUSY: Final = frozenset({SinkStage.WRITING, SinkStage.CONFIRMED, SinkStage.RELOADED})


class NotAsked(Enum):
    NOT_ASKED = 0


NOT_ASKED: Final = NotAsked.NOT_ASKED


class Question(StrEnum):
    """What the engine may be asked to find out."""

    KEYS = "keys"
    OLD_USE = "old-use"
    NEW_USE = "new-use"
    OTHERS = "others"
    """Last use and maker of the keys that are neither the old one nor the new one."""
    OLD_CONSUMERS = "old-consumers"
    NEW_CONSUMERS = "new-consumers"
    SESSIONS = "sessions"
    SINKS = "sinks"
    PROOF = "proof"
    SIGNER = "signer"
    CANARY = "canary"
    INCIDENT = "incident"
    HISTORY = "history"


class Health(StrEnum):
    """What the operator's own check says of the service."""

    NONE = "none"
    """There is no check."""
    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"
    """It did not come to a result."""


@dataclass(frozen=True, slots=True)
class Other:
    """A key that is neither old nor new."""

    use: LastUse
    made_by: str | None
    """The rotation that made it; `` for somebody else; None: it can't be found out."""


@dataclass(frozen=True, slots=True)
class UserGone:
    """The user does not exist any more."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out in this round. Times are epoch milliseconds of the endpoint's clock."""

    now: int
    traits: EndpointTraits
    keys: Sequence[UserKey] | Unknown | UserGone | NotAsked = NOT_ASKED
    old_use: LastUse | NotAsked = NOT_ASKED
    new_use: LastUse | NotAsked = NOT_ASKED
    others: Mapping[AccessKeyId, Other] | NotAsked = NOT_ASKED
    old_consumers: Sequence[Consumer] | NotAsked | None = NOT_ASKED
    new_consumers: Sequence[Consumer] | NotAsked | None = NOT_ASKED
    sessions: Sequence[LiveSession] | NotAsked | None = NOT_ASKED
    sinks: Mapping[str, Held | str] | NotAsked = NOT_ASKED
    """What each sink holds, or the sentence that says why that is not known."""
    proof: Proof | NotAsked | None = NOT_ASKED
    """None: no sink shows the pair, so it can't be proved through one."""
    signer: AccessKeyId | Unknown | NotAsked | None = NOT_ASKED
    """The key that signs the control calls; None: they are signed by a session."""
    canary: Health | NotAsked = NOT_ASKED
    is_under_incident: bool | NotAsked | None = NOT_ASKED
    quiet_window: int | NotAsked = NOT_ASKED
    """As sized by the old key's own history."""


class ActKind(StrEnum):
    FREE_SLOT = "free-slot"
    CREATE = "create"
    CREATE_AGAIN = "create-again"
    DEACTIVATE_ORPHAN = "deactivate-orphan"
    DELETE_ORPHAN = "delete-orphan"
    PROVE = "prove"
    DELIVER = "deliver"
    ERASE = "erase"
    """Forget the new secret: the last sink has confirmed."""
    DEACTIVATE = "deactivate"
    REACTIVATE = "reactivate"
    DELETE = "delete"
    RESTORE = "restore"
    DEACTIVATE_NEW = "deactivate-new"
    DELETE_NEW = "delete-new"


@dataclass(frozen=True, slots=True)
class Ask:
    questions: frozenset[Question]


@dataclass(frozen=True, slots=True)
class Act:
    kind: ActKind
    target: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """Nothing happens outside: only what is known changes."""

    progress: Progress
    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    until: int
    why: str
    attention: str | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    stage: Stage
    why: str


Step = Ask | Act | Move | Wait | Finish


def next_step(progress: Progress, facts: Facts) -> Step:
    """The one thing to do now."""
    if progress.is_final:
        return Finish(progress.stage, "it is over")
    if facts.keys is NOT_ASKED:
        return _ask(Question.KEYS)
    if isinstance(facts.keys, UserGone):
        return Finish(Stage.ABORTED, f"the user {progress.user_name} does not exist any more")
    if isinstance(facts.keys, Unknown):
        return Wait(
            facts.now + progress.terms.poll,
            f"the endpoint does not say which keys there are: {facts.keys.why}",
        )
    keys = {key.access_key_id: key for key in facts.keys}
    if progress.stage is Stage.REHEARSE:
        return _rehearse(progress, facts, keys)
    if progress.wish in {Wish.ROLL_BACK, Wish.ABORT} and progress.stage is not Stage.ROLL_BACK:
        changed = replace(progress, stage=Stage.ROLL_BACK, stage_since=facts.now, attention=None)
        return Move(changed, "it is undone, as the operator wished")
    if progress.wish is Wish.PAUSE and progress.stage is not Stage.WATCH:
        return Wait(facts.now + _FAR, f"it is paused; `keyturn resume {progress.rotation_id}` lets it go on")
    match progress.stage:
        case Stage.CREATE:
            return _create(progress, facts, keys)
        case Stage.PROVE:
            return _prove(progress, facts, keys)
        case Stage.DELIVER:
            return _deliver(progress, facts, keys)
        case Stage.ADOPT:
            return _adopt(progress, facts, keys)
        case Stage.WATCH:
            return _watch(progress, facts, keys)
        case _:
            return _roll_back(progress, facts, keys)


# Create


def _create(progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey]) -> Step:
    if progress.new_key is not None:
        return Move(_to(progress, Stage.PROVE, facts), "the new key exists")
    unsettled = _settle_create(progress, facts, keys)
    if unsettled is not None:
        return unsettled
    is_dead = progress.old_key is not None and progress.old_key not in keys
    if is_dead and not progress.terms.is_emergency:
        return Finish(Stage.ABORTED, f"somebody else has removed {progress.old_key} before anything was done")
    if len(keys) >= KEYS_PER_USER:
        return _free_slot(progress, facts, keys)
    return Act(ActKind.CREATE, progress.user_name)


def _free_slot(progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey]) -> Step:
    named = progress.terms.free_slot
    if named is None or named not in keys or named == progress.old_key:
        return _attention(
            progress,
            facts,
            f"the user has {len(keys)} keys, as many as there may be",
            "look at `keyturn keys`, then name the one to delete: --free-slot KEYID",
        )
    if keys[named].status is AccessKeyStatus.ACTIVE:
        return _attention(
            progress, facts, f"{named} is active, and an active key is never deleted", "deactivate it first"
        )
    if facts.others is NOT_ASKED:
        return _ask(Question.OTHERS)
    use = facts.others[named].use
    if isinstance(use, Unknown):
        return Wait(facts.now + progress.terms.poll, f"when {named} was last used is not known: {use.why}")
    return Act(ActKind.FREE_SLOT, named)


def _settle_create(progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey]) -> Step | None:
    """A create whose outcome is not on record leaves a key whose secret nobody holds, or none. None: settled."""
    if progress.orphans:
        return _remove_orphan(progress, facts, keys)
    intent = progress.intent
    if intent is None or intent.act != ActKind.CREATE:
        return None
    is_wanted = progress.stage is Stage.CREATE
    repeats = facts.traits.idempotent_create and intent.may_repeat
    if is_wanted and repeats and facts.now - intent.at < REPEATABLE:
        return Act(ActKind.CREATE_AGAIN, progress.user_name)
    if not facts.traits.exact_revocation and facts.now < intent.at + SETTLE:
        return Wait(intent.at + SETTLE, "a create was cut off: the listing may lag behind it")
    suspects = [key for key in keys.values() if key.access_key_id not in intent.keys_before]
    if not suspects:
        return Move(replace(progress, intent=None), "the create that was cut off has made no key")
    if facts.others is NOT_ASKED:
        return _ask(Question.OTHERS)
    for key in suspects:
        other = facts.others[key.access_key_id]
        if other.made_by is not None and other.made_by != progress.rotation_id:
            continue
        if isinstance(other.use, Unknown):
            why = f"whether {key.access_key_id} was ever used is not known: {other.use.why}"
            return Wait(facts.now + progress.terms.poll, why)
        ours = other.made_by == progress.rotation_id
        if isinstance(other.use, Used) and not ours and not is_wanted:
            continue  # stopped by the operator: somebody uses it, so it is not what we lost
        if isinstance(other.use, Used) or (not ours and key.created_at < intent.at - CLOCK_SLACK):
            return _attention(
                progress,
                facts,
                f"the key {key.access_key_id} appeared while a create of ours was cut off, and it is in use",
                "find out whose it is; delete it, or `keyturn abort` this rotation",
            )
        if not ours and facts.now < key.created_at + progress.terms.orphan_age:
            why = f"{key.access_key_id} may be what a create of ours left behind: it is watched for a while"
            return Wait(key.created_at + progress.terms.orphan_age, why)
        since = None if ours else facts.now
        marked = replace(progress, orphans=(key.access_key_id,), orphan_since=since)
        return Move(
            marked, f"{key.access_key_id} is what a create of ours left behind: nobody holds its secret"
        )
    return Move(replace(progress, intent=None), "the keys that appeared meanwhile were made by somebody else")


def _remove_orphan(progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey]) -> Step:
    orphan = progress.orphans[0]
    left = replace(progress, orphans=progress.orphans[1:], orphan_since=None, intent=None)
    if orphan not in keys:
        return Move(left, f"{orphan} is gone")
    if facts.others is NOT_ASKED:
        return _ask(Question.OTHERS)
    use = facts.others[orphan].use
    if isinstance(use, Unknown):
        return Wait(
            facts.now + progress.terms.poll, f"whether {orphan} was ever used is not known: {use.why}"
        )
    if isinstance(use, Used):
        if progress.stage is Stage.ROLL_BACK and facts.others[orphan].made_by != progress.rotation_id:
            return Move(left, f"{orphan} is in use: it is somebody else's")
        return _attention(
            progress,
            facts,
            f"the key {orphan} was taken for an orphan, and it was used at {iso8601(use.at)}",
            "find out whose it is, and activate it if it is needed; or `keyturn abort` this rotation",
        )
    if keys[orphan].status is AccessKeyStatus.ACTIVE:
        return Act(ActKind.DEACTIVATE_ORPHAN, orphan)
    if progress.orphan_since is not None and facts.now < progress.orphan_since + progress.terms.orphan_age:
        until = progress.orphan_since + progress.terms.orphan_age
        return Wait(until, f"the orphan {orphan} is inactive, and deleted if nobody misses it")
    return Act(ActKind.DELETE_ORPHAN, orphan)


# Prove and deliver


def _prove(progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey]) -> Step:
    lost = _without_new(progress, facts, keys)
    if lost is not None:
        return lost
    other = _not_alone(progress, facts, keys)
    if other is not None:
        return other
    terms = progress.terms
    is_exact = facts.traits.exact_revocation
    # A copy of the endpoint that lags is met by chance: the proofs are spread over as long as a change can take.
    needed, span = (1, 0) if is_exact else (max(1, terms.proofs), max(terms.proof_span, SETTLE))
    if progress.proofs:
        assert progress.first_proof_at is not None
        assert progress.last_proof_at is not None
        if progress.proofs >= needed and progress.last_proof_at - progress.first_proof_at >= span:
            if facts.old_consumers is NOT_ASKED and progress.old_key is not None:
                return _ask(Question.OLD_CONSUMERS)
            if _must_be_known(facts) and facts.now <= progress.stage_since + terms.prove_patience:
                return Wait(facts.now + 5_000, "who uses the old key is not known")
            moved = replace(_to(progress, Stage.DELIVER, facts), seen=_seen(facts.old_consumers))
            return Move(moved, f"the new key has signed {progress.proofs} times")
        due = progress.last_proof_at + span // max(1, needed - 1)
        if facts.now < due:
            return Wait(due, f"proving the new key: {progress.proofs} of {needed}")
    return Act(ActKind.PROVE)


def _not_alone(progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey]) -> Step | None:
    """Another key beside ours right after the create: another rotator is at this user, for the quota can be raced.

    No sink knows our key yet, so ours goes; two who both do so have lost nothing but time.
    """
    known = {progress.old_key, progress.new_key, progress.terms.free_slot}
    others = [
        key
        for key in keys.values()
        if key.access_key_id not in known and key.status is AccessKeyStatus.ACTIVE
    ]
    if not others:
        return None
    if facts.others is NOT_ASKED:
        return _ask(Question.OTHERS)
    for key in others:
        name = key.access_key_id
        if facts.others[name].made_by == progress.rotation_id:
            marked = replace(progress, orphans=(name,), orphan_since=None, wish=Wish.ROLL_BACK)
            return Move(marked, f"a create of ours was answered twice, and left {name} behind")
    names = ", ".join(key.access_key_id for key in others)
    gone = replace(progress, wish=Wish.ROLL_BACK)
    return Move(gone, f"another rotator is at this user: {names} appeared beside our key, and ours goes")


def _must_be_known(facts: Facts) -> bool:
    """The endpoint can say who signs with a key, and did not."""
    return facts.traits.reports_refused_attempts and facts.old_consumers is None


def _without_new(progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey]) -> Step | None:
    """The way back, where the new key is not there or not active; None if it is."""
    new = None if progress.new_key is None else keys.get(progress.new_key)
    if new is None:
        if not facts.traits.exact_revocation and facts.now < progress.stage_since + SETTLE:
            return Wait(facts.now + 1_000, "the new key is not listed yet")
        gone = replace(progress, wish=Wish.ROLL_BACK)
        return Move(
            gone, f"somebody has deleted the new key {progress.new_key}: everything goes back to the old one"
        )
    if new.status is AccessKeyStatus.INACTIVE:
        return _attention(
            progress,
            facts,
            f"somebody has deactivated the new key {new.access_key_id}",
            "activate it, or `keyturn rollback` this rotation",
        )
    return None


def _deliver(progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey]) -> Step:
    lost = _without_new(progress, facts, keys)
    if lost is not None:
        return lost
    open_sinks = [sink for sink in progress.sinks if sink.stage is not SinkStage.RELOADED]
    for sink in open_sinks:
        if not sink.needs_someone and sink.next_at <= facts.now:
            return Act(ActKind.DELIVER, sink.name)
    if open_sinks:
        return _wait_for_sinks(progress, facts, open_sinks)
    if facts.quiet_window is NOT_ASKED:
        return _ask(Question.HISTORY)
    return Act(ActKind.ERASE)


def _wait_for_sinks(progress: Progress, facts: Facts, open_sinks: Sequence[SinkProgress]) -> Wait:
    """One sink that fails blocks the deactivation, and not the other sinks."""
    done = len(progress.sinks) - len(open_sinks)
    refusing = [sink for sink in open_sinks if sink.needs_someone]
    tired = [sink for sink in open_sinks if sink.attempts >= progress.terms.sink_attempts]
    told = "; ".join(f"{sink.name}: {sink.problem}" for sink in refusing or tired or open_sinks)
    why = f"sinks {done}/{len(progress.sinks)}; {told}"
    again = [sink.next_at for sink in open_sinks if not sink.needs_someone]
    until = min(again, default=facts.now + progress.terms.poll)
    verb = "rollback" if progress.stage is Stage.ROLL_BACK else "resume"
    attention = f"{told}. Both keys stay active; mend it and `keyturn {verb} {progress.rotation_id}`"
    return Wait(until, why, attention if refusing or tired else None)


# Adopt, deactivate, watch, delete


def _adopt(progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey]) -> Step:
    lost = _without_new(progress, facts, keys)
    if lost is not None:
        return lost
    old = None if progress.old_key is None else keys.get(progress.old_key)
    if old is None:
        return Finish(Stage.DONE, "there is no old key (any more)")
    if old.status is AccessKeyStatus.INACTIVE and progress.terms.is_emergency:
        return Finish(Stage.DONE, "the old key is dead, and deleted by whoever has killed it")
    if old.status is AccessKeyStatus.INACTIVE:
        if _is_spreading(facts, progress.old_active_since):
            return Wait(facts.now + 2_000, "the old key is active again, and the listing lags behind")
        ours = _is_deactivated_by_us(progress)
        begun = progress.intent is not None and progress.intent.act == ActKind.DEACTIVATE
        moved = replace(
            _to(progress, Stage.WATCH, facts),
            # Since the intent somebody may have failed, while nobody was listening.
            deactivated_at=progress.intent.at if progress.intent is not None and begun else facts.now,
            is_deactivated_by_us=ours,
            intent=None,
        )
        return Move(moved, "the old key is inactive" + ("" if ours else ": somebody else has done it"))
    missing = _missing(
        facts,
        Question.OLD_USE,
        Question.NEW_USE,
        Question.OLD_CONSUMERS,
        Question.NEW_CONSUMERS,
        Question.SESSIONS,
    )
    if missing:
        return Ask(missing)
    assert facts.old_use is not NOT_ASKED
    if not isinstance(facts.old_use, Unknown):
        used_at = facts.old_use.at if isinstance(facts.old_use, Used) else None
        if progress.old_used_since is None or used_at != progress.old_used_at:
            noted = replace(progress, old_used_at=used_at, old_used_since=facts.now)
            return Move(
                noted, f"the old key was last used {'never' if used_at is None else iso8601(used_at)}"
            )
    blocked = _still_needed(progress, facts)
    if blocked is not None:
        return blocked
    if not progress.terms.may_deactivate:
        return _attention(
            progress,
            facts,
            "the old key has fallen quiet, and the plan does not allow to deactivate it",
            f"keyturn resume {progress.rotation_id} --allow-deactivate",
        )
    return _proved_again(progress, facts) or Act(ActKind.DEACTIVATE, old.access_key_id)


def _still_needed(progress: Progress, facts: Facts) -> Wait | None:
    """Why the old key can't go yet, or None. What is not known blocks, as what is in use does."""
    assert progress.delivered_at is not None
    assert facts.old_use is not NOT_ASKED
    poll = facts.now + progress.terms.poll
    if isinstance(facts.old_use, Unknown):
        return Wait(poll, f"when the old key was last used is not known: {facts.old_use.why}")
    if isinstance(facts.new_use, Unknown):
        return Wait(poll, f"when the new key was last used is not known: {facts.new_use.why}")
    consumers = [each for each in _known(facts.old_consumers) if not _is_own(each)]
    last = max(
        [facts.old_use.at if isinstance(facts.old_use, Used) else 0, *(each.last_at for each in consumers)]
    )
    overdue = facts.now > progress.delivered_at + progress.terms.adopt_patience
    who = named(each for each in consumers if each.last_at > progress.delivered_at)
    quiet_from = max(progress.delivered_at, last, _answer_since(progress))
    window = max(progress.quiet_window, progress.terms.quiet)
    if facts.now < quiet_from + window:
        used = last > progress.delivered_at
        why = f"the old key must be quiet until {iso8601(quiet_from + window)}"
        if used:
            why += f"; it was used at {iso8601(last)}" + (f" by {who}" if who else "")
        attention = f"the old key is still in use{f' by {who}' if who else ''}" if used and overdue else None
        return Wait(min(quiet_from + window, poll), why, attention)
    if progress.terms.needs_adoption and not _is_adopted(progress, facts):
        attention = (
            "nobody has signed with the new key: have its consumers been restarted?" if overdue else None
        )
        return Wait(poll, "nobody has been seen signing with the new key yet", attention)
    return _session_left(progress, facts)


def _session_left(progress: Progress, facts: Facts) -> Wait | None:
    """Where revocation is exact, the sessions of a key end with it."""
    if not facts.traits.exact_revocation:
        return None
    poll = facts.now + progress.terms.poll
    if facts.sessions is None or facts.sessions is NOT_ASKED:
        return Wait(poll, f"which sessions of {progress.leaving} still run is not known")
    if not facts.sessions:
        return None
    until = max(session.expires_at for session in facts.sessions)
    arns = ", ".join(sorted({session.arn for session in facts.sessions})[:3])
    return Wait(
        min(until + 1_000, poll), f"a session of {progress.leaving} runs until {iso8601(until)}: {arns}"
    )


def _answer_since(progress: Progress) -> int:
    """A first answer says how it is; only one that has changed since shows that the key is at work."""
    if progress.old_used_at is None or progress.old_used_since is None or progress.delivered_at is None:
        return 0
    return progress.old_used_since if progress.old_used_at > progress.delivered_at else 0


def _is_adopted(progress: Progress, facts: Facts) -> bool:
    assert progress.delivered_at is not None
    if any(not _is_own(each) and not each.is_refused for each in _known(facts.new_consumers)):
        return True
    if not isinstance(facts.new_use, Used):
        return False
    ours = progress.last_proof_at or 0
    return facts.new_use.at > ours + 1_000 or facts.new_use.service != "sts"


def _watch(progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey]) -> Step:
    old = None if progress.old_key is None else keys.get(progress.old_key)
    if old is None:
        return _without_new(progress, facts, keys) or Finish(Stage.DONE, "the old key is gone")
    if old.status is AccessKeyStatus.ACTIVE:
        ours = progress.intent is not None and progress.intent.act == ActKind.REACTIVATE
        if not ours and _is_spreading(facts, progress.stage_since):
            return Wait(facts.now + 2_000, "the old key is inactive, and the listing lags behind")
        back = replace(
            _to(progress, Stage.ADOPT, facts),
            delivered_at=facts.now,
            deactivated_at=None,
            reactivations=progress.reactivations + (1 if ours else 0),
            is_deactivated_by_us=False,
            old_active_since=facts.now,
            intent=None,
        )
        return Move(back, "the old key is active again" + ("" if ours else ": somebody else has done it"))
    assert progress.deactivated_at is not None
    missing = _missing(facts, Question.CANARY, Question.OLD_CONSUMERS, Question.INCIDENT)
    if missing:
        return Ask(missing)
    signal, alert = _signals(progress, facts, keys)
    if signal is not None:
        may = (
            progress.terms.reactivates
            and progress.is_deactivated_by_us
            and progress.reactivations == 0
            and facts.is_under_incident is False
        )
        if may:
            return Act(ActKind.REACTIVATE, old.access_key_id, signal)
        return Wait(
            facts.now + progress.terms.watch_every, "the old key is missed, and stays inactive", signal
        )
    # A proved attempt, whoever it was, shows that the key is still out there: the waiting begins anew.
    tries = [each.last_at for each in _attempts(progress, facts)]
    due = max([progress.deactivated_at, *tries]) + max(1, progress.terms.keep_inactive)
    if progress.wish is Wish.PAUSE:
        return Wait(
            facts.now + progress.terms.watch_every, "it is paused; the old key is still watched", alert
        )
    if facts.now < due:
        why = f"the old key is inactive, and is deleted after {iso8601(due)} if nobody misses it"
        return Wait(min(due, facts.now + progress.terms.watch_every), why, alert)
    if _must_be_known(facts):
        return Wait(facts.now + progress.terms.poll, "whether anybody misses the old key is not known")
    if facts.canary is Health.UNKNOWN:
        why = "the health check comes to no result"
        return Wait(facts.now + progress.terms.poll, why, f"{why}: nothing is deleted until it does")
    if not progress.terms.may_delete:
        return _attention(
            progress,
            facts,
            f"nobody has missed {old.access_key_id}: it may be deleted, and that can't be undone",
            f"keyturn resume {progress.rotation_id} --allow-delete",
        )
    lost = _without_new(progress, facts, keys)
    if lost is not None:
        return lost
    return _proved_again(progress, facts) or Act(ActKind.DELETE, old.access_key_id)


def _signals(
    progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey]
) -> tuple[str | None, str | None]:
    """What may bring the old key back, and what is only told.

    Anybody can send attempts with the id, and a thief who has the secret sends proved ones from elsewhere: only
    a check of the operator's own, or a proved attempt by one who had used the key before the switch, counts.
    """
    assert progress.deactivated_at is not None
    new = None if progress.new_key is None else keys.get(progress.new_key)
    if new is None or new.status is AccessKeyStatus.INACTIVE:
        return f"the new key {progress.new_key} is not active any more", None
    if facts.canary is Health.BAD:
        return "the health check fails since the old key is inactive", None
    attempts = _attempts(progress, facts)
    missed = [each for each in attempts if Seen(each.source, each.agent) in progress.seen]
    if missed:
        return f"{named(missed)} still signs with the old key", None
    alert = f"{named(attempts)}, who never used it before, tries the old key" if attempts else None
    return None, alert


def listening_from(progress: Progress) -> int:
    """From when on a refused attempt counts. Endpoints may tell times to the second, and clocks may differ a little;
    but what was refused before a re-activation is not to be counted again.
    """
    assert progress.deactivated_at is not None
    slack = _CLOSE if progress.reactivations == 0 else 0
    return (progress.deactivated_at - slack) // 1_000 * 1_000


def _attempts(progress: Progress, facts: Facts) -> Sequence[Consumer]:
    """Who was refused since the old key is inactive."""
    since = listening_from(progress)
    return [each for each in _known(facts.old_consumers) if each.is_refused and each.last_at >= since]


def _proved_again(progress: Progress, facts: Facts) -> Step | None:
    """Prove before you destroy: every sink holds the key that stays, and it signs. None: so it is."""
    missing = _missing(facts, Question.SINKS, Question.PROOF, Question.SIGNER)
    if missing:
        return Ask(missing)
    assert facts.sinks is not NOT_ASKED
    if isinstance(facts.signer, Unknown):
        return Wait(
            facts.now + progress.terms.poll,
            f"which key signs the control calls is not known: {facts.signer.why}",
        )
    if facts.signer is not None and facts.signer == progress.leaving:
        return _attention(
            progress,
            facts,
            "the control calls are signed with the very key that is to go",
            "sign with another key",
        )
    is_back = progress.stage is Stage.ROLL_BACK
    for sink in progress.sinks:
        if is_back and sink.stage is SinkStage.PENDING:
            continue  # never written by us: whatever it holds, it is not ours to judge
        held = facts.sinks[sink.name]
        if isinstance(held, str):
            return Wait(facts.now + progress.terms.poll, f"sink {sink.name} can't be read: {held}", held)
        if sink.is_readable and held.access_key_id != progress.staying:
            holds = held.access_key_id or "no key"
            again = (
                f"rollback {progress.rotation_id}"
                if is_back
                else f"resume {progress.rotation_id} --deliver-again"
            )
            return _attention(
                progress,
                facts,
                f"sink {sink.name} holds {holds} instead of {progress.staying}: somebody else has written it",
                f"keyturn {again}",
            )
    if facts.proof is Proof.REFUSED:
        return _attention(
            progress, facts, f"{progress.staying}, as the sinks hold it, is refused", "look at the sinks"
        )
    if facts.proof is Proof.UNKNOWN:
        why = f"whether {progress.staying} signs is not known at the moment"
        return Wait(facts.now + progress.terms.poll, why)
    return None


# Back


def _roll_back(progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey]) -> Step:
    unsettled = _settle_create(progress, facts, keys)
    if unsettled is not None:
        return unsettled
    to_restore = [sink for sink in progress.sinks if _has_new(sink)]
    was_out = bool(to_restore) or any(sink.stage is SinkStage.RESTORED for sink in progress.sinks)
    old = None if progress.old_key is None else keys.get(progress.old_key)
    if old is None and was_out:
        return _no_way_back(progress, facts, keys)
    if old is not None:
        waking = _old_again(progress, facts, old, was_out=was_out)
        if waking is not None:
            return waking
    for sink in to_restore:
        if not sink.needs_someone and sink.next_at <= facts.now:
            return Act(ActKind.RESTORE, sink.name)
    if to_restore:
        return _wait_for_sinks(progress, facts, to_restore)
    return _remove_new(progress, facts, keys, was_out=was_out)


def _has_new(sink: SinkProgress) -> bool:
    return sink.stage in _BUSY or (sink.stage is SinkStage.PENDING and sink.was_out)


def _no_way_back(progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey]) -> Step:
    """Sinks have taken the new key, and there is no old one: only forward is a working key."""
    new = None if progress.new_key is None else keys.get(progress.new_key)
    if new is None:
        return Finish(
            Stage.ABORTED, "both keys are gone, and no sink holds a working one: begin a new rotation"
        )
    if new.status is AccessKeyStatus.INACTIVE:
        ours = progress.new_deactivated_at is not None or (
            progress.intent is not None and progress.intent.act == ActKind.DEACTIVATE_NEW
        )
        if not ours:
            return _attention(
                progress,
                facts,
                f"the old key is gone, and somebody has deactivated {new.access_key_id}",
                "activate it, and this goes on",
            )
        if facts.is_under_incident is NOT_ASKED:
            return _ask(Question.INCIDENT)
        if facts.is_under_incident:
            return _attention(
                progress, facts, "the old key is gone, and a quarantine is on the user", "see the incident"
            )
        return Act(ActKind.REACTIVATE, new.access_key_id, "the old key is gone")
    sinks = tuple(
        replace(sink, stage=SinkStage.PENDING, was_out=True, next_at=0, needs_someone=False, attempts=0)
        if sink.stage is SinkStage.RESTORED
        else sink
        for sink in progress.sinks
    )
    forward = replace(
        _to(progress, Stage.DELIVER, facts), wish=Wish.RUN, sinks=sinks, intent=None, new_deactivated_at=None
    )
    return Move(forward, "there is no old key to go back to: it goes on to the new one")


def _old_again(progress: Progress, facts: Facts, old: UserKey, *, was_out: bool) -> Step | None:
    """The old key has to be active, and known to be everywhere, before anybody is sent back to it."""
    if old.status is AccessKeyStatus.ACTIVE:
        if progress.intent is not None and progress.intent.act == ActKind.REACTIVATE:
            noted = replace(
                progress,
                intent=None,
                deactivated_at=None,
                is_deactivated_by_us=False,
                old_active_since=facts.now,
            )
            return Move(noted, "the old key is active again")
        since = progress.old_active_since
        if was_out and since is not None and _is_spreading(facts, since):
            return Wait(since + SETTLE, "the old key is active again, and on its way through the endpoint")
        return None
    if _is_spreading(facts, progress.old_active_since):
        return Wait(facts.now + 2_000, "the old key is active again, and the listing lags behind")
    ours = _is_deactivated_by_us(progress)
    if not was_out and not ours:
        return None
    if not ours:
        return _attention(
            progress,
            facts,
            f"somebody else has deactivated the old key {old.access_key_id}",
            "activate it if it may be used, and this goes on",
        )
    if facts.is_under_incident is NOT_ASKED:
        return _ask(Question.INCIDENT)
    if facts.is_under_incident:
        return _attention(
            progress,
            facts,
            "a quarantine is on the user: the old key is not activated again",
            "close the incident, or activate it yourself",
        )
    return Act(ActKind.REACTIVATE, old.access_key_id, "everything goes back to it")


def _is_spreading(facts: Facts, since: int | None) -> bool:
    """A change of then may not be everywhere yet, and the listing may flap."""
    return since is not None and not facts.traits.exact_revocation and facts.now < since + SETTLE


def _is_deactivated_by_us(progress: Progress) -> bool:
    is_begun = progress.intent is not None and progress.intent.act == ActKind.DEACTIVATE
    return progress.is_deactivated_by_us or is_begun


def _remove_new(
    progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey], *, was_out: bool
) -> Step:
    new = None if progress.new_key is None else keys.get(progress.new_key)
    if new is None and progress.new_key is not None and _is_spreading(facts, progress.stage_since):
        return Wait(
            progress.stage_since + SETTLE, "whether the new key is gone, or not listed yet, is not known"
        )
    if new is None:
        end = Stage.ABORTED if progress.wish is Wish.ABORT else Stage.ROLLED_BACK
        return Finish(end, "everything is as it was")
    if not was_out:
        if new.status is AccessKeyStatus.ACTIVE:
            return Act(ActKind.DEACTIVATE_NEW, new.access_key_id)
        return Act(ActKind.DELETE_NEW, new.access_key_id)
    if new.status is AccessKeyStatus.ACTIVE:
        missing = _missing(facts, Question.NEW_USE, Question.SINKS, Question.SESSIONS)
        if missing:
            return Ask(missing)
        return (
            _new_is_quiet(progress, facts)
            or _proved_again(progress, facts)
            or Act(ActKind.DEACTIVATE_NEW, new.access_key_id)
        )
    if progress.new_deactivated_at is None:
        return Move(replace(progress, new_deactivated_at=facts.now, intent=None), "the new key is inactive")
    due = progress.new_deactivated_at + max(1, progress.terms.keep_inactive)
    if facts.now < due:
        return Wait(due, f"the new key is inactive, and deleted after {iso8601(due)}")
    return _proved_again(progress, facts) or Act(ActKind.DELETE_NEW, new.access_key_id)


def _new_is_quiet(progress: Progress, facts: Facts) -> Wait | None:
    poll = facts.now + progress.terms.poll
    if isinstance(facts.new_use, Unknown):
        return Wait(poll, f"when the new key was last used is not known: {facts.new_use.why}")
    last = facts.new_use.at if isinstance(facts.new_use, Used) else 0
    until = max(progress.stage_since, last) + progress.terms.quiet
    if facts.now < until:
        return Wait(min(until, poll), f"the new key must be quiet until {iso8601(until)}")
    return _session_left(progress, facts)


# Rehearsal


def _rehearse(progress: Progress, facts: Facts, keys: Mapping[AccessKeyId, UserKey]) -> Step:
    """Inactive for a while, to hear who misses it; every way out of it leads over the re-activation."""
    old = None if progress.old_key is None else keys.get(progress.old_key)
    if old is None:
        return Finish(Stage.ABORTED, "the key is gone")
    if progress.deactivated_at is None:
        return _begin_rehearsal(progress, facts, old)
    if old.status is AccessKeyStatus.ACTIVE:
        return Finish(Stage.DONE, "; ".join(progress.notes) or "nobody was seen missing it")
    missing = _missing(facts, Question.CANARY, Question.OLD_CONSUMERS, Question.INCIDENT)
    if missing:
        return Ask(missing)
    attempts = _attempts(progress, facts)
    notes = tuple(f"{named([each])} missed it" for each in attempts)
    if facts.canary is Health.BAD:
        notes += ("the health check failed",)
    if set(notes) - set(progress.notes):
        noted = replace(progress, notes=tuple(dict.fromkeys((*progress.notes, *notes))))
        return Move(noted, "; ".join(notes))
    due = progress.deactivated_at + max(1, progress.terms.keep_inactive)
    known = any(Seen(each.source, each.agent) in progress.seen for each in attempts)
    is_stopped = progress.wish is not Wish.RUN
    if known or is_stopped or facts.canary is Health.BAD or facts.now >= due:
        if facts.is_under_incident:
            return _attention(
                progress, facts, "a quarantine is on the user: the key stays inactive", "see the incident"
            )
        return Act(ActKind.REACTIVATE, old.access_key_id, "; ".join(notes) or "the rehearsal is over")
    why = f"the key is inactive, and active again at {iso8601(due)}"
    return Wait(min(due, facts.now + progress.terms.watch_every), why)


def _begin_rehearsal(progress: Progress, facts: Facts, old: UserKey) -> Step:
    if old.status is AccessKeyStatus.INACTIVE:
        if progress.intent is not None and progress.intent.act == ActKind.DEACTIVATE:
            begun = replace(
                progress, deactivated_at=progress.intent.at, is_deactivated_by_us=True, intent=None
            )
            return Move(begun, "the key is inactive")
        return Finish(Stage.ABORTED, "the key was inactive before the rehearsal")
    if progress.wish is not Wish.RUN:
        return Finish(Stage.ABORTED, "it was stopped before it began")
    missing = _missing(facts, Question.SIGNER, Question.OLD_CONSUMERS)
    if missing:
        return Ask(missing)
    if isinstance(facts.signer, Unknown):
        return Wait(facts.now + progress.terms.poll, f"which key signs is not known: {facts.signer.why}")
    if facts.signer == progress.old_key:
        return Finish(Stage.ABORTED, "the control calls are signed with this very key")
    seen = _seen(facts.old_consumers)
    if seen != progress.seen:
        return Move(replace(progress, seen=seen), "who uses it now is on record")
    return Act(ActKind.DEACTIVATE, old.access_key_id, "a rehearsal")


# Small words


def _seen(consumers: Sequence[Consumer] | NotAsked | None) -> tuple[Seen, ...]:
    return tuple(
        dict.fromkeys(Seen(each.source, each.agent) for each in _known(consumers) if not each.is_refused)
    )


def named(consumers: Iterable[Consumer]) -> str:
    """Who that is, at most three of them: `20.1.4.9 aws-cli/2.17 (s3)`."""
    told = [f"{each.source} {each.agent} ({each.service})" for each in consumers]
    return ", ".join(told[:3]) + (f" and {len(told) - 3} more" if len(told) > 3 else "")


def _is_own(consumer: Consumer) -> bool:
    return OWN_AGENT in consumer.agent


def _known(consumers: Sequence[Consumer] | NotAsked | None) -> Sequence[Consumer]:
    return () if consumers is None or consumers is NOT_ASKED else consumers


def _to(progress: Progress, stage: Stage, facts: Facts) -> Progress:
    return replace(progress, stage=stage, stage_since=facts.now, attention=None)


def _ask(*questions: Question) -> Ask:
    return Ask(frozenset(questions))


_FIELD: Final = {
    Question.OLD_USE: "old_use",
    Question.NEW_USE: "new_use",
    Question.OLD_CONSUMERS: "old_consumers",
    Question.NEW_CONSUMERS: "new_consumers",
    Question.SESSIONS: "sessions",
    Question.SINKS: "sinks",
    Question.PROOF: "proof",
    Question.SIGNER: "signer",
    Question.CANARY: "canary",
    Question.INCIDENT: "is_under_incident",
}


def _missing(facts: Facts, *questions: Question) -> frozenset[Question]:
    return frozenset(each for each in questions if getattr(facts, _FIELD[each]) is NOT_ASKED)


def _attention(progress: Progress, facts: Facts, what: str, then: str) -> Wait:
    return Wait(facts.now + progress.terms.poll, what, f"{what}: {then}")
