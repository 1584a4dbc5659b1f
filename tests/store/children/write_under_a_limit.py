"""Writes until the kernel lets no file grow; prints what was acknowledged, `refused`, and whether reads go on."""

from __future__ import annotations

import asyncio
import resource
import sys
from functools import partial
from pathlib import Path

from keyturn.model.clock import SystemClock
from keyturn.model.errors import StoreUnavailableError
from keyturn.store.interface import Transaction
from keyturn.store.sqlite import SqliteStore

LIMIT = 2 * 1024 * 1024


def put(tx: Transaction, name: str) -> str:
    tx.execute("INSERT INTO notes (id, body) VALUES (:id, :body)", {"id": name, "body": "x" * 50_000})
    return name


async def main(database: Path) -> None:
    store = SqliteStore(database, clock=SystemClock(), reserve_bytes=65_536)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))
    refusals = 0
    for number in range(0, 400, 4):
        group = (store.write(partial(put, name=f"{number + n}"), urgent=n == 3) for n in range(4))
        for answer in await asyncio.gather(*group, return_exceptions=True):
            if isinstance(answer, StoreUnavailableError):
                refusals += 1
                sys.stdout.write("refused\n")
            else:
                sys.stdout.write(f"{answer}\n")
        if refusals > 20:
            break
    with store.read() as reader:
        if reader.rows("SELECT id FROM notes"):
            sys.stdout.write("read-on\n")
    sys.stdout.flush()
    await store.close()


asyncio.run(main(Path(sys.argv[1])))
