"""The audit trail: CloudTrail's record shape without secrets, one record a change, and a chain that shows every touch."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest
from botocore.exceptions import ClientError

from authority.calls import account, audit_records
from authority.sts_calls import Device
from command_line import keyturn
from keyturn.authority.audit import Link
from keyturn.authority.instance import ADMINISTRATOR
from keyturn.authority.storage import audit_trail
from keyturn.settings import Place, place
from keyturn.store.interface import Transaction
from keyturn.store.sqlite import open_read_only
from keyturn.wiring import verify_audit
from living_authority import LivingAuthority, environment_below, living_authority

ALLOW_ALL = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
ALWAYS = {
    "eventVersion",
    "userIdentity",
    "eventTime",
    "eventSource",
    "eventName",
    "awsRegion",
    "sourceIPAddress",
    "userAgent",
    "requestParameters",
    "responseElements",
    "requestID",
    "eventID",
    "readOnly",
    "eventType",
    "managementEvent",
    "recipientAccountId",
    "eventCategory",
}


def records(where: Place) -> list[dict[str, Any]]:
    with open_read_only(where.database) as reader:
        return [json.loads(each.record) for each in audit_trail.records_after(reader, 0, 10_000)]


def last(living: LivingAuthority) -> dict[str, Any]:
    return records(living.settings.place)[-1]


# The record


def test_a_change_is_recorded_in_cloudtrails_shape(authority: LivingAuthority) -> None:
    iam = authority.iam(user_agent="a tool/1.0")
    answer = iam.create_user(UserName="ana", Path="/people/", Tags=[{"Key": "team", "Value": "red"}])
    record = last(authority)
    account = authority.opened.instance.account_id
    assert set(record) == ALWAYS
    assert record["eventVersion"] == "1.11"
    identity = record["userIdentity"]
    assert identity.pop("principalId").startswith("AIDA")
    assert identity == {
        "type": "IAMUser",
        "arn": f"arn:aws:iam::{account}:user/administrator",
        "accountId": account,
        "accessKeyId": authority.administrator.access_key_id,
        "userName": "administrator",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["eventTime"])
    assert (record["eventSource"], record["eventName"]) == ("iam.amazonaws.com", "CreateUser")
    assert (record["awsRegion"], record["sourceIPAddress"]) == ("eu-west-1", "127.0.0.1")
    assert record["userAgent"].startswith("a tool/1.0")
    parameters = record["requestParameters"]
    assert (parameters["userName"], parameters["path"]) == ("ana", "/people/")
    assert "team" in json.dumps(parameters["tags"])
    assert record["responseElements"]["user"]["userName"] == "ana"
    assert record["requestID"] == answer["ResponseMetadata"]["RequestId"]
    assert uuid.UUID(record["eventID"]).version == 4
    assert (record["readOnly"], record["managementEvent"]) == (False, True)
    assert (record["eventType"], record["eventCategory"]) == ("AwsApiCall", "Management")
    assert record["recipientAccountId"] == account


def test_the_record_of_a_new_key_names_it_and_leaves_its_secret_out(authority: LivingAuthority) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    record = last(authority)
    assert record["eventName"] == "CreateAccessKey"
    assert access_key_id in json.dumps(record["responseElements"])
    assert secret not in json.dumps(record).replace("\\/", "/")
    assert "secret" not in json.dumps(record).lower()


def test_a_call_that_was_refused_is_recorded_with_its_error_and_changes_nothing(
    authority: LivingAuthority,
) -> None:
    key = authority.new_user_with_key("ana")
    before = len(records(authority.settings.place))
    with pytest.raises(ClientError) as denied:
        authority.iam(*key).create_user(UserName="bo")
    with pytest.raises(ClientError) as missing:
        authority.iam().delete_user(UserName="nobody")
    refused = records(authority.settings.place)[before:]
    for record, error in zip(refused, (denied, missing), strict=True):
        told = error.value.response["Error"]
        assert (record["errorCode"], record["errorMessage"]) == (told["Code"], told["Message"])
        assert record["responseElements"] is None
        assert record["requestID"] == error.value.response["ResponseMetadata"]["RequestId"]
    assert refused[0]["userIdentity"]["userName"] == "ana"
    assert [user["UserName"] for user in authority.iam().list_users()["Users"]] == ["administrator", "ana"]


def test_what_only_reads_is_not_recorded(authority: LivingAuthority) -> None:
    before = records(authority.settings.place)
    authority.iam().list_users()
    authority.sts().get_caller_identity()
    assert records(authority.settings.place) == before


def test_a_change_and_its_record_stand_or_fall_together(
    authority: LivingAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = records(authority.settings.place)

    def broken(*_: object) -> None:
        raise ValueError("the record can't be made")

    with monkeypatch.context() as patched:
        patched.setattr(audit_trail, "append", broken)
        for _ in range(2):
            with pytest.raises(ClientError) as failed:
                authority.iam().create_user(UserName="ana")
            assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert [user["UserName"] for user in authority.iam().list_users()["Users"]] == ["administrator"]
    assert records(authority.settings.place) == before
    authority.iam().create_user(UserName="ana")
    assert last(authority)["eventName"] == "CreateUser"


# The chain


def test_the_chain_goes_on_where_it_was_when_a_record_is_undone(authority: LivingAuthority) -> None:
    authority.iam().create_user(UserName="ana")
    store, now = authority.opened.store, authority.opened.authority.clock.now_ms()
    audit = authority.opened.authority._audit

    def fail(tx: Transaction) -> None:
        audit.append_event(tx, "NeverHappened", now, os.urandom)
        raise LookupError

    with pytest.raises(LookupError):
        authority.run(store.write(fail))
    authority.iam().create_user(UserName="ben")
    told = [record["eventName"] for record in records(authority.settings.place)]
    assert told[-2:] == ["CreateUser", "CreateUser"]
    assert verify_audit(authority.settings.place, quiet)[0].faults == ()


def quiet(_done: int, _all: int) -> None:
    """No terminal is there to show progress on."""


def test_a_whole_trail_is_found_whole_beside_a_server_that_writes(authority: LivingAuthority) -> None:
    writer_done = threading.Event()

    def write() -> None:
        iam = authority.iam()
        for number in range(60):
            iam.create_group(GroupName=f"group-{number}")
            if number % 20 == 0:
                authority.keep_house()
        writer_done.set()

    writer = threading.Thread(target=write)
    writer.start()
    verdicts = []
    while not writer_done.is_set():
        verdicts.append(verify_audit(authority.settings.place, quiet)[0])
    writer.join()
    assert {verdict.faults for verdict in verdicts} == {()}
    authority.keep_house()
    verdict, mark = verify_audit(authority.settings.place, quiet)
    assert (verdict.faults, verdict.records) == ((), 61)
    assert mark is not None
    assert mark.sequence == 61


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a dozen records, stopped, its mark at the last."""
    home = tmp_path_factory.mktemp("written") / "home"
    with living_authority(home) as living:
        iam = living.iam()
        iam.create_user(UserName="ana")
        iam.put_user_policy(UserName="ana", PolicyName="all", PolicyDocument=ALLOW_ALL)
        for number in range(10):
            iam.create_group(GroupName=f"group-{number}")
    return home


