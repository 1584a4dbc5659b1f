"""What to do about each key, and which keys stand out: stale, old, against the CIS benchmark. Pure.

Times are UTC epoch milliseconds of the endpoint's clock, ages are differences of them. What is unknown is said to be
unknown: it is never unused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from keyturn.model.access_keys import AccessKeyId, AccessKeyStatus
from keyturn.model.clock import iso8601
from keyturn.rotation.endpoint import Consumer, EndpointTraits, LastUse, NeverSeen, Unknown, Used, UserKey
from keyturn.rotation.usage import DAY, QuietPolicy, UsageHistory, quiet_window

CIS_UNUSED_MS: Final = 45 * DAY
"""CIS AWS Foundations Benchmark 1.12: credentials unused for 45 days or more are disabled."""
CIS_OLD_MS: Final = 90 * DAY
"""CIS 1.14: access keys are rotated every 90 days or less. 1.13: one active access key for any single user."""


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """One key and what is known of it."""

    user_name: str
    key: UserKey
    last_use: LastUse
    consumers: Sequence[Consumer] | None = None
    """Most recent first. None: not asked, or not to be had."""
    sinks: Sequence[str] | None = None
    """The names of the sinks that hold it. None: none is configured."""
    history: UsageHistory = UsageHistory()  # noqa: RUF009 - a frozen value

    @property
    def is_active(self) -> bool:
        return self.key.status is AccessKeyStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class Exemption:
    """A user or a key that is left alone, by somebody's word and until a day. `user_name` or `access_key_id`."""

    owner: str
    until: int
    user_name: str | None = None
    access_key_id: AccessKeyId | None = None
    reason: str = ""

    def covers(self, facts: KeyFacts, now: int) -> bool:
        if now >= self.until:
            return False
        by_key = self.access_key_id is not None and self.access_key_id == facts.key.access_key_id
        by_user = self.access_key_id is None and self.user_name == facts.user_name
        return by_key or by_user


@dataclass(frozen=True, slots=True)
class ReportPolicy:
    """What an operator has set, with the defaults."""

    unused_ms: int = 90 * DAY
    older_ms: int = 90 * DAY
    grace_ms: int = 14 * DAY
    """A key that was never seen used is new for so long, and only then counts as unused since it was made."""
    quiet: QuietPolicy = QuietPolicy()  # noqa: RUF009 - a frozen value
    exemptions: tuple[Exemption, ...] = ()

    def exemption_of(self, facts: KeyFacts, now: int) -> Exemption | None:
        return next((each for each in self.exemptions if each.covers(facts, now)), None)


_DEFAULTS: Final = ReportPolicy()
_AS_AWS: Final = EndpointTraits()


class Advice(StrEnum):
    OK = "ok"
    NEW = "new"
    ROTATE = "rotate"
    DEACTIVATE = "deactivate"
    DELETE = "delete"
    EXEMPT = "exempt"
    LOOK = "look"
    """Something is unknown: somebody has to look."""


@dataclass(frozen=True, slots=True)
class Verdict:
    advice: Advice
    text: str


def age_of(facts: KeyFacts, now: int) -> int:
    """Milliseconds; a clock that runs behind makes no negative ages."""
    return max(0, now - facts.key.created_at)


def unused_for(facts: KeyFacts, now: int, *, grace_ms: int = _DEFAULTS.grace_ms) -> int | None:
    """Milliseconds since the last use. None: not known, or too new to say so."""
    match facts.last_use:
        case Used(at=at):
            return max(0, now - at)
        case NeverSeen():
            age = age_of(facts, now)
            return age if age > grace_ms else None
        case Unknown():
            return None


def verdict(
    facts: KeyFacts, now: int, policy: ReportPolicy = _DEFAULTS, traits: EndpointTraits = _AS_AWS
) -> Verdict:
    """What to do about a key."""
    advised = _advised(facts, now, policy, traits)
    exemption = policy.exemption_of(facts, now)
    if exemption is not None and advised.advice in {Advice.ROTATE, Advice.DEACTIVATE, Advice.DELETE}:
        return Verdict(Advice.EXEMPT, f"exempt until {_day(exemption.until)} ({exemption.owner})")
    return advised


