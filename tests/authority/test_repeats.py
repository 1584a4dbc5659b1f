"""A cut reply loses no key: a repeat of CreateAccessKey gets the same key, for a minute and until it is used."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

import boto3
import pytest
from botocore.config import Config

from authority.calls import (
    Person,
    Refused,
    audit_records,
    facts,
    form,
    key_ids,
    person,
    refused,
    send_signed,
    statement,
    verified,
)
from authority.cutting_proxy import cutting_proxy
from living_authority import REGION, HeldClock, LivingAuthority, living_authority

INVOCATION = "8f6dbb34-9ff4-4b6c-9d3a-3f3f5a5b6c7d"
QUOTA = Refused("LimitExceeded", 409, "Cannot exceed quota for AccessKeysPerUser: 2")
Key = tuple[str, str]


def create(
    authority: LivingAuthority,
    user_name: str | None,
    *,
    invocation: str | None = INVOCATION,
    key: Key | None = None,
) -> Key | Refused:
    """One try of CreateAccessKey, as boto3 sends it."""
    body = form("iam", "CreateAccessKey", **({} if user_name is None else {"UserName": user_name}))
    headers = {} if invocation is None else {"amz-sdk-invocation-id": invocation}
    answer = send_signed(authority, "iam", body, key=key, headers=headers)
    if answer.status != 200:
        return answer.error
    found = answer.xml.find("CreateAccessKeyResult/AccessKey")
    assert found is not None
    return found.findtext("AccessKeyId") or "", found.findtext("SecretAccessKey") or ""


def made(outcome: Key | Refused) -> Key:
    assert isinstance(outcome, tuple)
    return outcome


@pytest.fixture
def user(shared_authority: LivingAuthority, request: pytest.FixtureRequest) -> str:
    """A user of the test's own, without a key."""
    name = f"user-{crc32(request.node.name.encode()):010d}"
    shared_authority.iam().create_user(UserName=name)
    return name


def test_a_repeat_gets_the_same_key_and_secret_and_they_work(
    shared_authority: LivingAuthority, user: str
) -> None:
    first = made(create(shared_authority, user))
    assert create(shared_authority, user) == first
    shared_authority.clock.advance(seconds=50)
    assert create(shared_authority, user) == first
    assert key_ids(shared_authority, user) == {first[0]}
    assert shared_authority.sts(*first).get_caller_identity()["Arn"].endswith(f":user/{user}")


def test_a_repeat_is_no_third_key(shared_authority: LivingAuthority, user: str) -> None:
    made(create(shared_authority, user, invocation="another"))
    second = made(create(shared_authority, user))
    assert create(shared_authority, user) == second
    assert create(shared_authority, user, invocation="a-third") == QUOTA


def test_each_repeat_is_audited_without_the_secret(shared_authority: LivingAuthority, user: str) -> None:
    access_key_id, secret = made(create(shared_authority, user))
    create(shared_authority, user)
    create(shared_authority, user)
    records = [
        record
        for record in audit_records(shared_authority, "CreateAccessKey")
        if record["requestParameters"].get("userName") == user
    ]
    assert [record.get("additionalEventData") for record in records] == [
        None,
        {"repeatOfInvocation": INVOCATION},
        {"repeatOfInvocation": INVOCATION},
    ]
    told = {record["responseElements"]["accessKey"]["accessKeyId"] for record in records}
    assert told == {access_key_id}
    assert secret not in json.dumps(records)
    assert len({record["requestID"] for record in records}) == 3


def test_after_a_minute_a_repeat_is_a_new_call(shared_authority: LivingAuthority, user: str) -> None:
    first = made(create(shared_authority, user))
    shared_authority.clock.advance(seconds=61)
    second = made(create(shared_authority, user))
    assert second[0] != first[0]
    assert create(shared_authority, user) == second, "and has a minute of its own"
    shared_authority.clock.advance(seconds=61)
    assert create(shared_authority, user) == QUOTA


def test_once_the_key_has_signed_a_repeat_is_a_new_call(shared_authority: LivingAuthority, user: str) -> None:
    """Its secret has arrived, so nobody needs it again."""
    first = made(create(shared_authority, user))
    assert refused(shared_authority.iam(*first).list_users).code == "AccessDenied"
    second = made(create(shared_authority, user))
    assert second[0] != first[0]


