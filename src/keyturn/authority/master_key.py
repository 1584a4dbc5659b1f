"""A new master key for a database that has one, and the keys that outlive it.

Rotation may be killed anywhere: whatever stands in the database opens with the keys beside the key file, and
the next rotation goes on. Until it has ended nothing else starts. The old key is kept, for older backups.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyturn.authority.audit import AuditTrail
from keyturn.authority.storage import sealed_rows as rows
from keyturn.authority.storage.instance import Instance
from keyturn.authority.storage.sealed_rows import SEALED, SealedColumn, SealedRow
from keyturn.model.errors import KeyturnError, StoreUnavailableError
from keyturn.model.secrets import Secret
from keyturn.store.interface import Reader, Store, Transaction, Value
from keyturn.store.private_files import fsync_directory, remove_unfinished
from keyturn.store.sealing import (
    MasterKey,
    Purpose,
    Sealer,
    UnsealError,
    create_master_key_file,
    generate_master_key,
    read_master_key,
)

BATCH: Final = 1_000
_GO_ON: Final = "finish it with the server stopped: keyturn master-key rotate"

Progress = Callable[[int, int], None]
RandomBytes = Callable[[int], bytes]


# The keys that outlive a master key


@dataclass(frozen=True, slots=True)
class AuditKeys:
    """What ties the audit trail together and seals its mark. The same for as long as the database lives."""

    chain: Secret
    checkpoint: Secret


def read_audit_keys(reader: Reader, instance: Instance, sealer: Sealer) -> AuditKeys:
    """The stored keys. A database that has none yet uses those that its master key leads to."""
    return AuditKeys(
        _key_for(reader, instance, sealer, Purpose.AUDIT_CHAIN),
        _key_for(reader, instance, sealer, Purpose.AUDIT_CHECKPOINT),
    )


async def ensure_audit_keys(store: Store, instance: Instance, sealer: Sealer) -> AuditKeys:
    """The same, and from now on they are stored: they no longer follow the master key."""

    def ensure(tx: Transaction) -> AuditKeys:
        keys = read_audit_keys(tx, instance, sealer)
        for purpose, key in ((Purpose.AUDIT_CHAIN, keys.chain), (Purpose.AUDIT_CHECKPOINT, keys.checkpoint)):
            if rows.sealed_key(tx, instance.account_id, purpose) is None:
                sealed = sealer.seal(
                    key,
                    purpose=purpose,
                    account_id=instance.account_id,
                    owner=rows.OWNER_OF_KEYS,
                    name=purpose.value,
                )
                rows.insert_sealed_key(tx, instance.account_id, purpose, sealed, sealer.kek_id)
        return keys

    with store.read() as reader:
        keys = read_audit_keys(reader, instance, sealer)
        stored = all(
            rows.sealed_key(reader, instance.account_id, purpose) is not None
            for purpose in (Purpose.AUDIT_CHAIN, Purpose.AUDIT_CHECKPOINT)
        )
    if stored:
        return keys
    try:
        return await store.write(ensure)
    except StoreUnavailableError:
        return keys  # a full disk is no reason not to serve: they are stored by a later start


def _key_for(reader: Reader, instance: Instance, sealer: Sealer, purpose: Purpose) -> Secret:
    sealed = rows.sealed_key(reader, instance.account_id, purpose)
    if sealed is None:
        return sealer.derive_mac_key(purpose, kek_id=instance.kek_id)
    try:
        return sealer.unseal(
            sealed,
            purpose=purpose,
            account_id=instance.account_id,
            owner=rows.OWNER_OF_KEYS,
            name=purpose.value,
        )
    except UnsealError as error:
        raise KeyturnError(
            f"the stored key of the audit trail ({purpose}) can't be opened: {error}",
            "somebody changed the database: restore a backup and compare",
        ) from error


# A rotation that was begun


def new_key_path(key_file: Path) -> Path:
    """Where the next master key waits until everything is sealed with it."""
    path = key_file.resolve()  # behind a link that an operator set, it is the file itself that is replaced
    return path.with_name(f"{path.name}.new")


def old_key_path(key_file: Path, master: MasterKey) -> Path:
    """Where a key stays that was replaced."""
    path = key_file.resolve()
    return path.with_name(f"{path.name}.{master.kek_id.hex()}.old")


def refuse_unfinished(reader: Reader, instance: Instance, key_file: Path) -> None:
    """KeyturnError if a rotation was begun and has not ended: only another rotation may go on from there."""
    waiting = new_key_path(key_file)
    if waiting.exists():
        raise KeyturnError(
            f"a rotation of the master key was begun and has not ended: the new key waits in {waiting}",
            _GO_ON,
        )
    assert instance.kek_id is not None
    left = rows.count(reader, not_under=instance.kek_id)
    if left:
        raise KeyturnError(
            f"{left} sealed values belong to another master key than {instance.kek_id.hex()}:"
            f" a rotation has not ended, and its other key is not beside {key_file}",
            "finish it with the server stopped and the --key-file that it was begun with:"
            " keyturn master-key rotate",
        )


def sealer_at_hand(instance: Instance, key_file: Path, random_bytes: RandomBytes) -> Sealer:
    """For reading only: a sealer that opens what any key beside the key file sealed, also in mid-rotation."""
    masters = _masters_beside(key_file)
    current = _current(masters, instance, key_file)
    return Sealer(current, random_bytes=random_bytes, older=masters.values())


def _masters_beside(key_file: Path) -> Mapping[bytes, MasterKey]:
    """Every master key that stands in the key file or beside it, by its id."""
    path = key_file.resolve()
    kept = sorted(path.parent.glob(f"{glob.escape(path.name)}.*.old"))
    masters = [read_master_key(file) for file in (path, new_key_path(path), *kept) if file.exists()]
    return {master.kek_id: master for master in masters}


def _current(masters: Mapping[bytes, MasterKey], instance: Instance, key_file: Path) -> MasterKey:
    assert instance.kek_id is not None
    current = masters.get(instance.kek_id)
    if current is None:
        found = read_master_key(key_file)
        raise KeyturnError(
            f"{key_file} is not the master key of this database"
            f" (it is key {found.kek_id.hex()}, the database was sealed with key {instance.kek_id.hex()})",
            "name the right one with --key-file",
        )
    return current


# Rotation


@dataclass(frozen=True, slots=True)
class Rotated:
    kek_id: bytes
    key_file: Path
    kept: tuple[Path, ...]
    """The keys of before, which older backups still need."""
    resealed: int


async def rotate(
    store: Store,
    instance: Instance,
    key_file: Path,
    now: int,
    random_bytes: RandomBytes,
    progress: Progress,
    *,
    batch: int = BATCH,
) -> Rotated:
    """Make a new master key, seal everything with it, and let it take the old one's place; or go on with that.

    The only writer calls it. KeyturnError, with nothing changed, if a key is not at hand, a sealed
    value does not open, or the new key can't be written.
    """
    path = key_file.resolve()
    masters = _masters_beside(path)
    current = _current(masters, instance, path)
    _check_all(store, masters, current, random_bytes, batch)
    new = _new_master(path, masters, random_bytes)
    sealer = Sealer(new, random_bytes=random_bytes, older=masters.values())
    keys = await ensure_audit_keys(store, instance, sealer)
    resealed = await _reseal(store, sealer, progress, batch)
    if current.kek_id != new.kek_id:
        audit = AuditTrail(keys.chain, instance.account_id)
        await store.write(lambda tx: _hand_over(tx, audit, current, sealer, now, random_bytes))
    _publish(path, new)
    kept = [old_key_path(path, master) for master in masters.values() if master.kek_id != new.kek_id]
    return Rotated(new.kek_id, path, tuple(file for file in kept if file.exists()), resealed)


def _check_all(
    store: Store,
    masters: Mapping[bytes, MasterKey],
    current: MasterKey,
    random_bytes: RandomBytes,
    batch: int,
) -> None:
    """Open every value before the first is replaced: one that does not open would stop us half-way."""
    sealer = Sealer(current, random_bytes=random_bytes, older=masters.values())
    with store.read() as reader:
        missing = sorted(kek_id.hex() for kek_id in rows.kek_ids(reader) - masters.keys())
        if missing:
            raise KeyturnError(
                f"values here were sealed with the master key {' and '.join(missing)}, which is not at hand",
                "restore its file from its backup and put it beside the key file, with the same name and .new at the end",
            )
        damaged = [
            row.told for where in SEALED for row in _all_rows(reader, where, batch) if not _opens(sealer, row)
        ]
    if damaged:
        raise KeyturnError(
            f"{len(damaged)} sealed values were changed and don't open: {', '.join(damaged[:5])}",
            "start the server, delete these keys or devices, and rotate again",
        )


def _all_rows(reader: Reader, where: SealedColumn, batch: int) -> Iterator[SealedRow]:
    after: tuple[Value, ...] | None = None
    while part := rows.rows_after(reader, where, after, batch):
        yield from part
        after = part[-1].key


def _opens(sealer: Sealer, row: SealedRow) -> bool:
    try:
        _unsealed(sealer, row)
    except UnsealError:
        return False
    return True


def _unsealed(sealer: Sealer, row: SealedRow) -> Secret:
    return sealer.unseal(
        row.sealed, purpose=row.purpose, account_id=row.account_id, owner=row.owner, name=row.name
    )


def _new_master(path: Path, masters: Mapping[bytes, MasterKey], random_bytes: RandomBytes) -> MasterKey:
    """The key that waits beside the key file; made there first if none does."""
    waiting = new_key_path(path)
    remove_unfinished(waiting)
    if not waiting.exists():
        new = generate_master_key(random_bytes)
        while new.kek_id in masters:
            new = generate_master_key(random_bytes)
        try:
            create_master_key_file(waiting, new)
        except KeyturnError as error:
            raise KeyturnError(
                error.message,
                "nothing was changed. The new key is written beside the old one: copy the key file into a directory"
                " of your own, rotate with --key-file, and put the new key where the server finds it",
            ) from error
    return read_master_key(waiting)


async def _reseal(store: Store, sealer: Sealer, progress: Progress, batch: int) -> int:
    with store.read() as reader:
        whole = rows.count(reader, not_under=sealer.kek_id)
    done = 0
    progress(done, whole)
    for where in SEALED:
        after: tuple[Value, ...] | None = None
        while True:
            last, resealed = await store.write(_batch(where, after, sealer, batch))
            if last is None:
                break
            after = last
            done += resealed
            progress(done, whole)
    return done


def _batch(
    where: SealedColumn, after: tuple[Value, ...] | None, sealer: Sealer, batch: int
) -> Callable[[Transaction], tuple[tuple[Value, ...] | None, int]]:
    """One transaction: the key of the last value that it looked at, and how many it sealed anew."""

    def act(tx: Transaction) -> tuple[tuple[Value, ...] | None, int]:
        found = rows.rows_after(tx, where, after, batch, not_under=sealer.kek_id)
        resealed = 0
        for row in found:
            sealed = sealer.seal(
                _unsealed(sealer, row),
                purpose=row.purpose,
                account_id=row.account_id,
                owner=row.owner,
                name=row.name,
            )
            resealed += rows.replace_sealed(tx, row, sealed, sealer.kek_id)
        return (found[-1].key if found else None), resealed

    return act


def _hand_over(
    tx: Transaction,
    audit: AuditTrail,
    old: MasterKey,
    sealer: Sealer,
    now: int,
    random_bytes: RandomBytes,
) -> None:
    if rows.count(tx, not_under=sealer.kek_id):
        raise KeyturnError("not everything is sealed with the new master key yet", _GO_ON)
    if not rows.replace_master_key(tx, old.kek_id, sealer.kek_id, sealer.key_check()):
        raise KeyturnError("the database has another master key than it had a moment ago", _GO_ON)
    audit.append_event(
        tx,
        "RotateMasterKey",
        now,
        random_bytes,
        oldMasterKeyId=old.kek_id.hex(),
        newMasterKeyId=sealer.kek_id.hex(),
    )


def _publish(path: Path, new: MasterKey) -> None:
    """The old key gets a second name first, so that at no moment one of the two has none."""
    try:
        if path.exists():
            old = read_master_key(path)
            kept = old_key_path(path, old)
            remove_unfinished(kept)
            if old.kek_id != new.kek_id and not kept.exists():
                create_master_key_file(kept, old)
        new_key_path(path).replace(path)
        fsync_directory(path.parent)
    except OSError as error:
        raise KeyturnError(
            f"everything is sealed with the new master key, but it can't take the place of {path}: {error.strerror}",
            f"let this user write there, and go on: keyturn master-key rotate (the new key is in {new_key_path(path)})",
        ) from error
