"""The open rotations, at a glance: for `status`, which is asked often and has to answer at once.

SQLite itself takes the few fields out of the progress, so nothing is loaded but the database; everything that
decides or writes goes through `journal`. A newer program's rotations are named as such, not guessed at.
"""

from __future__ import annotations

import os

import apsw

from keyturn.model.errors import KeyturnError, StoreUnavailableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Summary = Mapping[str, str | int | None]

DATABASE = "rotations.sqlite"
KNOWN_SCHEMA = 1
"""`progress.SCHEMA_VERSION`: a test holds them together."""
_PATIENCE_MS = 1_000
_FIELDS = {
    "rotation_id": "rotation_id",
    "user_name": "user_name",
    "account_id": "account_id",
    "endpoint": "endpoint",
    "stage": "stage",
    "next_at": "next_at",
    "started_at": "started_at",
    "finished_at": "finished_at",
    "schema_version": "progress ->> '$.schema_version'",
    "old_key": "progress ->> '$.old_key'",
    "new_key": "progress ->> '$.new_key'",
    "waiting_for": "progress ->> '$.waiting_for'",
    "attention": "progress ->> '$.attention'",
    "wish": "progress ->> '$.wish'",
}
_ROTATIONS = (
    f"SELECT {', '.join(_FIELDS.values())} FROM rotations WHERE finished_at IS NULL ORDER BY started_at"  # noqa: S608 - constants
)
_SINKS = (
    "SELECT rotation_id, sink.value ->> '$.name', sink.value ->> '$.stage'"
    " FROM rotations, json_each(rotations.progress, '$.sinks') AS sink WHERE finished_at IS NULL"
    " ORDER BY rotation_id, sink.key"
)
_VERSION = "SELECT version FROM schema_version WHERE room = 'rotation'"


def open_rotations(directory: str) -> tuple[Sequence[Summary], Mapping[str, Sequence[tuple[str, str]]]]:
    """The open ones, oldest first, and the (name, stage) of each one's sinks by its id.

    Nothing where there has never been a rotation. KeyturnError if the state is of another version.
    """
    path = f"{directory}/{DATABASE}"
    if not os.path.exists(path):  # noqa: PTH110 - pathlib costs more than the whole answer
        return (), {}
    try:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(_PATIENCE_MS)
            connection.execute("BEGIN")
            _require_current(connection)
            rows = connection.execute(_ROTATIONS).fetchall()
            sinks: dict[str, list[tuple[str, str]]] = {}
            for rotation_id, name, stage in connection.execute(_SINKS).fetchall():
                sinks.setdefault(str(rotation_id), []).append((str(name), str(stage)))
        finally:
            connection.close()
    except (apsw.BusyError, apsw.IOError) as error:
        raise StoreUnavailableError(f"{path} can't be read now: {error}") from error
    except apsw.Error as error:
        raise KeyturnError(f"can't read {path}: {error}", "see `keyturn doctor`") from error
    found: list[dict[str, Any]] = [dict(zip(_FIELDS, row, strict=True)) for row in rows]
    for summary in found:
        if summary["schema_version"] > KNOWN_SCHEMA:
            raise KeyturnError(
                f"the rotation {summary['rotation_id']} was written by a newer version of Keyturn",
                "run the newer program",
            )
    return found, sinks


def known_version() -> int:
    """How many migrations this program has."""
    directory = f"{os.path.dirname(__file__)}/migrations"  # noqa: PTH120 - as above
    return sum(name.endswith(".sqlite.sql") for name in os.listdir(directory))  # noqa: PTH208 - as above


def _require_current(connection: apsw.Connection) -> None:
    (found,) = connection.execute(_VERSION).fetchone() or (0,)
    known = known_version()
    if int(found) > known:
        raise KeyturnError(
            f"the state is of version {found}, this program knows {known}", "run the newer program"
        )
    if int(found) < known:
        raise KeyturnError(
            f"the state is of version {found}, this program needs {known}",
            "`keyturn run` brings it up to date",
        )