def test_a_wrong_signature_is_no_use_that_ends_the_repeats(
    shared_authority: LivingAuthority, user: str
) -> None:
    first = made(create(shared_authority, user))
    wrong = shared_authority.sts(first[0], "x" * 40)
    assert refused(wrong.get_caller_identity).code == "SignatureDoesNotMatch"
    assert create(shared_authority, user) == first


def test_an_inactive_key_is_not_given_again(shared_authority: LivingAuthority, user: str) -> None:
    first = made(create(shared_authority, user))
    shared_authority.iam().update_access_key(UserName=user, AccessKeyId=first[0], Status="Inactive")
    second = made(create(shared_authority, user))
    assert second[0] != first[0]
    shared_authority.iam().update_access_key(UserName=user, AccessKeyId=first[0], Status="Active")
    assert create(shared_authority, user) == second


def test_a_deleted_key_is_not_given_again(shared_authority: LivingAuthority, user: str) -> None:
    first = made(create(shared_authority, user))
    shared_authority.iam().delete_access_key(UserName=user, AccessKeyId=first[0])
    second = made(create(shared_authority, user))
    assert second[0] != first[0]
    assert key_ids(shared_authority, user) == {second[0]}


def test_another_user_name_is_another_call(shared_authority: LivingAuthority, user: str) -> None:
    other = user + "-other"
    shared_authority.iam().create_user(UserName=other)
    first = made(create(shared_authority, user))
    second = made(create(shared_authority, other))
    assert second[0] != first[0]
    assert (key_ids(shared_authority, user), key_ids(shared_authority, other)) == ({first[0]}, {second[0]})


def test_another_caller_never_gets_the_key(shared_authority: LivingAuthority, user: str) -> None:
    """Neither another user, nor the same user with another key."""
    allow = statement("Allow", "iam:CreateAccessKey")
    one = person(shared_authority, user + "-one", allow)
    two = person(shared_authority, user + "-two", allow)
    second = shared_authority.iam().create_access_key(UserName=one.name)["AccessKey"]
    first = made(create(shared_authority, user, key=(one.access_key_id, one.secret)))
    other = made(create(shared_authority, user, key=(two.access_key_id, two.secret)))
    assert other[0] != first[0]
    with_other_key = create(shared_authority, user, key=(second["AccessKeyId"], second["SecretAccessKey"]))
    assert with_other_key == QUOTA
    assert create(shared_authority, user, key=(one.access_key_id, one.secret)) == first


def test_a_caller_who_may_no_longer_create_keys_gets_none_again(
    shared_authority: LivingAuthority, user: str
) -> None:
    caller = person(shared_authority, user + "-own", statement("Allow", "iam:CreateAccessKey"))
    key = (caller.access_key_id, caller.secret)
    made(create(shared_authority, user, key=key))
    shared_authority.iam().delete_user_policy(UserName=caller.name, PolicyName="own")
    answer = create(shared_authority, user, key=key)
    assert isinstance(answer, Refused)
    assert answer.code == "AccessDenied"


def test_an_omitted_and_a_spelled_out_name_are_two_calls(
    shared_authority: LivingAuthority, user: str
) -> None:
    me = person(shared_authority, user + "-me", statement("Allow", "iam:CreateAccessKey"))
    first = made(create(shared_authority, None, key=(me.access_key_id, me.secret)))
    assert create(shared_authority, None, key=(me.access_key_id, me.secret)) == first
    assert create(shared_authority, me.name, key=(me.access_key_id, me.secret)) == QUOTA


@pytest.mark.parametrize("invocation", [None, "", "i" * 129])
def test_without_an_invocation_id_that_can_be_kept_whole_each_call_is_a_new_one(
    shared_authority: LivingAuthority, user: str, invocation: str | None
) -> None:
    first = made(create(shared_authority, user, invocation=invocation))
    second = made(create(shared_authority, user, invocation=invocation))
    assert second[0] != first[0]


def test_a_renamed_user_keeps_the_key_that_is_repeated(shared_authority: LivingAuthority, user: str) -> None:
    """The name in the call is gone: the repeat finds nobody, and nobody else's key."""
    first = made(create(shared_authority, user))
    shared_authority.iam().update_user(UserName=user, NewUserName=user + "-new")
    shared_authority.iam().create_user(UserName=user)
    second = made(create(shared_authority, user))
    assert second[0] != first[0]
    assert key_ids(shared_authority, user) == {second[0]}


