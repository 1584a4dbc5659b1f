"""Who is told what a rotation does: a command, a signed webhook, again after a failure; and `serve` carries it on."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from threading import Event

import pytest

from cli.rotation_stage import QUICK, RotationStage
from living_authority import LivingAuthority
from real_program import ServedAuthority, run_keyturn
from rotation.sinks.sink_receiver import Receiver, receiving

APPLY = ("--auto-approve", "--wait")
KEY = "a key of at least sixteen bytes"


def stage_of(authority: LivingAuthority, home: Path, user: str, notify: str) -> RotationStage:
    stage = RotationStage(home / "operator", authority, QUICK + notify)
    stage.new_user(user)
    stage.write(user)
    return stage


def test_a_command_hears_of_each_event_once(shared_authority: LivingAuthority, tmp_path: Path) -> None:
    news = tmp_path / "news"
    script = tmp_path / "tell"
    script.write_text(f'#!/bin/sh\ncat >> "{news}"\necho >> "{news}"\n')
    script.chmod(0o700)
    stage = stage_of(shared_authority, tmp_path, "told", f'notify_command = ["{script}"]\n')
    assert stage.keyturn("apply", "told", *APPLY).code == 5
    stage.keyturn("run")
    stage.keyturn("run")
    said = [json.loads(line) for line in news.read_text().splitlines()]
    assert [each["kind"] for each in said].count("attention") == 1
    assert {each["user_name"] for each in said} == {"told"}
    assert "it may be deleted" in next(each["what"] for each in said if each["kind"] == "attention")
    assert stage.keyturn("resume", "told", "--allow-delete", "--wait").code == 0
    stage.keyturn("run")
    said = [json.loads(line) for line in news.read_text().splitlines()]
    assert [each["kind"] for each in said].count("done") == 1
    assert stage.works("told")
    assert stage.places_with_a_secret() == {}
    assert not [each for each in stage.secrets.values() if each in news.read_bytes()]


def test_a_webhook_gets_signed_news_and_gets_it_again_after_a_failure(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    with receiving() as receiver:
        notify = f'notify_url = "{receiver.url}/news"\nnotify_secret_variable = "NEWS_KEY"\n'
        stage = stage_of(shared_authority, tmp_path, "hooked", notify)
        assert stage.keyturn("apply", "hooked", *APPLY).code == 5
        assert stage.keyturn("run").code == 75, "without the key it is not sent unsigned"
        assert receiver.calls == []
        receiver.say = (500, {}, b"")
        variables = {"NEWS_KEY": KEY}
        assert stage.keyturn("run", environment=variables).code == 75
        receiver.say = (200, {}, b"")
        assert stage.keyturn("run", environment=variables).code in {3, 5}
        heard = _checked(receiver)
        assert heard[0] == heard[1], "the same event, with the same idempotency key"
        assert "attention" in [kind for _key, kind in heard]
        before = len(receiver.calls)
        stage.keyturn("run", environment=variables)
        assert len(receiver.calls) == before


def _checked(receiver: Receiver) -> list[tuple[str, str]]:
    """(idempotency key, kind) of each call, whose signature is right."""
    heard = []
    for method, path, headers, body in receiver.calls:
        assert (method, path) == ("POST", "/news")
        signed = headers["Keyturn-Timestamp"].encode() + b"." + body
        expected = hmac.new(KEY.encode(), signed, hashlib.sha256).hexdigest()
        assert headers["Keyturn-Signature"] == f"v1={expected}"
        heard.append((headers["Idempotency-Key"], json.loads(body)["kind"]))
    return heard


def test_serve_begins_and_ends_rotations_by_itself_and_stops_cleanly(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with ServedAuthority(home) as served:
        port = served.url.rpartition(":")[2]
        with served.client() as client:
            client.call("iam", "CreateUser", UserName="ci")
            made = client.call("iam", "CreateAccessKey", UserName="ci")
        old, secret = made.text("AccessKeyId"), made.text("SecretAccessKey")
        assert served.stop() == 0
    held = home / "ci.credentials"
    held.touch(mode=0o600)
    held.write_text(f"[ci]\naws_access_key_id = {old}\naws_secret_access_key = {secret}\n")
    (home / ".config/keyturn/keyturn.toml").write_text(
        f'{QUICK}may_delete = true\n[sinks.ci]\ntype = "credentials_file"\nprofile = "ci"\npath = "{held}"\n'
        '[users.ci]\nsinks = ["ci"]\n[schedule]\nevery = "1s"\n'
    )
    with ServedAuthority(home, "--port", port) as served:
        # Nobody types a word: its own loop begins what is old enough, with the administrator's key, and ends it.
        pause = Event()
        for _ in range(200):
            finished = run_keyturn(home, "status", "--finished", "--output", "json").stdout.splitlines()
            if any(json.loads(line)["stage"] == "done" for line in finished):
                break
            pause.wait(0.2)
        assert any(json.loads(line)["old_key"] == old for line in finished)
        assert old not in held.read_text()
        with served.client() as client:
            assert old not in client.call("iam", "ListAccessKeys", UserName="ci").texts("AccessKeyId")
        assert served.stop() == 0
    assert "Traceback" not in served.log.read_text()
    assert secret not in served.log.read_text()


@pytest.mark.parametrize(
    ("table", "line", "words"),
    [
        ('user = "x"\nowner = "ana"\n', 2, "has no until"),
        ('user = "x"\nuntil = 2027-01-31\n', 2, "has no owner"),
        (
            'user = "x"\nkey = "AKIAIOSFODNN7EXAMPLE"\nowner = "ana"\nuntil = 2027-01-31\n',
            2,
            "a user or of a key",
        ),
        ('user = "x"\nowner = "ana"\nuntil = "soon"\n', 5, "'until' is a day"),
        ('user = "x"\nowner = "ana"\nuntil = 2027-01-31T00:00:00Z\n', 5, "'until' is a day"),
        ('user = "x"\nowner = "ana"\nuntill = "2027-01-31"\n', 5, "no setting 'untill'"),
        ('user = 7\nowner = "ana"\nuntil = "2027-01-31"\n', 3, "'user' is a text"),
    ],
)
def test_a_wrong_exemption_names_its_line(
    tmp_path: Path, shared_authority: LivingAuthority, table: str, line: int, words: str
) -> None:
    stage = RotationStage(tmp_path / "operator", shared_authority, terms="# keyturn.toml\n")
    stage.more = f"[[exemptions]]\n{table}"
    stage.write()
    told = stage.keyturn("sink", "list")
    assert told.code == 1
    assert f"keyturn.toml, line {line}: " in told.stderr
    assert words in told.stderr


def test_the_second_of_two_exemptions_is_told_apart(
    tmp_path: Path, shared_authority: LivingAuthority
) -> None:
    good = '[[exemptions]]\nuser = "x"\nowner = "ana"\nuntil = "2027-01-31"\n'
    stage = RotationStage(tmp_path / "operator", shared_authority, terms="")
    stage.more = good + good.replace("2027-01-31", "2027-02-31")
    stage.write()
    assert "line 8: 'until' is a day" in stage.keyturn("sink", "list").stderr


def test_keys_and_reports_know_sinks_uses_and_exemptions(
    tmp_path: Path, shared_authority: LivingAuthority
) -> None:
    stage = stage_of(shared_authority, tmp_path, "shown", "")
    stage.more = '[[exemptions]]\nuser = "shown"\nowner = "ana"\nuntil = "9999-12-31"\n'
    stage.write("shown")
    (key,) = stage.keys("shown")
    (row,) = json.loads(stage.keyturn("keys", "shown", "--output", "json").stdout)
    assert row["sinks"] == ["shown"]
    Event().wait(1.1)  # it has to be a second old
    aged = stage.keyturn("report", "age", "--older", "1s", "--output", "json")
    exempt = {each["access_key_id"]: each["exempt"] for each in json.loads(aged.stdout)}
    assert exempt[key] == "until 9999-12-31 (ana)"
    assert stage.works("shown")
    shared_authority.keep_house()
    why = json.loads(stage.keyturn("why", key, "--output", "json").stdout)
    assert why["sinks"] == ["shown"]
    assert sum(why["uses_by_day"].values()) >= 1
    stage.credentials("shown").unlink()
    (row,) = json.loads(stage.keyturn("keys", "shown", "--output", "json").stdout)
    assert row["sinks"] == ["shown?"]


def test_an_unused_policy_whose_notice_is_as_long_is_refused(
    tmp_path: Path, shared_authority: LivingAuthority
) -> None:
    stage = RotationStage(tmp_path / "operator", shared_authority, terms="")
    stage.more = '[schedule]\nunused_after = "7d"\n'
    stage.write()
    told = stage.keyturn("run")
    assert told.code == 1
    assert "line 2: the notice is as long" in told.stderr
