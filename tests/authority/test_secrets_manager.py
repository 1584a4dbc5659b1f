"""Secrets Manager as boto3 and the aws command line meet it; the texts are AWS's, as recorded."""

from __future__ import annotations

import json
import re
import string
import subprocess
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from botocore import UNSIGNED
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.exceptions import ClientError

from authority.sts_calls import let_clients_follow
from keyturn.authority import secrets_manager
from living_authority import REGION, LivingAuthority, environment_below, living_authority

AWS: Final = Path(__file__).parents[2] / ".venv-aws/bin/aws"
NAMES: Final = (f"app/secret-{number}" for number in count())
MARKED: Final = "You can't perform this operation on the secret because it was marked for deletion."
NOT_FOUND: Final = "Secrets Manager can't find the specified secret."
DAY: Final = 86_400


def client(authority: LivingAuthority, access_key_id: str | None = None, secret: str | None = None) -> Any:
    return authority._client("secretsmanager", access_key_id, secret, {})


@pytest.fixture
def sm(shared_authority: LivingAuthority) -> Any:
    return client(shared_authority)


@pytest.fixture
def name() -> str:
    return next(NAMES)


def refusal(act: Any, **parameters: Any) -> tuple[str, str]:
    """The code and the text of a refusal, which is always a 400."""
    with pytest.raises(ClientError) as raised:
        act(**parameters)
    response = raised.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return response["Error"]["Code"], response["Error"]["Message"]


def version(number: int) -> str:
    return f"{number:032d}"


def user_who_may(authority: LivingAuthority, name: str, *statements: dict[str, Any]) -> Any:
    access_key_id, secret = authority.new_user_with_key(name)
    if statements:
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        authority.iam().put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))
    return client(authority, access_key_id, secret)


