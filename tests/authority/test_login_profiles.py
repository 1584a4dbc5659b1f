"""Login profiles and ChangePassword: passwords keep the policy, are never shown and do not come back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from keyturn.authority.login_profiles import WRONG_PASSWORDS
from living_authority import HeldClock, LivingAuthority, living_authority

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient

NAMES = (f"ana-{number}" for number in count())
GOOD = "Correct-Horse-1"
OTHER = "Battery-Staple-2"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingAuthority]:
    with living_authority(tmp_path_factory.mktemp("home"), clock=HeldClock()) as living:
        yield living


@pytest.fixture(scope="module")
def iam(shared: LivingAuthority) -> IAMClient:
    return shared.iam()


@pytest.fixture
def ana(iam: IAMClient) -> str:
    """The name of a user of the test's own."""
    name = next(NAMES)
    iam.create_user(UserName=name)
    return name


@pytest.fixture
def own(shared: LivingAuthority, iam: IAMClient, ana: str) -> Iterator[IAMClient]:
    """Ana's own client: she has a password, and may change it."""
    iam.create_login_profile(UserName=ana, Password=GOOD, PasswordResetRequired=True)
    iam.put_user_policy(
        UserName=ana,
        PolicyName="own-password",
        PolicyDocument='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ChangePassword",'
        '"Resource":"arn:aws:iam::*:user/${aws:username}"}]}',
    )
    key = iam.create_access_key(UserName=ana)["AccessKey"]
    yield shared.iam(key["AccessKeyId"], key["SecretAccessKey"])
    shared.clock.ahead_ms = 0


def error(raised: pytest.ExceptionInfo[ClientError]) -> tuple[str, int, str]:
    response = raised.value.response
    return (
        response["Error"]["Code"],
        response["ResponseMetadata"]["HTTPStatusCode"],
        response["Error"]["Message"],
    )


WRONG = ("AccessDenied", 403, "The old password was incorrect.")


# Profiles


def test_a_login_profile_is_made_changed_and_deleted(iam: IAMClient, ana: str) -> None:
    made = iam.create_login_profile(UserName=ana, Password=GOOD)["LoginProfile"]
    assert (made["UserName"], made["PasswordResetRequired"]) == (ana, False)
    assert iam.get_login_profile(UserName=ana)["LoginProfile"] == made
    iam.update_login_profile(UserName=ana, PasswordResetRequired=True)
    assert iam.get_login_profile(UserName=ana)["LoginProfile"] == made | {"PasswordResetRequired": True}
    iam.update_login_profile(UserName=ana, Password=OTHER)
    assert iam.get_login_profile(UserName=ana)["LoginProfile"]["PasswordResetRequired"] is True
    iam.delete_login_profile(UserName=ana)
    with pytest.raises(ClientError) as refused:
        iam.get_login_profile(UserName=ana)
    assert error(refused) == ("NoSuchEntity", 404, f"Login Profile for User {ana} cannot be found.")


def test_a_user_has_one_login_profile(iam: IAMClient, ana: str) -> None:
    iam.create_login_profile(UserName=ana, Password=GOOD)
    with pytest.raises(ClientError) as refused:
        iam.create_login_profile(UserName=ana, Password=OTHER)
    assert error(refused) == ("EntityAlreadyExists", 409, f"Login Profile for user {ana} already exists.")


def test_users_and_profiles_that_do_not_exist_are_told_apart(iam: IAMClient, ana: str) -> None:
    nobody = ("NoSuchEntity", 404, "The user with name nonexistent-user cannot be found.")
    with pytest.raises(ClientError) as refused:
        iam.create_login_profile(UserName="nonexistent-user", Password=GOOD)
    assert error(refused) == nobody
    with pytest.raises(ClientError) as refused:
        iam.delete_login_profile(UserName="nonexistent-user")
    assert error(refused) == nobody
    no_profile = ("NoSuchEntity", 404, f"Login Profile for User {ana} cannot be found.")
    for act in (iam.delete_login_profile, iam.get_login_profile, iam.update_login_profile):
        with pytest.raises(ClientError) as refused:
            act(UserName=ana)
        assert error(refused) == no_profile


def test_a_user_with_a_login_profile_is_not_deleted(iam: IAMClient, ana: str) -> None:
    iam.create_login_profile(UserName=ana, Password=GOOD)
    with pytest.raises(ClientError) as refused:
        iam.delete_user(UserName=ana)
    told = "Cannot delete entity, must delete login profile first."
    assert error(refused) == ("DeleteConflict", 409, told)
    iam.delete_login_profile(UserName=ana)
    iam.delete_user(UserName=ana)


def test_a_profile_without_a_password_is_refused(iam: IAMClient, ana: str) -> None:
    with pytest.raises(ClientError) as refused:
        iam.create_login_profile(UserName=ana)
    assert error(refused)[:2] == ("ValidationError", 400)


