"""Migrations run in order, each whole or not at all, and never backwards."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from keyturn.model.errors import KeyturnError
from keyturn.store.migrations import Migration, discover, migrate, require_current, version
from keyturn.store.sqlite import open_read_only

CHILD = Path(__file__).parent / "children" / "migrate_until_killed.py"
USERS = "CREATE TABLE users (id TEXT PRIMARY KEY) STRICT; INSERT INTO users VALUES ('a'), ('b');"
KEYS = "CREATE TABLE keys (id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users (id)) STRICT;"
FILL = "INSERT INTO keys SELECT 'key of ' || id, id FROM users; UPDATE users SET id = id;"


def write(directory: Path, *scripts: str) -> Path:
    directory.mkdir(exist_ok=True)
    for number, script in enumerate(scripts, start=1):
        (directory / f"{number:04}_step.sqlite.sql").write_text(script)
    return directory


def migrated(database: Path, directory: Path) -> tuple[int, int]:
    return migrate(database, room="tests", directory=directory)


def schema(database: Path) -> list[object]:
    with open_read_only(database) as reader:
        return [
            row[0] for row in reader.rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        ]


def test_migrations_run_in_order_and_only_once(tmp_path: Path) -> None:
    database, directory = tmp_path / "x.db", write(tmp_path / "sql", USERS)
    assert migrated(database, directory) == (0, 1)
    assert migrated(database, directory) == (1, 1)
    write(directory, USERS, KEYS, FILL)
    assert migrated(database, directory) == (1, 3)
    with open_read_only(database) as reader:
        assert version(reader, "tests") == 3
        assert reader.rows("SELECT id FROM keys ORDER BY id") == [("key of a",), ("key of b",)]
        require_current(reader, room="tests", directory=directory)


def test_rooms_are_counted_apart(tmp_path: Path) -> None:
    database = tmp_path / "x.db"
    migrated(database, write(tmp_path / "one", USERS, KEYS))
    other = write(tmp_path / "two", "CREATE TABLE journal (id TEXT) STRICT;")
    assert migrate(database, room="rotation", directory=other) == (0, 1)
    with open_read_only(database) as reader:
        assert (version(reader, "tests"), version(reader, "rotation"), version(reader, "leaks")) == (2, 1, 0)


def test_a_database_newer_than_the_program_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "x.db"
    migrated(database, write(tmp_path / "new", USERS, KEYS))
    older = write(tmp_path / "old", USERS)
    with pytest.raises(KeyturnError, match="version 2 for tests, this program knows 1") as caught:
        migrated(database, older)
    assert caught.value.hint
    with open_read_only(database) as reader, pytest.raises(KeyturnError, match="knows 1"):
        require_current(reader, room="tests", directory=older)


def test_a_tool_that_only_reads_asks_for_the_version_it_knows(tmp_path: Path) -> None:
    database = tmp_path / "x.db"
    migrated(database, write(tmp_path / "old", USERS))
    with open_read_only(database) as reader:
        with pytest.raises(KeyturnError, match="version 1 for tests, this program needs 2"):
            require_current(reader, room="tests", directory=write(tmp_path / "new", USERS, KEYS))
        assert version(reader, "another room") == 0


@pytest.mark.parametrize(
    "broken",
    [
        "INSERT INTO users VALUES ('c'); INSERT INTO nowhere VALUES (1);",
        "INSERT INTO users VALUES ('c'); this is no SQL;",
        "INSERT INTO users VALUES ('a');",
        'INSERT INTO users VALUES ("a name in double quotes");',
        "INSERT INTO users VALUES ('c'); COMMIT; INSERT INTO nowhere VALUES (1);",
        "INSERT INTO users VALUES ('c'); ROLLBACK;",
        "DELETE FROM users;",
    ],
)
def test_a_migration_that_fails_leaves_the_version_before(tmp_path: Path, broken: str) -> None:
    database = tmp_path / "x.db"
    with pytest.raises(KeyturnError, match=r"migration 4 \(step\) of tests .*unchanged"):
        migrated(database, write(tmp_path / "sql", USERS, KEYS, FILL, broken))
    with open_read_only(database) as reader:
        assert version(reader, "tests") == 3
        assert reader.rows("SELECT id FROM users ORDER BY id") == [("a",), ("b",)]
    assert migrated(database, write(tmp_path / "sql", USERS, KEYS, FILL, "DELETE FROM keys;")) == (3, 4)


def test_a_table_that_others_point_to_can_be_rebuilt(tmp_path: Path) -> None:
    rebuild = """
    CREATE TABLE new_users (id TEXT PRIMARY KEY, path TEXT NOT NULL) STRICT;
    INSERT INTO new_users SELECT id, '/' FROM users;
    DROP TABLE users;
    ALTER TABLE new_users RENAME TO users;
    """
    cascading = KEYS.replace("(id))", "(id) ON DELETE CASCADE)")
    database = tmp_path / "x.db"
    migrated(database, write(tmp_path / "sql", USERS, cascading, FILL, rebuild))
    with open_read_only(database) as reader:
        assert reader.row("SELECT count(*) FROM keys JOIN users ON users.id = user_id AND path = '/'") == (2,)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["0002_a.sqlite.sql"], "number 1 was expected, 2 was found"),
        (["0001_a.sqlite.sql", "0003_b.sqlite.sql"], "number 2 was expected, 3 was found"),
        (["0001_a.sqlite.sql", "0001_b.sqlite.sql"], "number 2 was expected, 1 was found"),
        (["0001_a.sqlite.sql", "2_b.sqlite.sql"], "2_b.sqlite.sql is not called"),
        (["0001_a.sql"], "0001_a.sql is not called"),
    ],
)
def test_numbers_have_no_gaps(tmp_path: Path, names: list[str], complaint: str) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(KeyturnError, match=complaint):
        discover(tmp_path)


def test_dialects_are_kept_apart_and_other_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("0001_a.sqlite.sql", "0001_a.postgres.sql", "__init__.py", "README.md"):
        (tmp_path / name).write_text(f"-- {name}")
    assert discover(tmp_path) == (Migration(1, "a", "-- 0001_a.sqlite.sql"),)
    assert discover(tmp_path, dialect="postgres") == (Migration(1, "a", "-- 0001_a.postgres.sql"),)


def test_a_migration_killed_before_any_of_its_statements_is_finished_by_the_next_run(tmp_path: Path) -> None:
    directory = write(tmp_path / "sql", USERS, KEYS + FILL)
    killed = 0
    while True:
        database = tmp_path / f"{killed}.db"
        command = [sys.executable, str(CHILD), str(database), str(directory), str(killed)]
        child = subprocess.run(command, check=False, timeout=60)
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL
        killed += 1
        whole = {0: [], 1: ["schema_version", "users"], 2: ["keys", "schema_version", "users"]}
        with open_read_only(database) as reader:
            reached = version(reader, "tests")
        assert schema(database) == whole[reached]
        assert migrated(database, directory) == (reached, 2)
        with open_read_only(database) as reader:
            assert reader.row("SELECT count(*) FROM keys") == (2,)
        connection = apsw.Connection(str(database))
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
    assert killed > 20
