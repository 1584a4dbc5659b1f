"""Rotates the master key of copies of one home, each killed by SIGKILL one step later than the one before.

Usage: rotate_until_killed.py TEMPLATE WORK. Copies are WORK/1, WORK/2 …; the last is not killed. A step is a
change to a file's name, a file opened to be written, and each transaction, before it and after it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from keyturn.settings import place
from keyturn.store.interface import Transaction
from keyturn.store.sqlite import SqliteStore
from keyturn.wiring import rotate_master_key
from living_authority import environment_below

T = TypeVar("T")
NAMES = {"os.rename", "os.link", "os.remove", "tempfile.mkstemp"}
MOST_STEPS = 200


def rotate_in(home: Path, steps_left: int) -> None:
    def step() -> None:
        nonlocal steps_left
        steps_left -= 1
        if steps_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, details: tuple[object, ...]) -> None:
        if event in NAMES or (
            event == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            step()

    write = SqliteStore.write

    async def counted(self: SqliteStore, act: Callable[[Transaction], T], *, urgent: bool = False) -> T:
        step()
        answer = await write(self, act, urgent=urgent)
        step()
        return answer

    SqliteStore.write = counted  # type: ignore[method-assign]  # the process is ours alone
    sys.addaudithook(hook)
    where = place({}, environment_below(home))
    asyncio.run(rotate_master_key(where, lambda _done, _whole: None, batch=2))


def main() -> None:
    template, work = map(Path, sys.argv[1:])
    for steps in range(1, MOST_STEPS):
        home = work / str(steps)
        shutil.copytree(template, home)
        child = os.fork()
        if child == 0:
            try:
                rotate_in(home, steps)
            except BaseException as error:  # noqa: BLE001 - told to the test
                sys.stderr.write(f"{error!r}\n")
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))
    sys.exit("it never came to its end")


if __name__ == "__main__":
    main()