def _advised(facts: KeyFacts, now: int, policy: ReportPolicy, traits: EndpointTraits) -> Verdict:
    unused = unused_for(facts, now, grace_ms=policy.grace_ms)
    is_stale = unused is not None and unused >= policy.unused_ms
    never = "never used in" if isinstance(facts.last_use, NeverSeen) else "unused"
    if not facts.is_active:
        if isinstance(facts.last_use, Unknown):
            return Verdict(Advice.LOOK, "look (last use unknown)")
        if is_stale:
            return Verdict(Advice.DELETE, f"delete ({never} {_days(unused or 0)})")
        return Verdict(Advice.OK, "ok (inactive)")
    if is_stale:
        return Verdict(Advice.DEACTIVATE, f"deactivate ({never} {_days(unused or 0)})")
    if age_of(facts, now) >= policy.older_ms:
        if facts.history.longest_gap is not None and facts.history.is_seldom:
            window = quiet_window(facts.history, policy.quiet, traits)
            how_often = _how_often(facts.history.longest_gap)
            return Verdict(Advice.ROTATE, f"rotate, wait {_days(window.milliseconds)} ({how_often})")
        return Verdict(Advice.ROTATE, f"rotate (over {_days(policy.older_ms)})")
    if isinstance(facts.last_use, Unknown):
        return Verdict(Advice.LOOK, "look (last use unknown)")
    if isinstance(facts.last_use, NeverSeen):
        return Verdict(Advice.NEW, "ok (new)") if unused is None else Verdict(Advice.OK, "ok (never used)")
    return Verdict(Advice.OK, "ok")


@dataclass(frozen=True, slots=True)
class Finding:
    """A key that stands out in a report."""

    facts: KeyFacts
    control: str
    """What it is found by: `stale`, `age`, `CIS 1.12` …"""
    text: str
    exemption: Exemption | None = None


def stale(keys: Iterable[KeyFacts], now: int, policy: ReportPolicy = _DEFAULTS) -> list[Finding]:
    """Keys, active or not, that nobody has used for so long. The longest unused first."""
    found = [
        (unused, Finding(facts, "stale", _unused_text(facts, unused), policy.exemption_of(facts, now)))
        for facts in keys
        if (unused := unused_for(facts, now, grace_ms=policy.grace_ms)) is not None
        and unused >= policy.unused_ms
    ]
    return [finding for _unused, finding in sorted(found, key=lambda each: -each[0])]


def old(keys: Iterable[KeyFacts], now: int, policy: ReportPolicy = _DEFAULTS) -> list[Finding]:
    """Active keys of more than that age, the oldest first."""
    overdue = [facts for facts in keys if facts.is_active and age_of(facts, now) >= policy.older_ms]
    return [
        Finding(facts, "age", f"{_days(age_of(facts, now))} old", policy.exemption_of(facts, now))
        for facts in sorted(overdue, key=lambda facts: facts.key.created_at)
    ]


def cis(keys: Sequence[KeyFacts], now: int, policy: ReportPolicy = _DEFAULTS) -> list[Finding]:
    """What the CIS AWS Foundations Benchmark objects to. Its numbers are its own: the policy's don't count.

    A key whose last use is unknown is told, under 1.12, as not decided.
    """
    found: list[Finding] = []
    active: dict[str, list[KeyFacts]] = {}
    for facts in keys:
        if facts.is_active:
            active.setdefault(facts.user_name, []).append(facts)
    for facts in keys:
        if not facts.is_active:
            continue
        exemption = policy.exemption_of(facts, now)
        unused = unused_for(facts, now, grace_ms=0)
        if isinstance(facts.last_use, Unknown):
            found.append(Finding(facts, "CIS 1.12", "not decided: its last use is unknown", exemption))
        elif unused is not None and unused >= CIS_UNUSED_MS:
            found.append(Finding(facts, "CIS 1.12", _unused_text(facts, unused), exemption))
        if len(active[facts.user_name]) > 1:
            found.append(
                Finding(facts, "CIS 1.13", f"one of {len(active[facts.user_name])} active keys", exemption)
            )
        # "90 days or less": the day after is one too many.
        if age_of(facts, now) > CIS_OLD_MS:
            found.append(Finding(facts, "CIS 1.14", f"{_days(age_of(facts, now))} old", exemption))
    return sorted(found, key=lambda finding: finding.control)


