"""Whom a policy names by ARN is somebody in particular: not whoever has that name later (IAM user guide, "Principal")."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import boto3
import pytest

from authority.role_calls import account_of, refusal
from authority.sts_calls import Holder, allow, document, new_holder, new_trusting_role, trust
from living_authority import REGION, LivingAuthority


def trusted(authority: LivingAuthority, role: str) -> Any:
    """The principals of a role's only statement, as GetRole shows them."""
    shown: Any = authority.iam().get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    return shown["Statement"][0]["Principal"]["AWS"]


def user_arn(authority: LivingAuthority, name: str) -> str:
    return f"arn:aws:iam::{account_of(authority)}:user/{name}"


def role_arn(authority: LivingAuthority, name: str) -> str:
    return f"arn:aws:iam::{account_of(authority)}:role/{name}"


def session_arn(authority: LivingAuthority, role: str, name: str) -> str:
    return f"arn:aws:sts::{account_of(authority)}:assumed-role/{role}/{name}"


def delete_user(holder: Holder, name: str) -> None:
    iam = holder.authority.iam()
    iam.delete_access_key(UserName=name, AccessKeyId=holder.key)
    iam.delete_user(UserName=name)


def is_refused(holder: Holder, role: str) -> bool:
    return refusal(holder.sts.assume_role, RoleArn=role, RoleSessionName="job")[0] == "AccessDenied"


def test_a_user_who_takes_the_name_of_a_deleted_one_is_not_trusted(shared_authority: LivingAuthority) -> None:
    authority = shared_authority
    first = new_holder(authority, "heir")
    role = new_trusting_role(authority, "legacy", trust({"AWS": user_arn(authority, "heir")}))
    first_id = authority.iam().get_user(UserName="heir")["User"]["UserId"]
    assert trusted(authority, "legacy") == user_arn(authority, "heir")
    first.assume(role)
    delete_user(first, "heir")
    assert trusted(authority, "legacy") == first_id
    second = new_holder(authority, "heir")
    assert is_refused(second, role)
    assert trusted(authority, "legacy") == first_id
    written_again = document(trust({"AWS": user_arn(authority, "heir")}))
    authority.iam().update_assume_role_policy(RoleName="legacy", PolicyDocument=written_again)
    second.assume(role)


def test_a_role_and_its_session_are_trusted_by_what_they_are(shared_authority: LivingAuthority) -> None:
    authority = shared_authority
    root = {"AWS": f"arn:aws:iam::{account_of(authority)}:root"}
    someone = new_holder(authority, "chain-starter", allow("sts:AssumeRole"))
    middle = new_trusting_role(authority, "middle", trust(root))
    by_role = new_trusting_role(authority, "by-role", trust({"AWS": [middle]}))
    by_session = new_trusting_role(
        authority, "by-session", trust({"AWS": [session_arn(authority, "middle", "night")]})
    )
    middle_id = authority.iam().get_role(RoleName="middle")["Role"]["RoleId"]
    night, day = (someone.assume(middle, name) for name in ("night", "day"))
    for session in (night, day):
        session.assume(by_role)
    night.assume(by_session)
    assert is_refused(day, by_session)
    assert trusted(authority, "by-session") == [session_arn(authority, "middle", "night")]
    authority.iam().delete_role(RoleName="middle")
    assert trusted(authority, "by-role") == [middle_id]
    assert trusted(authority, "by-session") == [f"{middle_id}:night"]
    new_trusting_role(authority, "middle", trust(root))
    again = someone.assume(middle, "night")
    assert is_refused(again, by_role)
    assert is_refused(again, by_session)


def test_a_renamed_user_stays_trusted_and_is_shown_by_the_new_name(shared_authority: LivingAuthority) -> None:
    authority = shared_authority
    holder = new_holder(authority, "before")
    role = new_trusting_role(authority, "for-renamed", trust({"AWS": user_arn(authority, "before")}))
    authority.iam().update_user(UserName="before", NewUserName="after", NewPath="/moved/")
    holder.assume(role)
    assert trusted(authority, "for-renamed") == user_arn(authority, "moved/after")


