"""LookupEvents: what finds the users of an old key on AWS finds them here, with boto3 as it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keyturn.authority import event_history
from living_authority import LivingAuthority


@pytest.fixture
def cloudtrail(authority: LivingAuthority) -> Any:
    return authority._client("cloudtrail", None, None, {})


def events(cloudtrail: Any, key: str | None = None, value: str = "", **more: Any) -> list[dict[str, Any]]:
    if key is not None:
        more["LookupAttributes"] = [{"AttributeKey": key, "AttributeValue": value}]
    found: list[dict[str, Any]] = cloudtrail.lookup_events(**more)["Events"]
    return found


def names(found: list[dict[str, Any]]) -> list[str]:
    return [each["EventName"] for each in found]


def record(event: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(event["CloudTrailEvent"])
    return found


def seconds_later(authority: LivingAuthority) -> None:
    """So that what follows is newer by whole seconds, too."""
    authority.clock.advance(seconds=2)


def test_the_users_of_a_key_are_found_with_where_and_how_often(
    authority: LivingAuthority, cloudtrail: Any
) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    sts = authority.sts(access_key_id, secret, user_agent_extra="nightly-backup")
    sts.get_caller_identity()
    seconds_later(authority)
    sts.get_caller_identity()
    authority.keep_house()
    (used,) = events(cloudtrail, "AccessKeyId", access_key_id)
    assert used["EventName"] == "GetCallerIdentity"
    assert used["EventSource"] == "sts.amazonaws.com"
    assert (used["Username"], used["AccessKeyId"], used["ReadOnly"]) == ("ana", access_key_id, "true")
    told = record(used)
    assert told["sourceIPAddress"] == "127.0.0.1"
    assert "nightly-backup" in told["userAgent"]
    assert told["userIdentity"]["arn"].endswith(":user/ana")
    assert told["eventID"] == used["EventId"]
    assert "errorCode" not in told
    more = told["additionalEventData"]
    assert more["count"] == 2
    assert more["lastEventTime"] == told["eventTime"] > more["firstEventTime"]


def test_whoever_still_tries_a_deactivated_key_is_found_and_a_guesser_is_not(
    authority: LivingAuthority, cloudtrail: Any
) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    authority.iam().update_access_key(UserName="ana", AccessKeyId=access_key_id, Status="Inactive")
    for held in (secret, "guessed"):
        with pytest.raises(ClientError):
            authority.sts(access_key_id, held).get_caller_identity()
    authority.keep_house()
    (refused,) = events(cloudtrail, "AccessKeyId", access_key_id)
    told = record(refused)
    assert (told["errorCode"], told["additionalEventData"]["count"]) == ("InvalidClientTokenId", 1)
    assert told["eventName"] == "GetCallerIdentity"


def test_a_change_is_an_event_of_its_own_with_what_it_named(
    authority: LivingAuthority, cloudtrail: Any
) -> None:
    access_key_id, _ = authority.new_user_with_key("ana")
    (made,) = [
        each
        for each in events(cloudtrail, "EventName", "CreateAccessKey")
        if "additionalEventData" not in record(each)
    ]
    assert made["ReadOnly"] == "false"
    assert made["Username"] == "administrator"
    assert {"ResourceType": "AWS::IAM::User", "ResourceName": "ana"} in made["Resources"]
    assert {"ResourceType": "AWS::IAM::AccessKey", "ResourceName": access_key_id} in made["Resources"]
    assert "SecretAccessKey" not in made["CloudTrailEvent"]
    assert events(cloudtrail, "EventId", made["EventId"]) == [made]
    assert set(names(events(cloudtrail, "ResourceName", "ana"))) == {"CreateUser", "CreateAccessKey"}


def test_a_denied_change_is_found_by_its_user(authority: LivingAuthority, cloudtrail: Any) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    with pytest.raises(ClientError):
        authority.iam(access_key_id, secret).create_user(UserName="eve")
    authority.keep_house()
    found = events(cloudtrail, "Username", "ana")
    assert names(found) == ["CreateUser", "CreateUser"]
    assert {record(each).get("errorCode") for each in found} == {"AccessDenied", None}
    assert len(events(cloudtrail, "Username", "nobody")) == 0


def test_a_renamed_and_a_deleted_user_are_found_by_their_name(
    authority: LivingAuthority, cloudtrail: Any
) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    authority.sts(access_key_id, secret).get_caller_identity()
    authority.iam().update_user(UserName="ana", NewUserName="bea")
    authority.keep_house()
    assert names(events(cloudtrail, "Username", "bea")) == ["GetCallerIdentity"]
    authority.iam().delete_access_key(UserName="bea", AccessKeyId=access_key_id)
    authority.iam().delete_user(UserName="bea")
    assert names(events(cloudtrail, "Username", "bea")) == ["GetCallerIdentity"]
    (used,) = events(cloudtrail, "AccessKeyId", access_key_id)
    assert used["Username"] == "bea"


def test_events_are_chosen_by_time(authority: LivingAuthority, cloudtrail: Any) -> None:
    authority.iam().create_user(UserName="early")
    seconds_later(authority)
    between = datetime.now(UTC) + timedelta(milliseconds=authority.clock.ahead_ms)
    seconds_later(authority)
    authority.iam().create_user(UserName="late")
    seconds_later(authority)

    def users(**times: datetime) -> set[str]:
        found = events(cloudtrail, "EventName", "CreateUser", **times)
        return {resource["ResourceName"] for each in found for resource in each["Resources"]}

    assert users() == {"early", "late"}
    assert users(StartTime=between) == {"late"}
    assert users(EndTime=between) == {"early"}
    with pytest.raises(cloudtrail.exceptions.InvalidTimeRangeException):
        users(StartTime=between, EndTime=between - timedelta(hours=1))


def test_pages_follow_each_other_newest_first_and_nothing_is_lost(
    authority: LivingAuthority, cloudtrail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_history, "_BATCH", 2)
    for number in range(7):
        authority.iam().create_user(UserName=f"user-{number}")
        authority.iam().get_user(UserName=f"user-{number}")
    authority.keep_house()
    # Looking is a use, too: the end of the time that is looked at keeps it out.
    now = datetime.now(UTC) + timedelta(milliseconds=authority.clock.ahead_ms)
    seconds_later(authority)
    seconds_later(authority)
    whole = events(cloudtrail, EndTime=now)
    times = [each["EventTime"] for each in whole]
    assert times == sorted(times, reverse=True)
    pages = cloudtrail.get_paginator("lookup_events").paginate(EndTime=now, PaginationConfig={"PageSize": 3})
    paged = [[each["EventId"] for each in page["Events"]] for page in pages]
    assert all(len(page) == 3 for page in paged[:-1])
    found = [each for page in paged for each in page]
    assert found == [each["EventId"] for each in whole]
    assert len(set(found)) == len(whole) >= 9


def test_a_search_that_has_looked_far_enough_goes_on_with_the_next_page(
    authority: LivingAuthority, cloudtrail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_history, "_MOST_SCANNED", 3)
    authority.iam().create_group(GroupName="first")
    for number in range(6):
        authority.iam().create_user(UserName=f"user-{number}")
    first = cloudtrail.lookup_events(
        LookupAttributes=[{"AttributeKey": "ResourceName", "AttributeValue": "first"}]
    )
    assert first["Events"] == []
    assert first["NextToken"]
    pages = cloudtrail.get_paginator("lookup_events").paginate(
        LookupAttributes=[{"AttributeKey": "ResourceName", "AttributeValue": "first"}]
    )
    assert [each["EventName"] for page in pages for each in page["Events"]] == ["CreateGroup"]


def test_reads_and_changes_are_told_apart(authority: LivingAuthority, cloudtrail: Any) -> None:
    authority.new_user_with_key("ana")
    authority.iam().list_users()
    authority.keep_house()
    assert "ListUsers" in names(events(cloudtrail, "ReadOnly", "true"))
    assert set(names(events(cloudtrail, "ReadOnly", "false"))) >= {"CreateUser", "CreateAccessKey"}
    assert {each["EventSource"] for each in events(cloudtrail, "EventSource", "iam.amazonaws.com")} == {
        "iam.amazonaws.com"
    }


@pytest.mark.parametrize("token", ["made up", "W10=", "WyJMb29rdXBFdmVudHMiLDEsMiwzXQ==", "x" * 10_000])
def test_a_token_that_we_did_not_make_is_refused(cloudtrail: Any, token: str) -> None:
    with pytest.raises(cloudtrail.exceptions.InvalidNextTokenException):
        cloudtrail.lookup_events(NextToken=token)


def test_two_attributes_are_one_too_many(cloudtrail: Any) -> None:
    with pytest.raises(cloudtrail.exceptions.InvalidLookupAttributesException):
        cloudtrail.lookup_events(
            LookupAttributes=[
                {"AttributeKey": "EventName", "AttributeValue": "a"},
                {"AttributeKey": "Username", "AttributeValue": "b"},
            ]
        )


def test_looking_up_events_needs_permission(authority: LivingAuthority) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    client = authority._client("cloudtrail", access_key_id, secret, {})
    with pytest.raises(ClientError, match="not authorized to perform: cloudtrail:LookupEvents") as raised:
        client.lookup_events()
    assert raised.value.response["Error"]["Code"] == "AccessDeniedException"
    document = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": "cloudtrail:LookupEvents", "Resource": "*"},
    }
    authority.iam().put_user_policy(UserName="ana", PolicyName="p", PolicyDocument=json.dumps(document))
    assert client.lookup_events()["Events"]
    assert client.lookup_events(EventCategory="insight")["Events"] == []
