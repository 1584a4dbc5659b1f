"""One allowance for all who call one account: row 13 of the failure catalogue."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from keyturn.rotation.throttle import TokenBucket


class WaitedClock:
    """Time passes only by waiting; waiting threads pass it together."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waited: list[float] = []
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        with self._lock:
            return self.now

    def wait(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds
            self.waited.append(seconds)


def test_a_burst_is_free_and_then_calls_come_at_the_rate() -> None:
    clock = WaitedClock()
    bucket = TokenBucket(clock, 2.0, 3, clock.wait)
    for _ in range(5):
        assert bucket.take(at_most_seconds=10)
    assert clock.waited == [0.5, 0.5]


def test_what_was_not_used_is_saved_up_to_the_burst_and_no_further() -> None:
    clock = WaitedClock()
    bucket = TokenBucket(clock, 2.0, 3, clock.wait)
    clock.now = 1000.0
    for _ in range(4):
        bucket.take(at_most_seconds=10)
    assert clock.waited == [0.5]


def test_a_turn_that_would_come_too_late_is_refused_at_once_and_takes_nothing() -> None:
    clock = WaitedClock()
    bucket = TokenBucket(clock, 1.0, 1, clock.wait)
    assert bucket.take(at_most_seconds=0)
    assert not bucket.take(at_most_seconds=0.9)
    assert clock.waited == []
    assert bucket.take(at_most_seconds=1)
    assert clock.waited == [1.0]


def test_a_throttle_halves_the_pace_and_answers_restore_it() -> None:
    clock = WaitedClock()
    bucket = TokenBucket(clock, 8.0, 10, clock.wait)
    bucket.slow_down()
    assert bucket.rate == 4
    bucket.take(at_most_seconds=10)
    assert clock.waited == [0.25], "what was saved up is gone"
    for _ in range(20):
        bucket.slow_down()
    assert bucket.rate == 0.5
    for _ in range(100):
        bucket.answered()
    assert bucket.rate == 8


def test_threads_share_one_rate() -> None:
    """No more calls than the burst and what the time that passed allows."""

    class StandingClock(WaitedClock):
        def wait(self, seconds: float) -> None:
            with self._lock:
                self.waited.append(seconds)

    clock = StandingClock()
    bucket = TokenBucket(clock, 10.0, 5, clock.wait)
    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(lambda _: bucket.take(at_most_seconds=1000), range(400)))
    assert all(taken)
    assert len(clock.waited) == 395
    assert sorted(round(seconds * 10) for seconds in clock.waited) == list(range(1, 396))


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1.0, 1), (1.0, 0)])
def test_a_bucket_that_gives_nothing_is_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="a bucket needs"):
        TokenBucket(WaitedClock(), rate, burst, lambda _seconds: None)
