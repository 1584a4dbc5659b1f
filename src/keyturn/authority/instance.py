"""The beginning of an authority, and the way back in: master key, administrator, mark.

A first start may be killed anywhere: the next one finishes it, with one administrator key. A database
whose master key is missing or wrong is refused, and a new key is never made for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyturn.authority.access_keys import issue, mint_unissued
from keyturn.authority.audit import AuditTrail
from keyturn.authority.identifiers import USER_PREFIX, mint_unique_id
from keyturn.authority.mark import MarkFile
from keyturn.authority.master_key import refuse_unfinished
from keyturn.authority.storage import access_keys as key_rows
from keyturn.authority.storage import audit_trail
from keyturn.authority.storage import instance as rows
from keyturn.authority.storage import policies as policy_rows
from keyturn.authority.storage import users as user_rows
from keyturn.authority.storage.audit_trail import AuditHead
from keyturn.authority.storage.instance import Instance
from keyturn.model.access_keys import (
    AccessKeyId,
    AccountId,
    NewAccessKey,
    parse_access_key_id,
)
from keyturn.model.errors import KeyturnError, StoreUnavailableError
from keyturn.model.principals import User, UserId
from keyturn.model.secrets import Secret
from keyturn.settings import KeyFile
from keyturn.store.interface import Reader, Store, Transaction
from keyturn.store.private_files import (
    create_private_file,
    fsync_directory,
    read_private_file,
    remove_unfinished,
)
from keyturn.store.sealing import (
    MasterKey,
    Sealer,
    create_master_key_file,
    generate_master_key,
    read_master_key,
)
from keyturn.wire.faults import Fault

ADMINISTRATOR: Final = "administrator"
_POLICY_NAME: Final = "Administrator"
_POLICY: Final = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
)
_CREDENTIALS_LIMIT: Final = 4096
_LINE: Final = re.compile(rb"^(aws_access_key_id|aws_secret_access_key) = (\S{16,128})$", re.MULTILINE)

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client signs with."""

    access_key_id: AccessKeyId
    secret: Secret


async def ensure_instance(
    store: Store, now: int, random_bytes: RandomBytes, account_id: AccountId | None
) -> Instance:
    """The database's instance row, made at the very first start. An account id that is given must agree."""
    found = read_instance(store)
    if found is None:
        chosen = account_id or _random_account(random_bytes)
        instance_id = random_bytes(8).hex()
        await store.write(lambda tx: rows.insert_instance(tx, instance_id, chosen, now))
        found = read_instance(store)
        assert found is not None, "it was just written"
    if account_id is not None and account_id != found.account_id:
        raise KeyturnError(
            f"this data directory holds account {found.account_id}, not {account_id}",
            "leave --account-id away, or name another --data-dir",
        )
    return found


def read_instance(store: Store) -> Instance | None:
    with store.read() as reader:
        return rows.instance(reader)


async def open_master_key(
    store: Store, instance: Instance, key_file: KeyFile, data_dir: Path, random_bytes: RandomBytes
) -> Sealer:
    """The sealer of this database. Only a database that never had a key gets a new one."""
    path = key_file.path
    refuse_inside_data(path, instance, data_dir)
    if instance.kek_id is None:
        if not key_file.is_explicit:
            remove_unfinished(path)
        master = _first_key(path, random_bytes, is_explicit=key_file.is_explicit)
        sealer = Sealer(master, random_bytes=random_bytes)
        await store.write(lambda tx: rows.set_master_key(tx, sealer.kek_id, sealer.key_check()))
        return sealer
    with store.read() as reader:
        refuse_unfinished(reader, instance, path)
    if not path.exists():
        raise KeyturnError(
            f"the master key of this database is missing: {path} (key id {instance.kek_id.hex()})",
            "restore the key file from its own backup, or name it with --key-file;"
            " no new key is made for a database that has one",
        )
    return check_master_key(instance, read_master_key(path), path, random_bytes)


def refuse_inside_data(path: Path, instance: Instance, data_dir: Path) -> None:
    if data_dir.resolve() in path.resolve().parents:
        raise KeyturnError(
            f"the master key {path} lies inside the data directory: a copy of one would be a copy of both",
            f"move it out: mv {path} ~/.config/keyturn/{instance.instance_id}.key",
        )


