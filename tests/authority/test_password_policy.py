"""The account's password policy: as recorded from AWS, and enforced."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from authority.role_calls import refusal
from authority.sts_calls import allow, deny, document, new_holder
from keyturn.authority.login_profiles import REMEMBERED
from keyturn.authority.password_policy import (
    SYMBOLS,
    check_password,
    password_expires_at,
)
from keyturn.model.secrets import Secret
from keyturn.wire.faults import Fault
from living_authority import LivingAuthority

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient

NAMES = (f"ana-{number}" for number in count())


@pytest.fixture(scope="module")
def iam(shared_authority: LivingAuthority) -> IAMClient:
    return shared_authority.iam()


@pytest.fixture(autouse=True)
def no_policy(iam: IAMClient) -> Iterator[None]:
    """Each test begins without a policy."""
    yield
    try:
        iam.delete_account_password_policy()
    except iam.exceptions.NoSuchEntityException:
        return


def error(raised: pytest.ExceptionInfo[ClientError]) -> tuple[str, int, str]:
    return error_of(raised.value)


def error_of(refused: ClientError) -> tuple[str, int, str]:
    response = refused.response
    return (
        response["Error"]["Code"],
        response["ResponseMetadata"]["HTTPStatusCode"],
        response["Error"]["Message"],
    )


def violation(iam: IAMClient, password: str) -> str | None:
    """What a new user's password is refused with."""
    name = next(NAMES)
    iam.create_user(UserName=name)
    try:
        iam.create_login_profile(UserName=name, Password=password)
    except iam.exceptions.PasswordPolicyViolationException as refused:
        status, message = error_of(refused)[1:]
        return message if status == 400 else f"{status} {message}"
    return None


def test_what_is_not_given_has_aws_s_defaults(iam: IAMClient) -> None:
    iam.update_account_password_policy()
    assert iam.get_account_password_policy()["PasswordPolicy"] == {
        "AllowUsersToChangePassword": False,
        "ExpirePasswords": False,
        "MinimumPasswordLength": 6,
        "RequireLowercaseCharacters": False,
        "RequireNumbers": False,
        "RequireSymbols": False,
        "RequireUppercaseCharacters": False,
    }


def test_what_is_given_is_kept_until_the_next_update(iam: IAMClient) -> None:
    iam.update_account_password_policy(
        AllowUsersToChangePassword=True,
        HardExpiry=True,
        MaxPasswordAge=60,
        MinimumPasswordLength=10,
        PasswordReusePrevention=3,
        RequireLowercaseCharacters=True,
        RequireNumbers=True,
        RequireSymbols=True,
        RequireUppercaseCharacters=True,
    )
    assert iam.get_account_password_policy()["PasswordPolicy"] == {
        "AllowUsersToChangePassword": True,
        "ExpirePasswords": True,
        "HardExpiry": True,
        "MaxPasswordAge": 60,
        "MinimumPasswordLength": 10,
        "PasswordReusePrevention": 3,
        "RequireLowercaseCharacters": True,
        "RequireNumbers": True,
        "RequireSymbols": True,
        "RequireUppercaseCharacters": True,
    }
    iam.update_account_password_policy(MinimumPasswordLength=10)
    policy = iam.get_account_password_policy()["PasswordPolicy"]
    assert "MaxPasswordAge" not in policy
    assert policy["RequireSymbols"] is False


def test_all_that_is_too_large_is_told_at_once(iam: IAMClient) -> None:
    with pytest.raises(ClientError) as refused:
        iam.update_account_password_policy(
            MaxPasswordAge=1096, MinimumPasswordLength=129, PasswordReusePrevention=25
        )
    told = (
        "3 validation errors detected: Value at 'minimumPasswordLength' failed to satisfy constraint: Member"
        " must have value less than or equal to 128; Value at 'passwordReusePrevention' failed to satisfy"
        " constraint: Member must have value less than or equal to 24; Value at 'maxPasswordAge' failed to"
        " satisfy constraint: Member must have value less than or equal to 1095"
    )
    assert error(refused)[:2] == ("ValidationError", 400)
    assert sorted(error(refused)[2].split(": ", 1)[1].split("; ")) == sorted(
        told.split(": ", 1)[1].split("; ")
    )


