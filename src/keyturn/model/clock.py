"""Time, handed in, so that a test can hold it and make it jump."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """Wall time for what people and signatures say; monotonic time for what must only pass."""

    def now_ms(self) -> int:
        """Epoch milliseconds."""

    def monotonic(self) -> float:
        """Seconds that never go back."""


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


def iso8601(epoch_ms: int) -> str:
    """Whole seconds with `Z`, as AWS writes times: `2026-02-11T10:40:38Z`."""
    return _second(epoch_ms // 1000)


@lru_cache(maxsize=1024)  # what happens now is written several times a request
def _second(epoch_seconds: int) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