def test_repeats_at_once_make_one_key(shared_authority: LivingAuthority, user: str) -> None:
    with ThreadPoolExecutor(10) as pool:
        outcomes = set(pool.map(lambda _number: create(shared_authority, user), range(30)))
    assert len(outcomes) == 1
    assert key_ids(shared_authority, user) == {made(outcomes.pop())[0]}


def test_repeats_in_one_commit_make_one_key(shared_authority: LivingAuthority, user: str) -> None:
    administrator = shared_authority.administrator
    caller = verified(shared_authority, administrator.access_key_id, administrator.secret.reveal().decode())
    inside = shared_authority.opened.authority
    operation = inside.offered("iam", "CreateAccessKey")
    assert operation is not None

    async def at_once() -> list[dict[str, Any]]:
        """All are in the writer's queue before the loop hears of the first."""
        return await asyncio.gather(
            *(inside.perform(operation, caller, facts(INVOCATION), {"user_name": user}) for _ in range(20))
        )

    results = shared_authority.run(at_once())
    ids = {result["AccessKey"]["AccessKeyId"] for result in results}
    assert key_ids(shared_authority, user) == ids
    assert len(ids) == 1


def test_only_a_hash_of_the_call_is_kept_and_not_for_long(
    shared_authority: LivingAuthority, user: str
) -> None:
    def kept() -> list[tuple[object, ...]]:
        with shared_authority.opened.store.read() as reader:
            return [tuple(row) for row in reader.rows("SELECT * FROM access_key_creations")]

    access_key_id, _secret = made(create(shared_authority, user))
    [row] = [row for row in shared_authority.call(kept) if access_key_id in row]
    assert [len(value) for value in row if isinstance(value, bytes)] == [32]
    assert INVOCATION not in repr(row)
    shared_authority.clock.advance(seconds=61)
    made(create(shared_authority, user))
    assert [access_key_id in row for row in shared_authority.call(kept)] == [False]


@pytest.mark.parametrize("has_signed", [False, True])
def test_a_restart_forgets_neither_the_repeat_nor_the_use(tmp_path: Path, *, has_signed: bool) -> None:
    home, clock = tmp_path / "home", HeldClock()
    with living_authority(home, clock) as first:
        first.iam().create_user(UserName="ana")
        key = made(create(first, "ana"))
        if has_signed:
            first.sts(*key).get_caller_identity()
    with living_authority(home, clock) as second:
        assert (made(create(second, "ana")) == key) is not has_signed


CUTS: dict[str, Callable[[bytes], bytes]] = {
    "no byte": lambda _reply: b"",
    "the head": lambda reply: reply[: reply.index(b"\r\n\r\n") + 4],
    "half of the body": lambda reply: reply[: reply.index(b"<SecretAccessKey>")],
    "all but the end": lambda reply: reply[:-5],
}
"""What arrives of the reply. With a Content-Length, botocore would take the last three for whole replies."""


@pytest.mark.parametrize("mode", ["legacy", "standard"])
@pytest.mark.parametrize("arrives", list(CUTS))
def test_stock_boto3_behind_a_proxy_that_cuts_the_reply_ends_with_one_key_that_works(
    shared_authority: LivingAuthority, mode: str, arrives: str
) -> None:
    name = f"cut-{mode}-{list(CUTS).index(arrives)}"
    caller = person(shared_authority, name, statement("Allow", "iam:CreateAccessKey"))
    url = urlsplit(shared_authority.url)
    assert url.hostname
    assert url.port
    with cutting_proxy((url.hostname, url.port), b"Action=CreateAccessKey", CUTS[arrives]) as proxy:
        stock = boto3.client(
            "iam",
            endpoint_url=proxy.url,
            region_name=REGION,
            aws_access_key_id=caller.access_key_id,
            aws_secret_access_key=caller.secret,
            config=Config(retries={"mode": mode}) if mode == "standard" else None,  # type: ignore[arg-type]  # its name
        )
        try:
            key = stock.create_access_key()["AccessKey"]
        finally:
            stock.close()
        [cut] = proxy.cut_replies
        assert b"200 OK" in cut, "the authority had answered"
        assert proxy.seen == 2
    assert key_ids(shared_authority, caller.name) == {caller.access_key_id, key["AccessKeyId"]}
    new = Person(shared_authority, caller.name, key["AccessKeyId"], key["SecretAccessKey"])
    assert new.sts().get_caller_identity()["Arn"] == caller.arn