def test_a_policy_that_is_not_there_is_missed_in_two_ways(
    iam: IAMClient, shared_authority: LivingAuthority
) -> None:
    account = shared_authority.opened.instance.account_id
    with pytest.raises(ClientError) as refused:
        iam.get_account_password_policy()
    told = f"The Password Policy with domain name {account} cannot be found."
    assert error(refused) == ("NoSuchEntity", 404, told)
    with pytest.raises(ClientError) as refused:
        iam.delete_account_password_policy()
    told = "The account policy with name PasswordPolicy cannot be found."
    assert error(refused) == ("NoSuchEntity", 404, told)


def test_a_deleted_policy_is_gone(iam: IAMClient) -> None:
    iam.update_account_password_policy()
    iam.delete_account_password_policy()
    with pytest.raises(ClientError):
        iam.get_account_password_policy()


# Enforced


@pytest.mark.parametrize("password", ["Abcdefg1", "abcdefg1!", "ABCDEFG1 ", "Abcdefg-"])
def test_without_a_policy_eight_characters_of_three_kinds_are_enough(iam: IAMClient, password: str) -> None:
    assert violation(iam, password) is None


@pytest.mark.parametrize("password", ["Abcde1!", "abcdefgh1", "12345678!", "ABCDEFGH", "äöüäöüäöü1"])
def test_without_a_policy_less_is_refused(iam: IAMClient, password: str) -> None:
    assert violation(iam, password) is not None


def test_a_violation_names_all_that_is_missing(iam: IAMClient) -> None:
    iam.update_account_password_policy(
        MinimumPasswordLength=14,
        RequireSymbols=True,
        RequireNumbers=True,
        RequireUppercaseCharacters=True,
        RequireLowercaseCharacters=True,
    )
    assert violation(iam, "\N{LATIN SMALL LETTER U WITH DIAERESIS}") == (
        "Password should have a minimum length of 14; Password should have at least one symbol; Password should"
        " have at least one number; Password should have at least one uppercase letter; Password should have at"
        " least one lowercase letter"
    )
    assert violation(iam, "Correct-Horse-") == "Password should have at least one number"
    assert violation(iam, "correct-horse-1") == "Password should have at least one uppercase letter"
    assert violation(iam, "CORRECT-HORSE-1") == "Password should have at least one lowercase letter"
    assert violation(iam, "CorrectHorse 123") == "Password should have at least one symbol"
    assert violation(iam, "Correct-Horse1") is None


def test_a_policy_may_ask_for_less_than_the_default(iam: IAMClient) -> None:
    iam.update_account_password_policy()
    assert violation(iam, "abcdef") is None
    assert violation(iam, "abcde") == "Password should have a minimum length of 6"


def test_the_symbols_are_those_that_iam_lists() -> None:
    assert len(SYMBOLS) == 22 - 2
    with pytest.raises(Fault) as refused:
        check_password(None, Secret(b"secret"))
    assert "secret" not in str(refused.value)


def test_a_password_does_not_come_back_while_it_is_remembered(iam: IAMClient) -> None:
    iam.update_account_password_policy(PasswordReusePrevention=2)
    name = next(NAMES)
    iam.create_user(UserName=name)
    iam.create_login_profile(UserName=name, Password="number-1")
    iam.update_login_profile(UserName=name, Password="number-2")
    for used in ("number-1", "number-2"):
        with pytest.raises(ClientError) as refused:
            iam.update_login_profile(UserName=name, Password=used)
        assert error(refused) == (
            "PasswordPolicyViolation",
            400,
            "Password should not be one of the last 2 passwords",
        )
    iam.update_login_profile(UserName=name, Password="number-3")
    iam.update_login_profile(UserName=name, Password="number-1")