# ChangePassword


def test_a_user_changes_their_own_password_and_need_not_reset_it_any_more(
    iam: IAMClient, own: IAMClient, ana: str
) -> None:
    own.change_password(OldPassword=GOOD, NewPassword=OTHER)
    assert iam.get_login_profile(UserName=ana)["LoginProfile"]["PasswordResetRequired"] is False
    with pytest.raises(ClientError) as refused:
        own.change_password(OldPassword=GOOD, NewPassword="Something-Else-3")
    assert error(refused) == WRONG
    own.change_password(OldPassword=OTHER, NewPassword=GOOD)


def test_what_an_administrator_set_is_the_password(iam: IAMClient, own: IAMClient, ana: str) -> None:
    iam.update_login_profile(UserName=ana, Password=OTHER)
    with pytest.raises(ClientError) as refused:
        own.change_password(OldPassword=GOOD, NewPassword="Something-Else-3")
    assert error(refused) == WRONG
    own.change_password(OldPassword=OTHER, NewPassword="Something-Else-3")


def test_a_new_password_that_breaks_the_policy_changes_nothing(own: IAMClient) -> None:
    with pytest.raises(ClientError) as refused:
        own.change_password(OldPassword=GOOD, NewPassword="short")
    assert error(refused)[:2] == ("PasswordPolicyViolation", 400)
    own.change_password(OldPassword=GOOD, NewPassword=OTHER)


def test_after_ten_wrong_passwords_even_the_right_one_waits_five_minutes(
    shared: LivingAuthority, own: IAMClient
) -> None:
    for _attempt in range(WRONG_PASSWORDS):
        with pytest.raises(ClientError) as refused:
            own.change_password(OldPassword="not-this-one", NewPassword=OTHER)
        assert error(refused) == WRONG
    with pytest.raises(ClientError) as refused:
        own.change_password(OldPassword=GOOD, NewPassword=OTHER)
    assert error(refused)[:2] == ("AccessDenied", 403)
    assert "Too many wrong passwords" in error(refused)[2]
    shared.clock.advance(seconds=301)
    own.change_password(OldPassword=GOOD, NewPassword=OTHER)


def test_a_user_without_a_password_has_none_to_change(iam: IAMClient, own: IAMClient, ana: str) -> None:
    iam.delete_login_profile(UserName=ana)
    with pytest.raises(ClientError) as refused:
        own.change_password(OldPassword=GOOD, NewPassword=OTHER)
    assert error(refused) == ("NoSuchEntity", 404, f"Login Profile for User {ana} cannot be found.")


def test_changing_one_s_password_needs_permission(
    shared: LivingAuthority, iam: IAMClient, own: IAMClient, ana: str
) -> None:
    iam.delete_user_policy(UserName=ana, PolicyName="own-password")
    with pytest.raises(ClientError) as refused:
        own.change_password(OldPassword=GOOD, NewPassword=OTHER)
    account = shared.opened.instance.account_id
    assert error(refused)[:2] == ("AccessDenied", 403)
    assert error(refused)[2].startswith(
        f"User: arn:aws:iam::{account}:user/{ana} is not authorized to perform: iam:ChangePassword"
        f" on resource: user {ana}"
    )


# Secrets


def test_passwords_stand_nowhere_in_the_clear(shared: LivingAuthority, own: IAMClient) -> None:
    never_shown = ("Unlikely-In-Any-File-1", "Unlikely-In-Any-File-2")
    own.change_password(OldPassword=GOOD, NewPassword=never_shown[0])
    with pytest.raises(ClientError):
        own.change_password(OldPassword=never_shown[1], NewPassword=OTHER)
    shared.keep_house()
    files = [file for file in shared.settings.place.data_dir.rglob("*") if file.is_file()]
    assert files
    for file in files:
        content = file.read_bytes()
        for password in never_shown:
            assert password.encode() not in content, file.name


@pytest.mark.parametrize("password", ["pässwörd-ÿ-1", "tab\tand space 1 Aa", "Aa1!" * 32])
def test_every_character_of_aws_s_pattern_may_stand_in_a_password(own: IAMClient, password: str) -> None:
    own.change_password(OldPassword=GOOD, NewPassword=password)
    own.change_password(OldPassword=password, NewPassword=OTHER)


@pytest.mark.parametrize("password", ["Aa1!" * 32 + "x", "Snowman-\N{SNOWMAN}-1"])
def test_other_passwords_are_refused_without_repeating_them(iam: IAMClient, ana: str, password: str) -> None:
    with pytest.raises(ClientError) as refused:
        iam.create_login_profile(UserName=ana, Password=password)
    assert error(refused)[:2] == ("ValidationError", 400)
    assert password not in error(refused)[2]
