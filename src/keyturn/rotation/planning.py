"""What would be done for a user, and whether it may be: looked at, written down, and nothing changed.

A plan is a file that people read, approve and hand on. Before it is applied the world is compared with it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from keyturn.model.access_keys import AccessKeyId, AccountId
from keyturn.model.clock import iso8601
from keyturn.model.errors import KeyturnError
from keyturn.rotation import progress as progress_of
from keyturn.rotation.configuration import Configuration, UserEntry, below_floor
from keyturn.rotation.endpoint import (
    Consumer,
    Endpoint,
    EndpointError,
    EndpointTraits,
    LastUse,
    NoSuchUserError,
    Unknown,
    Used,
)
from keyturn.rotation.plan import SETTLE
from keyturn.rotation.progress import Progress, SinkProgress, Stage, Terms
from keyturn.rotation.sinks.interface import Held, ReadBack, Sink, SinkError, SinkTraits
from keyturn.rotation.slots import NeedsWord, choose
from keyturn.rotation.usage import QuietPolicy, QuietWindow, Sample, UsageHistory, quiet_window, spell

PLAN_VERSION: Final = 1
MOST_SKEW: Final = 60_000
"""Clocks that are further apart make every age and every wait a guess. Milliseconds."""
_HISTORY: Final = 90 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class PlannedSink:
    """What a sink will see."""

    name: str
    where: str
    is_atomic: bool
    read_back: str
    has_reload: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """What is planned for one user; with `blocked`, why nothing is."""

    user_name: str
    old_key: str | None
    free_slot: str | None
    free_slot_why: str
    keys: tuple[str, ...]
    """All keys of the user when the plan was made: another set means that the plan is out of date."""
    sinks: tuple[PlannedSink, ...]
    quiet_window: int
    quiet_why: str
    terms: Terms
    blocked: str | None = None
    then: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What `keyturn plan` writes and `keyturn apply` reads. No secret is in it."""

    plan_id: str
    made_at: int
    account_id: AccountId
    endpoint: str
    region: str
    profile: str
    is_exact: bool
    entries: tuple[Entry, ...]

    @property
    def ready(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.blocked is None)


def window_of(
    terms: Terms,
    expected: Sequence[int],
    samples: Sequence[Sample],
    consumers: Sequence[Consumer],
    traits: EndpointTraits,
) -> QuietWindow:
    """For how long the old key must be quiet: by its own history, and by what its consumers say of themselves."""
    history = UsageHistory.of(samples, [each.last_at for each in consumers])
    policy = QuietPolicy(
        least_ms=terms.quiet, sparse_least_ms=terms.sparse_quiet, expected_intervals_ms=tuple(expected)
    )
    return quiet_window(history, policy, traits)


