"""The credential report: AWS's columns, and what our records say in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyotp
import pytest
from botocore.exceptions import ClientError

from keyturn.authority.credential_report import COLUMNS, VALID_MS
from keyturn.authority.mfa import STEP_MS
from keyturn.store.interface import Transaction
from living_authority import REGION, HeldClock, LivingAuthority, living_authority

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def authority(tmp_path: Path, clock: HeldClock) -> Iterator[LivingAuthority]:
    with living_authority(tmp_path / "home", clock=clock) as living:
        yield living


@pytest.fixture
def iam(authority: LivingAuthority) -> IAMClient:
    return authority.iam()


def report(iam: IAMClient) -> list[dict[str, str]]:
    """The rows of a report made now."""
    iam.generate_credential_report()
    content = iam.get_credential_report()["Content"].decode()
    assert content.splitlines()[0] == ",".join(COLUMNS)
    return list(csv.DictReader(io.StringIO(content)))


def row_of(iam: IAMClient, name: str) -> dict[str, str]:
    (row,) = [row for row in report(iam) if row["user"] == name]
    return row


def test_the_columns_are_aws_s_22_in_their_order() -> None:
    assert ",".join(COLUMNS) == (
        "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,"
        "password_next_rotation,mfa_active,access_key_1_active,access_key_1_last_rotated,"
        "access_key_1_last_used_date,access_key_1_last_used_region,access_key_1_last_used_service,"
        "access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date,"
        "access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,cert_1_last_rotated,"
        "cert_2_active,cert_2_last_rotated"
    )


def test_there_is_no_report_before_one_was_generated(iam: IAMClient) -> None:
    with pytest.raises(ClientError) as refused:
        iam.get_credential_report()
    response = refused.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 410
    assert response["Error"]["Code"] == "ReportNotPresent"
    assert not {**response["Error"]}.get("Message")


def test_the_first_answer_is_started_the_next_is_complete(iam: IAMClient) -> None:
    first = iam.generate_credential_report()
    assert first["State"] == "STARTED"
    assert first["Description"] == "No report exists. Starting a new report generation task"
    second = {**iam.generate_credential_report()}
    assert second["State"] == "COMPLETE"
    assert "Description" not in second
    got = iam.get_credential_report()
    assert got["ReportFormat"] == "text/csv"
    assert isinstance(got["GeneratedTime"], datetime)


def age(authority: LivingAuthority, milliseconds: int) -> None:
    """Make the last report older: clients sign with real time, so the clock can't go that far."""

    def write(tx: Transaction) -> int:
        return tx.execute(
            "UPDATE credential_reports SET generated_at = generated_at - :age", {"age": milliseconds}
        )

    assert authority.run(authority.opened.store.write(write)) == 1


def test_a_report_is_made_anew_after_four_hours_and_not_before(
    iam: IAMClient, authority: LivingAuthority
) -> None:
    assert len(report(iam)) == 2
    iam.create_user(UserName="later")
    age(authority, VALID_MS - 60_000)
    assert iam.generate_credential_report()["State"] == "COMPLETE"
    assert len(report(iam)) == 2
    age(authority, 60_000)
    with pytest.raises(ClientError) as refused:
        iam.get_credential_report()
    assert refused.value.response["Error"]["Code"] == "ReportExpired"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 410
    assert iam.generate_credential_report()["State"] == "STARTED"
    assert len(report(iam)) == 3


def test_the_root_account_has_the_first_row(iam: IAMClient, authority: LivingAuthority) -> None:
    root, administrator = report(iam)
    assert root["arn"] == f"arn:aws:iam::{authority.opened.instance.account_id}:root"
    assert root["user"] == "<root_account>"
    assert root["password_enabled"] == "not_supported"
    assert root["mfa_active"] == "false"
    assert root["access_key_1_active"] == "false"
    assert administrator["access_key_1_active"] == "true"
    assert administrator["access_key_1_last_used_service"] == "iam"
    assert administrator["access_key_1_last_used_region"] == REGION


