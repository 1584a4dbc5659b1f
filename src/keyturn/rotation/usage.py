"""How a key is used over time, and for how long it must be quiet before that means something. Pure.

A timeline is built from samples of GetAccessKeyLastUsed. It is coarse: AWS books the first use in each 15 minutes,
late, and a sample sees the last use only. So a gap is taken as long as it can have been, nothing follows from one
reading, and Unknown is never quiet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from keyturn.rotation.endpoint import Consumer, EndpointTraits, LastUse, Unknown, Used

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

GRANULARITY_MS: Final = 15 * MINUTE
"""The first use of a key in each such span is booked (IAM user guide, "last accessed information")."""
_AS_AWS: Final = EndpointTraits()
_REGULAR_USES: Final = 3
_REGULAR_SPAN_MS: Final = 7 * DAY
_REGULAR_GAP_MS: Final = 2 * DAY
_KEPT_READINGS: Final = 100_000


Sample = tuple[int, int | None]
"""When a key's last use was asked for, and the answer (None: NeverSeen), both in epoch milliseconds of the endpoint's
clock. Of an Unknown there is no sample."""


@dataclass(frozen=True, slots=True)
class UsageHistory:
    """The uses that samples have shown, oldest first."""

    uses: tuple[int, ...] = ()
    observed_from: int | None = None
    observed_until: int | None = None

    @classmethod
    def of(cls, samples: Iterable[Sample], more_uses: Iterable[int] = ()) -> UsageHistory:
        """Of one key's samples, in any order, and of what else is known of its uses."""
        asked = list(samples)
        uses = {used for _at, used in asked if used is not None} | set(more_uses)
        if not asked and not uses:
            return cls()
        times = [at for at, _used in asked] or list(uses)
        return cls(tuple(sorted(uses)), min(times), max(times))

    @property
    def gaps(self) -> tuple[int, ...]:
        """Milliseconds between neighbouring uses. What lies behind the last one is not over, and no gap yet."""
        return tuple(after - before for before, after in pairwise(self.uses))

    @property
    def longest_gap(self) -> int | None:
        return max(self.gaps, default=None)

    @property
    def observed_ms(self) -> int:
        """For how long the uses are known: from the first one or the first look, whichever came first."""
        if self.observed_from is None or self.observed_until is None:
            return 0
        return self.observed_until - min((*self.uses[:1], self.observed_from))

    @property
    def is_seldom(self) -> bool:
        """Known to be unused for days, and then used again."""
        return self.longest_gap is not None and self.longest_gap >= _REGULAR_GAP_MS

    @property
    def is_sparse(self) -> bool:
        """Not known to be used every other day or so: a week, or three uses, are too few to say it."""
        return (
            self.is_seldom
            or not self.gaps
            or len(self.uses) < _REGULAR_USES
            or self.observed_ms < _REGULAR_SPAN_MS
        )


