"""One process holds a directory; the kernel frees it, however the process ends."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from keyturn.model.errors import KeyturnError
from keyturn.store.exclusive_lock import ExclusiveLock

HOLD = """
import sys
from pathlib import Path
from keyturn.store.exclusive_lock import ExclusiveLock
lock = ExclusiveLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_holder_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with ExclusiveLock(path):
        with pytest.raises(KeyturnError) as caught:
            ExclusiveLock(path).acquire()
        assert caught.value.message == f"{tmp_path} is in use by process {os.getpid()}"
        assert caught.value.hint
    with ExclusiveLock(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_kill_9_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(KeyturnError, match=f"process {child.pid}$"):
            ExclusiveLock(path).acquire()
        child.send_signal(signal.SIGKILL)
        child.wait()
        with ExclusiveLock(path):
            assert path.read_text() == f"{os.getpid()}\n"


def test_what_stands_in_the_file_decides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("999999999999999999999999999999 garbage")
    with ExclusiveLock(path):
        path.write_text("garbage")
        with pytest.raises(KeyturnError, match="another process"):
            ExclusiveLock(path).acquire()


def test_the_file_is_private_and_no_link_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with ExclusiveLock(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyturnError, match="can't open"):
        ExclusiveLock(tmp_path / "link").acquire()
    assert not (tmp_path / "elsewhere").exists()


def test_taking_it_twice_is_a_mistake_and_giving_it_back_twice_is_none(tmp_path: Path) -> None:
    lock = ExclusiveLock(tmp_path / "lock")
    lock.acquire()
    with pytest.raises(RuntimeError):
        lock.acquire()
    lock.release()
    lock.release()
    lock.acquire()
    lock.release()