@pytest.fixture
def home(written: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    copy = tmp_path / "home"
    shutil.copytree(written, copy, ignore=shutil.ignore_patterns("*.reserve"))
    return copy


def place_below(home: Path) -> Place:
    return place({}, environment_below(home))


def tamper(home: Path, *statements: str, **values: object) -> None:
    connection = apsw.Connection(str(place_below(home).database))
    try:
        for statement in statements:
            connection.execute(statement, values or None)
    finally:
        connection.close()


def faults(home: Path) -> tuple[str, ...]:
    return verify_audit(place_below(home), quiet)[0].faults


def test_an_untouched_trail_is_whole(home: Path) -> None:
    assert faults(home) == ()
    assert keyturn(home, "audit", "verify").stdout == "whole: 13 records\n"


@pytest.mark.parametrize(
    "change",
    [
        "account_id = '000000000001'",
        "event_time = event_time + 1",
        "event_time = -event_time",
        "event_time = -9223372036854775808",
        "event_name = 'ListUsers'",
        "user_name = 'another'",
        "user_name = NULL",
        "user_name = ''",
        "access_key_id = 'AKIAANOTHERKEY000000'",
        "access_key_id = NULL",
        "record = replace(record, 'group-3', 'group-4')",
        "record = record || ' '",
        "record = ''",
        "record = CAST(x'ff' AS TEXT)",
        "event_name = CAST(x'c3' AS TEXT)",
        "chain = zeroblob(32)",
        "chain = x''",
        "user_name = access_key_id, access_key_id = user_name",
    ],
)
def test_a_record_that_was_changed_in_any_column_is_found(home: Path, change: str) -> None:
    tamper(home, f"UPDATE audit_records SET {change} WHERE sequence = 7")  # noqa: S608 - a test's own words
    found = faults(home)
    assert found
    assert "record 7" in found[0] or "after 0 " in found[0]


def test_a_changed_record_is_found_in_every_place(home: Path) -> None:
    for sequence in range(1, 14):
        tamper(home, f"UPDATE audit_records SET event_time = event_time + 1 WHERE sequence = {sequence}")  # noqa: S608 - as above
        assert f"record {sequence} " in faults(home)[0]
        tamper(home, f"UPDATE audit_records SET event_time = event_time - 1 WHERE sequence = {sequence}")  # noqa: S608 - as above
    assert faults(home) == ()


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        ("= 1", "records 1 to 1 are missing"),
        ("= 6", "records 6 to 6 are missing"),
        ("BETWEEN 3 AND 9", "records 3 to 9 are missing"),
        ("= 13", "the head says record 13, the trail ends at record 12"),
        ("> 0", "the head says record 13, the trail ends at record 0"),
    ],
)
def test_a_missing_record_is_found(home: Path, gone: str, sentence: str) -> None:
    tamper(home, f"DELETE FROM audit_records WHERE sequence {gone}")  # noqa: S608 - as above
    assert sentence in faults(home)