class Planner:
    """Looks at the world for plans. It reads, and it tries sinks where that changes nothing for their readers."""

    def __init__(
        self,
        endpoint: Endpoint,
        configuration: Configuration,
        sinks: Callable[[str], Sink],
        samples: Callable[[AccessKeyId], Sequence[Sample]],
    ) -> None:
        self._endpoint = endpoint
        self._configuration = configuration
        self._sinks = sinks
        self._samples = samples

    def plan_for(
        self,
        user_name: str,
        *,
        free_slot: AccessKeyId | None = None,
        old_key: AccessKeyId | None = None,
        terms: Callable[[Terms], Terms] = lambda terms: terms,
    ) -> Entry:
        """What would be done for this user. Never raises for what only blocks: that stands in the entry."""
        user = self._configuration.user(user_name)
        asked = replace(terms(user.terms), free_slot=free_slot)
        blank = Entry(user_name, None, None, "", (), (), 0, "", asked)
        try:
            return self._planned(user, blank, free_slot, old_key)
        except NoSuchUserError:
            return replace(blank, blocked=f"there is no user {user_name}", then="keyturn keys --all")
        except EndpointError as error:
            return replace(blank, blocked=str(error), then="keyturn doctor")

    def _planned(
        self, user: UserEntry, blank: Entry, free_slot: AccessKeyId | None, old_key: AccessKeyId | None
    ) -> Entry:
        endpoint = self._endpoint
        keys = endpoint.keys(user.name)
        uses = {key.access_key_id: endpoint.last_use(key.access_key_id) for key in keys}
        sinks, held, problems = self._looked_at(user)
        held_by: dict[AccessKeyId, list[str]] = {}
        for name, each in held.items():
            if each.access_key_id is not None:
                held_by.setdefault(each.access_key_id, []).append(name)
        found = replace(blank, keys=tuple(sorted(uses)), sinks=sinks)
        chosen = choose(
            user.name, keys, uses, held_by, endpoint.now_ms(), free_slot=free_slot, old_key=old_key
        )
        if isinstance(chosen, NeedsWord):
            return replace(found, blocked=chosen.why, then=chosen.then)
        window = self._window(user, chosen.old_key)
        found = replace(
            found,
            old_key=chosen.old_key,
            free_slot=chosen.free_slot,
            free_slot_why=chosen.why,
            quiet_window=window.milliseconds,
            quiet_why=window.reason,
            warnings=self._warnings(user, sinks, held, chosen.old_key, uses),
        )
        blocked = self._blocked(user, found, problems)
        return found if blocked is None else replace(found, blocked=blocked[0], then=blocked[1])

    def _looked_at(
        self, user: UserEntry
    ) -> tuple[tuple[PlannedSink, ...], Mapping[str, Held], Sequence[tuple[str, str]]]:
        planned, held, problems = [], {}, []
        for name in user.sinks:
            try:
                sink = self._sinks(name)
                planned.append(_planned_sink(name, sink.describe()))
                sink.test()
                held[name] = sink.read()
            except (SinkError, KeyturnError) as error:
                problems.append((name, str(error)))
        return tuple(planned), held, problems

    def _window(self, user: UserEntry, old_key: AccessKeyId | None) -> QuietWindow:
        expected = expected_intervals(self._configuration, user)
        if old_key is None:
            return QuietWindow(user.terms.quiet, "there is no old key")
        now = self._endpoint.now_ms()
        try:
            consumers = self._endpoint.consumers(old_key, since=now - _HISTORY) or ()
        except EndpointError:
            consumers = ()
        return window_of(user.terms, expected, self._samples(old_key), consumers, self._endpoint.traits())

    def _blocked(
        self, user: UserEntry, entry: Entry, problems: Sequence[tuple[str, str]]
    ) -> tuple[str, str] | None:
        """The preflight: everything that would only come out half way."""
        endpoint = self._endpoint
        offset = endpoint.clock_offset_ms()
        if abs(offset) > MOST_SKEW:
            return (
                f"this clock is {spell(abs(offset))} off the endpoint's",
                "set the clock; see `keyturn doctor`",
            )
        if not user.sinks:
            path = self._configuration.path
            return (
                f"no sink is declared for {user.name}: its new secret would reach nobody",
                f'write [users."{user.name}"] with sinks = [...] into {path}',
            )
        if problems:
            told = "; ".join(f"sink {name}: {problem}" for name, problem in problems)
            return told, f"keyturn sink test {problems[0][0]}"
        identity = endpoint.identity()
        if identity.access_key_id is not None and identity.access_key_id in entry.keys:
            return (
                f"the control calls are signed with {identity.access_key_id}, a key of {user.name} itself",
                "sign with another user's key, or with a role",
            )
        denied = [each.action for each in endpoint.permissions(user.name) if each.is_allowed is False]
        if denied:
            return f"the signer may not {', '.join(denied)} for {user.name}", f"allow it to {identity.arn}"
        short = None if endpoint.traits().exact_revocation else below_floor(entry.terms)
        if short is not None:
            return short, "such short waits hold only where revocation is exact"
        if entry.terms.keep_inactive <= 0:
            return "the wait before the deletion is 0", "give keep_inactive a length"
        return None

    def _warnings(
        self,
        user: UserEntry,
        sinks: Sequence[PlannedSink],
        held: Mapping[str, Held],
        old_key: AccessKeyId | None,
        uses: Mapping[AccessKeyId, LastUse],
    ) -> tuple[str, ...]:
        told = [
            f"{sink.name} takes id and secret one after the other: a reader in between fails once"
            for sink in sinks
            if not sink.is_atomic
        ]
        for name, each in held.items():
            if each.access_key_id is not None and each.access_key_id != old_key:
                told.append(
                    f"{name} holds {each.access_key_id}, not the key that is replaced: it is not overwritten"
                )
            elif each.access_key_id is None and old_key is not None:
                told.append(f"{name} holds no key, or does not show it")
        last = None if old_key is None else uses[old_key]
        if isinstance(last, Unknown):
            told.append(f"when {old_key} was last used is not known: nothing is deactivated until it is")
        traits = self._endpoint.traits()
        if not traits.reports_refused_attempts and not user.check:
            told.append(
                "this endpoint reports no call with an inactive key, and no check is set: nothing would bring the old"
                " key back by itself"
            )
        if not traits.reports_refused_attempts and not expected_intervals(self._configuration, user):
            told.append(
                "this endpoint tells the last use alone: a job that runs seldom hides behind one that runs often; say"
                " how seldom with expected_interval"
            )
        if self._endpoint.is_under_incident(user.name):
            told.append("a quarantine is on this user: an old key that was deactivated is not brought back")
        told += [
            f"whether the signer may {permission.action} could not be found out"
            for permission in self._endpoint.permissions(user.name)
            if permission.is_allowed is None
        ]
        return tuple(told)


