"""Times are told as AWS tells them."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from keyturn.model.clock import SystemClock, iso8601


def test_a_time_has_whole_seconds_and_a_z() -> None:
    assert iso8601(0) == "1970-01-01T00:00:00Z"
    assert iso8601(1_770_806_438_999) == "2026-02-11T10:40:38Z"


@given(st.datetimes(datetime(1971, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds
def test_a_time_is_read_back_as_its_second(moment: datetime) -> None:
    epoch_ms = int(moment.timestamp() * 1000)
    back = datetime.strptime(iso8601(epoch_ms), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert back.timestamp() == epoch_ms // 1000


def test_monotonic_time_never_goes_back() -> None:
    clock = SystemClock()
    times = [clock.monotonic() for _ in range(100)]
    assert times == sorted(times)
