"""Access keys: at most two, shown once, and never one that was made with a revoked key."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from authority.calls import (
    Person,
    Refused,
    account,
    audit_records,
    document,
    facts,
    key_ids,
    members,
    must,
    no_such_entity,
    person,
    refused,
    statement,
    validation_error,
    verified,
)
from keyturn.authority.authentication import Caller
from keyturn.authority.authority import Authority
from keyturn.authority.operations import WriteCall
from keyturn.authority.storage.policies import put_inline_policy
from keyturn.store.interface import Transaction
from keyturn.wire.faults import Fault
from living_authority import LivingAuthority

QUOTA = Refused("LimitExceeded", 409, "Cannot exceed quota for AccessKeysPerUser: 2")
UNKNOWN_ID = "AKIAIOSFODNN7EXAMPLE"
REVOKED = Refused("InvalidClientTokenId", 403, "The security token included in the request is invalid.")


def unknown_key(access_key_id: str) -> Refused:
    return no_such_entity(f"The Access Key with id {access_key_id} cannot be found.")


def test_a_key_is_shown_with_its_secret_once_and_listed_without(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    iam.create_user(UserName="keyed")
    assert members(iam.list_access_keys(UserName="keyed")) == {"AccessKeyMetadata": [], "IsTruncated": False}
    key = iam.create_access_key(UserName="keyed")["AccessKey"]
    assert set(key) == {"UserName", "AccessKeyId", "Status", "SecretAccessKey", "CreateDate"}
    assert (key["UserName"], key["Status"]) == ("keyed", "Active")
    assert (len(key["AccessKeyId"]), len(key["SecretAccessKey"])) == (20, 40)
    assert key["CreateDate"].microsecond == 0
    assert abs((datetime.now(UTC) - key["CreateDate"]).total_seconds()) < 60
    listed = {name: value for name, value in key.items() if name != "SecretAccessKey"}
    assert members(iam.list_access_keys(UserName="keyed")) == {
        "AccessKeyMetadata": [listed],
        "IsTruncated": False,
    }


def test_status_changes_show_in_the_listing_and_answer_nothing(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    access_key_id, _secret = shared_authority.new_user_with_key("switched")
    for status in ("Inactive", "Inactive", "Active"):
        answer = iam.update_access_key(UserName="switched", AccessKeyId=access_key_id, Status=status)
        assert members(answer) == {}
        [key] = iam.list_access_keys(UserName="switched")["AccessKeyMetadata"]
        assert (key["AccessKeyId"], key["Status"]) == (access_key_id, status)
    assert members(iam.delete_access_key(UserName="switched", AccessKeyId=access_key_id)) == {}
    assert iam.list_access_keys(UserName="switched")["AccessKeyMetadata"] == []


def test_two_keys_come_in_the_order_of_their_making_in_pages(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    iam.create_user(UserName="paged")
    first = iam.create_access_key(UserName="paged")["AccessKey"]["AccessKeyId"]
    second = iam.create_access_key(UserName="paged")["AccessKey"]["AccessKeyId"]
    page = iam.list_access_keys(UserName="paged", MaxItems=1)
    assert [key["AccessKeyId"] for key in page["AccessKeyMetadata"]] == [first]
    assert page["IsTruncated"] is True
    rest = iam.list_access_keys(UserName="paged", Marker=page["Marker"])
    assert [key["AccessKeyId"] for key in rest["AccessKeyMetadata"]] == [second]


def test_a_third_key_is_refused_and_inactive_ones_count(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    first, _secret = shared_authority.new_user_with_key("full")
    iam.create_access_key(UserName="full")
    assert refused(iam.create_access_key, UserName="full") == QUOTA
    iam.update_access_key(UserName="full", AccessKeyId=first, Status="Inactive")
    assert refused(iam.create_access_key, UserName="full") == QUOTA
    iam.delete_access_key(UserName="full", AccessKeyId=first)
    assert iam.create_access_key(UserName="full")["AccessKey"]["AccessKeyId"] != first
    assert refused(iam.create_access_key, UserName="full") == QUOTA


def test_a_key_that_the_user_does_not_have_is_unknown(shared_authority: LivingAuthority) -> None:
    """Also one that another user has."""
    iam = shared_authority.iam()
    iam.create_user(UserName="keyless")
    another, _secret = shared_authority.new_user_with_key("keyholder")
    for access_key_id in (UNKNOWN_ID, another, another.lower()):
        update = {"AccessKeyId": access_key_id, "Status": "Inactive"}
        assert refused(iam.update_access_key, UserName="keyless", **update) == unknown_key(access_key_id)
        gone = refused(iam.delete_access_key, UserName="keyless", AccessKeyId=access_key_id)
        assert gone == unknown_key(access_key_id)
    iam.delete_access_key(UserName="keyholder", AccessKeyId=another)
    again = refused(iam.delete_access_key, UserName="keyholder", AccessKeyId=another)
    assert again == unknown_key(another)


def test_the_server_checks_ids_and_statuses(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam(parameter_validation=False)
    access_key_id, _secret = shared_authority.new_user_with_key("checked")
    enum = validation_error(must("status", "satisfy enum value set"))
    assert (
        refused(iam.update_access_key, UserName="checked", AccessKeyId=access_key_id, Status="Gone") == enum
    )
    nothing = refused(iam.update_access_key, UserName="checked")
    assert nothing.message.startswith("2 validation errors detected: ")
    for member in ("status", "accessKeyId"):
        assert must(member, "not be null") in nothing.message
    short = validation_error(must("accessKeyId", "have length greater than or equal to 16"))
    assert refused(iam.delete_access_key, UserName="checked", AccessKeyId="AKIA") == short


def test_a_key_can_not_be_set_to_expired(shared_authority: LivingAuthority) -> None:
    """AWS's contract has the word; AWS alone sets it."""
    iam = shared_authority.iam()
    access_key_id, _secret = shared_authority.new_user_with_key("unexpired")
    answer = refused(iam.update_access_key, UserName="unexpired", AccessKeyId=access_key_id, Status="Expired")
    assert (answer.code, answer.status) == ("InvalidInput", 400)
    assert iam.list_access_keys(UserName="unexpired")["AccessKeyMetadata"][0]["Status"] == "Active"