def test_who_does_not_exist_can_not_be_trusted(shared_authority: LivingAuthority) -> None:
    authority = shared_authority
    authority.iam().create_user(UserName="on-a-path", Path="/team/")
    gone = new_holder(authority, "soon-gone")
    gone_id = authority.iam().get_user(UserName="soon-gone")["User"]["UserId"]
    delete_user(gone, "soon-gone")
    nobody = [
        user_arn(authority, "nobody"),
        user_arn(authority, "on-a-path"),
        user_arn(authority, "team/On-a-path"),
        role_arn(authority, "nobody"),
        session_arn(authority, "nobody", "night"),
        gone_id,
        "AROAQWERTYUIOPASDFGHJ",
    ]
    for name in nobody:
        told = ("MalformedPolicyDocument", 400, f'Invalid principal in policy: "AWS":"{name}"')
        written = document(trust({"AWS": [user_arn(authority, "team/on-a-path"), name]}))
        create = authority.iam().create_role
        assert refusal(create, RoleName="hopeful", AssumeRolePolicyDocument=written) == told
    new_trusting_role(authority, "hopeful", trust({"AWS": user_arn(authority, "team/on-a-path")}))
    written = document(trust({"AWS": nobody[0]}))
    update = authority.iam().update_assume_role_policy
    assert refusal(update, RoleName="hopeful", PolicyDocument=written)[0] == "MalformedPolicyDocument"


def test_a_session_name_that_no_session_can_have_can_not_be_trusted(
    shared_authority: LivingAuthority,
) -> None:
    root = {"AWS": f"arn:aws:iam::{account_of(shared_authority)}:root"}
    new_trusting_role(shared_authority, "with-sessions", trust(root))
    name = session_arn(shared_authority, "with-sessions", "a/b")
    create = shared_authority.iam().create_role
    written = document(trust({"AWS": name}))
    assert refusal(create, RoleName="odd", AssumeRolePolicyDocument=written)[2] == (
        f'Invalid principal in policy: "AWS":"{name}"'
    )


def test_somebody_of_another_account_can_be_named_and_is_shown_as_written(
    shared_authority: LivingAuthority,
) -> None:
    """Whether they exist, only that account knows."""
    foreign = ["arn:aws:iam::999999999999:user/somebody", "arn:aws:iam::999999999999:root", "999999999999"]
    new_trusting_role(shared_authority, "for-others", trust({"AWS": foreign}))
    assert trusted(shared_authority, "for-others") == foreign


def test_the_text_stays_as_it_was_written(shared_authority: LivingAuthority) -> None:
    """An ARN in a condition is a text to compare with, and no principal."""
    authority = shared_authority
    new_holder(authority, "careful")
    arn = user_arn(authority, "careful")
    principal = f'"Principal": {{"AWS": "{arn}"}}'
    condition = f'"Condition": {{"StringEquals": {{"aws:PrincipalArn": ["{arn}"]}}}}'
    statement = f'{{"Effect": "Allow", {principal}, "Action": "sts:AssumeRole", {condition}}}'
    written = f'{{ "Version":"2012-10-17",\n  "Statement" : [{statement}]}}\n'
    made = authority.iam().create_role(RoleName="exact", AssumeRolePolicyDocument=written)
    shown: Mapping[str, Any] = made["Role"]["AssumeRolePolicyDocument"]  # type: ignore[assignment]  # decoded by botocore
    assert shown == json.loads(written)
    with_id = trusted(authority, "exact")
    assert with_id == arn
    iam = authority.iam()
    key = iam.list_access_keys(UserName="careful")["AccessKeyMetadata"][0]["AccessKeyId"]
    iam.delete_access_key(UserName="careful", AccessKeyId=key)
    iam.delete_user(UserName="careful")
    left: Any = iam.get_role(RoleName="exact")["Role"]["AssumeRolePolicyDocument"]
    assert left["Statement"][0]["Principal"]["AWS"].startswith("AIDA")
    assert left["Statement"][0]["Condition"] == {"StringEquals": {"aws:PrincipalArn": [arn]}}


