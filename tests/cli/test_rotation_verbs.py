"""Rotations at the terminal, on a real authority: from the plan to the deleted key, and every way to leave it half-way."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from cli.rotation_stage import QUICK, RotationStage, argv_of
from keyturn.model.access_keys import AccountId
from keyturn.model.clock import SystemClock
from keyturn.rotation.state import open_state
from living_authority import LivingAuthority

SLOW = QUICK.replace('quiet = "1s"', 'quiet = "1h"', 1)
"""The old key has to be quiet for an hour: the rotation stands in `adopt`."""
KEPT = QUICK.replace('keep_inactive = "1s"', 'keep_inactive = "1h"')
"""It stands in `watch`."""
APPLY = ("--auto-approve", "--allow-delete")


def stage_of(authority: LivingAuthority, home: Path, *users: str, terms: str = QUICK) -> RotationStage:
    stage = RotationStage(home / "operator", authority, terms)
    for user in users:
        stage.new_user(user)
    stage.write(*users)
    return stage


def until(is_so: Callable[[], bool], seconds: float = 30) -> None:
    """Looks again and again: the world changes in another process."""
    pause, over = Event(), time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < over, "it did not happen"
        pause.wait(0.05)


def id_in(text: str) -> str:
    match = re.search(r"\b[0-9a-f]{8}\b", text)
    assert match
    return match[0]


def test_from_the_plan_to_the_deleted_key(shared_authority: LivingAuthority, tmp_path: Path) -> None:
    stage = stage_of(shared_authority, tmp_path, "whole")
    (old,) = stage.keys("whole")
    plan = tmp_path / "plan.json"
    planned = stage.keyturn("plan", "whole", "-o", str(plan))
    assert planned.code == 2
    assert "nothing has been changed" in planned.stderr
    assert stage.keys("whole") == {old: "Active"}
    applied = stage.keyturn("apply", str(plan), *APPLY, "--wait")
    assert applied.code == 0
    new, _ = stage.held("whole")
    assert applied.stdout.splitlines()[-1].endswith(f"done: whole {old} -> {new} (the old key is gone)")
    assert "the old key must be quiet until" in applied.stderr
    assert stage.works("whole")
    assert stage.keys("whole") == {new: "Active"}
    assert stage.keyturn("status").stdout == "no rotation is open\n"
    record = stage.keyturn("status", id_in(applied.stdout.splitlines()[-1]))
    assert record.code == 0
    assert f"{old} -> {new}" in record.stdout
    assert "begun by arn:aws:iam::" in record.stdout
    assert stage.places_with_a_secret() == {}


def test_a_plan_that_is_out_of_date_begins_nothing(shared_authority: LivingAuthority, tmp_path: Path) -> None:
    stage = stage_of(shared_authority, tmp_path, "dated")
    plan = tmp_path / "plan.json"
    stage.keyturn("plan", "dated", "-o", str(plan))
    shared_authority.iam().create_access_key(UserName="dated")
    told = stage.keyturn("apply", str(plan), *APPLY)
    assert told.code == 1
    assert "the plan is out of date: dated had the keys" in told.stderr
    assert "make it again with `keyturn plan`" in told.stderr
    assert stage.rotations() == []
    assert len(stage.keys("dated")) == 2


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"keyturn_plan": 99}', '{"keyturn_plan": 1, "entries": [1]}']
)
def test_what_is_no_plan_is_refused_with_a_sentence(
    shared_authority: LivingAuthority, tmp_path: Path, text: str
) -> None:
    stage = stage_of(shared_authority, tmp_path)
    plan = tmp_path / "plan.json"
    plan.write_text(text)
    told = stage.keyturn("apply", str(plan), *APPLY)
    assert told.code == 1
    assert "keyturn plan -o FILE" in told.stderr


def test_without_a_terminal_and_without_a_word_nothing_is_changed(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    stage = stage_of(shared_authority, tmp_path, "unasked")
    before = stage.keys("unasked")
    for words in (("apply", "unasked"), ("rehearse", "unasked")):
        told = stage.keyturn(*words)
        assert told.code == 2
        assert "nothing has been changed" in told.stderr
    assert stage.keys("unasked") == before
    assert stage.rotations() == []


def test_a_user_without_a_sink_is_blocked_and_the_way_out_is_said(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    stage = stage_of(shared_authority, tmp_path)
    stage.new_user("lost")
    for verb in ("plan", "apply"):
        told = stage.keyturn(verb, "lost")
        assert told.code == 5
        assert "no sink is declared for lost" in told.stdout
        assert '[users."lost"]' in told.stdout
    assert stage.keyturn("plan").code == 1
    assert stage.keyturn("plan", "nobody-at-all").code == 5


def test_who_leaves_with_ctrl_c_has_lost_nothing(shared_authority: LivingAuthority, tmp_path: Path) -> None:
    stage = stage_of(shared_authority, tmp_path, "left", terms=SLOW)
    with stage.begin("apply", "left", *APPLY, "--wait") as applying:
        until(lambda: any(each["stage"] == "adopt" for each in stage.rotations()))
        assert stage.works("left")
        assert not [each for each in stage.secrets.values() if each in argv_of(applying.pid)]
        applying.send_signal(signal.SIGINT)
        out, err = applying.communicate(timeout=30)
    assert applying.returncode == 130
    (rotation,) = stage.rotations()
    assert f"nothing is lost: keyturn resume {rotation['rotation_id']}" in err
    assert "Traceback" not in err
    assert not [each for each in stage.secrets.values() if each in (out + err).encode()]
    waiting = stage.keyturn("resume", "left")
    assert waiting.code == 3
    assert "carries" in waiting.stderr
    assert stage.keyturn("status").code == 3


def test_a_rotation_is_paused_and_goes_on_when_it_is_resumed(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    stage = stage_of(shared_authority, tmp_path, "paused", terms=KEPT)
    assert stage.keyturn("apply", "paused", *APPLY).code == 3
    told = stage.keyturn("pause", "paused")
    assert told.code == 0
    assert f"is paused in watch: keyturn resume {id_in(told.stdout)}" in told.stdout
    stage.keyturn("run")
    status = stage.keyturn("status")
    assert status.code == 3
    assert "watch, paused" in status.stdout
    assert stage.keyturn("resume", "paused").code == 3
    assert "paused in" not in stage.keyturn("status").stdout


def test_rollback_gives_every_sink_the_old_key_back(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    stage = stage_of(shared_authority, tmp_path, "back", terms=KEPT)
    old, _ = stage.held("back")
    assert stage.keyturn("apply", "back", *APPLY).code == 3
    new, _ = stage.held("back")
    assert stage.works("back")
    assert stage.keys("back") == {old: "Inactive", new: "Active"}
    told = stage.keyturn("rollback", "back")
    assert told.code in {3, 6}
    assert stage.held("back")[0] == old
    assert stage.works("back")
    assert stage.keys("back")[old] == "Active"


def test_rollback_to_its_end_leaves_the_old_key_alone(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    stage = stage_of(shared_authority, tmp_path, "undone", terms=SLOW)
    old, _ = stage.held("undone")
    stage.keyturn("apply", "undone", *APPLY)
    stage.works("undone")
    # The new key has to be as quiet as the old one would have had to be: an hour, which nobody here waits for.
    told = stage.keyturn("rollback", "undone")
    assert told.code in {3, 6}
    assert stage.held("undone")[0] == old
    assert stage.keyturn("abort", "undone").code == 1


def test_a_rotation_that_no_sink_has_heard_of_is_aborted(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    stage = stage_of(shared_authority, tmp_path, "given-up")
    (old,) = stage.keys("given-up")
    # The sink goes away between plan and delivery: nothing has been written.
    stage.keyturn("plan", "given-up", "-o", str(tmp_path / "plan.json"))
    away = stage.credentials("given-up")
    away.rename(tmp_path / "kept")
    away.mkdir()
    applied = stage.keyturn("apply", str(tmp_path / "plan.json"), *APPLY)
    assert applied.code in {3, 5}
    away.rmdir()
    (tmp_path / "kept").rename(away)
    told = stage.keyturn("abort", "given-up")
    if told.code == 1:  # it had begun to write: whether it did is to be read back
        assert "keyturn rollback" in told.stderr
        told = stage.keyturn("rollback", "given-up", "--wait")
    assert told.code == 6
    assert stage.keys("given-up") == {old: "Active"}
    assert stage.works("given-up")


def test_a_rotation_whose_record_is_lost_is_taken_up_from_what_the_sinks_hold(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    stage = stage_of(shared_authority, tmp_path, "recordless", terms=SLOW)
    (old,) = stage.keys("recordless")
    assert stage.keyturn("apply", "recordless", *APPLY).code == 3
    new, _ = stage.held("recordless")
    for file in (stage.home / ".local/state/keyturn/rotations").glob("rotations.sqlite*"):
        file.unlink()
    assert (
        "takes the second slot" in stage.keyturn("plan", "recordless").stdout
        or stage.keyturn("plan", "recordless").code == 5
    )
    stage.terms = QUICK
    stage.write("recordless")
    adopted = stage.keyturn("apply", "recordless", "--adopt", old, "--wait")
    assert adopted.code == 5, adopted.stderr
    assert f"{old} -> {new}, as the sinks hold it" in adopted.stderr
    assert stage.keys("recordless") == {old: "Inactive", new: "Active"}
    assert "--allow-delete" in adopted.stdout


def test_two_processes_are_never_at_one_rotation(shared_authority: LivingAuthority, tmp_path: Path) -> None:
    stage = stage_of(shared_authority, tmp_path, "busy", terms=KEPT)
    assert stage.keyturn("apply", "busy", *APPLY).code == 3
    state = open_state(stage.state, stage.toml.parent, clock=SystemClock(), random_bytes=bytes)
    account = AccountId(shared_authority.opened.instance.account_id)
    with state.user_lock(account, "busy"):
        done = stage.program("pause", "busy")
        assert done.returncode == 7
        assert "another process is at the rotation of busy" in done.stderr
    state.close()


def test_a_rehearsal_deactivates_a_key_for_a_while_and_brings_it_back(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    stage = stage_of(shared_authority, tmp_path, "heard")
    (key,) = stage.keys("heard")
    told = stage.keyturn("rehearse", "heard", "--for", "1s", "--auto-approve")
    assert told.code == 0
    assert stage.keys("heard") == {key: "Active"}
    assert stage.works("heard")


def test_a_rehearsal_that_is_left_brings_the_key_back_at_once(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    stage = stage_of(shared_authority, tmp_path, "cut-short")
    (key,) = stage.keys("cut-short")
    with stage.begin("rehearse", "cut-short", "--for", "1h", "--auto-approve") as rehearsing:
        until(lambda: stage.keys("cut-short")[key] == "Inactive")
        rehearsing.send_signal(signal.SIGINT)
        rehearsing.communicate(timeout=30)
    assert stage.keys("cut-short") == {key: "Active"}


def test_a_rehearsal_that_is_killed_is_ended_by_the_next_tick(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    stage = stage_of(shared_authority, tmp_path, "killed")
    (key,) = stage.keys("killed")
    with stage.begin("rehearse", "killed", "--for", "2s", "--auto-approve") as rehearsing:
        until(lambda: stage.keys("killed")[key] == "Inactive")
        rehearsing.kill()
    assert stage.keys("killed") == {key: "Inactive"}

    def is_back() -> bool:
        stage.keyturn("run")
        return stage.keys("killed") == {key: "Active"}

    until(is_back)
    assert stage.keyturn("status").code == 0


def test_a_tick_tells_programs_what_it_did(shared_authority: LivingAuthority, tmp_path: Path) -> None:
    stage = stage_of(shared_authority, tmp_path, "ticked")
    stage.more = '[schedule]\nevery = "1s"\nwindows = ["mon-sun 00:00-24:00"]\n'
    stage.write("ticked")
    (old,) = stage.keys("ticked")
    until(lambda: "now" in stage.keyturn("schedule").stdout)
    told = stage.keyturn("run", "--output", "json")
    assert told.code == 3
    said = json.loads(told.stdout)
    (begun,) = said["begun"]
    assert (said["advanced"], said["failed"], said["need_somebody"]) == (1, {}, 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", said["next_at"])

    def needs_a_word() -> bool:
        return stage.keyturn("run", "--quiet").code == 5

    until(needs_a_word)  # the old key may not be deleted without one
    assert stage.keyturn("status").code == 5
    assert stage.keyturn("resume", begun, "--allow-delete", "--wait").code == 0
    assert old not in stage.keys("ticked")
    assert stage.works("ticked")


@pytest.mark.parametrize("window", ["mon-sun 00:00-24:00", "nobody's"])
def test_a_schedule_begins_nothing_outside_its_windows(
    shared_authority: LivingAuthority, tmp_path: Path, window: str
) -> None:
    stage = stage_of(shared_authority, tmp_path)
    at = time.gmtime()
    day = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(at.tm_wday + 3) % 7]
    user = f"windowed-{window[:3]}".strip("'")
    stage.new_user(user)
    stage.more = (
        f'[schedule]\nevery = "1s"\nwindows = ["{window if window[0] == "m" else f"{day} 00:00-24:00"}"]\n'
    )
    stage.write(user)
    until(lambda: "now" in stage.keyturn("schedule").stdout)
    told = stage.keyturn("run", "--output", "json")
    assert bool(json.loads(told.stdout)["begun"]) is window.startswith("mon-sun")


def test_twenty_users_are_rotated_at_once(shared_authority: LivingAuthority, tmp_path: Path) -> None:
    users = [f"fleet-{number:02d}" for number in range(20)]
    stage = stage_of(shared_authority, tmp_path, *users)
    before = {user: stage.held(user)[0] for user in users}
    Event().wait(1.1)  # their keys have to be older than a second
    told = stage.keyturn("apply", "--all", "--older", "1s", *APPLY, "--wait", "--parallel", "8")
    assert told.code == 0
    assert told.stdout.splitlines()[-1] == "20 done"
    for user in users:
        assert stage.works(user)
        assert stage.keys(user) == {stage.held(user)[0]: "Active"}
        assert stage.held(user)[0] != before[user]
    assert stage.places_with_a_secret() == {}


def test_secrets_under_way_lie_sealed_and_nowhere_else(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    stage = stage_of(shared_authority, tmp_path, "sealed", terms=KEPT)
    assert stage.keyturn("apply", "sealed", *APPLY).code == 3
    assert stage.works("sealed")
    assert stage.places_with_a_secret() == {}
    modes = {path.stat().st_mode & 0o077 for path in stage.state.rglob("*")}
    assert modes == {0}