def test_an_omitted_user_name_means_oneself(shared_authority: LivingAuthority) -> None:
    me = person(shared_authority, "myself", statement("Allow", "iam:*AccessKey*"))
    iam = me.iam()
    second = iam.create_access_key()["AccessKey"]
    assert second["UserName"] == "myself"
    assert key_ids(shared_authority, "myself") == {me.access_key_id, second["AccessKeyId"]}
    assert {key["UserName"] for key in iam.list_access_keys()["AccessKeyMetadata"]} == {"myself"}
    iam.update_access_key(AccessKeyId=second["AccessKeyId"], Status="Inactive")
    iam.delete_access_key(AccessKeyId=second["AccessKeyId"])
    assert key_ids(shared_authority, "myself") == {me.access_key_id}
    another, _secret = shared_authority.new_user_with_key("not-me")
    assert refused(iam.delete_access_key, AccessKeyId=another) == unknown_key(another)


def test_an_omitted_user_name_still_needs_permission(shared_authority: LivingAuthority) -> None:
    me = person(shared_authority, "powerless")
    answer = refused(me.iam().create_access_key)
    assert (answer.code, answer.status) == ("AccessDenied", 403)
    assert "iam:CreateAccessKey on resource: user powerless because" in answer.message
    assert key_ids(shared_authority, "powerless") == {me.access_key_id}


def test_a_key_can_deactivate_itself_and_is_refused_from_then_on(shared_authority: LivingAuthority) -> None:
    me = person(shared_authority, "self-revoking", statement("Allow", "iam:UpdateAccessKey"))
    iam = me.iam()
    iam.update_access_key(AccessKeyId=me.access_key_id, Status="Inactive")
    assert refused(iam.update_access_key, AccessKeyId=me.access_key_id, Status="Active").code == REVOKED.code
    [key] = shared_authority.iam().list_access_keys(UserName="self-revoking")["AccessKeyMetadata"]
    assert key["Status"] == "Inactive"


def test_both_keys_of_a_user_sign_side_by_side(shared_authority: LivingAuthority) -> None:
    me = person(shared_authority, "two-handed")
    second = shared_authority.iam().create_access_key(UserName="two-handed")["AccessKey"]
    other = shared_authority.sts(second["AccessKeyId"], second["SecretAccessKey"])
    assert me.sts().get_caller_identity()["Arn"] == other.get_caller_identity()["Arn"] == me.arn
    shared_authority.iam().delete_access_key(UserName="two-handed", AccessKeyId=me.access_key_id)
    assert other.get_caller_identity()["Arn"] == me.arn
    assert refused(me.sts().get_caller_identity).code == REVOKED.code


