"""CloudTrail's records as AWS writes them, which no server here does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.model.access_keys import AccessKeyId
from keyturn.rotation import trail

KEY = AccessKeyId("AKIAIOSFODNN7EXAMPLE")


def ms(text: str) -> int:
    return trail.epoch_ms(datetime.fromisoformat(text))


def assumed(expiration: object) -> dict[str, Any]:
    """After the CloudTrail user guide's example of AssumeRole."""
    return {
        "eventVersion": "1.05",
        "userIdentity": {
            "type": "IAMUser",
            "arn": "arn:aws:iam::111122223333:user/JohnDoe",
            "accessKeyId": KEY,
        },
        "eventTime": "2014-01-02T02:12:16Z",
        "eventSource": "sts.amazonaws.com",
        "eventName": "AssumeRole",
        "sourceIPAddress": "192.0.2.101",
        "userAgent": "aws-cli/1.16.248 Python/3.4.7 botocore/1.12.239",
        "responseElements": {
            "credentials": {"sessionToken": "TOKEN", "accessKeyId": "ASIAEXAMPLE", "expiration": expiration},
            "assumedRoleUser": {"arn": "arn:aws:sts::111122223333:assumed-role/assumeRole/s"},
        },
    }


@pytest.mark.parametrize(
    "expiration",
    ["Jan 2, 2014 3:12:16 AM", "Jan 2, 2014 3:12:16\u202fAM", "2014-01-02T03:12:16Z", 1_388_632_336_000],
)
def test_the_end_of_a_session_is_read_in_each_of_its_spellings(expiration: object) -> None:
    (issued,) = trail.sessions_in([assumed(expiration)])
    assert issued.access_key_id == "ASIAEXAMPLE"
    assert issued.session.arn.endswith(":assumed-role/assumeRole/s")
    assert issued.session.expires_at == ms("2014-01-02T03:12:16+00:00")


def test_a_session_whose_end_can_not_be_read_lives_as_long_as_any_may() -> None:
    (issued,) = trail.sessions_in([assumed("tomorrow")])
    assert issued.session.expires_at == ms("2014-01-03T14:12:16+00:00")


def test_single_events_add_up_to_consumers() -> None:
    events = [assumed(None), {**assumed(None), "eventTime": "2014-01-02T05:00:00Z"}]
    events.append({**events[0], "sourceIPAddress": "cloudformation.amazonaws.com"})
    first, second = trail.consumers_in(events, has_counts=False)
    assert (first.source, first.service, first.action, first.count) == ("192.0.2.101", "sts", "AssumeRole", 2)
    assert first.last_at == ms("2014-01-02T05:00:00+00:00")
    assert (second.source, second.count, second.is_refused) == ("cloudformation.amazonaws.com", 1, False)


def test_only_a_call_that_succeeded_made_a_key() -> None:
    made = {
        "eventName": "CreateAccessKey",
        "userAgent": "Boto3/1.44 keyturn-rotation/8f2c",
        "responseElements": {"accessKey": {"accessKeyId": KEY}},
    }
    assert trail.agent_that_created(KEY, [made]) == "Boto3/1.44 keyturn-rotation/8f2c"
    assert trail.agent_that_created(KEY, [{**made, "errorCode": "AccessDenied"}]) is None
    assert trail.agent_that_created(AccessKeyId("AKIAOTHER"), [made]) is None


@pytest.mark.parametrize(
    ("agent", "rotation"),
    [
        ("Boto3/1.44 keyturn-rotation/8f2c", "8f2c"),
        ("keyturn-rotation/8f2c", "8f2c"),
        ("keyturn-rotation/8f2c Boto3/1.44", ""),
        ("notkeyturn-rotation/8f2c", ""),
        ("x keyturn-rotation/", ""),
        ("x keyturn-rotation/" + "a" * 65, ""),
        ("x" * 1_000_000, ""),
    ],
)
def test_a_rotation_is_named_at_the_end_of_an_agent_and_nowhere_else(agent: str, rotation: str) -> None:
    assert trail.rotation_in(agent) == rotation


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*assumed(0), "additionalEventData", "errorCode"])


@given(
    st.lists(
        st.dictionaries(NAMES, anything, max_size=8).map(lambda more: {**assumed(0), **more}), max_size=4
    )
)
def test_an_event_of_any_shape_is_read_or_passed_over(records: list[dict[str, Any]]) -> None:
    page = {"Events": [{"CloudTrailEvent": json.dumps(record)} for record in records]}
    page["Events"] += [
        {},
        {"CloudTrailEvent": "{"},
        {"CloudTrailEvent": "[" * 5000},
        {"CloudTrailEvent": "[]"},
    ]
    events = trail.events_in(page)
    assert len(events) == len(records)
    trail.sessions_in(events)
    trail.consumers_in(events, has_counts=True)
    trail.consumers_in(events, has_counts=False)
    trail.agent_that_created(KEY, events)
    trail.rotations_in(events)


def test_times_are_utc_whatever_the_machine_thinks() -> None:
    (issued,) = trail.sessions_in([assumed("Jul 2, 2014 3:12:16 PM")])
    assert issued.session.expires_at == trail.epoch_ms(datetime(2014, 7, 2, 15, 12, 16, tzinfo=UTC))
