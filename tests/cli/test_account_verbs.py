"""`keyturn account`, `report` and `master-key` as somebody types them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyotp
import pytest
from botocore.exceptions import ClientError

from authority.calls import audit_records
from authority.sts_calls import Device
from keyturn.authority.storage.audit_trail import audit_head
from keyturn.cli.main import main
from keyturn.store.sqlite import open_read_only
from living_authority import LivingAuthority, environment_below, living_authority


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    stdout: str
    stderr: str


Type = Callable[..., Said]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def keyturn(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """Type a command below the home of the test."""

    def typed(*words: str) -> Said:
        mask = os.umask(0o022)
        try:
            with monkeypatch.context() as patch:
                for name, value in environment_below(home).items():
                    patch.setenv(name, value)
                for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "CREDENTIALS_DIRECTORY"):
                    patch.delenv(name, raising=False)
                capsys.readouterr()
                code = main(words)
        finally:
            os.umask(mask)
        told = capsys.readouterr()
        return Said(code, told.out, told.err)

    return typed


def enable_device(authority: LivingAuthority, user: str) -> None:
    device = authority.iam().create_virtual_mfa_device(VirtualMFADeviceName=user)["VirtualMFADevice"]
    codes = pyotp.TOTP(device["Base32StringSeed"].decode())
    now = authority.clock.now_ms() // 1000
    authority.iam().enable_mfa_device(
        UserName=user,
        SerialNumber=device["SerialNumber"],
        AuthenticationCode1=codes.at(now - 30),
        AuthenticationCode2=codes.at(now),
    )


def json_lines(said: Said) -> list[dict[str, str]]:
    return [json.loads(line) for line in said.stdout.splitlines()]


# report mfa


def test_the_report_names_active_keys_without_a_factor_and_who_is_a_person(home: Path, keyturn: Type) -> None:
    with living_authority(home) as authority:
        machine, _ = authority.new_user_with_key("ci-deploy-bot")
        person, _ = authority.new_user_with_key("ana")
        authority.iam().create_login_profile(UserName="ana", Password="correct horse battery 9 Staple!")
        authority.new_user_with_key("ben")
        enable_device(authority, "ben")
        idle, _ = authority.new_user_with_key("carl")
        authority.iam().update_access_key(UserName="carl", AccessKeyId=idle, Status="Inactive")
        authority.iam().create_user(UserName="dora")
        said = keyturn("report", "mfa", "--output", "json")
    assert said.code == 0
    found = {
        line["user"]: (line["access_key_id"], line["login_profile"], line["required"])
        for line in json_lines(said)
    }
    assert found == {
        "administrator": (authority.administrator.access_key_id, "no", "no"),
        "ana": (person, "yes", "yes"),
        "ci-deploy-bot": (machine, "no", "no"),
    }
    assert "required of: people" in said.stderr


def test_the_report_says_that_there_is_nothing_to_say(home: Path, keyturn: Type) -> None:
    with living_authority(home) as authority:
        enable_device(authority, "administrator")
        said = keyturn("report", "mfa")
    assert said.stdout == ""
    assert "every user with an active key has a second factor" in said.stderr


def test_the_ready_made_policy_can_be_created_and_attached_and_holds_a_key_to_a_factor(
    home: Path, keyturn: Type
) -> None:
    said = keyturn("report", "mfa", "--policy")
    with living_authority(home) as authority:
        arn = authority.iam().create_policy(PolicyName="RequireMFA", PolicyDocument=said.stdout)["Policy"][
            "Arn"
        ]
        access_key_id, secret = authority.new_user_with_key("ana")
        everything = "arn:aws:iam::aws:policy/AdministratorAccess"
        authority.iam().attach_user_policy(UserName="ana", PolicyArn=everything)
        ana = authority.iam(access_key_id, secret)
        assert ana.list_users()["Users"]
        authority.iam().attach_user_policy(UserName="ana", PolicyArn=arn)
        with pytest.raises(ClientError, match="explicit deny"):
            ana.list_users()
        assert ana.get_user(UserName="ana")["User"]["UserName"] == "ana"


# account


def shown_requirement(keyturn: Type) -> str:
    lines = json_lines(keyturn("account", "show", "--output", "json"))
    return {line["setting"]: line["value"] for line in lines}["mfa-required"]


def test_what_is_required_can_be_shown_and_changed_without_the_server(home: Path, keyturn: Type) -> None:
    with living_authority(home):
        assert "mfa-required  people" in keyturn("account", "show").stdout
    said = keyturn("account", "mfa-required", "off")
    assert (said.code, said.stdout) == (0, "mfa-required: off\n")
    assert shown_requirement(keyturn) == "off"


def test_a_running_server_is_asked_and_loosens_nothing_without_a_factor(home: Path, keyturn: Type) -> None:
    with living_authority(home):
        refused = keyturn("account", "mfa-required", "all")
        assert (refused.code, "no MFA device" in refused.stderr) == (1, True)
        refused = keyturn("account", "mfa-required", "off")
        assert refused.code == 1
        assert "needs a session with a second factor" in refused.stderr
        assert shown_requirement(keyturn) == "people"
        same = keyturn("account", "mfa-required", "people")
        assert (same.code, same.stdout, same.stderr) == (0, "mfa-required: people\n", "before: people\n")


def test_with_the_administrator_s_code_a_running_server_tightens_and_loosens_at_once(
    home: Path, keyturn: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    with living_authority(home) as authority:
        machine = authority.iam(*authority.new_user_with_key("machine"))
        authority.iam().attach_user_policy(
            UserName="machine", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess"
        )
        assert machine.list_users()["Users"]
        device = Device(authority, "administrator")
        asked: list[str] = []

        def typed(code: str, *words: str) -> Said:
            with monkeypatch.context() as patch:
                patch.setattr("sys.stdin", io.StringIO(f"{code}\n"))
                said = keyturn(*words)
            asked.append(code)
            return said

        tightened = typed(device.proof["TokenCode"], "account", "mfa-required", "all")
        assert (tightened.code, tightened.stderr) == (0, "before: people\n")
        with pytest.raises(ClientError, match="AccessDenied"):
            machine.list_users()
        wrong = typed("000000", "account", "mfa-required", "off")
        assert wrong.code == 1
        assert "AccessDenied" in wrong.stderr
        assert shown_requirement(keyturn) == "all"
        for nothing in ("", "12345", "no code"):
            said = typed(nothing, "account", "mfa-required", "off")
            assert (said.code, "a code of six digits is needed" in said.stderr) == (1, True)
        loosened = typed(device.proof["TokenCode"], "account", "mfa-required", "off")
        assert (loosened.code, loosened.stdout) == (0, "mfa-required: off\n")
        assert machine.list_users()["Users"]
        (first, last) = audit_records(authority, "UpdateAccountSettings")
    assert first["requestParameters"] == {"mfaRequired": "all"}
    assert last["additionalEventData"] == {"mfaRequiredBefore": "all"}
    assert last["userIdentity"]["userName"] == "administrator"
    assert last["userIdentity"]["sessionContext"]["attributes"]["mfaAuthenticated"] == "true"
    assert last["eventSource"] == "keyturn"
    assert not any(code in json.dumps(record) for code in asked if code for record in (first, last))


def test_the_mark_follows_what_is_changed_with_the_server_stopped(home: Path, keyturn: Type) -> None:
    with living_authority(home) as authority:
        place = authority.settings.place
        mark = place.mark_file(authority.opened.instance.instance_id)
    for words in (("account", "mfa-required", "off"), ("master-key", "rotate")):
        assert keyturn(*words).code == 0
        assert keyturn("audit", "verify").code == 0
        with open_read_only(place.database) as reader:
            head = audit_head(reader)
        kept = json.loads(mark.read_text())
        assert (kept["sequence"], kept["revision"]) == (head.sequence, head.revision)


def test_all_is_refused_until_the_administrator_has_a_device_and_then_holds_every_key(
    home: Path, keyturn: Type
) -> None:
    with living_authority(home) as authority:
        access_key_id, secret = authority.new_user_with_key("ci-deploy-bot")
        authority.iam().attach_user_policy(
            UserName="ci-deploy-bot", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess"
        )
    refused = keyturn("account", "mfa-required", "all")
    assert refused.code == 1
    assert "no MFA device" in refused.stderr
    with living_authority(home) as authority:
        assert authority.iam(access_key_id, secret).list_users()["Users"], "nothing was changed"
        enable_device(authority, "administrator")
    assert keyturn("account", "mfa-required", "all").code == 0
    with living_authority(home) as authority:
        with pytest.raises(ClientError, match="AccessDenied"):
            authority.iam(access_key_id, secret).list_users()
        held = {
            line["user"]: line["required"]
            for line in json_lines(keyturn("report", "mfa", "--output", "json"))
        }
    assert held == {"ci-deploy-bot": "yes"}
    assert keyturn("account", "mfa-required", "people").stderr == "before: all\n"
    with living_authority(home) as authority:
        assert authority.iam(access_key_id, secret).list_users()["Users"]


def test_a_change_of_the_setting_stands_in_the_trail(home: Path, keyturn: Type) -> None:
    with living_authority(home):
        pass
    keyturn("account", "mfa-required", "off")
    with living_authority(home) as authority:
        rows = authority.call(lambda: _records(authority, "UpdateAccountSettings"))
    assert [json.loads(row)["requestParameters"] for row in rows] == [
        {"mfaRequired": "off", "mfaRequiredBefore": "people"}
    ]
    assert keyturn("audit", "verify").code == 0


def _records(authority: LivingAuthority, name: str) -> list[str]:
    with authority.opened.store.read() as reader:
        return [
            str(record)
            for (record,) in reader.rows(
                "SELECT record FROM audit_records WHERE event_name = :name", {"name": name}
            )
        ]


# master-key


def test_a_rotation_says_where_both_keys_are_and_prints_the_new_ones_id(home: Path, keyturn: Type) -> None:
    with living_authority(home):
        pass
    said = keyturn("master-key", "rotate")
    assert said.code == 0
    (key_file,) = (home / ".config" / "keyturn").glob("*.key")
    (kept,) = (home / ".config" / "keyturn").glob("*.old")
    assert key_file.read_text().split()[2] == said.stdout.strip()
    assert f"the new master key stands in {key_file}" in said.stderr
    assert f"{kept} is still needed" in said.stderr
    assert key_file.read_text().split()[3] not in said.stderr + said.stdout
    assert keyturn("audit", "verify").code == 0
    with living_authority(home) as authority:
        assert authority.iam().list_users()["Users"]


def test_without_an_authority_each_verb_says_so(keyturn: Type) -> None:
    for words in (
        ("report", "mfa"),
        ("account", "show"),
        ("account", "mfa-required", "off"),
        ("master-key", "rotate"),
    ):
        said = keyturn(*words)
        assert said.code == 1
        assert "there is no authority in" in said.stderr