def test_no_id_is_ever_issued_twice(authority: LivingAuthority) -> None:
    """Even when randomness repeats itself."""
    services = authority.opened.authority.services
    iam = authority.iam()
    iam.create_user(UserName="ana")
    real = services.random_bytes
    stuck = [b"\x07" * 5, b"\x01" * 30]
    left: list[bytes] = []

    def repeating(size: int) -> bytes:
        return left.pop(0) if left and len(left[0]) == size else real(size)

    def create() -> str:
        left[:] = stuck
        made = iam.create_access_key(UserName="ana")["AccessKey"]["AccessKeyId"]
        assert left == [], "the same bytes were drawn again"
        return made

    object.__setattr__(services, "random_bytes", repeating)
    first = create()
    assert create() != first
    iam.delete_access_key(UserName="ana", AccessKeyId=first)
    third = create()
    assert third != first, "nor is the id of a deleted key"
    assert len(key_ids(authority, "ana")) == 2


def test_a_hundred_creations_at_once_give_two_keys_and_98_refusals(authority: LivingAuthority) -> None:
    iam = authority.iam(max_pool_connections=25)
    iam.create_user(UserName="ana")
    together = threading.Barrier(25)

    def create(number: int) -> str | Refused:
        if number < 25:
            together.wait(30)
        try:
            return iam.create_access_key(UserName="ana")["AccessKey"]["AccessKeyId"]
        except ClientError as error:
            found = error.response["Error"]
            return Refused(
                found["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"], found["Message"]
            )

    with ThreadPoolExecutor(25) as pool:
        outcomes = list(pool.map(create, range(100)))
    made = {outcome for outcome in outcomes if isinstance(outcome, str)}
    assert len(made) == 2
    assert [outcome for outcome in outcomes if isinstance(outcome, Refused)] == [QUOTA] * 98
    assert key_ids(authority, "ana") == made


# A revoked key makes nothing any more


def revoked_meanwhile(
    authority: LivingAuthority, caller: Person, revoke: Callable[[], object]
) -> Fault | None:
    """Verify the caller, revoke, and only then let the write happen."""
    found = verified(authority, caller.access_key_id, caller.secret)
    revoke()
    operation = Authority.offered("iam", "CreateAccessKey")
    assert operation is not None
    try:
        authority.run(authority.opened.authority.perform(operation, found, facts(), {"user_name": "victim"}))
    except Fault as fault:
        return fault
    return None


@pytest.mark.parametrize("how", ["deleted", "deactivated", "without its policy"])
def test_a_caller_revoked_between_verification_and_the_write_makes_no_key(
    authority: LivingAuthority, how: str
) -> None:
    iam = authority.iam()
    iam.create_user(UserName="victim")
    caller = person(authority, "leaver", statement("Allow", "iam:CreateAccessKey"))
    key: Any = {"UserName": "leaver", "AccessKeyId": caller.access_key_id}
    revoke: dict[str, Callable[[], object]] = {
        "deleted": lambda: iam.delete_access_key(**key),
        "deactivated": lambda: iam.update_access_key(**key, Status="Inactive"),
        "without its policy": lambda: iam.delete_user_policy(UserName="leaver", PolicyName="own"),
    }
    assert revoked_meanwhile(authority, caller, lambda: None) is None
    assert len(key_ids(authority, "victim")) == 1
    fault = revoked_meanwhile(authority, caller, revoke[how])
    assert fault is not None
    assert (fault.code, fault.status) == (
        ("AccessDenied", 403) if how == "without its policy" else (REVOKED.code, REVOKED.status)
    )
    assert len(key_ids(authority, "victim")) == 1


def test_no_call_that_races_with_its_keys_deletion_makes_a_key_after_it(authority: LivingAuthority) -> None:
    iam = authority.iam()
    caller = person(authority, "racer", statement("Allow", ["iam:CreateAccessKey", "iam:DeleteAccessKey"]))
    workers = 6
    for number in range(workers):
        iam.create_user(UserName=f"target-{number}")
    running = threading.Barrier(workers + 1)
    answered = threading.Event()
    """The deletion has been answered."""

    def make_keys(number: int) -> tuple[list[str], list[str]]:
        """Make and delete keys until refused: what was made, and what was asked for after the answer."""
        client = caller.iam()
        made: list[str] = []
        late: list[str] = []
        running.wait(30)
        while True:
            is_late = answered.is_set()
            try:
                key = client.create_access_key(UserName=f"target-{number}")["AccessKey"]["AccessKeyId"]
                (late if is_late else made).append(key)
                client.delete_access_key(UserName=f"target-{number}", AccessKeyId=key)
            except ClientError as error:
                assert error.response["Error"]["Code"] == REVOKED.code  # noqa: PT017 - any other is a failure
                return made, late

    with ThreadPoolExecutor(workers) as pool:
        racing = [pool.submit(make_keys, number) for number in range(workers)]
        running.wait(30)
        for _ in range(20):
            iam.get_user()
        iam.delete_access_key(UserName="racer", AccessKeyId=caller.access_key_id)
        answered.set()
        results = [race.result(60) for race in racing]

    made = {key for keys, _late in results for key in keys}
    assert made, "there was a race"
    assert [late for _keys, late in results] == [[]] * workers
    [deletion] = [
        record["sequence"]
        for record in audit_records(authority, "DeleteAccessKey")
        if record["requestParameters"].get("accessKeyId") == caller.access_key_id
    ]
    by_the_racer = [
        record
        for event in ("CreateAccessKey", "DeleteAccessKey")
        for record in audit_records(authority, event)
        if record["userIdentity"]["accessKeyId"] == caller.access_key_id
    ]
    assert max(record["sequence"] for record in by_the_racer) < deletion
    alive = {key for number in range(workers) for key in key_ids(authority, f"target-{number}")}
    assert alive <= made | {
        record["responseElements"]["accessKey"]["accessKeyId"]
        for record in by_the_racer
        if record["eventName"] == "CreateAccessKey"
    }