def test_a_record_that_was_taken_out_and_the_rest_moved_up_is_found(home: Path) -> None:
    tamper(
        home,
        "DELETE FROM audit_records WHERE sequence = 6",
        "UPDATE audit_records SET sequence = -sequence WHERE sequence > 6",
        "UPDATE audit_records SET sequence = -sequence - 1 WHERE sequence < 0",
        "UPDATE audit_head SET sequence = 12, revision = 12",
    )
    found = faults(home)
    assert "record 6 " in found[0]
    assert any("the tail is cut" in fault for fault in found)


def test_records_that_changed_places_are_found(home: Path) -> None:
    tamper(
        home,
        "UPDATE audit_records SET sequence = 1000 WHERE sequence = 5",
        "UPDATE audit_records SET sequence = 5 WHERE sequence = 8",
        "UPDATE audit_records SET sequence = 8 WHERE sequence = 1000",
    )
    found = faults(home)
    assert "record 5 " in found[0]
    assert any("record 8 " in fault for fault in found)


@pytest.mark.parametrize("number", [0, -1, 14, 1_000])
def test_a_record_that_was_put_in_is_found(home: Path, number: int) -> None:
    tamper(
        home,
        "INSERT INTO audit_records SELECT :number, account_id, event_time, event_name, user_name, access_key_id,"
        " record, chain FROM audit_records WHERE sequence = 13",
        number=number,
    )
    assert faults(home)


def relinked(home: Path, start: int) -> None:
    """Link the trail anew from a record on, with all that is in the database but without the master key."""
    guess = Link(secret_of_zeros())
    with open_read_only(place_below(home).database) as reader:
        chain = audit_trail.chain_at(reader, start - 1) or b""
        trail = audit_trail.records_after(reader, start - 1, 1_000)
    for record in trail:
        linked = guess.linked(record, chain)
        chain = linked.chain
        tamper(
            home,
            "UPDATE audit_records SET chain = :chain WHERE sequence = :sequence",
            chain=chain,
            sequence=record.sequence,
        )
    tamper(home, "UPDATE audit_head SET chain = :chain", chain=chain)


def secret_of_zeros() -> Any:
    from keyturn.model.secrets import Secret

    return Secret(bytes(32))


@pytest.mark.parametrize("start", [1, 7, 13])
def test_a_trail_that_was_linked_again_without_the_master_key_is_found(home: Path, start: int) -> None:
    tamper(home, f"UPDATE audit_records SET event_name = 'Nothing' WHERE sequence = {start}")  # noqa: S608 - as above
    relinked(home, start)
    found = faults(home)
    assert f"record {start} " in found[0]
    assert any("not the one that the mark file remembers" in fault for fault in found)