def test_every_listing_of_a_role_shows_the_same_principal(shared_authority: LivingAuthority) -> None:
    authority = shared_authority
    new_holder(authority, "listed")
    new_trusting_role(authority, "in-lists", trust({"AWS": user_arn(authority, "listed")}))
    iam = authority.iam()
    iam.create_instance_profile(InstanceProfileName="with-role")
    iam.add_role_to_instance_profile(InstanceProfileName="with-role", RoleName="in-lists")
    listed = next(role for role in iam.list_roles()["Roles"] if role["RoleName"] == "in-lists")
    details = iam.get_account_authorization_details(Filter=["Role"])["RoleDetailList"]
    detail = next(role for role in details if role["RoleName"] == "in-lists")
    profile = iam.get_instance_profile(InstanceProfileName="with-role")["InstanceProfile"]
    shown: list[Any] = [
        listed["AssumeRolePolicyDocument"],
        detail["AssumeRolePolicyDocument"],
        profile["Roles"][0]["AssumeRolePolicyDocument"],
    ]
    assert [each["Statement"][0]["Principal"]["AWS"] for each in shown] == [
        user_arn(authority, "listed")
    ] * len(shown)


@pytest.fixture
def secrets(shared_authority: LivingAuthority) -> Any:
    return secrets_client(
        Holder(
            shared_authority,
            shared_authority.administrator.access_key_id,
            shared_authority.administrator.secret.reveal().decode(),
        )
    )


def secrets_client(holder: Holder) -> Any:
    client = boto3.client(
        "secretsmanager",
        endpoint_url=holder.authority.url,
        region_name=REGION,
        aws_access_key_id=holder.key,
        aws_secret_access_key=holder.secret,
    )
    holder.authority._clients.append(client)
    return client


def of_secret(effect: str, principal: str) -> str:
    made = {"Effect": effect, "Principal": {"AWS": principal}, "Resource": "*"}
    return document(made | {"Action": "secretsmanager:GetSecretValue"})


def test_a_secrets_policy_names_somebody_in_particular_too(
    shared_authority: LivingAuthority, secrets: Any
) -> None:
    authority = shared_authority
    first = new_holder(authority, "reader")
    reader = user_arn(authority, "reader")
    reader_id = authority.iam().get_user(UserName="reader")["User"]["UserId"]
    secrets.create_secret(Name="shared", SecretString="value")
    policy = of_secret("Allow", reader)
    secrets.put_resource_policy(SecretId="shared", ResourcePolicy=policy)
    assert secrets.get_resource_policy(SecretId="shared")["ResourcePolicy"] == policy
    assert secrets_client(first).get_secret_value(SecretId="shared")["SecretString"] == "value"
    delete_user(first, "reader")
    assert reader_id in secrets.get_resource_policy(SecretId="shared")["ResourcePolicy"]
    second = new_holder(authority, "reader")
    assert refusal(secrets_client(second).get_secret_value, SecretId="shared")[0] == "AccessDeniedException"
    unknown = of_secret("Allow", user_arn(authority, "nobody"))
    assert refusal(secrets.put_resource_policy, SecretId="shared", ResourcePolicy=unknown) == (
        "MalformedPolicyDocumentException",
        400,
        "This resource policy contains an unsupported principal.",
    )
    assert not secrets.validate_resource_policy(ResourcePolicy=unknown)["PolicyValidationPassed"]


def test_what_denies_a_user_by_their_id_denies_who_they_vouch_for(
    shared_authority: LivingAuthority, secrets: Any
) -> None:
    voucher = new_holder(shared_authority, "voucher", allow("*"))
    secrets.create_secret(Name="kept", SecretString="value")
    policy = document(allow("*"))
    federated = Holder.of(shared_authority, voucher.sts.get_federation_token(Name="guest", Policy=policy))
    client = boto3.client(
        "secretsmanager",
        endpoint_url=shared_authority.url,
        region_name=REGION,
        aws_access_key_id=federated.key,
        aws_secret_access_key=federated.secret,
        aws_session_token=federated.token,
    )
    shared_authority._clients.append(client)
    assert client.get_secret_value(SecretId="kept")["SecretString"] == "value"
    denied = of_secret("Deny", user_arn(shared_authority, "voucher"))
    secrets.put_resource_policy(SecretId="kept", ResourcePolicy=denied)
    assert refusal(client.get_secret_value, SecretId="kept")[0] == "AccessDeniedException"