def expected_intervals(configuration: Configuration, user: UserEntry) -> Sequence[int]:
    """What the user's sinks, and the user himself, say of how seldom they sign. Milliseconds."""
    said = [configuration.sinks[name].expected_interval for name in user.sinks if name in configuration.sinks]
    return [each for each in (*said, user.expected_interval) if each is not None]


def begun(entry: Entry, plan: Plan, rotation_id: str, now: int) -> Progress:
    """The rotation that an entry becomes."""
    return Progress(
        rotation_id=rotation_id,
        account_id=plan.account_id,
        user_name=entry.user_name,
        old_key=None if entry.old_key is None else AccessKeyId(entry.old_key),
        started_at=now,
        terms=entry.terms,
        stage_since=now,
        sinks=tuple(
            SinkProgress(sink.name, is_readable=sink.read_back == ReadBack.PAIR) for sink in entry.sinks
        ),
        next_at=now,
    )


def adopted(started: Progress, new_key: AccessKeyId) -> Progress:
    """A rotation whose record was lost on its way, taken up where the world shows it to be.

    Sinks hold `new_key` already. It is proved and delivered anew, which changes nothing where it is, and its old key
    is watched for the whole time again: nothing is taken from the record that is gone.
    """
    return replace(started, new_key=new_key, stage=Stage.PROVE)


def out_of_date(entry: Entry, endpoint: Endpoint) -> str | None:
    """What has changed since the plan was made, as a sentence; None if nothing that matters."""
    now_there = tuple(sorted(key.access_key_id for key in endpoint.keys(entry.user_name)))
    if now_there != entry.keys:
        return f"{entry.user_name} had the keys {', '.join(entry.keys) or 'none'}, and has {', '.join(now_there)}"
    if entry.free_slot is not None and isinstance(
        use := endpoint.last_use(AccessKeyId(entry.free_slot)), Used
    ):
        told = entry.free_slot_why
        if endpoint.now_ms() - use.at < 24 * 3600 * 1000:
            return f"{entry.free_slot} ({told}) was used at {iso8601(use.at)}"
    return None


