"""What `status` reads without the room is what the room wrote."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from command_line import keyturn
from keyturn.model.access_keys import AccessKeyId, AccountId
from keyturn.model.clock import SystemClock
from keyturn.model.errors import KeyturnError
from keyturn.rotation.progress import SCHEMA_VERSION, Progress, SinkProgress, SinkStage, Stage, Terms, Wish
from keyturn.rotation.state import State, open_state
from keyturn.rotation.storage import glance, journal
from keyturn.rotation.storage.reading import DATABASE, MIGRATIONS
from keyturn.store.migrations import discover

PROGRESS = Progress(
    "8f2c0d1e",
    AccountId("123456789012"),
    "ci",
    AccessKeyId("AKIAIOSFODNN7EXAMPLE"),
    1_800_000_000_000,
    Terms(),
    stage=Stage.ADOPT,
    sinks=(SinkProgress("profile", SinkStage.CONFIRMED), SinkProgress("vault")),
    waiting_for="the old key is to be quiet",
    next_at=1_800_000_000_000,
)


def state_of(home: Path) -> State:
    directory = home / ".local/state/keyturn/rotations"
    return open_state(directory, home / ".config/keyturn", clock=SystemClock(), random_bytes=os.urandom)


def begun(home: Path, *all_of_them: Progress) -> None:
    state = state_of(home)
    with state.database.writing() as ledger:
        for progress in all_of_them:
            journal.add(ledger, progress, endpoint="http://127.0.0.1:1", region="", profile="")
    state.close()


def test_it_knows_the_versions_that_the_room_writes() -> None:
    assert glance.KNOWN_SCHEMA == SCHEMA_VERSION
    assert glance.DATABASE == DATABASE
    assert glance.known_version() == len(discover(MIGRATIONS))


def test_the_quick_answer_and_the_whole_one_say_the_same(tmp_path: Path) -> None:
    needy = replace(PROGRESS, rotation_id="aaaa0000", user_name="ana", attention="a sink refuses", sinks=())
    paused = replace(PROGRESS, rotation_id="bbbb0000", user_name="bob", wish=Wish.PAUSE)
    begun(tmp_path, PROGRESS, needy, paused)
    for output in ("table", "json"):
        quick = keyturn(tmp_path, "status", "--output", output)
        whole = keyturn(tmp_path, "status", "--finished", "--output", output)
        assert quick == whole
        assert quick.code == 5
    assert keyturn(tmp_path, "status") == keyturn(tmp_path, "status", "--output", "table")
    told = keyturn(tmp_path, "status").stdout
    assert "ci  8f2c0d1e  █████████████░░░░░░░  4/6  adopt\n" in told
    assert "  ✔ profile · vault\n" in told
    assert "  ⚠ a sink refuses\n" in told
    assert "adopt, paused\n" in told


def test_where_nothing_was_ever_rotated_nothing_is_open_and_nothing_is_made(tmp_path: Path) -> None:
    told = keyturn(tmp_path, "status")
    assert (told.code, told.stdout) == (0, "no rotation is open\n")
    assert list(tmp_path.iterdir()) == []


def test_a_healthy_rotation_that_waits_is_exit_code_3(tmp_path: Path) -> None:
    begun(tmp_path, PROGRESS)
    assert keyturn(tmp_path, "status").code == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE schema_version SET version = 99", "of version 99"),
        ("UPDATE schema_version SET version = 1", "of version 1, this program needs"),
        ("UPDATE rotations SET progress = json_set(progress, '$.schema_version', 99)", "newer version"),
    ],
)
def test_what_another_version_wrote_is_refused_with_a_sentence(
    tmp_path: Path, change: str, words: str
) -> None:
    begun(tmp_path, PROGRESS)
    path = tmp_path / ".local/state/keyturn/rotations" / DATABASE
    connection = apsw.Connection(str(path))
    connection.execute(change)
    connection.close()
    with pytest.raises(KeyturnError, match=words):
        glance.open_rotations(str(path.parent))
    assert keyturn(tmp_path, "status").code == 1


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(KeyturnError, match="can't read"):
        glance.open_rotations(str(tmp_path))