def allow(*actions: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    named = [f"secretsmanager:{action}" for action in actions]
    return {"Effect": "Allow", "Action": named, "Resource": resource, **more}


# Creating and reading


def test_a_secret_is_read_back_by_name_arn_and_partial_arn(sm: Any, name: str) -> None:
    made = sm.create_secret(Name=name, SecretString="hünter2", Description="of the database")
    arn = made["ARN"]
    assert re.fullmatch(rf"arn:aws:secretsmanager:{REGION}:\d{{12}}:secret:{name}-[A-Za-z0-9]{{6}}", arn)
    for secret_id in (name, arn, arn[:-7]):
        read = sm.get_secret_value(SecretId=secret_id)
        assert read["SecretString"] == "hünter2"
        assert (read["ARN"], read["Name"], read["VersionId"]) == (arn, name, made["VersionId"])
        assert read["VersionStages"] == ["AWSCURRENT"]
        assert "SecretBinary" not in read


def test_a_binary_secret_is_read_back(sm: Any, name: str) -> None:
    sm.create_secret(Name=name, SecretBinary=b"\0\xff")
    assert sm.get_secret_value(SecretId=name)["SecretBinary"] == b"\0\xff"


def test_a_secret_without_a_value_has_no_current_version(sm: Any, name: str) -> None:
    assert "VersionId" not in sm.create_secret(Name=name)
    assert refusal(sm.get_secret_value, SecretId=name) == (
        "ResourceNotFoundException",
        "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
    )


def test_a_name_is_unique_in_its_region_and_only_there(shared_authority: LivingAuthority, name: str) -> None:
    sm = client(shared_authority)
    sm.create_secret(Name=name, SecretString="a")
    assert refusal(sm.create_secret, Name=name, SecretString="b") == (
        "ResourceExistsException",
        f"The operation failed because the secret {name} already exists.",
    )
    assert refusal(sm.get_secret_value, SecretId=name.upper()) == ("ResourceNotFoundException", NOT_FOUND)


def test_names_that_aws_refuses_are_refused(sm: Any) -> None:
    assert refusal(sm.create_secret, Name="a b") == (
        "ValidationException",
        "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
    )


def test_a_secret_is_text_or_bytes(sm: Any, name: str) -> None:
    code, told = refusal(sm.create_secret, Name=name, SecretString="a", SecretBinary=b"a")
    assert code == "InvalidParameterException"
    assert "both a binary secret value and a string" in told


def test_what_is_not_here_is_refused_and_not_ignored(sm: Any, name: str) -> None:
    for extra in (
        {"KmsKeyId": "alias/mine"},
        {"AddReplicaRegions": [{"Region": "eu-west-3"}]},
        {"Type": "SalesforceClientSecret"},
    ):
        assert (
            refusal(sm.create_secret, Name=name, SecretString="a", **extra)[0] == "InvalidParameterException"
        )
    sm.create_secret(Name=name, SecretString="a", KmsKeyId="alias/aws/secretsmanager")


def test_no_secret_is_in_the_files_or_in_the_audit_trail(tmp_path: Path) -> None:
    with living_authority(tmp_path) as living:
        sm = client(living)
        sm.create_secret(Name="a", SecretString="correct-horse-battery")
        sm.put_secret_value(SecretId="a", SecretBinary=b"correct-horse-battery")
        sm.update_secret(SecretId="a", SecretString="correct-horse-battery-2")
        sm.get_secret_value(SecretId="a")
        events = living._client("cloudtrail", None, None, {}).lookup_events()["Events"]
        put = next(each for each in events if each["EventName"] == "PutSecretValue")
        shown = json.loads(put["CloudTrailEvent"])["requestParameters"]
        assert shown["secretBinary"] == "HIDDEN_DUE_TO_SECURITY_REASONS"
        assert shown["secretId"] == "a"
        living.keep_house()
        for file in tmp_path.rglob("*"):
            if file.is_file():
                assert b"correct-horse" not in file.read_bytes(), file


# Versions


def test_the_current_version_becomes_the_previous_one(sm: Any, name: str) -> None:
    sm.create_secret(Name=name, SecretString="1", ClientRequestToken=version(1))
    sm.put_secret_value(SecretId=name, SecretString="2", ClientRequestToken=version(2))
    assert sm.get_secret_value(SecretId=name)["SecretString"] == "2"
    assert sm.get_secret_value(SecretId=name, VersionStage="AWSPREVIOUS")["SecretString"] == "1"
    sm.update_secret(SecretId=name, SecretString="3", ClientRequestToken=version(3))
    assert sm.get_secret_value(SecretId=name, VersionStage="AWSPREVIOUS")["SecretString"] == "2"
    read = sm.get_secret_value(SecretId=name, VersionId=version(1))
    assert read["SecretString"] == "1"
    assert "VersionStages" not in read


def test_a_version_is_staged_proved_and_made_current(sm: Any, name: str) -> None:
    sm.create_secret(Name=name, SecretString="old", ClientRequestToken=version(1))
    pending = sm.put_secret_value(
        SecretId=name, SecretString="new", ClientRequestToken=version(2), VersionStages=["AWSPENDING"]
    )
    assert pending["VersionStages"] == ["AWSPENDING"]
    assert sm.get_secret_value(SecretId=name)["SecretString"] == "old"
    assert sm.get_secret_value(SecretId=name, VersionStage="AWSPENDING")["SecretString"] == "new"
    sm.update_secret_version_stage(
        SecretId=name,
        VersionStage="AWSCURRENT",
        MoveToVersionId=version(2),
        RemoveFromVersionId=version(1),
    )
    sm.update_secret_version_stage(SecretId=name, VersionStage="AWSPENDING", RemoveFromVersionId=version(2))
    assert sm.describe_secret(SecretId=name)["VersionIdsToStages"] == {
        version(1): ["AWSPREVIOUS"],
        version(2): ["AWSCURRENT"],
    }


def test_a_stage_that_somebody_else_moved_stays(sm: Any, name: str) -> None:
    for number in (1, 2, 3):
        act = sm.create_secret if number == 1 else sm.put_secret_value
        key = "Name" if number == 1 else "SecretId"
        act(**{key: name}, SecretString=str(number), ClientRequestToken=version(number))
    move = {"SecretId": name, "VersionStage": "AWSCURRENT", "MoveToVersionId": version(1)}
    code, told = refusal(sm.update_secret_version_stage, **move)
    assert code == "InvalidParameterException"
    assert told.startswith(
        "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to"
        f" version {version(3)}"
    )
    code, _ = refusal(sm.update_secret_version_stage, **move, RemoveFromVersionId=version(2))
    assert code == "InvalidParameterException"
    code, told = refusal(
        sm.update_secret_version_stage,
        SecretId=name,
        VersionStage="AWSCURRENT",
        RemoveFromVersionId=version(3),
    )
    assert told.startswith("You can only move staging label AWSCURRENT to a different secret version.")
    assert refusal(sm.update_secret_version_stage, **{**move, "MoveToVersionId": version(9)}) == (
        "ResourceNotFoundException",
        f"Secrets Manager can't find the specified secret value for VersionId: {version(9)}",
    )
    assert sm.get_secret_value(SecretId=name)["SecretString"] == "3"


def test_the_same_token_and_value_is_the_same_call(sm: Any, name: str) -> None:
    first = sm.create_secret(Name=name, SecretString="a", ClientRequestToken=version(1))
    again = sm.create_secret(Name=name, SecretString="a", ClientRequestToken=version(1))
    assert (again["ARN"], again["VersionId"]) == (first["ARN"], first["VersionId"])
    for _ in range(2):
        sm.put_secret_value(SecretId=name, SecretString="b", ClientRequestToken=version(2))
    sm.put_secret_value(SecretId=name, SecretString="a", ClientRequestToken=version(1))
    assert sm.get_secret_value(SecretId=name)["SecretString"] == "b"
    for other in ({"SecretString": "c"}, {"SecretBinary": b"b"}):
        code, told = refusal(sm.put_secret_value, SecretId=name, ClientRequestToken=version(2), **other)
        assert code == "ResourceExistsException"
        assert told.startswith(f"You can't use ClientRequestToken {version(2)} because that value is already")


def test_a_version_and_a_stage_must_be_of_each_other(sm: Any, name: str) -> None:
    sm.create_secret(Name=name, SecretString="1", ClientRequestToken=version(1))
    sm.put_secret_value(SecretId=name, SecretString="2", ClientRequestToken=version(2))
    assert refusal(sm.get_secret_value, SecretId=name, VersionId=version(1), VersionStage="AWSCURRENT") == (
        "InvalidRequestException",
        "You provided a VersionStage that is not associated to the provided VersionId.",
    )
    assert refusal(sm.get_secret_value, SecretId=name, VersionId=version(3)) == (
        "ResourceNotFoundException",
        f"Secrets Manager can't find the specified secret value for VersionId: {version(3)}",
    )
    assert refusal(sm.get_secret_value, SecretId=name, VersionStage="AWSPENDING") == (
        "ResourceNotFoundException",
        "Secrets Manager can't find the specified secret value for staging label: AWSPENDING",
    )


def test_versions_are_listed_and_the_oldest_go(
    authority: LivingAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets_manager, "VERSIONS_PER_SECRET", 8)
    sm = client(authority)
    sm.create_secret(Name="a", SecretString="0", ClientRequestToken=version(0))
    for number in range(1, 11):
        authority.clock.advance(seconds=1)
        sm.put_secret_value(SecretId="a", SecretString=str(number), ClientRequestToken=version(number))
    staged = sm.list_secret_version_ids(SecretId="a")["Versions"]
    assert [each["VersionStages"] for each in staged] == [["AWSCURRENT"], ["AWSPREVIOUS"]]
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = sm.list_secret_version_ids(SecretId="a", IncludeDeprecated=True, MaxResults=3, **token)
        found += [each["VersionId"] for each in page["Versions"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert found == [version(number) for number in range(10, 2, -1)]


# Describing and listing


def test_a_description_changes_without_a_new_version(sm: Any, name: str) -> None:
    sm.create_secret(Name=name, SecretString="a")
    assert "VersionId" not in sm.update_secret(SecretId=name, Description="new")
    described = sm.describe_secret(SecretId=name)
    assert described["Description"] == "new"
    assert list(described["VersionIdsToStages"].values()) == [["AWSCURRENT"]]
    assert not {"SecretString", "DeletedDate", "KmsKeyId", "Tags"} & described.keys()


def test_secrets_are_listed_filtered_sorted_and_paged(authority: LivingAuthority) -> None:
    sm = client(authority)
    for number, text in enumerate(("prod/db", "prod/mail", "test/db", "Test/mail")):
        authority.clock.advance(seconds=1)
        tags = [{"Key": "team", "Value": f"t{number}"}]
        sm.create_secret(Name=text, SecretString="a", Description=f"Of {text}", Tags=tags)

    def names(*filters: tuple[str, str], **more: Any) -> list[str]:
        wanted = [{"Key": key, "Values": [value]} for key, value in filters]
        return [each["Name"] for each in sm.list_secrets(Filters=wanted, **more)["SecretList"]]

    assert names() == ["prod/db", "prod/mail", "test/db", "Test/mail"]
    assert names(SortOrder="desc") == ["Test/mail", "test/db", "prod/mail", "prod/db"]
    assert names(SortBy="name") == ["Test/mail", "prod/db", "prod/mail", "test/db"]
    assert names(("name", "prod")) == ["prod/db", "prod/mail"]
    assert names(("name", "!prod")) == ["test/db", "Test/mail"]
    assert names(("name", "test")) == ["test/db"]
    assert names(("description", "of test")) == ["test/db", "Test/mail"]
    assert names(("tag-key", "team"), ("tag-value", "t1")) == ["prod/mail"]
    assert names(("all", "MAIL test")) == ["Test/mail"]
    assert names(("owning-service", "x")) == []
    pages = sm.get_paginator("list_secrets").paginate(PaginationConfig={"PageSize": 3})
    assert [[each["Name"] for each in page["SecretList"]] for page in pages] == [
        ["prod/db", "prod/mail", "test/db"],
        ["Test/mail"],
    ]
    assert refusal(sm.list_secrets, NextToken="made up")[0] == "InvalidNextTokenException"


def test_many_secrets_are_read_at_once_and_what_fails_is_named(sm: Any, name: str) -> None:
    sm.create_secret(Name=name, SecretString="a")
    sm.create_secret(Name=f"{name}-2", SecretString="b")
    read = sm.batch_get_secret_value(SecretIdList=[name, "nobody"])
    assert [each["SecretString"] for each in read["SecretValues"]] == ["a"]
    assert read["Errors"] == [
        {"SecretId": "nobody", "ErrorCode": "ResourceNotFoundException", "Message": NOT_FOUND}
    ]
    found = sm.batch_get_secret_value(Filters=[{"Key": "name", "Values": [name]}])
    assert {each["SecretString"] for each in found["SecretValues"]} == {"a", "b"}
    assert refusal(sm.batch_get_secret_value)[0] == "InvalidParameterException"


# Deleting


def test_a_deleted_secret_can_be_restored_within_its_window(
    authority: LivingAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_clients_follow(authority, monkeypatch)
    sm = client(authority)
    sm.create_secret(Name="a", SecretString="1")
    gone_at = sm.delete_secret(SecretId="a", RecoveryWindowInDays=7)["DeletionDate"]
    for act in (sm.get_secret_value, sm.update_secret, sm.delete_secret):
        assert refusal(act, SecretId="a") == ("InvalidRequestException", MARKED)
    assert refusal(sm.create_secret, Name="a", SecretString="1") == (
        "InvalidRequestException",
        "You can't create this secret because a secret with this name is already scheduled for deletion.",
    )
    deleted = sm.describe_secret(SecretId="a")["DeletedDate"]
    assert round((gone_at - deleted).total_seconds()) == 7 * DAY
    assert sm.list_secrets()["SecretList"] == []
    assert len(sm.list_secrets(IncludePlannedDeletion=True)["SecretList"]) == 1
    authority.clock.advance(seconds=7 * DAY - 60)
    sm.restore_secret(SecretId="a")
    assert sm.get_secret_value(SecretId="a")["SecretString"] == "1"
    assert "DeletedDate" not in sm.describe_secret(SecretId="a")


def test_after_its_window_a_secret_is_gone_and_its_name_free(
    authority: LivingAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_clients_follow(authority, monkeypatch)
    sm = client(authority)
    first = sm.create_secret(Name="a", SecretString="1")["ARN"]
    sm.delete_secret(SecretId="a", RecoveryWindowInDays=7)
    authority.clock.advance(seconds=7 * DAY + 1)
    assert refusal(sm.describe_secret, SecretId="a") == ("ResourceNotFoundException", NOT_FOUND)
    assert refusal(sm.restore_secret, SecretId=first) == ("ResourceNotFoundException", NOT_FOUND)
    assert sm.list_secrets(IncludePlannedDeletion=True)["SecretList"] == []
    assert sm.create_secret(Name="a", SecretString="2")["ARN"] != first
    assert sm.get_secret_value(SecretId="a")["SecretString"] == "2"


def test_a_forced_deletion_is_at_once(sm: Any, name: str) -> None:
    sm.create_secret(Name=name, SecretString="1")
    sm.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    assert refusal(sm.describe_secret, SecretId=name) == ("ResourceNotFoundException", NOT_FOUND)
    sm.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    assert refusal(sm.delete_secret, SecretId=name) == ("ResourceNotFoundException", NOT_FOUND)
    sm.create_secret(Name=name, SecretString="2")


@pytest.mark.parametrize("days", [6, 31, 0, -1])
def test_a_window_is_seven_to_thirty_days(sm: Any, name: str, days: int) -> None:
    sm.create_secret(Name=name)
    code, told = refusal(sm.delete_secret, SecretId=name, RecoveryWindowInDays=days)
    assert (code, told) == (
        "InvalidParameterException",
        "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
    )
    both = {"ForceDeleteWithoutRecovery": True, "RecoveryWindowInDays": 7}
    assert refusal(sm.delete_secret, SecretId=name, **both)[0] == "InvalidParameterException"


# Tags


def test_tags_come_and_go(sm: Any, name: str) -> None:
    sm.create_secret(Name=name, Tags=[{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}])
    sm.tag_resource(SecretId=name, Tags=[{"Key": "a", "Value": "3"}, {"Key": "b", "Value": ""}])
    sm.untag_resource(SecretId=name, TagKeys=["A", "nobody"])
    assert sm.describe_secret(SecretId=name)["Tags"] == [
        {"Key": "a", "Value": "3"},
        {"Key": "b", "Value": ""},
    ]
    for tags in (
        [{"Key": "c", "Value": "1"}, {"Key": "c", "Value": "2"}],
        [{"Key": "aws:c", "Value": ""}],
        [{"Value": "nameless"}],
        [{"Key": f"k{number}", "Value": ""} for number in range(49)],
    ):
        assert refusal(sm.tag_resource, SecretId=name, Tags=tags)[0] == "InvalidParameterException"


# Who may


def test_without_permission_nothing_is_told_of_a_secret(shared_authority: LivingAuthority, name: str) -> None:
    client(shared_authority).create_secret(Name=name, SecretString="a")
    nobody = user_who_may(shared_authority, "nobody")
    arn = shared_authority.iam().get_user(UserName="nobody")["User"]["Arn"]
    for secret_id in (name, "missing"):
        assert refusal(nobody.get_secret_value, SecretId=secret_id) == (
            "AccessDeniedException",
            (
                f"User: {arn} is not authorized to perform: secretsmanager:GetSecretValue on resource: {secret_id}"
                " because no identity-based policy allows the secretsmanager:GetSecretValue action"
            ),
        )
    assert refusal(nobody.list_secrets)[0] == "AccessDeniedException"


def test_a_policy_can_name_secrets_by_arn_and_by_tag(shared_authority: LivingAuthority, name: str) -> None:
    sm = client(shared_authority)
    sm.create_secret(Name=f"by-arn/{name}", SecretString="a")
    sm.create_secret(Name=f"by-tag/{name}", SecretString="b", Tags=[{"Key": "team", "Value": "x"}])
    sm.create_secret(Name=f"other/{name}", SecretString="c")
    tagged = {"StringEquals": {"secretsmanager:ResourceTag/team": "x", "aws:ResourceTag/team": "x"}}
    reader = user_who_may(
        shared_authority,
        "reader",
        allow(
            "GetSecretValue",
            "CreateSecret",
            resource=f"arn:aws:secretsmanager:{REGION}:*:secret:by-arn/*-??????",
        ),
        allow("GetSecretValue", Condition=tagged),
        allow("BatchGetSecretValue"),
    )
    assert reader.get_secret_value(SecretId=f"by-arn/{name}")["SecretString"] == "a"
    assert reader.get_secret_value(SecretId=f"by-tag/{name}")["SecretString"] == "b"
    assert refusal(reader.get_secret_value, SecretId=f"other/{name}")[0] == "AccessDeniedException"
    reader.create_secret(Name=f"by-arn/{name}/new", SecretString="d")
    assert refusal(reader.create_secret, Name=f"else/{name}")[0] == "AccessDeniedException"
    read = reader.batch_get_secret_value(SecretIdList=[f"by-arn/{name}", f"other/{name}"])
    assert [each["SecretString"] for each in read["SecretValues"]] == ["a"]
    assert [each["ErrorCode"] for each in read["Errors"]] == ["AccessDeniedException"]
    filters = [{"Key": "name", "Values": ["by-arn"]}]
    assert refusal(reader.batch_get_secret_value, Filters=filters)[0] == "AccessDeniedException"


def test_a_condition_can_hold_a_reader_to_a_stage(shared_authority: LivingAuthority, name: str) -> None:
    sm = client(shared_authority)
    sm.create_secret(Name=name, SecretString="a")
    reader = user_who_may(
        shared_authority,
        "stage-reader",
        allow("GetSecretValue", Condition={"StringEquals": {"secretsmanager:VersionStage": "AWSCURRENT"}}),
    )
    assert reader.get_secret_value(SecretId=name, VersionStage="AWSCURRENT")["SecretString"] == "a"
    assert refusal(reader.get_secret_value, SecretId=name)[0] == "AccessDeniedException"


def statement(effect: str, principal: Any, **more: Any) -> str:
    made = {
        "Effect": effect,
        "Principal": principal,
        "Action": "secretsmanager:GetSecretValue",
        "Resource": "*",
        **more,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [made]})


def test_a_secrets_own_policy_allows_and_denies(shared_authority: LivingAuthority, name: str) -> None:
    sm = client(shared_authority)
    arn = sm.create_secret(Name=name, SecretString="a")["ARN"]
    guest = user_who_may(shared_authority, "guest")
    guest_arn = shared_authority.iam().get_user(UserName="guest")["User"]["Arn"]
    assert "ResourcePolicy" not in sm.get_resource_policy(SecretId=name)
    policy = statement("Allow", {"AWS": guest_arn})
    assert sm.put_resource_policy(SecretId=name, ResourcePolicy=policy)["ARN"] == arn
    assert sm.get_resource_policy(SecretId=name)["ResourcePolicy"] == policy
    assert guest.get_secret_value(SecretId=name)["SecretString"] == "a"
    assert refusal(guest.describe_secret, SecretId=name)[0] == "AccessDeniedException"
    sm.put_resource_policy(SecretId=name, ResourcePolicy=statement("Deny", "*"))
    code, told = refusal(sm.get_secret_value, SecretId=name)
    assert code == "AccessDeniedException"
    assert told.endswith("with an explicit deny in a resource-based policy")
    sm.delete_resource_policy(SecretId=name)
    assert sm.get_secret_value(SecretId=name)["SecretString"] == "a"
    assert refusal(guest.get_secret_value, SecretId=name)[0] == "AccessDeniedException"


def test_a_policy_that_is_none_or_public_is_refused(sm: Any, name: str) -> None:
    sm.create_secret(Name=name)
    assert refusal(sm.put_resource_policy, SecretId=name, ResourcePolicy="{")[0] == (
        "MalformedPolicyDocumentException"
    )
    public = statement("Allow", {"AWS": ["*"]})
    code, _ = refusal(sm.put_resource_policy, SecretId=name, ResourcePolicy=public, BlockPublicPolicy=True)
    assert code == "PublicPolicyException"
    narrowed = statement("Allow", "*", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})
    sm.put_resource_policy(SecretId=name, ResourcePolicy=narrowed, BlockPublicPolicy=True)
    assert sm.validate_resource_policy(ResourcePolicy=narrowed)["PolicyValidationPassed"]
    for bad in ("{", public):
        assert not sm.validate_resource_policy(ResourcePolicy=bad)["PolicyValidationPassed"]


def test_a_wrong_secret_key_and_a_revoked_one_are_refused_in_the_words_of_json_services(
    shared_authority: LivingAuthority,
) -> None:
    access_key_id, secret = shared_authority.new_user_with_key("revoked")
    code, _ = refusal(client(shared_authority, access_key_id, "wrong").list_secrets)
    assert code == "InvalidSignatureException"
    shared_authority.iam().delete_access_key(UserName="revoked", AccessKeyId=access_key_id)
    assert refusal(client(shared_authority, access_key_id, secret).list_secrets) == (
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )


def test_a_request_may_be_five_minutes_old_and_no_more(authority: LivingAuthority) -> None:
    sm = client(authority)
    authority.clock.advance(seconds=290)
    sm.list_secrets()
    authority.clock.advance(seconds=20)
    code, told = refusal(sm.list_secrets)
    assert code == "InvalidSignatureException"
    assert told.endswith("- 5 min.)")


def test_a_request_without_a_signature_is_refused_in_json(shared_authority: LivingAuthority) -> None:
    unsigned = shared_authority._client("secretsmanager", None, None, {"signature_version": UNSIGNED})
    assert refusal(unsigned.list_secrets) == (
        "MissingAuthenticationTokenException",
        "Request is missing Authentication Token",
    )


def test_a_target_that_was_not_signed_or_was_changed_is_refused(shared_authority: LivingAuthority) -> None:
    sm = client(shared_authority)

    def other_target(request: AWSPreparedRequest, **_event: Any) -> None:
        request.headers["X-Amz-Target"] = "secretsmanager.GetRandomPassword"

    sm.meta.events.register("before-send.secretsmanager", other_target)
    assert refusal(sm.list_secrets)[0] == "InvalidSignatureException"
    sm = client(shared_authority)

    def no_target(request: AWSRequest, **_event: Any) -> None:
        del request.headers["X-Amz-Target"]

    sm.meta.events.register("before-sign.secretsmanager", no_target)
    assert refusal(sm.list_secrets)[0] == "UnknownOperationException"
    sm.meta.events.register("before-send.secretsmanager", other_target)
    assert refusal(sm.list_secrets)[0] == "InvalidSignatureException"


def test_a_sealed_value_opens_in_its_own_place_only(authority: LivingAuthority) -> None:
    sm = client(authority)
    sm.create_secret(Name="mine", SecretString="a", ClientRequestToken=version(1))
    sm.create_secret(Name="theirs", SecretString="b", ClientRequestToken=version(2))
    swapped = (
        "UPDATE secret_versions SET sealed_value = (SELECT sealed_value FROM secret_versions"
        " WHERE version_id = :theirs) WHERE version_id = :mine"
    )
    places: dict[str, str | int | bytes | None] = {"mine": version(1), "theirs": version(2)}
    authority.run(authority.opened.store.write(lambda tx: tx.execute(swapped, places)))
    with pytest.raises(sm.exceptions.InternalServiceError):
        sm.get_secret_value(SecretId="mine")
    assert sm.get_secret_value(SecretId="theirs")["SecretString"] == "b"


# Passwords


def test_a_random_password_has_every_kind_of_character(sm: Any) -> None:
    password = sm.get_random_password()["RandomPassword"]
    assert len(password) == 32
    for kind in (string.ascii_lowercase, string.ascii_uppercase, string.digits, string.punctuation):
        assert set(password) & set(kind)
    assert password != sm.get_random_password()["RandomPassword"]
    assert len(sm.get_random_password(PasswordLength=4096)["RandomPassword"]) == 4096


def test_what_is_excluded_from_a_password_stays_out(sm: Any) -> None:
    for _ in range(5):
        password = sm.get_random_password(
            PasswordLength=200,
            ExcludePunctuation=True,
            ExcludeUppercase=True,
            ExcludeCharacters="abc123",
            IncludeSpace=True,
        )["RandomPassword"]
        assert set(password) <= set(string.ascii_lowercase + string.digits + " ") - set("abc123")
        assert " " in password


def test_a_password_that_cant_be_is_refused(sm: Any) -> None:
    assert refusal(sm.get_random_password, PasswordLength=3) == (
        "InvalidParameterException",
        "The password length is too short based on the required types.",
    )
    nothing = dict.fromkeys(
        ("ExcludeNumbers", "ExcludePunctuation", "ExcludeUppercase", "ExcludeLowercase"), True
    )
    assert refusal(sm.get_random_password, **nothing)[0] == "InvalidParameterException"


# The command line


@pytest.mark.skipif(
    not AWS.exists(), reason="the aws command line version 1 is not here: `make pytest` installs it"
)
def test_the_aws_command_line_keeps_and_reads_a_secret(
    shared_authority: LivingAuthority, tmp_path: Path, name: str
) -> None:
    environment = environment_below(tmp_path) | {
        "AWS_ENDPOINT_URL": shared_authority.url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": shared_authority.administrator.access_key_id,
        "AWS_SECRET_ACCESS_KEY": shared_authority.administrator.secret.reveal().decode(),
    }

    def aws(*arguments: str) -> str:
        done = subprocess.run(
            [AWS, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    aws("secretsmanager", "create-secret", "--name", name, "--secret-string", "hunter2")
    read = ("secretsmanager", "get-secret-value", "--secret-id", name, "--query", "SecretString")
    assert aws(*read, "--output", "text") == "hunter2"
    query = ("--query", "Events[0].EventName", "--output", "text")
    assert aws("cloudtrail", "lookup-events", "--max-items", "1", *query)