def test_a_tail_that_was_cut_cleanly_is_found_by_the_mark_alone(home: Path) -> None:
    """Head and trail agree, every link is right: only the mark knows that there was more."""
    tamper(
        home,
        "DELETE FROM audit_records WHERE sequence > 9",
        "UPDATE audit_head SET sequence = 9, revision = 13,"
        " chain = (SELECT chain FROM audit_records WHERE sequence = 9)",
    )
    assert faults(home) == ("the tail is cut: the mark file remembers record 13, the last is 9",)
    told = keyturn(home, "audit", "verify")
    assert told.code == 3
    (mark,) = place_below(home).locations.state.glob("*.mark")
    mark.unlink()
    told = keyturn(home, "audit", "verify")
    assert told.code == 0
    assert "there is no mark file: a tail that was cut off can't be told" in told.stderr


@pytest.mark.parametrize(
    "change",
    [
        "sequence = 12",
        "sequence = 14",
        "sequence = 0",
        "chain = zeroblob(32)",
        "chain = x''",
        "revision = 12",
        "revision = 0",
    ],
)
def test_a_head_that_was_changed_is_found(home: Path, change: str) -> None:
    tamper(home, f"UPDATE audit_head SET {change}")  # noqa: S608 - as above
    assert faults(home)


def test_verify_tells_each_fault_and_exits_with_3(home: Path) -> None:
    tamper(home, "DELETE FROM audit_records WHERE sequence = 4", "UPDATE audit_head SET chain = x'00'")
    told = keyturn(home, "audit", "verify")
    assert told.code == 3
    assert told.stdout == (
        "fault: records 4 to 4 are missing\nfault: the head is not linked to the last record\n"
    )
    assert "the audit trail is not whole" in told.stderr


def test_a_trail_that_is_ruined_is_told_in_a_few_sentences(home: Path) -> None:
    tamper(home, "UPDATE audit_records SET chain = zeroblob(32)")
    tamper(
        home,
        "INSERT INTO audit_records SELECT sequence + 20 * n, account_id, event_time, event_name,"
        " user_name, access_key_id, record, chain FROM audit_records, (SELECT 1 AS n UNION SELECT 2)",
    )
    found = faults(home)
    assert 20 <= len(found) <= 1_001
    assert found[-1] == "and there may be more: the rest was not looked at"


@pytest.mark.parametrize("missing", ["*.key", "*.mark"])
def test_verify_with_a_damaged_key_or_mark_says_that_it_could_not_look(home: Path, missing: str) -> None:
    here = place_below(home)
    directory = here.locations.config if missing == "*.key" else here.locations.state
    (path,) = directory.glob(missing)
    path.write_bytes(b"not this")
    told = keyturn(home, "audit", "verify")
    assert (told.code, told.stdout) == (1, "")
    assert str(path) in told.stderr


def test_progress_is_told_up_to_the_end(home: Path) -> None:
    told: list[tuple[int, int]] = []
    progress: Callable[[int, int], None] = lambda done, whole: told.append((done, whole))  # noqa: E731 - typed
    verify_audit(place_below(home), progress)
    assert told[-1] == (13, 13)


def test_one_time_codes_are_hidden_those_that_were_refused_too(authority: LivingAuthority) -> None:
    """One that was refused may still work: for another device's name, or by another clock."""
    device = Device(authority, ADMINISTRATOR)
    iam, sts = authority.iam(), authority.sts()
    wrong, right = "123456", device.proof["TokenCode"]
    with suppress(ClientError):
        sts.get_session_token(SerialNumber=device.serial, TokenCode=wrong)
    sts.get_session_token(SerialNumber=device.serial, TokenCode=right)
    role = f"arn:aws:iam::{account(authority)}:role/none"
    with suppress(ClientError):
        sts.assume_role(RoleArn=role, RoleSessionName="job", SerialNumber=device.serial, TokenCode=wrong)
    with suppress(ClientError):
        iam.resync_mfa_device(
            UserName=ADMINISTRATOR,
            SerialNumber=device.serial,
            AuthenticationCode1=wrong,
            AuthenticationCode2="654321",
        )
    events = {
        event: audit_records(authority, event)
        for event in ("EnableMFADevice", "ResyncMFADevice", "GetSessionToken", "AssumeRole")
    }
    assert all(events.values())
    hidden = "HIDDEN_DUE_TO_SECURITY_REASONS"
    for records in events.values():
        for record in records:
            asked = record["requestParameters"]
            codes = {name: asked[name] for name in asked if "Code" in name}
            assert codes
            assert set(codes.values()) == {hidden}
            assert asked["serialNumber"] == device.serial
            assert wrong not in json.dumps(record)
            assert right not in json.dumps(record)
