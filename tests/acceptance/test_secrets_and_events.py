"""Where people keep a key, and how they find who still uses it: Secrets Manager and LookupEvents with real clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.conftest import endpoint_of
from acceptance.proofs import proves
from acceptance.real_clients import RealClient, Refused
from acceptance.served import Endpoint, Key
from living_authority import LivingAuthority, living_authority

SERVICE = "secretsmanager"


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingAuthority]:
    with living_authority(tmp_path_factory.mktemp("home")) as authority:
        yield authority


@pytest.fixture
def endpoint(living: LivingAuthority, tmp_path: Path) -> Endpoint:
    return endpoint_of(living, tmp_path)


@pytest.fixture
def name(client_name: str, request: pytest.FixtureRequest) -> str:
    """Of this client and this test alone."""
    return f"{client_name}-{request.function.__name__}".replace(" ", "-")[:50]


def value(client: RealClient, name: str, key: Key | None = None, **more: str) -> str:
    return str(client.call(SERVICE, "GetSecretValue", {"SecretId": name} | more, key)["SecretString"])


@proves("a secret is created, replaced, and read by its stages")
def test_a_secret_is_created_replaced_and_read_by_its_stages(client: RealClient, name: str) -> None:
    made = client.call(
        SERVICE, "CreateSecret", {"Name": name, "SecretString": "first é", "Description": "a key"}
    )
    assert made["Name"] == name
    assert made["ARN"].startswith(
        f"arn:aws:secretsmanager:us-east-1:{made['ARN'].split(':')[4]}:secret:{name}-"
    )
    assert value(client, name) == "first é"
    put = client.call(SERVICE, "PutSecretValue", {"SecretId": name, "SecretString": "second"})
    assert put["VersionStages"] == ["AWSCURRENT"]
    assert value(client, made["ARN"]) == "second"
    assert value(client, name, VersionStage="AWSPREVIOUS") == "first é"
    told = client.call(SERVICE, "DescribeSecret", {"SecretId": name})
    assert told["VersionIdsToStages"] == {
        made["VersionId"]: ["AWSPREVIOUS"],
        put["VersionId"]: ["AWSCURRENT"],
    }
    both = client.call(SERVICE, "BatchGetSecretValue", {"SecretIdList": [name, "missing"]})
    assert [each["SecretString"] for each in both["SecretValues"]] == ["second"]
    assert [each["ErrorCode"] for each in both["Errors"]] == ["ResourceNotFoundException"]
    with pytest.raises(Refused) as twice:
        client.call(SERVICE, "CreateSecret", {"Name": name, "SecretString": "again"})
    assert twice.value.code == "ResourceExistsException"


@proves("a deleted secret is restored within its window")
def test_a_deleted_secret_is_restored_within_its_window(client: RealClient, name: str) -> None:
    client.call(SERVICE, "CreateSecret", {"Name": name, "SecretString": "kept"})
    gone = client.call(SERVICE, "DeleteSecret", {"SecretId": name, "RecoveryWindowInDays": 7})
    assert gone["Name"] == name
    with pytest.raises(Refused) as marked:
        value(client, name)
    assert marked.value.code == "InvalidRequestException"
    client.call(SERVICE, "RestoreSecret", {"SecretId": name})
    assert value(client, name) == "kept"


@proves("a secret's own policy lets somebody read it, and nobody else")
def test_a_secrets_own_policy_lets_somebody_read_it_and_nobody_else(
    client: RealClient, name: str, living: LivingAuthority
) -> None:
    guest, stranger = (Key(*living.new_user_with_key(f"{who}-{name}")) for who in ("guest", "stranger"))
    arn = living.iam().get_user(UserName=f"guest-{name}")["User"]["Arn"]
    client.call(SERVICE, "CreateSecret", {"Name": name, "SecretString": "shared"})
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": arn},
                "Action": "secretsmanager:GetSecretValue",
                "Resource": "*",
            }
        ],
    }
    client.call(SERVICE, "PutResourcePolicy", {"SecretId": name, "ResourcePolicy": json.dumps(policy)})
    shown = client.call(SERVICE, "GetResourcePolicy", {"SecretId": name})["ResourcePolicy"]
    assert json.loads(shown) == policy
    assert value(client, name, guest) == "shared"
    with pytest.raises(Refused) as denied:
        value(client, name, stranger)
    assert denied.value.code == "AccessDeniedException"
    assert denied.value.message.endswith(
        "because no identity-based policy allows the secretsmanager:GetSecretValue action"
    )


@proves("LookupEvents finds who used an old key, and who still tries")
def test_lookup_events_finds_who_used_an_old_key_and_who_still_tries(
    client: RealClient, name: str, living: LivingAuthority
) -> None:
    old = Key(*living.new_user_with_key(name))
    client.arn_of(old)
    iam = living.iam()
    iam.update_access_key(UserName=name, AccessKeyId=old.access_key_id, Status="Inactive")
    with pytest.raises(Refused):
        client.arn_of(old)
    living.keep_house()

    def found(attribute: str, wanted: str) -> list[dict[str, Any]]:
        attributes = [{"AttributeKey": attribute, "AttributeValue": wanted}]
        events: list[dict[str, Any]] = client.call(
            "cloudtrail", "LookupEvents", {"LookupAttributes": attributes}
        )["Events"]
        return events

    events = found("AccessKeyId", old.access_key_id)
    assert {event["EventName"] for event in events} == {"GetCallerIdentity"}
    assert {event["Username"] for event in events} == {name}
    told = [json.loads(event["CloudTrailEvent"]) for event in events]
    assert {record.get("errorCode") for record in told} == {None, "InvalidClientTokenId"}
    assert {"UpdateAccessKey", "CreateAccessKey", "CreateUser"} <= {
        event["EventName"] for event in found("ResourceName", name)
    }
