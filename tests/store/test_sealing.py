"""A sealed value opens with its key, in its place, unchanged; and in no other case."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.model.access_keys import AccountId
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.store.interface import Transaction
from keyturn.store.sealing import (
    MasterKey,
    Purpose,
    Sealer,
    UnsealError,
    format_master_key,
    generate_master_key,
    parse_master_key,
)
from keyturn.store.sqlite import SqliteStore
from keyturn.store.sqlite_backup import backup


def source(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes  # noqa: S311 - the same bytes in each run


ACCOUNT = AccountId("123456789012")


@dataclass(frozen=True, slots=True)
class Place:
    purpose: Purpose = Purpose.ACCESS_KEY
    account_id: AccountId = ACCOUNT
    owner: str = "AIDAEXAMPLEUSER"
    name: str = "AKIAEXAMPLEKEY"

    def seal(self, sealer: Sealer, secret: Secret) -> bytes:
        return sealer.seal(
            secret, purpose=self.purpose, account_id=self.account_id, owner=self.owner, name=self.name
        )

    def unseal(self, sealer: Sealer, blob: bytes) -> Secret:
        return sealer.unseal(
            blob, purpose=self.purpose, account_id=self.account_id, owner=self.owner, name=self.name
        )


HERE = Place()
MASTER = generate_master_key(source(1))
OTHER = generate_master_key(source(2))
SEALER = Sealer(MASTER, random_bytes=source(3))
SECRET = Secret(b"AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")

places = st.builds(
    Place,
    purpose=st.sampled_from(Purpose),
    account_id=st.from_regex(r"[0-9]{12}", fullmatch=True).map(AccountId),
    owner=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)


@given(st.binary(max_size=200), places)
def test_what_is_sealed_opens_in_its_place(value: bytes, place: Place) -> None:
    blob = place.seal(SEALER, Secret(value))
    assert len(blob) == 33 + len(value)
    assert place.unseal(SEALER, blob) == Secret(value)


@given(places, places)
def test_what_is_sealed_opens_in_no_other_place(place: Place, other: Place) -> None:
    blob = place.seal(SEALER, SECRET)
    if other == place:
        return
    with pytest.raises(UnsealError):
        other.unseal(SEALER, blob)


def test_the_value_says_its_version_and_its_key() -> None:
    blob = HERE.seal(SEALER, SECRET)
    assert blob[:5] == b"\x01" + MASTER.kek_id == b"\x01" + SEALER.kek_id


def test_the_same_secret_is_never_sealed_alike() -> None:
    assert len({HERE.seal(SEALER, SECRET) for _ in range(100)}) == 100


def test_every_bit_that_is_changed_is_noticed() -> None:
    blob = HERE.seal(SEALER, SECRET)
    for position in range(len(blob)):
        for bit in range(8):
            changed = bytearray(blob)
            changed[position] ^= 1 << bit
            with pytest.raises(UnsealError):
                HERE.unseal(SEALER, bytes(changed))


def test_a_value_that_is_cut_or_longer_is_noticed() -> None:
    blob = HERE.seal(SEALER, SECRET)
    for length in range(len(blob)):
        with pytest.raises(UnsealError):
            HERE.unseal(SEALER, blob[:length])
    with pytest.raises(UnsealError):
        HERE.unseal(SEALER, blob + b"\0")


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(HERE, account_id=AccountId("123456789013")),
        replace(HERE, owner="AIDAANOTHERUSER"),
        replace(HERE, name="AKIAANOTHERKEY"),
        *(replace(HERE, purpose=purpose) for purpose in Purpose if purpose is not HERE.purpose),
        replace(HERE, owner=HERE.name, name=HERE.owner),
        replace(HERE, owner=HERE.owner + HERE.name[0], name=HERE.name[1:]),
        replace(HERE, owner="", name=HERE.owner + HERE.name),
    ],
)
def test_a_row_pasted_elsewhere_does_not_open(elsewhere: Place) -> None:
    with pytest.raises(UnsealError):
        elsewhere.unseal(SEALER, HERE.seal(SEALER, SECRET))


def test_two_rows_that_are_swapped_do_not_open() -> None:
    rows = [replace(HERE, owner=f"user {number}", name=f"key {number}") for number in range(5)]
    blobs = [row.seal(SEALER, SECRET) for row in rows]
    for at, row in enumerate(rows):
        for came_from, blob in enumerate(blobs):
            if at != came_from:
                with pytest.raises(UnsealError):
                    row.unseal(SEALER, blob)


def test_another_master_key_does_not_open_it() -> None:
    blob = HERE.seal(SEALER, SECRET)
    stranger = Sealer(OTHER, random_bytes=source(4))
    with pytest.raises(UnsealError, match=MASTER.kek_id.hex()):
        HERE.unseal(stranger, blob)
    with pytest.raises(UnsealError):
        HERE.unseal(stranger, blob[:1] + OTHER.kek_id + blob[5:])


def test_an_older_master_key_still_opens_what_it_sealed() -> None:
    old = HERE.seal(SEALER, SECRET)
    sealer = Sealer(OTHER, random_bytes=source(5), older=[MASTER])
    new = HERE.seal(sealer, SECRET)
    assert (old[1:5], new[1:5]) == (MASTER.kek_id, OTHER.kek_id)
    assert HERE.unseal(sealer, old) == HERE.unseal(sealer, new) == SECRET


def test_errors_and_representations_tell_nothing() -> None:
    blob = HERE.seal(SEALER, SECRET)
    with pytest.raises(UnsealError) as caught:
        replace(HERE, name="x").unseal(SEALER, blob)
    assert "wJalr" not in repr(caught.value)
    assert base64.b64encode(MASTER.key.reveal()).decode() not in repr(MASTER) + repr(SEALER)


def test_mac_keys_differ_by_purpose_and_by_master_key() -> None:
    both = Sealer(OTHER, random_bytes=source(6), older=[MASTER])
    keys = [SEALER.derive_mac_key(purpose).reveal() for purpose in Purpose]
    keys += [both.derive_mac_key(purpose).reveal() for purpose in Purpose]
    assert {len(key) for key in keys} == {32}
    assert len(set(keys)) == 2 * len(Purpose)
    assert both.derive_mac_key(Purpose.AUDIT_CHAIN, kek_id=MASTER.kek_id) == SEALER.derive_mac_key(
        Purpose.AUDIT_CHAIN
    )
    with pytest.raises(UnsealError):
        SEALER.derive_mac_key(Purpose.AUDIT_CHAIN, kek_id=OTHER.kek_id)


def test_derived_keys_never_change() -> None:
    """What is on disk was sealed with them: a new value here would lock every store out."""
    master = parse_master_key(
        Secret(b"keyturn-master-key v1 f679b535 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
    )
    sealer = Sealer(master, random_bytes=bytes)
    assert sealer.key_check().hex() == "cdb5fdf772cce9353acc74f0315adf99"
    assert (
        sealer.derive_mac_key(Purpose.AUDIT_CHAIN).reveal().hex()
        == "3fa3936b2c33741d235856a838d72ee94b1994900e7c2423f5359730d93eb910"
    )
    assert (
        HERE.seal(sealer, Secret(b"AWS4secret")).hex()
        == "01f679b535000000000000000000000000587be8742ab64acf95c76773a1fe62e7c571dce0c15f7b58ca46"
    )


def test_the_right_key_is_known_by_its_check_value() -> None:
    check = SEALER.key_check()
    assert len(check) == 16
    assert SEALER.is_key_check(check)
    assert not Sealer(OTHER, random_bytes=source(7)).is_key_check(check)
    assert not SEALER.is_key_check(b"")


@given(st.binary(min_size=32, max_size=32))
def test_a_master_key_is_written_and_read_back(key: bytes) -> None:
    master = generate_master_key(lambda _size: key)
    line = format_master_key(master)
    assert line.reveal().startswith(b"keyturn-master-key v1 " + master.kek_id.hex().encode() + b" ")
    assert parse_master_key(line) == master


@given(st.binary(max_size=120))
def test_garbage_is_no_master_key(text: bytes) -> None:
    with pytest.raises(KeyturnError) as caught:
        parse_master_key(Secret(text))
    assert caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line[:-3] + b"\n",
        lambda line: line.replace(b"v1", b"v2"),
        lambda line: line * 2,
        lambda line: line + b"\n",
        lambda line: b" " + line,
        lambda line: line.replace(b"keyturn-master-key v1 ", b"keyturn-master-key v1 0"),
        lambda line: line[:40] + (b"A" if line[40:41] != b"A" else b"B") + line[41:],
        lambda line: line.replace(MASTER.kek_id.hex().encode(), OTHER.kek_id.hex().encode()),
    ],
)
def test_a_line_that_was_changed_is_no_master_key(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(KeyturnError) as caught:
        parse_master_key(Secret(change(format_master_key(MASTER).reveal())))
    assert base64.b64encode(MASTER.key.reveal()).decode()[:8] not in str(caught.value)


def test_a_source_of_too_few_bytes_makes_no_key() -> None:
    with pytest.raises(KeyturnError):
        generate_master_key(lambda size: bytes(size - 1))


def test_two_master_keys_are_compared_without_being_shown() -> None:
    assert generate_master_key(source(1)) == MASTER != OTHER
    assert MasterKey(MASTER.kek_id, OTHER.key) != MASTER


async def test_no_secret_is_found_in_any_file(sqlite: SqliteStore, database: Path, tmp_path: Path) -> None:
    chance = source(8)
    secrets = [base64.b64encode(chance(30)) for _ in range(300)]

    def put(tx: Transaction, number: int) -> None:
        place = replace(HERE, name=f"key {number}")
        sql = "INSERT INTO notes (id, body, data) VALUES (:id, '', :data)"
        tx.execute(sql, {"id": place.name, "data": place.seal(SEALER, Secret(secrets[number]))})

    for number in range(len(secrets)):
        await sqlite.write(partial(put, number=number))
    await sqlite.write(lambda tx: tx.execute("DELETE FROM notes WHERE id LIKE '%7'"))
    backup(database, tmp_path / "backup")
    files = [*database.parent.iterdir(), tmp_path / "backup"]
    assert {"keyturn.db", "keyturn.db-wal", "keyturn.db-shm", "backup"} <= {file.name for file in files}
    content = b"".join(file.read_bytes() for file in files if file.is_file())
    assert b"key 123" in content
    assert not [secret for secret in secrets if secret in content or base64.b64decode(secret) in content]
    await sqlite.close()
    content = database.read_bytes()
    assert not [secret for secret in secrets if secret in content]


async def test_a_deleted_row_leaves_its_sealed_value_nowhere_in_the_database(
    sqlite: SqliteStore, database: Path
) -> None:
    blob = HERE.seal(SEALER, SECRET)
    await sqlite.write(
        lambda tx: tx.execute("INSERT INTO notes (id, body, data) VALUES ('a', '', :data)", {"data": blob})
    )
    await sqlite.write(lambda tx: tx.execute("DELETE FROM notes"))
    await sqlite.close()
    assert blob not in database.read_bytes()