def test_a_user_with_nothing_has_n_a_and_false(iam: IAMClient) -> None:
    user = iam.create_user(UserName="ana", Path="/people/")["User"]
    row = row_of(iam, "ana")
    assert (row.pop("user"), row.pop("arn")) == ("ana", user["Arn"])
    assert row.pop("user_creation_time") == user["CreateDate"].isoformat()
    for column in ("password_enabled", "mfa_active"):
        assert row.pop(column) == "false"
    assert {value for column, value in row.items() if column.endswith("_active")} == {"false"}
    assert {value for column, value in row.items() if not column.endswith("_active")} == {"N/A"}


def test_times_are_utc_with_their_offset(iam: IAMClient) -> None:
    created = report(iam)[1]["user_creation_time"]
    assert created.endswith("+00:00")
    assert len(created) == len("2026-02-11T10:40:38+00:00")


def test_a_password_shows_when_it_was_changed_and_has_to_be(iam: IAMClient) -> None:
    iam.update_account_password_policy(MaxPasswordAge=90)
    iam.create_user(UserName="ana")
    iam.create_login_profile(UserName="ana", Password="Correct-Horse-1")
    row = row_of(iam, "ana")
    assert row["password_enabled"] == "true"
    assert row["password_last_used"] == "no_information"
    changed = datetime.fromisoformat(row["password_last_changed"])
    assert (datetime.fromisoformat(row["password_next_rotation"]) - changed).days == 90


def test_without_a_policy_of_ages_no_rotation_is_due(iam: IAMClient) -> None:
    iam.create_user(UserName="ana")
    iam.create_login_profile(UserName="ana", Password="Correct-Horse-1")
    assert row_of(iam, "ana")["password_next_rotation"] == "N/A"


def test_a_second_factor_shows(iam: IAMClient, clock: HeldClock) -> None:
    iam.create_user(UserName="ana")
    made = iam.create_virtual_mfa_device(VirtualMFADeviceName="ana")["VirtualMFADevice"]
    codes = pyotp.HOTP(made["Base32StringSeed"].decode())
    step = clock.now_ms() // STEP_MS
    iam.enable_mfa_device(
        UserName="ana",
        SerialNumber=made["SerialNumber"],
        AuthenticationCode1=codes.at(step - 1),
        AuthenticationCode2=codes.at(step),
    )
    assert row_of(iam, "ana")["mfa_active"] == "true"


def test_keys_show_their_age_and_their_last_use_the_newest_first(
    iam: IAMClient, authority: LivingAuthority, clock: HeldClock
) -> None:
    iam.create_user(UserName="ana")
    old = iam.create_access_key(UserName="ana")["AccessKey"]
    iam.update_access_key(UserName="ana", AccessKeyId=old["AccessKeyId"], Status="Inactive")
    clock.advance(seconds=60)
    new = iam.create_access_key(UserName="ana")["AccessKey"]
    row = row_of(iam, "ana")
    assert (row["access_key_1_active"], row["access_key_2_active"]) == ("true", "false")
    assert row["access_key_1_last_rotated"] == new["CreateDate"].isoformat()
    assert row["access_key_2_last_rotated"] == old["CreateDate"].isoformat()
    assert row["access_key_1_last_used_date"] == "N/A"

    authority.sts(new["AccessKeyId"], new["SecretAccessKey"]).get_caller_identity()
    row = row_of(iam, "ana")  # the same report: its last uses are those of now
    assert row["access_key_1_last_used_service"] == "sts"
    assert row["access_key_1_last_used_region"] == REGION
    assert row["access_key_1_last_used_date"].endswith("+00:00")
    assert row["access_key_2_last_used_region"] == "N/A"


def test_a_name_with_a_comma_stays_one_column(iam: IAMClient) -> None:
    iam.create_user(UserName="one,two")
    assert row_of(iam, "one,two")["password_enabled"] == "false"