def test_get_caller_identity_tells_the_user_of_the_key(shared_authority: LivingAuthority) -> None:
    me = person(shared_authority, "identified")
    user = shared_authority.iam().get_user(UserName="identified")["User"]
    assert members(me.sts().get_caller_identity()) == {
        "UserId": user["UserId"],
        "Account": account(shared_authority),
        "Arn": user["Arn"],
    }


# Writes of one commit see each other's permissions


def in_one_commit(authority: LivingAuthority, *calls: tuple[Caller, str, dict[str, Any]]) -> list[object]:
    """What each call is answered. All are in the writer's queue before the loop hears of the first."""
    inside = authority.opened.authority

    async def at_once() -> list[object]:
        acts = []
        for caller, name, parameters in calls:
            operation = inside.offered("iam", name)
            assert operation is not None
            acts.append(inside.perform(operation, caller, facts(), parameters))
        return list(await asyncio.gather(*acts, return_exceptions=True))

    return authority.run(at_once())


def test_a_permission_counts_from_the_write_that_gives_it_to_the_write_that_takes_it(
    authority: LivingAuthority,
) -> None:
    owner = authority.administrator
    administrator = verified(authority, owner.access_key_id, owner.secret.reveal().decode())
    ana = person(authority, "one-commit-ana")
    caller = verified(authority, ana.access_key_id, ana.secret)
    for name in ("a", "b", "c", "d"):
        authority.iam().create_user(UserName=f"one-commit-{name}")
    tag = {"policy_name": "p", "user_name": "one-commit-ana"}
    allowing = {
        **tag,
        "policy_document": document({"Effect": "Allow", "Action": "iam:CreateAccessKey", "Resource": "*"}),
    }

    def create(name: str) -> tuple[Caller, str, dict[str, Any]]:
        return caller, "CreateAccessKey", {"user_name": f"one-commit-{name}"}

    outcomes = in_one_commit(
        authority,
        create("a"),
        (administrator, "PutUserPolicy", allowing),
        create("b"),
        (administrator, "DeleteUserPolicy", tag),
        create("c"),
    )
    assert [isinstance(outcome, Fault) for outcome in outcomes] == [True, False, False, False, True]
    assert isinstance(in_one_commit(authority, create("d"))[0], Fault)
    authority.iam().put_user_policy(
        UserName="one-commit-ana", PolicyName="p", PolicyDocument=allowing["policy_document"]
    )
    assert not isinstance(in_one_commit(authority, create("d"))[0], Fault)
    authority.iam().delete_user_policy(UserName="one-commit-ana", PolicyName="p")
    assert isinstance(in_one_commit(authority, create("d"))[0], Fault)


def test_a_change_of_permissions_that_is_undone_leaves_nothing(authority: LivingAuthority) -> None:
    ana = person(authority, "lost-commit-ana")
    caller = verified(authority, ana.access_key_id, ana.secret)
    services = authority.opened.authority.services
    grant = document({"Effect": "Allow", "Action": "iam:CreateAccessKey", "Resource": "*"})
    seen: list[bool] = []

    def change_and_ask(tx: Transaction) -> None:
        """What PutUserPolicy does, a question behind it, and then both are undone."""
        user = caller.user
        assert user is not None
        put_inline_policy(tx, user.account_id, user.user_id, "p", grant)
        services.authorization.policies_changed(tx)
        call = WriteCall("CreateAccessKey", caller, 0, facts(), services, tx, tx=tx)
        seen.append(bool(services.authorization.held(call, writing=True).identity))
        raise RuntimeError("lost")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="lost"):
            authority.run(authority.opened.store.write(change_and_ask))
        [outcome] = in_one_commit(authority, (caller, "CreateAccessKey", {"user_name": ana.name}))
        assert isinstance(outcome, Fault)
    assert seen == [True, True]
