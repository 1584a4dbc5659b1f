"""The procedure that everybody recommends, walked from end to end by each real client.

Two keys, one user, no gap: create the second, switch, deactivate the old one, look at its last use, delete it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from acceptance.conftest import endpoint_of
from acceptance.proofs import WALK, proves
from acceptance.real_clients import AwsCommandLine, RealClient, Refused, moment
from acceptance.served import Endpoint, Key
from living_authority import LivingAuthority

BOT: Final = "ci-deploy-bot"
CREATED: Final = """{
    "AccessKey": {
        "UserName": "ci-deploy-bot",
        "AccessKeyId": "AKIA0A1B2C3D4E5F6G7H",
        "Status": "Active",
        "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "CreateDate": "2026-06-15T10:43:02+00:00"
    }
}
"""
LAST_USED: Final = """{
    "UserName": "ci-deploy-bot",
    "AccessKeyLastUsed": {
        "LastUsedDate": "2026-06-15T09:01:44+00:00",
        "ServiceName": "sts",
        "Region": "us-east-1"
    }
}
"""
LISTED: Final = """{
    "AccessKeyMetadata": [
        {
            "UserName": "ci-deploy-bot",
            "AccessKeyId": "AKIA0A1B2C3D4E5F6G7H",
            "Status": "Active",
            "CreateDate": "2026-06-15T10:43:02+00:00"
        }
    ]
}
"""


@pytest.fixture
def endpoint(shared_authority: LivingAuthority, tmp_path: Path) -> Endpoint:
    """An authority whose clock the test holds, so that a last use can stand still for longer than a moment."""
    return endpoint_of(shared_authority, tmp_path)


@pytest.fixture
def bot(shared_authority: LivingAuthority) -> Iterator[str]:
    """The name, free again afterwards."""
    yield BOT
    iam = shared_authority.iam()
    with suppress(iam.exceptions.NoSuchEntityException):
        for key in iam.list_access_keys(UserName=BOT)["AccessKeyMetadata"]:
            iam.delete_access_key(UserName=BOT, AccessKeyId=key["AccessKeyId"])
        iam.delete_user(UserName=BOT)


def key_of(created: dict[str, Any]) -> Key:
    return Key(created["AccessKeyId"], created["SecretAccessKey"])


def assert_refused(client: RealClient, key: Key) -> None:
    with pytest.raises(Refused) as refused:
        client.arn_of(key)
    assert refused.value.code == "InvalidClientTokenId"
    assert refused.value.message == "The security token included in the request is invalid"


@proves(*WALK)
def test_the_whole_procedure(client: RealClient, bot: str, shared_authority: LivingAuthority) -> None:
    arn = client.call("iam", "CreateUser", {"UserName": bot})["User"]["Arn"]
    first = client.create_access_key(bot)
    assert set(first) == {"UserName", "AccessKeyId", "Status", "SecretAccessKey", "CreateDate"}
    assert (first["UserName"], first["Status"]) == (bot, "Active")
    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", first["AccessKeyId"])
    assert re.fullmatch(r"[A-Za-z0-9+/]{40}", first["SecretAccessKey"])
    old = key_of(first)

    # Step 1: the user now has two active keys.
    second = client.create_access_key(bot)
    new = key_of(second)
    with pytest.raises(Refused) as third:
        client.create_access_key(bot)
    assert third.value.code == "LimitExceeded"
    assert third.value.message == "Cannot exceed quota for AccessKeysPerUser: 2"
    assert client.arn_of(old) == client.arn_of(new) == arn
    listed = client.list_access_keys(bot)
    assert listed == [
        {name: value for name, value in key.items() if name != "SecretAccessKey"} for key in (first, second)
    ]
    assert moment(second["CreateDate"]) - moment(first["CreateDate"]) < timedelta(minutes=2)

    # Steps 3 and 4: deactivated, it is refused at once, and its last use stands still while time passes.
    client.update_access_key(bot, old.access_key_id, "Inactive")
    before = client.last_used(old.access_key_id)
    assert set(before) == {"UserName", "AccessKeyLastUsed"}
    assert before["UserName"] == bot
    assert set(before["AccessKeyLastUsed"]) == {"LastUsedDate", "ServiceName", "Region"}
    assert before["AccessKeyLastUsed"]["ServiceName"] == "sts"
    assert before["AccessKeyLastUsed"]["Region"] == "us-east-1"
    shared_authority.clock.advance(seconds=5)
    assert_refused(client, old)
    assert client.arn_of(new) == arn
    assert client.last_used(old.access_key_id) == before
    later = client.last_used(new.access_key_id)["AccessKeyLastUsed"]["LastUsedDate"]
    assert moment(later) >= moment(before["AccessKeyLastUsed"]["LastUsedDate"]) + timedelta(seconds=4)

    # "Deactivating keeps it around so you can re-enable it instantly if something was missed."
    client.update_access_key(bot, old.access_key_id, "Active")
    assert client.arn_of(old) == arn
    client.update_access_key(bot, old.access_key_id, "Inactive")

    # Step 5.
    client.delete_access_key(bot, old.access_key_id)
    assert_refused(client, old)
    (left,) = client.list_access_keys(bot)
    assert (left["AccessKeyId"], left["Status"]) == (new.access_key_id, "Active")

    if isinstance(client, AwsCommandLine):
        assert_printed_as_in_the_article(client, old)


def assert_printed_as_in_the_article(client: AwsCommandLine, old: Key) -> None:
    """Its commands, word for word, and its outputs to the letter, but for ids and dates."""
    named = f"--user-name {BOT}"
    given = f"--access-key-id {old.access_key_id}"
    printed = client.printed
    assert form_of(printed[f"aws iam create-access-key {named}"]) == form_of(CREATED)
    assert not printed[f"aws iam update-access-key {named} {given} --status Inactive"]
    assert form_of(printed[f"aws iam get-access-key-last-used {given}"]) == form_of(LAST_USED)
    assert not printed[f"aws iam delete-access-key {named} {given}"]
    assert form_of(printed[f"aws iam list-access-keys {named}"]) == form_of(LISTED)


def form_of(output: str) -> str:
    """An output to the letter, but for what differs from key to key and from day to day.

    Version 2 prints times with an offset; version 1 shows them as they came, here as at AWS.
    """
    output = re.sub(r'"AKIA[A-Z0-9]{16}"', '"AKIA"', output)
    output = re.sub(r'(?<="SecretAccessKey": )"[A-Za-z0-9+/]{40}"', '"secret"', output)
    return re.sub(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\+00:00|Z)"', '"date"', output)