# Deactivating what nobody uses


@dataclass(frozen=True, slots=True)
class UnusedPolicy:
    """Deactivate keys after so many days without use, with notice first."""

    after_ms: int
    notice_ms: int = 7 * DAY
    grace_ms: int = 14 * DAY
    exemptions: tuple[Exemption, ...] = ()


@dataclass(frozen=True, slots=True)
class UnusedDecision:
    to_notify: tuple[KeyFacts, ...]
    to_deactivate: tuple[KeyFacts, ...]
    to_withdraw: tuple[AccessKeyId, ...]
    """Notices that no longer hold: the key was used, is exempt now, or is not active any more."""


def decide_unused(
    keys: Iterable[KeyFacts],
    notices: Mapping[AccessKeyId, int],
    policy: UnusedPolicy,
    now: int,
    *,
    signing: AccessKeyId | None,
) -> UnusedDecision:
    """Which keys to announce and which to deactivate. `notices` says when each notice was given.

    Never the key that signs, never one whose last use is unknown, and none without its whole notice. A notice of a
    key that could not be asked about stays.
    """
    to_notify, to_deactivate, to_withdraw = [], [], []
    for facts in keys:
        access_key_id = facts.key.access_key_id
        noticed_at = notices.get(access_key_id)
        if isinstance(facts.last_use, Unknown):
            continue
        unused = unused_for(facts, now, grace_ms=policy.grace_ms)
        is_exempt = any(each.covers(facts, now) for each in policy.exemptions)
        first_due = max(0, policy.after_ms - policy.notice_ms)
        if (
            not facts.is_active
            or is_exempt
            or access_key_id == signing
            or unused is None
            or unused < first_due
            or (
                noticed_at is not None
                and isinstance(facts.last_use, Used)
                and facts.last_use.at >= noticed_at
            )
        ):
            if noticed_at is not None:
                to_withdraw.append(access_key_id)
        elif noticed_at is None:
            to_notify.append(facts)
        elif unused >= policy.after_ms and now - noticed_at >= policy.notice_ms:
            to_deactivate.append(facts)
    return UnusedDecision(tuple(to_notify), tuple(to_deactivate), tuple(to_withdraw))


def who(consumers: Sequence[Consumer] | None) -> str:
    """The most recent user of a key in a few words: `20.1.4.9 (aws-cli/2.17)`."""
    if consumers is None:
        return "?"
    users = [each for each in consumers if not each.is_refused]
    if not users:
        return "-"
    others = len({(each.source, each.agent) for each in users}) - 1
    agent = users[0].agent.split(" ", 1)[0]
    first = f"{users[0].source} ({agent})" if agent else users[0].source
    return f"{first} and {others} more" if others else first


def _unused_text(facts: KeyFacts, unused: int) -> str:
    if isinstance(facts.last_use, NeverSeen):
        return f"never used in {_days(unused)}"
    return f"unused for {_days(unused)}"


def _how_often(gap: int) -> str:
    if gap >= 26 * DAY:
        return "monthly use" if gap <= 35 * DAY else "seldom used"
    return "weekly use" if gap >= 6 * DAY else "irregular use"


def _days(milliseconds: int) -> str:
    return f"{milliseconds // DAY}d"


def _day(at: int) -> str:
    return iso8601(at)[:10]
