"""kill -9 at any moment: what was answered is there, what is half done is not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from keyturn.store.migrations import migrate
from keyturn.store.sqlite import open_read_only

CHILD = Path(__file__).parent / "children" / "acknowledge_writes.py"
STEPS = (
    "CREATE TABLE steps (writer TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (writer, number)) STRICT;"
)


def run_until_killed(database: Path, run: str, acknowledgements: int) -> dict[str, int]:
    """The last number that each writer was answered, from a child killed after so many answers."""
    answered: dict[str, int] = {}
    with subprocess.Popen([sys.executable, str(CHILD), str(database), run], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for count, line in enumerate(child.stdout):
            if not line.endswith(b"\n"):
                break
            writer, number = line.split()
            answered[writer.decode()] = int(number)
            if count == acknowledgements:
                child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    return answered


def check(database: Path, answered: dict[str, int]) -> None:
    with open_read_only(database) as reader:
        bodies = {row[0]: row[1] for row in reader.rows("SELECT id, body FROM notes")}
        for writer, last in answered.items():
            numbers = [
                row[0]
                for row in reader.rows(
                    "SELECT number FROM steps WHERE writer = :writer ORDER BY number", {"writer": writer}
                )
            ]
            # At most the one write that was on its way is there without having been answered.
            assert len(numbers) in {last + 1, last + 2}
            assert numbers == list(range(len(numbers)))
            reached = len(numbers) - 1
            assert bodies.get(writer) == (None if reached % 3 == 2 else str(reached))
    connection = apsw.Connection(str(database))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def kill_again_and_again(database: Path, kills: int) -> None:
    directory = database.parent / "more-migrations"
    directory.mkdir()
    (directory / "0001_steps.sqlite.sql").write_text(STEPS)
    migrate(database, room="kills", directory=directory)
    chance = random.Random(kills)  # noqa: S311 - a test's dice
    answered: dict[str, int] = {}
    for run in range(kills):
        answered |= run_until_killed(database, str(run), chance.randint(0, 400))
        check(database, answered)
    assert answered


def test_nothing_acknowledged_is_lost_by_kill_9(database: Path) -> None:
    kill_again_and_again(database, 8)


@pytest.mark.faults
@pytest.mark.skipif(os.environ.get("KEYTURN_FAULTS") != "long", reason="the long form: KEYTURN_FAULTS=long")
def test_nothing_acknowledged_is_lost_by_a_thousand_kills(database: Path) -> None:
    kill_again_and_again(database, 1_000)


def test_a_first_start_killed_before_its_database_has_tables_is_finished_by_the_next(
    tmp_path: Path, create_database: Callable[[Path], None]
) -> None:
    database = tmp_path / "keyturn.db"
    database.touch(mode=0o600)
    create_database(database)
    with open_read_only(database) as reader:
        assert reader.rows("SELECT id FROM notes") == []