def lines(entry: Entry, plan: Plan) -> Sequence[tuple[str, str, str, str]]:
    """What will happen, in order: (number, sign, what, how)."""
    terms = entry.terms
    steps: list[tuple[str, str, str]] = []
    if entry.free_slot:
        steps.append(("-", f"delete   {entry.free_slot}", f"{entry.free_slot_why}; frees the second slot"))
    steps.append(("+", "create   a new key", "intent first, so that a crash leaves no orphan"))
    where = ", ".join(terms.regions) or plan.region
    proof = (
        "once"
        if plan.is_exact
        else f"{terms.proofs} times in at least {spell(max(terms.proof_span, SETTLE))}"
    )
    steps.append(("✓", "prove    that it signs", f"{proof} ({where})" if where else proof))
    for sink in entry.sinks:
        how = "atomic" if sink.is_atomic else "two fields, not atomic"
        back = {"pair": "read back", "version": "read back by version", "nothing": "not read back"}[
            sink.read_back
        ]
        told = ", consumers are told" if sink.has_reload else ""
        steps.append(("~", f"write    {sink.where}", f"{how}, {back}{told}"))
    if entry.old_key:
        quiet = spell(max(entry.quiet_window, terms.quiet))
        steps.append(("…", f"wait     until {entry.old_key} is quiet for {quiet}", entry.quiet_why))
        ask = "" if terms.may_deactivate else "asks first; "
        signal = "a failed check" + (" or a known consumer's proved attempt" if plan.is_exact else "")
        steps.append(("!", f"disable  {entry.old_key}", f"{ask}comes back by itself, once, on {signal}"))
        steps.append(("…", f"watch    for {spell(terms.keep_inactive)}", "who still tries it is named"))
        final = "as the plan allows" if terms.may_delete else "asks again (or --allow-delete)"
        steps.append(("-", f"delete   {entry.old_key}", final))
    return [(str(number), *step) for number, step in enumerate(steps, 1)]


def write_plan(plan: Plan, path: Path) -> None:
    """A plan file, for people and for `keyturn apply`. KeyturnError if it can't be written."""
    content = {"keyturn_plan": PLAN_VERSION} | asdict(plan)
    try:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise KeyturnError(f"can't write the plan {path}: {error.strerror}") from error


def read_plan(path: Path) -> Plan:
    """KeyturnError if it is no plan of this version."""
    try:
        with path.open("rb") as file:
            text = file.read(16 * 1024 * 1024 + 1)
        content: Any = json.loads(text) if len(text) <= 16 * 1024 * 1024 else None
        if not isinstance(content, dict) or content.pop("keyturn_plan", None) != PLAN_VERSION:
            raise KeyturnError(f"{path} is no plan of this version", "make one with `keyturn plan -o FILE`")
        entries = tuple(_entry(each) for each in content.pop("entries"))
        return Plan(entries=entries, **content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise KeyturnError(
            f"can't read the plan {path}: {error}", "make one with `keyturn plan -o FILE`"
        ) from error


def _entry(content: dict[str, Any]) -> Entry:
    terms: Terms = progress_of.read_value(Terms, content.pop("terms"))
    sinks = tuple(PlannedSink(**sink) for sink in content.pop("sinks"))
    keys, warnings = tuple(content.pop("keys")), tuple(content.pop("warnings"))
    return Entry(terms=terms, sinks=sinks, keys=keys, warnings=warnings, **content)


def _planned_sink(name: str, traits: SinkTraits) -> PlannedSink:
    return PlannedSink(name, traits.where, traits.is_atomic, traits.read_back.value, traits.has_reload)


def new_id(random_bytes: Callable[[int], bytes]) -> str:
    """Eight hex digits: short enough to type, and looked up in the journal before it is used."""
    return uuid.UUID(bytes=random_bytes(16), version=4).hex[:8]
