"""What every driver promises (`keyturn.store.interface`). A second driver is one more branch of `store`."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from keyturn.model.clock import SystemClock
from keyturn.model.errors import StoreUnavailableError
from keyturn.store.interface import Store, Transaction, UniqueViolationError, Value
from keyturn.store.sqlite import SqliteStore

DRIVERS = ["sqlite"]


@pytest_asyncio.fixture(params=DRIVERS)
async def store(request: pytest.FixtureRequest, database: Path) -> AsyncIterator[Store]:
    """An open store with the tables `notes` and `comments`, empty."""
    assert request.param == "sqlite"
    opened: Store = SqliteStore(database, clock=SystemClock(), reserve_bytes=65_536)
    yield opened
    await opened.close()


def insert(tx: Transaction, name: str, body: str = "", number: int | None = None) -> int:
    return tx.execute(
        "INSERT INTO notes (id, body, number) VALUES (:id, :body, :number)",
        {"id": name, "body": body, "number": number},
    )


def names(store: Store) -> list[object]:
    with store.read() as reader:
        return [row[0] for row in reader.rows("SELECT id FROM notes ORDER BY id")]


class Gate:
    """Holds the writer, so that what is queued behind becomes one group."""

    def __init__(self, store: Store) -> None:
        self._reached = threading.Event()
        self._open = threading.Event()
        self._holding = asyncio.ensure_future(store.write(self._hold))

    def _hold(self, _tx: Transaction) -> None:
        self._reached.set()
        self._open.wait()

    async def reached(self) -> None:
        await asyncio.to_thread(self._reached.wait)

    def release(self) -> None:
        self._open.set()

    async def open(self) -> None:
        self.release()
        await self._holding


async def turn() -> None:
    """Let every task that is ready take its first step."""
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    await turned.wait()


async def test_a_read_after_an_answered_write_sees_it(store: Store) -> None:
    for number in range(50):
        await store.write(partial(insert, name=f"{number:02}"))
        assert names(store)[-1] == f"{number:02}"


async def test_a_write_gives_back_what_its_act_returns(store: Store) -> None:
    assert await store.write(lambda tx: insert(tx, "a")) == 1
    assert await store.write(lambda tx: tx.execute("UPDATE notes SET body = 'x' WHERE id = 'b'")) == 0
    assert await store.write(lambda tx: tx.row("SELECT id FROM notes")) == ("a",)


async def test_values_come_back_as_they_went(store: Store) -> None:
    values: dict[str, Value] = {"id": "é\x00", "body": "", "number": -(2**63), "data": b"\x00\xff"}
    await store.write(lambda tx: tx.execute("INSERT INTO notes VALUES (:id, :body, :number, :data)", values))
    with store.read() as reader:
        assert reader.rows("SELECT id, body, number, data FROM notes") == [tuple(values.values())]


async def test_row_gives_the_first_row_or_none(store: Store) -> None:
    await store.write(lambda tx: [insert(tx, name) for name in ("a", "b")])
    with store.read() as reader:
        assert reader.row("SELECT id FROM notes ORDER BY id DESC") == ("b",)
        assert reader.row("SELECT id FROM notes WHERE id = :id", {"id": "c"}) is None


async def test_a_statement_that_returns_rows_changes_them_too(store: Store) -> None:
    await store.write(lambda tx: insert(tx, "a"))
    sql = "UPDATE notes SET body = 'new' WHERE id = :id RETURNING id, body"
    assert await store.write(lambda tx: tx.row(sql, {"id": "a"})) == ("a", "new")
    with store.read() as reader:
        assert reader.row("SELECT body FROM notes") == ("new",)


async def test_a_parameter_that_is_missing_is_refused(store: Store) -> None:
    with pytest.raises(KeyError):
        await store.write(lambda tx: tx.execute("DELETE FROM notes WHERE id = :id", {}))


async def test_an_act_that_raises_is_undone_and_the_others_of_its_group_are_kept(store: Store) -> None:
    def fail(tx: Transaction) -> None:
        insert(tx, "undone")
        raise LookupError("no such user")

    gate = Gate(store)
    await gate.reached()
    answers = asyncio.gather(
        store.write(lambda tx: insert(tx, "before")),
        store.write(fail),
        store.write(lambda tx: insert(tx, "after")),
        return_exceptions=True,
    )
    await gate.open()
    before, failed, after = await answers
    assert (before, after) == (1, 1)
    assert isinstance(failed, LookupError)
    assert names(store) == ["after", "before"]


async def test_a_later_act_of_a_group_sees_an_earlier_one(store: Store) -> None:
    def count(tx: Transaction) -> int:
        row = tx.row("SELECT count(*) FROM notes")
        assert row is not None
        assert isinstance(row[0], int)
        return row[0] + 0 * insert(tx, f"{row[0]:03}")

    assert sorted(await asyncio.gather(*(store.write(count) for _ in range(600)))) == list(range(600))


async def test_a_unique_constraint_is_named_and_undoes_the_write(store: Store) -> None:
    await store.write(lambda tx: insert(tx, "a", number=1))

    def repeat(tx: Transaction) -> None:
        insert(tx, "b")
        insert(tx, "c", number=1)

    with pytest.raises(UniqueViolationError, match=r"notes\.number"):
        await store.write(repeat)
    with pytest.raises(UniqueViolationError, match=r"notes\.id"):
        await store.write(lambda tx: insert(tx, "a"))
    assert names(store) == ["a"]


async def test_a_savepoint_lets_a_transaction_go_on(store: Store) -> None:
    await store.write(lambda tx: insert(tx, "taken"))

    def try_names(tx: Transaction) -> str:
        for name in ("taken", "free"):
            try:
                with tx.savepoint():
                    insert(tx, f"child of {name}")
                    insert(tx, name)
            except UniqueViolationError:
                continue
            return name
        raise AssertionError

    assert await store.write(try_names) == "free"
    assert names(store) == ["child of free", "free", "taken"]


async def test_savepoints_nest(store: Store) -> None:
    def nest(tx: Transaction) -> None:
        with tx.savepoint():
            insert(tx, "outer")
            with suppress(LookupError), tx.savepoint():
                insert(tx, "inner")
                with tx.savepoint():
                    insert(tx, "innermost")
                raise LookupError
            with tx.savepoint():
                insert(tx, "second inner")

    await store.write(nest)
    assert names(store) == ["outer", "second inner"]


@pytest.mark.parametrize("writes_first", ["not at all", "by execute", "by a query that returns"])
async def test_a_savepoint_that_is_undone_takes_nothing_along_that_was_before_it(
    store: Store, writes_first: str
) -> None:
    await store.write(lambda tx: insert(tx, "from before"))
    sql = "INSERT INTO notes (id, body) VALUES ('first', '') RETURNING id"

    def act(tx: Transaction) -> None:
        if writes_first == "by execute":
            insert(tx, "first")
        elif writes_first == "by a query that returns":
            tx.rows(sql)
        for _ in range(2):
            with suppress(LookupError), tx.savepoint():
                insert(tx, "undone")
                raise LookupError
        with tx.savepoint():
            insert(tx, "kept")
        with suppress(LookupError), tx.savepoint():
            insert(tx, "undone")
            raise LookupError

    await store.write(act)
    first = [] if writes_first == "not at all" else ["first"]
    assert names(store) == sorted(["from before", "kept", *first])


async def test_an_act_can_not_go_on_after_a_statement_that_failed(store: Store) -> None:
    await store.write(lambda tx: insert(tx, "a"))

    def go_on(tx: Transaction) -> None:
        with pytest.raises(UniqueViolationError):
            insert(tx, "a")
        insert(tx, "b")

    def return_all_the_same(tx: Transaction) -> None:
        insert(tx, "c")
        with pytest.raises(UniqueViolationError):
            insert(tx, "a")

    def leave_the_savepoint(tx: Transaction) -> None:
        with tx.savepoint(), pytest.raises(UniqueViolationError):
            insert(tx, "a")

    for act in (go_on, return_all_the_same, leave_the_savepoint):
        with pytest.raises(RuntimeError, match="savepoint"):
            await store.write(act)
    assert names(store) == ["a"]


async def test_a_foreign_key_broken_at_commit_undoes_only_its_own_write(store: Store) -> None:
    sql = "INSERT INTO comments (id, note_id) VALUES ('c', 'nowhere')"
    gate = Gate(store)
    await gate.reached()
    answers = asyncio.gather(
        store.write(lambda tx: insert(tx, "a")),
        store.write(lambda tx: tx.execute(sql)),
        store.write(lambda tx: insert(tx, "b")),
        return_exceptions=True,
    )
    await gate.open()
    first, broken, last = await answers
    assert (first, last) == (1, 1)
    assert isinstance(broken, Exception)
    assert not isinstance(broken, StoreUnavailableError)
    assert names(store) == ["a", "b"]


async def test_after_commit_runs_on_the_event_loop_before_the_answer(store: Store) -> None:
    events: list[str] = []
    threads: list[int] = []

    def act(tx: Transaction) -> str:
        insert(tx, "a")
        tx.after_commit(lambda: threads.append(threading.get_ident()))
        tx.after_commit(lambda: events.append(f"dropped, the database holds {names(store)}"))
        return "answered"

    events.append(await store.write(act))
    assert events == ["dropped, the database holds ['a']", "answered"]
    assert threads == [threading.get_ident()]


async def test_all_caches_of_a_group_are_dropped_in_order_before_its_first_answer(store: Store) -> None:
    events: list[str] = []

    async def write(name: str) -> None:
        def act(tx: Transaction) -> None:
            insert(tx, name)
            tx.after_commit(lambda: events.append(f"dropped {name}"))

        await store.write(act)
        events.append(f"answered {name}")

    gate = Gate(store)
    await gate.reached()
    writes = asyncio.gather(*(write(name) for name in "abc"))
    await asyncio.wait_for(gate.open(), 60)
    await writes
    assert events == [f"{what} {name}" for what in ("dropped", "answered") for name in "abc"]


async def test_after_commit_does_not_run_for_what_was_undone(store: Store) -> None:
    ran: list[str] = []

    def act(tx: Transaction) -> None:
        tx.after_commit(lambda: ran.append("kept"))
        with suppress(LookupError), tx.savepoint():
            tx.after_commit(lambda: ran.append("undone with its savepoint"))
            raise LookupError
        with tx.savepoint():
            tx.after_commit(lambda: ran.append("kept with its savepoint"))

    def fail(tx: Transaction) -> None:
        tx.after_commit(lambda: ran.append("undone"))
        raise LookupError

    await store.write(act)
    with pytest.raises(LookupError):
        await store.write(fail)
    assert ran == ["kept", "kept with its savepoint"]


async def test_a_reader_sees_one_snapshot(store: Store) -> None:
    await store.write(lambda tx: insert(tx, "a"))
    gate = Gate(store)
    await gate.reached()
    committed = threading.Event()
    later = asyncio.ensure_future(store.write(lambda tx: insert(tx, "b")))
    fillers = [asyncio.ensure_future(store.write(lambda tx: tx.row("SELECT 1"))) for _ in range(1_000)]
    last = asyncio.ensure_future(store.write(lambda _tx: committed.set()))  # in a later group than the first
    await turn()
    with store.read() as reader:
        assert reader.rows("SELECT id FROM notes") == [("a",)]
        gate.release()
        committed.wait()
        assert reader.rows("SELECT id FROM notes") == [("a",)]
        assert not later.done()
    await gate.open()
    await asyncio.gather(later, last, *fillers)
    assert names(store) == ["a", "b"]


async def test_reads_do_not_nest(store: Store) -> None:
    with (
        store.read() as reader,
        pytest.raises(RuntimeError, match="open already"),
        store.read(),
    ):
        pass
    assert names(store) == []
    with pytest.raises(RuntimeError, match="is over"):
        reader.rows("SELECT id FROM notes")


async def test_a_read_that_raises_leaves_the_store_readable(store: Store) -> None:
    with pytest.raises(LookupError), store.read():
        raise LookupError
    assert names(store) == []


async def test_a_transaction_is_of_no_use_after_its_act(store: Store) -> None:
    kept: list[Transaction] = []
    await store.write(kept.append)
    with pytest.raises(RuntimeError, match="is over"):
        kept[0].rows("SELECT id FROM notes")


async def test_a_reader_can_not_write(store: Store) -> None:
    with pytest.raises(Exception, match=r"(?i)read-?only"), store.read() as reader:
        reader.rows("INSERT INTO notes (id, body) VALUES ('a', '') RETURNING id")
    assert names(store) == []


async def test_a_task_that_is_cancelled_harms_nobody(store: Store) -> None:
    dropped: list[str] = []

    def act(tx: Transaction) -> None:
        insert(tx, "from a client that left")
        tx.after_commit(lambda: dropped.append("its cache entry"))

    gate = Gate(store)
    await gate.reached()
    leaving = asyncio.ensure_future(store.write(act))
    failing = asyncio.ensure_future(store.write(lambda tx: insert(tx, "x") + int("no number")))
    staying = asyncio.ensure_future(store.write(lambda tx: insert(tx, "from one that stayed")))
    await turn()
    assert leaving.cancel()
    assert failing.cancel()
    await gate.open()
    assert await staying == 1
    for task in (leaving, failing):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert names(store) == ["from a client that left", "from one that stayed"]
    assert dropped == ["its cache entry"]


async def test_close_finishes_what_is_queued_and_refuses_what_comes_later(store: Store) -> None:
    gate = Gate(store)
    await gate.reached()
    queued = [asyncio.ensure_future(store.write(partial(insert, name=str(n)))) for n in range(5)]
    await turn()
    closing = asyncio.ensure_future(store.close())
    await turn()
    await gate.open()
    await closing
    assert await asyncio.gather(*queued) == [1] * 5
    with pytest.raises(StoreUnavailableError):
        await store.write(lambda tx: insert(tx, "late"))
    with pytest.raises(StoreUnavailableError), store.read():
        pass
    await store.close()


async def test_a_store_with_room_is_not_low_on_space(store: Store) -> None:
    assert not store.is_low_on_space
    assert await store.write(lambda tx: insert(tx, "a"), urgent=True) == 1


@pytest.mark.parametrize("seed", range(5))
async def test_the_store_holds_what_a_dictionary_would(store: Store, seed: int) -> None:
    """Puts and deletes in groups; some fail after they have written, in whole or in a savepoint."""
    chance = random.Random(seed)  # noqa: S311 - a test's dice
    expected: dict[object, object] = {}

    def put(tx: Transaction, name: str, body: str) -> None:
        sql = "INSERT INTO notes (id, body) VALUES (:id, :body) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
        tx.execute(sql, {"id": name, "body": body})

    def delete(tx: Transaction, name: str) -> None:
        tx.execute("DELETE FROM notes WHERE id = :id", {"id": name})

    def act(tx: Transaction, name: str, body: str | None, fate: str) -> None:
        if fate == "savepoint fails":
            with suppress(LookupError), tx.savepoint():
                put(tx, name, "never seen")
                raise LookupError
        if body is None:
            delete(tx, name)
        else:
            put(tx, name, body)
        if fate == "fails":
            raise LookupError

    for _ in range(10):
        steps = [
            (
                chance.choice("abcd"),
                chance.choice([None, f"{chance.random()}"]),
                chance.choice(["kept", "kept", "fails", "savepoint fails"]),
            )
            for _ in range(chance.randint(1, 12))
        ]
        answers = await asyncio.gather(
            *(store.write(partial(_take, act, step)) for step in steps), return_exceptions=True
        )
        for (name, body, fate), answer in zip(steps, answers, strict=True):
            assert isinstance(answer, LookupError) == (fate == "fails")
            if fate != "fails":
                expected.pop(name, None)
                if body is not None:
                    expected[name] = body
        with store.read() as reader:
            assert {row[0]: row[1] for row in reader.rows("SELECT id, body FROM notes")} == expected


def _take(
    act: Callable[[Transaction, str, str | None, str], None],
    step: tuple[str, str | None, str],
    tx: Transaction,
) -> None:
    act(tx, *step)