def check_master_key(instance: Instance, master: MasterKey, path: Path, random_bytes: RandomBytes) -> Sealer:
    sealer = Sealer(master, random_bytes=random_bytes)
    if instance.kek_id is None or instance.key_check is None or not sealer.is_key_check(instance.key_check):
        wanted = instance.kek_id.hex() if instance.kek_id else "none"
        raise KeyturnError(
            f"{path} is not the master key of this database"
            f" (it is key {master.kek_id.hex()}, the database was sealed with key {wanted})",
            "name the right one with --key-file",
        )
    return sealer


def _first_key(path: Path, random_bytes: RandomBytes, *, is_explicit: bool) -> MasterKey:
    if path.exists():
        return read_master_key(path)
    if is_explicit:
        raise KeyturnError(
            f"there is no master key at {path}, and none is made where somebody named the path",
            "mount or copy the key there, or leave --key-file away to have one made in the configuration directory",
        )
    make_private_directory(path.parent)
    create_master_key_file(path, generate_master_key(random_bytes))
    return read_master_key(path)


def make_private_directory(path: Path) -> None:
    """Make it 0700, also where an empty one of ours waits. One that holds something is left as it is."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_uid == os.geteuid() and not any(path.iterdir()):
            path.chmod(0o700)
    except OSError as error:
        raise KeyturnError(f"can't make the directory {path}: {error.strerror}") from error


async def check_mark(
    store: Store,
    instance: Instance,
    mark_file: MarkFile,
    audit: AuditTrail,
    now: int,
    random_bytes: RandomBytes,
    *,
    accept_rollback: bool,
) -> None:
    """Refuse a store that is older than its mark: it would revive keys that were revoked since."""
    with store.read() as reader:
        head = audit_trail.audit_head(reader)
        if not instance.is_ready:
            _write_first_mark(mark_file, head)
            return
        fault = None if accept_rollback else _rollback(reader, mark_file)
    if fault is not None:
        raise KeyturnError(
            fault,
            "start from the newer data, or, if this is a restored backup and you have looked at which keys"
            " were revoked since, with --accept-rollback",
        )
    if accept_rollback:
        await store.write(lambda tx: audit.append_event(tx, "AcceptRollback", now, random_bytes))
        with store.read() as reader:
            head = audit_trail.audit_head(reader)
        _write_first_mark(mark_file, head)


def _write_first_mark(mark_file: MarkFile, head: AuditHead) -> None:
    """Later ones may wait for room on the disk; without this one the next start would be refused."""
    try:
        mark_file.write(head)
    except OSError as error:
        raise KeyturnError(
            f"can't write the mark file {mark_file.path}: {error.strerror}",
            "name another path with --mark-file",
        ) from error


def agrees_with_mark(reader: Reader, mark_file: MarkFile) -> bool:
    """Whether this data is as new as its mark, so that the mark may follow it."""
    try:
        return _rollback(reader, mark_file) is None
    except KeyturnError:
        return False


def _rollback(reader: Reader, mark_file: MarkFile) -> str | None:
    mark = mark_file.read()
    if mark is None:
        return f"the mark file {mark_file.path} is missing: whether this data is the newest can't be told"
    head = audit_trail.audit_head(reader)
    if head.revision < mark.revision or head.sequence < mark.sequence:
        return (
            f"the data is older than its mark: revision {head.revision}, the mark remembers {mark.revision};"
            " keys that were revoked since would live again"
        )
    if mark.sequence and audit_trail.chain_at(reader, mark.sequence) != mark.chain:
        return f"the audit trail parts from what the mark remembers, at record {mark.sequence}"
    return None


async def ensure_administrator(
    store: Store,
    instance: Instance,
    sealer: Sealer,
    audit: AuditTrail,
    credentials_file: Path,
    now: int,
    random_bytes: RandomBytes,
) -> None:
    """One administrator with one key, whose secret stands in `credentials_file` before the key exists."""
    _settle_pending(store, credentials_file)
    if instance.is_ready:
        return

    def create(tx: Transaction, new: NewAccessKey) -> None:
        user = _administrator(tx, instance.account_id, now, random_bytes)
        issue(tx, user, now, sealer, new)
        rows.set_ready(tx)
        audit.append_event(tx, "CreateInstance", now, random_bytes, administratorKey=new.access_key_id)

    await _with_credentials(store, instance, credentials_file, random_bytes, create)


async def recover_administrator(
    store: Store,
    instance: Instance,
    sealer: Sealer,
    audit: AuditTrail,
    credentials_file: Path,
    now: int,
    random_bytes: RandomBytes,
    replace: str | None,
) -> AccessKeyId:
    """A new administrator key; user and policy are made again if they are gone.

    With both slots taken, `replace` names the key that makes room.
    """
    if not instance.is_ready:
        raise KeyturnError("this authority was never started to the end", "run `keyturn serve`")
    _settle_pending(store, credentials_file)

    def create(tx: Transaction, new: NewAccessKey) -> None:
        user = _administrator(tx, instance.account_id, now, random_bytes)
        if replace is not None:
            key = key_rows.access_key_of_user(tx, user.user_id, replace)
            if key is None:
                raise KeyturnError(f"the administrator has no key {replace}")
            key_rows.delete_access_key(tx, key.access_key_id, user.name, now)
        try:
            issue(tx, user, now, sealer, new)
        except Fault as full:
            held = [key.access_key_id for key in key_rows.access_keys_of_user(tx, user.user_id)]
            raise KeyturnError(
                f"the administrator has two keys already: {' and '.join(held)}",
                f"name the one that may go: keyturn admin recover --replace {held[0]}",
            ) from full
        audit.append_event(tx, "RecoverAdministrator", now, random_bytes, administratorKey=new.access_key_id)

    return await _with_credentials(store, instance, credentials_file, random_bytes, create)


def _administrator(tx: Transaction, account_id: AccountId, now: int, random_bytes: RandomBytes) -> User:
    user = user_rows.user_by_name(tx, account_id, ADMINISTRATOR)
    if user is None:
        user_id = UserId(mint_unique_id(USER_PREFIX, random_bytes))
        user = User(account_id, user_id, ADMINISTRATOR, "/", now)
        user_rows.insert_user(tx, user)
    policy_rows.put_inline_policy(tx, account_id, user.user_id, _POLICY_NAME, _POLICY)
    return user


async def _with_credentials(
    store: Store,
    instance: Instance,
    credentials_file: Path,
    random_bytes: RandomBytes,
    create: Callable[[Transaction, NewAccessKey], None],
) -> AccessKeyId:
    """The secret is on disk before its key is: a kill between the two leaves a file that no key answers to."""
    with store.read() as reader:
        new = mint_unissued(reader, instance.account_id, random_bytes)
    pending = _pending(credentials_file)
    make_private_directory(credentials_file.parent)
    create_private_file(pending, _credentials_text(instance, new))
    try:
        await store.write(lambda tx: create(tx, new), urgent=True)
    except (KeyturnError, StoreUnavailableError):
        pending.unlink(missing_ok=True)
        raise
    _publish(pending, credentials_file)
    return new.access_key_id


def _settle_pending(store: Store, credentials_file: Path) -> None:
    """Finish or forget what a killed run left beside the credentials file."""
    pending = _pending(credentials_file)
    remove_unfinished(pending)
    if not pending.exists():
        return
    with suppress(KeyturnError):
        credentials = read_credentials(pending)
        with store.read() as reader:
            holder = key_rows.holder_of(reader, credentials.access_key_id)
        if holder is not None:
            _publish(pending, credentials_file)
            return
    pending.unlink(missing_ok=True)


def _pending(credentials_file: Path) -> Path:
    return credentials_file.with_name(credentials_file.name + ".new")


def _publish(pending: Path, credentials_file: Path) -> None:
    pending.replace(credentials_file)
    fsync_directory(credentials_file.parent)


def _credentials_text(instance: Instance, new: NewAccessKey) -> Secret:
    return Secret(
        f"# The administrator of Keyturn account {instance.account_id} (instance {instance.instance_id}).\n"
        "[default]\n"
        f"aws_access_key_id = {new.access_key_id}\n".encode()
        + b"aws_secret_access_key = "
        + new.secret.reveal()
        + b"\n"
    )


def read_credentials(path: Path) -> Credentials:
    """The key in a credentials file that we wrote. KeyturnError if it is missing, open to others or not ours."""
    found = dict(_LINE.findall(read_private_file(path, limit=_CREDENTIALS_LIMIT).reveal()))
    access_key_id = parse_access_key_id(found.get(b"aws_access_key_id", b"").decode("ascii", "replace"))
    secret = found.get(b"aws_secret_access_key")
    if access_key_id is None or secret is None:
        raise KeyturnError(
            f"{path} holds no access key", "make a new one with the server stopped: keyturn admin recover"
        )
    return Credentials(access_key_id, Secret(secret))


def _random_account(random_bytes: RandomBytes) -> AccountId:
    """12 digits, the first of them not 0."""
    number = int.from_bytes(random_bytes(8), "big") % (9 * 10**11) + 10**11
    return AccountId(f"{number:012d}")