def test_no_more_passwords_are_kept_than_can_be_asked_for(
    iam: IAMClient, shared_authority: LivingAuthority
) -> None:
    name = next(NAMES)
    iam.create_user(UserName=name)
    iam.create_login_profile(UserName=name, Password="Number-00")
    for number in range(1, REMEMBERED + 3):
        iam.update_login_profile(UserName=name, Password=f"Number-{number:02}")
    iam.update_account_password_policy(PasswordReusePrevention=24)
    with pytest.raises(ClientError) as refused:
        iam.update_login_profile(UserName=name, Password="Number-03")
    assert error(refused)[0] == "PasswordPolicyViolation"

    def kept() -> int:
        with shared_authority.opened.store.read() as reader:
            row = reader.row(
                "SELECT count(*), count(DISTINCT salt) FROM passwords p JOIN users u ON u.user_id = p.user_id"
                " WHERE u.name = :name",
                {"name": name},
            )
        assert row is not None
        assert row[1] == 1, "one hash compares with all"
        return int(row[0] or 0)

    assert shared_authority.call(kept) == REMEMBERED
    iam.update_login_profile(UserName=name, Password="Number-02")


def test_passwords_expire_only_where_a_policy_says_so() -> None:
    assert password_expires_at(None, 1000) is None


# AllowUsersToChangePassword


def new_person(authority: LivingAuthority, name: str, *statements: Any) -> Any:
    """A client of a user with a password, in an account that asks for no second factor of anybody here."""
    holder = new_holder(authority, name, *statements)
    authority.iam().create_login_profile(UserName=name, Password="Number-00")
    return holder.iam


def test_the_account_can_permit_everybody_their_own_password(authority: LivingAuthority) -> None:
    administrator = authority.iam()
    ana = new_person(authority, "ana")
    new_person(authority, "bob")
    change = {"OldPassword": "Number-00", "NewPassword": "Number-01"}
    assert refusal(ana.change_password, **change)[0] == "AccessDenied"
    administrator.update_account_password_policy(AllowUsersToChangePassword=False, MinimumPasswordLength=6)
    assert refusal(ana.change_password, **change)[0] == "AccessDenied"
    administrator.update_account_password_policy(AllowUsersToChangePassword=True, MinimumPasswordLength=6)
    ana.change_password(**change)
    assert refusal(ana.change_password, **change)[2] == "The old password was incorrect."
    assert refusal(ana.update_login_profile, UserName="bob", Password="Number-02")[0] == "AccessDenied"
    administrator.delete_account_password_policy()
    again = {"OldPassword": "Number-01", "NewPassword": "Number-02"}
    assert "no identity-based policy allows" in refusal(ana.change_password, **again)[2]


def test_who_may_change_a_password_may_read_what_it_must_be(authority: LivingAuthority) -> None:
    """Without the second factor, which comes first of people, by a machine's key."""
    machine = new_holder(authority, "machine").iam
    authority.iam().update_account_password_policy(AllowUsersToChangePassword=True)
    policy = machine.get_account_password_policy()["PasswordPolicy"]
    assert policy["AllowUsersToChangePassword"] is True
    authority.iam().update_account_password_policy(AllowUsersToChangePassword=False)
    assert refusal(machine.get_account_password_policy)[0] == "AccessDenied"


def test_a_deny_and_a_boundary_count_all_the_same(authority: LivingAuthority) -> None:
    administrator = authority.iam()
    administrator.update_account_password_policy(AllowUsersToChangePassword=True)
    change = {"OldPassword": "Number-00", "NewPassword": "Number-01"}
    denied = new_person(authority, "denied", deny("iam:ChangePassword"))
    assert "explicit deny" in refusal(denied.change_password, **change)[2]
    bounded = new_person(authority, "bounded")
    boundary = administrator.create_policy(PolicyName="b", PolicyDocument=document(allow("iam:GetUser")))
    administrator.put_user_permissions_boundary(
        UserName="bounded", PermissionsBoundary=boundary["Policy"]["Arn"]
    )
    assert "no permissions boundary allows" in refusal(bounded.change_password, **change)[2]
