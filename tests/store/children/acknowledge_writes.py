"""Inserts, updates and deletes without pause until it is killed; prints `KEY NUMBER` once a write is answered."""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

from keyturn.model.clock import SystemClock
from keyturn.store.interface import Transaction
from keyturn.store.sqlite import SqliteStore

WRITERS = 16


def step(tx: Transaction, key: str, number: int) -> None:
    """Each third step deletes the row; each leaves its line in the same transaction."""
    if number % 3 == 0:
        tx.execute("INSERT INTO notes (id, body) VALUES (:id, :body)", {"id": key, "body": str(number)})
    elif number % 3 == 1:
        tx.execute("UPDATE notes SET body = :body WHERE id = :id", {"id": key, "body": str(number)})
    else:
        tx.execute("DELETE FROM notes WHERE id = :id", {"id": key})
    tx.execute("INSERT INTO steps (writer, number) VALUES (:key, :number)", {"key": key, "number": number})


async def write_on(store: SqliteStore, key: str) -> None:
    number = 0
    while True:
        await store.write(partial(step, key=key, number=number))
        os.write(1, f"{key} {number}\n".encode())
        number += 1


async def main(database: Path, run: str) -> None:
    store = SqliteStore(database, clock=SystemClock(), reserve_bytes=65_536)
    await asyncio.gather(*(write_on(store, f"{run}-{writer}") for writer in range(WRITERS)))


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
