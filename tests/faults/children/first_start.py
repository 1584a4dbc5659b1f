"""Starts an authority for the first time again and again, and kills itself at another step each time.

A step is a statement or a commit of a database, or a file made, written, renamed, linked or removed. After
each kill a second start must finish what the first began. Prints one JSON line a kill: what was found.

Usage: first_start.py DIRECTORY MOST-KILLS
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import apsw

from keyturn.authority.authentication import Authenticated
from keyturn.authority.instance import ADMINISTRATOR, read_credentials
from keyturn.authority.storage import access_keys as key_rows
from keyturn.authority.storage import audit_trail
from keyturn.authority.storage import users as user_rows
from keyturn.http.server import new_event_loop
from keyturn.model.clock import SystemClock
from keyturn.settings import serve_settings
from keyturn.sigv4 import STS, SignedRequest, sign_request
from keyturn.wiring import Opened, known_regions, load_contracts, serve

CHANGES = frozenset({"os.rename", "os.link", "os.remove", "os.mkdir", "os.chmod", "os.truncate"})
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def environment(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": os.environ["PATH"]}


def start(home: Path, look: Callable[[Opened], None]) -> None:
    """A whole start of the server up to its listening; then `look`, and stop."""
    settings = serve_settings({"port": 0}, environment(home))

    async def main() -> None:
        stop = asyncio.Event()

        def listening(_url: str, opened: Opened) -> None:
            look(opened)
            stop.set()

        await serve(settings, stop=stop, on_listening=listening)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())


def count_steps(home: Path, on_step: Callable[[], None]) -> None:
    """Call `on_step` before each step, from now to the end of this process."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
            if str(arguments[0]).startswith(str(home)):
                on_step()
        elif event == "fcntl.flock":
            on_step()

    def trace(_cursor: apsw.Cursor, _sql: str, _bindings: object) -> bool:
        on_step()
        return True

    def before_commit() -> bool:
        on_step()
        return False

    def after_commit(_connection: apsw.Connection, _name: str, _pages: int) -> int:
        on_step()
        return apsw.SQLITE_OK

    def connected(connection: apsw.Connection) -> None:
        connection.exec_trace = trace
        connection.set_commit_hook(before_commit)
        connection.set_wal_hook(after_commit)

    sys.addaudithook(hook)
    apsw.connection_hooks.append(connected)


def first_start(home: Path, kill_at: int, report: Path) -> None:
    """Killed at its step `kill_at`. If it comes to its end, it leaves the number of its steps in `report`."""
    steps = 0
    lock = threading.Lock()

    def on_step() -> None:
        nonlocal steps
        with lock:
            steps += 1
            if steps == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    count_steps(home, on_step)
    start(home, lambda _opened: None)
    report.write_text(str(steps))


def second_start(home: Path, report: Path) -> None:
    def look(opened: Opened) -> None:
        report.write_text(json.dumps(found(home, opened)))

    start(home, look)


def found(home: Path, opened: Opened) -> dict[str, object]:
    account_id = opened.instance.account_id
    place = serve_settings({}, environment(home)).place
    credentials = read_credentials(place.credentials_file(opened.instance.instance_id))
    clock = SystemClock()
    request = sign_request(
        method=b"POST",
        target=b"/",
        headers=[(b"host", b"localhost")],
        access_key_id=credentials.access_key_id,
        secret=credentials.secret,
        region="eu-west-1",
        service="sts",
        now_ms=clock.now_ms(),
        rules=STS,
    )
    assert isinstance(request, SignedRequest)
    outcome = opened.authority.authentication.authenticate(request, clock.now_ms())
    with opened.store.read() as reader:
        administrator = user_rows.user_by_name(reader, account_id, ADMINISTRATOR)
        assert administrator is not None
        keys = key_rows.access_keys_of_user(reader, administrator.user_id)
        events = [record.event_name for record in audit_trail.records_after(reader, 0, 100)]
        issued = reader.rows("SELECT access_key_id FROM issued_access_key_ids")
        instances = reader.rows("SELECT instance_id FROM instance")
    return {
        "caller": outcome.caller.arn if isinstance(outcome, Authenticated) else repr(outcome),
        "keys": [key.access_key_id for key in keys],
        "issued": [row[0] for row in issued],
        "credentials": credentials.access_key_id,
        "instances": [row[0] for row in instances],
        "events": events,
        "private files": sorted(path.name for path in place.locations.config.iterdir()),
        "marks": sorted(path.name for path in place.locations.state.iterdir()),
    }


def in_a_fork(act: Callable[[], None]) -> int:
    """The exit code of a process of its own, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        except BaseException as error:  # noqa: BLE001 - the parent reads the code, people read this
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)  # noqa: T201 - as said
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    directory, most = Path(sys.argv[1]), int(sys.argv[2])
    os.umask(0o077)
    load_contracts(("iam", "sts"))
    known_regions()
    report = directory / "report"
    home = directory / "home"

    def kill_and_start_again(kill_at: int) -> int:
        report.unlink(missing_ok=True)
        home.mkdir()
        first = in_a_fork(lambda: first_start(home, kill_at, report))
        steps = int(report.read_text()) if first == 0 else 0
        second = in_a_fork(lambda: second_start(home, report))
        line = {"kill": kill_at, "first": first, "second": second}
        if second == 0:
            line |= {"found": json.loads(report.read_text())}
        print(json.dumps(line), flush=True)  # noqa: T201 - the child's answer
        shutil.rmtree(home)
        return steps

    steps = kill_and_start_again(0)
    points = range(1, steps + 1)
    for kill_at in points[:: max(1, -(-len(points) // most))]:
        kill_and_start_again(kill_at)


if __name__ == "__main__":
    main()