def uses_by_day(history: UsageHistory, last_use: LastUse, now: int, *, days: int = 90) -> dict[int, int]:
    """How many uses are known of each of the last days (days since 1970, UTC), oldest first: at least so many."""
    today = now // DAY
    counts = dict.fromkeys(range(today - days + 1, today + 1), 0)
    last = {last_use.at} if isinstance(last_use, Used) else set()
    for use in {*history.uses, *last}:
        if use // DAY in counts:
            counts[use // DAY] += 1
    return counts


@dataclass(frozen=True, slots=True)
class QuietPolicy:
    """What an operator has set, with the defaults."""

    least_ms: int = HOUR
    """Less than an hour holds only where the endpoint is exact."""
    gap_factor: float = 2.0
    """Times the key's own longest gap."""
    sparse_least_ms: int = 35 * DAY
    """For a key that is used seldom, or of which too little is known: a monthly job, and four days."""
    expected_intervals_ms: tuple[int, ...] = ()
    """`expected_interval` of the sinks: how seldom a consumer says it will sign."""


@dataclass(frozen=True, slots=True)
class QuietWindow:
    """How long a key must be quiet, and why."""

    milliseconds: int
    reason: str


def quiet_window(history: UsageHistory, policy: QuietPolicy, traits: EndpointTraits = _AS_AWS) -> QuietWindow:
    """The longest of all that has a say."""
    is_exact = traits.exact_revocation and traits.reports_refused_attempts
    least = policy.least_ms if is_exact else max(policy.least_ms, HOUR, 2 * GRANULARITY_MS)
    windows = [QuietWindow(least, "the least that is set" if least == policy.least_ms else "the least here")]
    if history.longest_gap is not None:
        gap = int(history.longest_gap * max(1.0, policy.gap_factor))
        reason = f"its longest gap in {spell(history.observed_ms)} was {spell(history.longest_gap)}"
        windows.append(QuietWindow(gap, reason))
    if policy.expected_intervals_ms:
        expected = max(policy.expected_intervals_ms)
        # Whoever comes every 24 hours comes a few minutes late.
        windows.append(
            QuietWindow(expected + expected // 10, f"a consumer is expected every {spell(expected)}")
        )
    if history.is_sparse:
        windows.append(
            QuietWindow(
                policy.sparse_least_ms,
                "it is used seldom" if history.is_seldom else "too little of its use is known",
            )
        )
    return max(windows, key=lambda window: window.milliseconds)


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer, or none, to the question for the old key's last use, after all sinks had the new one."""

    at: int
    last_use: LastUse


@dataclass(frozen=True, slots=True)
class Quiet:
    """For how long nothing has been seen of a key, and whether that is long enough."""

    for_ms: int
    window: QuietWindow
    is_enough: bool
    text: str


def quiet(
    readings: Sequence[Reading],
    window: QuietWindow,
    *,
    confirmed_at: int,
    inactive_from: int | None = None,
) -> Quiet:
    """The gate before a deactivation. `readings` are in their order.

    What counts is how long the *answer* has stayed the same since the last sink confirmed, from reading to reading:
    the time in the answer may lag. After a deactivation nothing counts, for AWS may not book a refused attempt.
    """
    counted = [
        reading
        for reading in readings[-_KEPT_READINGS:]
        if reading.at >= confirmed_at and (inactive_from is None or reading.at < inactive_from)
    ]
    if not counted:
        return Quiet(0, window, is_enough=False, text="the old key's last use has not been looked at yet")
    last = counted[-1]
    if isinstance(last.last_use, Unknown):
        return Quiet(
            0, window, is_enough=False, text=f"the old key's last use is unknown: {last.last_use.why}"
        )
    since = last.at
    for reading in reversed(counted):
        if isinstance(reading.last_use, Unknown):
            continue
        if _when(reading.last_use) != _when(last.last_use):
            break
        since = reading.at
    used_at = _when(last.last_use)
    if used_at is not None:
        since = max(since, min(used_at, last.at))
    for_ms = last.at - since
    is_enough = for_ms >= window.milliseconds and len(counted) > 1
    text = f"the old key has been quiet for {spell(for_ms)} of {spell(window.milliseconds)}: {window.reason}"
    return Quiet(for_ms, window, is_enough=is_enough, text=text)


def returned(before: Iterable[Consumer], now: Iterable[Consumer]) -> tuple[Consumer, ...]:
    """Who used the key before the switch and now tries it, deactivated, with its secret: a reason to re-activate.

    Everybody else who tries it is not one: an outsider has no secret, and a thief signs from elsewhere. AWS reports
    no such attempt, so there silence proves nothing.
    """
    known = {(each.source, each.agent) for each in before if not each.is_refused}
    known.discard(("*", "*"))
    return tuple(each for each in now if each.is_refused and (each.source, each.agent) in known)


def spell(milliseconds: int) -> str:
    """A duration as people say it: `2 h 11 min`, `35 d`, `10 s`."""
    seconds = max(0, milliseconds) // SECOND
    parts = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
        if len(parts) == 2 or (parts and unit == "min"):
            break
    return " ".join(parts) or "0 s"


def _when(last_use: LastUse) -> int | None:
    return last_use.at if isinstance(last_use, Used) else None
