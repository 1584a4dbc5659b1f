"""How long a key must be quiet: rows 8, 9 and 10 of the failure catalogue, and what stands around them."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.rotation.endpoint import (
    Consumer,
    EndpointTraits,
    LastUse,
    NeverSeen,
    Unknown,
    Used,
)
from keyturn.rotation.usage import (
    DAY,
    GRANULARITY_MS,
    HOUR,
    MINUTE,
    SECOND,
    QuietPolicy,
    QuietWindow,
    Reading,
    UsageHistory,
    quiet,
    quiet_window,
    returned,
    spell,
)

EXACT = EndpointTraits(exact_revocation=True, reports_refused_attempts=True, idempotent_create=True)
NOW = 1_790_000_000_000


def used(at: int) -> LastUse:
    return Used(at, "s3", "eu-west-1")


def sampled(every: int, days: int, look_every: int = DAY) -> UsageHistory:
    """What looking once a day shows of a consumer that comes `every` so often."""
    start = NOW - days * DAY
    return UsageHistory.of(
        (at, start + (at - start) // every * every) for at in range(start, NOW + 1, look_every)
    )


# What the window is made of


def test_a_key_in_daily_use_waits_twice_its_longest_gap() -> None:
    window = quiet_window(sampled(DAY, 30), QuietPolicy())
    assert window.milliseconds == 2 * DAY
    assert window.reason == "its longest gap in 30 d was 1 d"


def test_a_busy_key_that_is_sampled_often_waits_an_hour() -> None:
    history = sampled(MINUTE, 8, look_every=15 * MINUTE)
    assert quiet_window(history, QuietPolicy()).milliseconds == HOUR
    assert quiet_window(history, QuietPolicy(least_ms=10 * SECOND)).milliseconds == HOUR


def test_seconds_hold_only_where_the_endpoint_is_exact() -> None:
    policy = QuietPolicy(least_ms=10 * SECOND, sparse_least_ms=0)
    assert quiet_window(UsageHistory(), policy).milliseconds == HOUR
    assert quiet_window(UsageHistory(), policy, EXACT).milliseconds == 10 * SECOND
    half = EndpointTraits(exact_revocation=True)
    assert quiet_window(UsageHistory(), policy, half).milliseconds == HOUR


def test_of_a_key_of_which_nothing_is_known_nothing_is_presumed() -> None:
    window = quiet_window(UsageHistory(), QuietPolicy())
    assert (window.milliseconds, window.reason) == (35 * DAY, "too little of its use is known")
    assert UsageHistory.of([(NOW, None)]).is_sparse


def test_a_consumer_that_says_how_seldom_it_comes_is_waited_for_and_a_little_longer() -> None:
    policy = QuietPolicy(sparse_least_ms=0, expected_intervals_ms=(HOUR, 40 * DAY))
    assert quiet_window(UsageHistory(), policy).milliseconds == 44 * DAY


def test_a_factor_below_one_does_not_shorten_the_longest_gap() -> None:
    history = sampled(DAY, 30)
    assert quiet_window(history, QuietPolicy(gap_factor=0.1)).milliseconds == DAY


@given(
    st.lists(st.tuples(st.integers(0, 400 * DAY), st.none() | st.integers(0, 400 * DAY)), max_size=30),
    st.lists(st.integers(0, 400 * DAY), max_size=10),
)
def test_no_history_makes_a_window_shorter_than_its_own_gap(
    samples: list[tuple[int, int | None]], more: list[int]
) -> None:
    history = UsageHistory.of(samples, more)
    window = quiet_window(history, QuietPolicy()).milliseconds
    assert window >= max(HOUR, 2 * (history.longest_gap or 0))
    assert UsageHistory.of(reversed(samples), more) == history


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (0, "0 s"),
        (999, "0 s"),
        (10 * SECOND, "10 s"),
        (90 * SECOND, "1 min"),
        (131 * MINUTE, "2 h 11 min"),
        (35 * DAY, "35 d"),
        (DAY + MINUTE, "1 d 1 min"),
        (DAY + HOUR + MINUTE, "1 d 1 h"),
        (-5, "0 s"),
    ],
)
def test_durations_are_spelt_as_people_say_them(milliseconds: int, words: str) -> None:
    assert spell(milliseconds) == words


# 8. Last use lags and is coarse

WINDOW = QuietWindow(2 * HOUR, "for the test")


def readings(*answers: LastUse, every: int = 30 * MINUTE) -> list[Reading]:
    return [Reading(NOW + number * every, answer) for number, answer in enumerate(answers)]


def test_row_8_nothing_follows_from_one_reading() -> None:
    once = quiet([Reading(NOW + 30 * DAY, used(NOW - DAY))], WINDOW, confirmed_at=NOW)
    assert not once.is_enough
    assert once.for_ms == 0
    assert not quiet([], WINDOW, confirmed_at=NOW).is_enough


def test_row_8_the_same_answer_for_the_whole_window_is_quiet() -> None:
    told = quiet(readings(*[used(NOW - DAY)] * 5), WINDOW, confirmed_at=NOW)
    assert told.is_enough
    assert told.text == "the old key has been quiet for 2 h of 2 h: for the test"
    assert not quiet(readings(*[used(NOW - DAY)] * 4), WINDOW, confirmed_at=NOW).is_enough
    assert quiet(readings(*[NeverSeen()] * 5), WINDOW, confirmed_at=NOW).is_enough


def test_row_8_what_was_read_before_the_last_sink_confirmed_does_not_count() -> None:
    told = quiet(readings(*[used(NOW - DAY)] * 5), WINDOW, confirmed_at=NOW + 1)
    assert told.for_ms == 90 * MINUTE


def test_row_8_another_answer_begins_anew_even_if_its_time_is_long_past() -> None:
    late = [used(NOW - DAY)] * 4 + [used(NOW - 2 * HOUR)] * 2
    told = quiet(readings(*late), WINDOW, confirmed_at=NOW)
    assert (told.is_enough, told.for_ms) == (False, 30 * MINUTE)


def test_row_8_unknown_is_not_quiet_and_in_between_it_breaks_nothing() -> None:
    answers: list[LastUse] = [used(NOW - DAY)] * 5
    told = quiet(readings(*answers, Unknown("Throttling")), WINDOW, confirmed_at=NOW)
    assert not told.is_enough
    assert "Throttling" in told.text
    answers[2] = Unknown("Throttling")
    assert quiet(readings(*answers), WINDOW, confirmed_at=NOW).is_enough


@settings(deadline=None)
@given(
    share=st.integers(5, 90),
    delay=st.integers(0, 4 * HOUR),
    phase=st.integers(0, 10 * DAY),
    looks=st.integers(2, 40),
    window=st.sampled_from([2 * HOUR, 12 * HOUR, 3 * DAY]),
)
def test_row_8_a_hidden_user_that_comes_more_often_than_the_window_is_never_overlooked(
    share: int, delay: int, phase: int, looks: int, window: int
) -> None:
    """The tracker books one use in 15 minutes and shows it `delay` later."""
    every = max(window * share // 100, 2 * GRANULARITY_MS)
    start = NOW - 2 * window - delay - phase % every - every
    uses = list(range(start, NOW + 4 * window, every))
    booked: list[int] = []
    for use in uses:
        if not booked or use - booked[-1] >= GRANULARITY_MS:
            booked.append(use)
    taken: list[Reading] = []
    for at in range(NOW, NOW + 3 * window, window // looks):
        shown = [use for use in booked if use + delay <= at]
        taken.append(Reading(at, used(shown[-1]) if shown else NeverSeen()))
        told = quiet(taken, QuietWindow(window, "for the test"), confirmed_at=NOW)
        assert not told.is_enough


# 9. The blind spot: a refused attempt is no use


def test_row_9_silence_after_the_deactivation_is_not_counted() -> None:
    same = readings(*[used(NOW - DAY)] * 50)
    told = quiet(same, WINDOW, confirmed_at=NOW, inactive_from=NOW + HOUR)
    assert (told.is_enough, told.for_ms) == (False, 30 * MINUTE)


def consumer(source: str, agent: str, *, is_refused: bool = False) -> Consumer:
    return Consumer(source, agent, "s3", "GetObject", NOW, 1, is_refused)


def test_row_9_only_who_used_the_key_before_the_switch_returns() -> None:
    before = [consumer("10.2.0.7", "backup"), consumer("20.1.4.9", "aws-cli"), consumer("*", "*")]
    now = [
        consumer("10.2.0.7", "backup", is_refused=True),
        consumer("10.2.0.7", "curl", is_refused=True),
        consumer("203.0.113.5", "backup", is_refused=True),
        consumer("*", "*", is_refused=True),
        consumer("20.1.4.9", "aws-cli"),
    ]
    assert returned(before, now) == (now[0],)


def test_row_9_who_was_already_refused_before_is_no_known_user() -> None:
    attempt = consumer("203.0.113.5", "curl", is_refused=True)
    assert returned([attempt], [attempt]) == ()


def test_row_9_an_endpoint_that_reports_no_refusals_gives_no_reason_to_reactivate() -> None:
    before = [consumer("10.2.0.7", "backup")]
    assert returned(before, before) == ()


# 10. The monthly job on the old key


def test_row_10_a_monthly_job_makes_a_window_of_more_than_a_month() -> None:
    history = sampled(31 * DAY, 365)
    assert history.longest_gap == 31 * DAY
    window = quiet_window(history, QuietPolicy())
    assert window.milliseconds == 62 * DAY
    assert history.is_seldom


@pytest.mark.parametrize("phase", [0, 1, 6, 15, 24, 29, 30])
@pytest.mark.parametrize("known_days", [0, 5, 20, 45, 90, 365])
def test_row_10_a_consumer_of_every_31_days_is_caught_in_every_run(phase: int, known_days: int) -> None:
    """Whatever was known of it before, and wherever in its month the switch falls."""
    month = 31 * DAY
    start = NOW - known_days * DAY
    first = start + phase * DAY
    before = [(at, last) for at in range(start, NOW, DAY) if (last := _last(first, month, at)) is not None]
    window = quiet_window(UsageHistory.of(before), QuietPolicy())
    taken = []
    for at in accumulate([NOW] + [DAY] * 130):
        last = _last(first, month, at)
        taken.append(Reading(at, NeverSeen() if last is None else used(last)))
        assert not quiet(taken, window, confirmed_at=NOW).is_enough


def _last(first: int, every: int, at: int) -> int | None:
    return None if at < first else first + (at - first) // every * every


def test_row_10_a_job_that_was_seen_once_and_a_busy_key_beside_it_still_wait_for_the_expected_interval() -> (
    None
):
    policy = QuietPolicy(expected_intervals_ms=(31 * DAY,))
    assert quiet_window(sampled(HOUR, 30), policy).milliseconds > 31 * DAY
