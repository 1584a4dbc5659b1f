"""A second factor is required of people: what they can do without one, and how a machine is freed from `all`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from authority.role_calls import account_of, refusal
from authority.sts_calls import Device, Holder, allow, new_holder, new_trusting_role, session_of, trust
from keyturn.authority.guardrails import FREEING_TAG, MfaRequired, set_mfa_required
from keyturn.authority.storage.users import user_by_name
from keyturn.model.errors import KeyturnError
from keyturn.store.interface import Transaction
from living_authority import LivingAuthority

PASSWORD = "correct horse battery staple 7 A!"
DENIED = "with an explicit deny in a service control policy"


@pytest.fixture(autouse=True)
def _at_a_step(authority: LivingAuthority) -> None:
    """At the beginning of a step, so that no test crosses into the next one by itself."""
    authority.clock.ahead_ms = 30_000 - authority.clock.now_ms() % 30_000


def require(authority: LivingAuthority, value: MfaRequired, by: str | None = None) -> None:
    def write(tx: Transaction) -> None:
        user = None if by is None else user_by_name(tx, authority.opened.instance.account_id, by)
        set_mfa_required(tx, authority.opened.instance.account_id, value, by=user.user_id if user else None)
        authority.opened.authority.services.authorization.policies_changed(tx)

    authority.run(authority.opened.store.write(write))


def person(authority: LivingAuthority, name: str) -> Holder:
    """An administrator with a password."""
    holder = new_holder(authority, name, allow("*"))
    authority.iam().create_login_profile(UserName=name, Password=PASSWORD)
    return holder


def is_denied(act: Callable[..., object], **parameters: Any) -> bool:
    code, _status, message = refusal(act, **parameters)
    return code == "AccessDenied" and message.endswith(DENIED)


def test_a_person_can_get_a_second_factor_without_one_and_nothing_else(authority: LivingAuthority) -> None:
    ana = person(authority, "ana")
    bob = person(authority, "bob")
    iam = ana.iam
    account = account_of(authority)
    assert is_denied(iam.list_users)
    assert is_denied(iam.create_access_key)
    assert is_denied(iam.create_access_key, UserName="ana")
    assert is_denied(iam.create_user, UserName="eve")
    assert is_denied(iam.get_user, UserName="bob")
    assert is_denied(iam.list_mfa_devices, UserName="bob")
    assert is_denied(ana.sts.get_federation_token, Name="guest")
    role = f"arn:aws:iam::{account}:role/any"
    assert refusal(ana.sts.assume_role, RoleArn=role, RoleSessionName="job")[2].endswith(DENIED)

    # What is left open.
    assert iam.get_user()["User"]["UserName"] == "ana"
    assert iam.get_user(UserName="ana")["User"]["UserName"] == "ana"
    assert iam.list_mfa_devices()["MFADevices"] == []
    assert ana.arn.endswith(":user/ana")
    iam.change_password(OldPassword=PASSWORD, NewPassword=PASSWORD + "!")
    made = iam.create_virtual_mfa_device(VirtualMFADeviceName="ana")["VirtualMFADevice"]
    device = Device.__new__(Device)
    device.authority, device.serial, device.seed = (
        authority,
        made["SerialNumber"],
        made["Base32StringSeed"].decode(),
    )
    codes = {"AuthenticationCode1": device.code(-1), "AuthenticationCode2": device.code()}
    assert is_denied(bob.iam.enable_mfa_device, UserName="ana", SerialNumber=device.serial, **codes)
    iam.enable_mfa_device(UserName="ana", SerialNumber=device.serial, **codes)
    for _ in range(2):
        device.next_step()
    codes = {"AuthenticationCode1": device.code(-1), "AuthenticationCode2": device.code()}
    iam.resync_mfa_device(UserName="ana", SerialNumber=device.serial, **codes)

    # A device that is there is not a factor that was shown.
    assert is_denied(iam.deactivate_mfa_device, UserName="ana", SerialNumber=device.serial)
    assert is_denied(iam.create_access_key)
    assert is_denied(iam.list_users)
    proved = session_of(ana, **device.proof).iam
    proved.list_users()
    proved.create_access_key(UserName="ana")
    proved.deactivate_mfa_device(UserName="ana", SerialNumber=device.serial)


def test_a_person_at_a_path_can_get_a_second_factor_too(authority: LivingAuthority) -> None:
    ana = new_holder(authority, "ana", allow("*"), Path="/people/")
    authority.iam().create_login_profile(UserName="ana", Password=PASSWORD)
    assert ana.iam.get_user()["User"]["Path"] == "/people/"
    assert ana.iam.list_mfa_devices(UserName="ana")["MFADevices"] == []
    assert is_denied(ana.iam.list_users)


def test_a_person_becomes_a_role_by_showing_the_factor_in_the_same_call(authority: LivingAuthority) -> None:
    root = {"AWS": f"arn:aws:iam::{account_of(authority)}:root"}
    role = new_trusting_role(authority, "any", trust(root), may=(allow("iam:ListUsers"),))
    ana = person(authority, "ana")
    device = Device(authority, "ana")
    assert refusal(ana.sts.assume_role, RoleArn=role, RoleSessionName="job")[2].endswith(DENIED)
    ana.assume(role, **device.proof).iam.list_users()


def test_the_rule_begins_and_ends_with_the_login_profile(authority: LivingAuthority) -> None:
    ana = new_holder(authority, "ana", allow("*"))
    ana.iam.list_users()
    authority.iam().create_login_profile(UserName="ana", Password=PASSWORD)
    assert is_denied(ana.iam.list_users)
    authority.iam().delete_login_profile(UserName="ana")
    ana.iam.list_users()


def test_the_rule_is_no_policy_that_anybody_can_see(authority: LivingAuthority) -> None:
    person(authority, "ana")
    iam = authority.iam()
    assert iam.list_attached_user_policies(UserName="ana")["AttachedPolicies"] == []
    assert iam.list_user_policies(UserName="ana")["PolicyNames"] == ["own"]


def test_off_asks_nobody_and_all_asks_machines_too(authority: LivingAuthority) -> None:
    ana, machine = person(authority, "ana"), new_holder(authority, "machine", allow("*"))
    device = Device(authority, "ana")
    machine.iam.list_users()
    require(authority, MfaRequired.OFF)
    ana.iam.list_users()
    require(authority, MfaRequired.ALL, by="ana")
    assert is_denied(ana.iam.list_users)
    assert is_denied(machine.iam.list_users)
    session_of(ana, **device.proof).iam.list_users()
    require(authority, MfaRequired.PEOPLE)
    machine.iam.list_users()


@pytest.mark.parametrize("by", [None, "ana"])
def test_all_is_refused_to_whom_it_would_lock_out(authority: LivingAuthority, by: str | None) -> None:
    person(authority, "ana")
    with pytest.raises(KeyturnError, match="would lock you out"):
        require(authority, MfaRequired.ALL, by)


def test_only_a_session_with_a_second_factor_can_free_a_machine(authority: LivingAuthority) -> None:
    ana, machine = person(authority, "ana"), new_holder(authority, "machine", allow("*"))
    device = Device(authority, "ana")
    freeing: list[Any] = [{"Key": FREEING_TAG, "Value": "no one at the keyboard"}]
    administrator = authority.iam()
    # Whatever the setting is now, for it may become another.
    for tags in (
        freeing,
        [{"Key": FREEING_TAG.upper(), "Value": ""}],
        [*freeing, {"Key": "a", "Value": "b"}],
    ):
        for iam in (administrator, machine.iam):
            assert is_denied(iam.tag_user, UserName="machine", Tags=tags)
            assert is_denied(iam.create_user, UserName="free", Tags=tags)
    administrator.tag_user(UserName="machine", Tags=[{"Key": "team", "Value": "red"}])
    root = {"AWS": f"arn:aws:iam::{account_of(authority)}:root"}
    role = new_trusting_role(authority, "any", trust(root), may=(allow("*"),))
    assumed = machine.assume(role)
    assert is_denied(assumed.iam.tag_user, UserName="machine", Tags=freeing)

    require(authority, MfaRequired.ALL, by="ana")
    assert is_denied(machine.iam.list_users)
    session_of(ana, **device.proof).iam.tag_user(UserName="machine", Tags=freeing)
    machine.iam.list_users()
    # It frees machines, never people.
    session_of(ana, **device.proof).iam.tag_user(UserName="ana", Tags=freeing)
    assert is_denied(ana.iam.list_users)
