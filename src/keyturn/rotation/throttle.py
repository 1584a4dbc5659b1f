"""One allowance of calls for everybody who calls one account: IAM's is small, global, and shared with others.

A throttle halves the pace and each answer restores a little of it, so that many workers settle at what the
account bears. Waiting is handed in; nobody waits while holding the lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from keyturn.model.clock import Clock

_SLOWEST: Final = 16
"""A throttled bucket never gets slower than this share of its rate."""
_RECOVERY: Final = 20
"""Answers that restore the whole rate."""


class TokenBucket:
    """Threads may share it. Turns are given in the order in which they were asked for."""

    def __init__(self, clock: Clock, rate: float, burst: int, wait: Callable[[float], object]) -> None:
        """`rate` is calls a second, `burst` how many may come at once, `wait` takes seconds."""
        if rate <= 0 or burst < 1:
            raise ValueError("a bucket needs a rate above zero and room for one call")
        self._clock = clock
        self._full_rate = rate
        self._rate = rate
        self._burst = float(burst)
        self._wait = wait
        self._lock = threading.Lock()
        self._tokens = float(burst)
        self._filled_at = clock.monotonic()

    def take(self, *, at_most_seconds: float) -> bool:
        """Wait for a turn. False, at once, if it would come later than that: then no turn is used up."""
        with self._lock:
            self._fill()
            seconds = max(0.0, (1 - self._tokens) / self._rate)
            if seconds > at_most_seconds:
                return False
            self._tokens -= 1
        if seconds > 0:
            self._wait(seconds)
        return True

    def slow_down(self) -> None:
        """The endpoint throttled: what was saved up is gone, and the pace halves."""
        with self._lock:
            self._fill()
            self._tokens = min(self._tokens, 0.0)
            self._rate = max(self._full_rate / _SLOWEST, self._rate / 2)

    def answered(self) -> None:
        """A call went through."""
        with self._lock:
            if self._rate < self._full_rate:
                self._fill()
                self._rate = min(self._full_rate, self._rate + self._full_rate / _RECOVERY)

    @property
    def rate(self) -> float:
        """Calls a second, now."""
        with self._lock:
            return self._rate

    def _fill(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
