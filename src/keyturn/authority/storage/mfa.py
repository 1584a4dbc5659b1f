"""Rows of MFA devices: whose they are, their sealed seeds, and which codes were used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keyturn.authority.storage.tags import DEVICE_TAGS, fold
from keyturn.model.access_keys import AccountId
from keyturn.model.principals import User, UserId
from keyturn.store.interface import Reader, Row, Transaction


@dataclass(frozen=True, slots=True)
class MfaDevice:
    """A virtual device. Times are epoch milliseconds, steps are RFC 6238's."""

    serial_number: str
    account_id: AccountId
    user_id: UserId | None
    """Who it is enabled for."""
    sealed_seed: bytes
    created_at: int
    enabled_at: int | None = None
    last_step: int = -1
    """The step of the last code that was accepted; no code of it or before is accepted again."""
    drift: int = 0
    """Steps that the device's clock is ahead of ours."""
    wrong_codes: int = 0
    wrong_since: int = 0


@dataclass(frozen=True, slots=True)
class KeyWithoutFactor:
    """An active key whose user has no second factor."""

    user_name: str
    access_key_id: str
    created_at: int
    has_login_profile: bool
    is_freed: bool
    """A tag frees the user where a factor is required of all."""


_COLUMNS: Final = (
    "d.serial_number, d.account_id, d.user_id, d.sealed_seed, d.created_at, d.enabled_at, d.last_step,"
    " d.drift, d.wrong_codes, d.wrong_since"
)
_SELECT: Final = f"SELECT {_COLUMNS} FROM mfa_devices d"  # noqa: S608 - only constants


def _device(row: Row) -> MfaDevice:
    serial, account_id, user_id, sealed, created_at, enabled_at, step, drift, wrong, since = row
    assert isinstance(sealed, bytes)
    return MfaDevice(
        str(serial),
        AccountId(str(account_id)),
        None if user_id is None else UserId(str(user_id)),
        sealed,
        int(created_at or 0),
        None if enabled_at is None else int(enabled_at),
        int(step or 0),
        int(drift or 0),
        int(wrong or 0),
        int(since or 0),
    )


def device_by_serial(reader: Reader, account_id: AccountId, serial_number: str) -> MfaDevice | None:
    row = reader.row(
        _SELECT + " WHERE d.serial_number = :serial AND d.account_id = :account",
        {"serial": serial_number, "account": account_id},
    )
    return _device(row) if row else None


def serial_is_taken(reader: Reader, serial_number: str) -> bool:
    """Without regard to case."""
    row = reader.row(
        "SELECT 1 FROM mfa_devices WHERE folded_serial_number = :serial", {"serial": fold(serial_number)}
    )
    return row is not None


def devices_of_user(reader: Reader, user_id: UserId) -> list[MfaDevice]:
    """The enabled ones, by serial number."""
    return [
        _device(row)
        for row in reader.rows(
            _SELECT + " WHERE d.user_id = :user ORDER BY d.folded_serial_number", {"user": user_id}
        )
    ]


def users_with_device(reader: Reader, account_id: AccountId) -> set[UserId]:
    """Everybody who has a second factor."""
    return {
        UserId(str(user_id))
        for (user_id,) in reader.rows(
            "SELECT DISTINCT user_id FROM mfa_devices WHERE account_id = :account AND user_id IS NOT NULL",
            {"account": account_id},
        )
    }


_OF_STATUS: Final = {
    "Assigned": " AND d.user_id IS NOT NULL",
    "Unassigned": " AND d.user_id IS NULL",
    "Any": "",
}


def devices_after(
    reader: Reader, account_id: AccountId, after: str, status: str, limit: int
) -> list[tuple[MfaDevice, User | None]]:
    """A page of devices, each with its user, behind the folded serial number `after`.

    `status` is IAM's AssignmentStatus: `Assigned`, `Unassigned` or `Any`.
    """
    found: list[tuple[MfaDevice, User | None]] = []
    for row in reader.rows(
        f"SELECT {_COLUMNS}, u.name, u.path, u.created_at FROM mfa_devices d"  # noqa: S608 - only constants
        " LEFT JOIN users u ON u.user_id = d.user_id"
        " WHERE d.account_id = :account AND d.folded_serial_number > :after"
        f"{_OF_STATUS[status]} ORDER BY d.folded_serial_number LIMIT :limit",
        {"account": account_id, "after": after, "limit": limit},
    ):
        device = _device(row[:10])
        name, path, created_at = row[10:]
        user = (
            None
            if device.user_id is None
            else User(account_id, device.user_id, str(name), str(path), int(created_at or 0))
        )
        found.append((device, user))
    return found


def count_devices(reader: Reader, account_id: AccountId, *, in_use: bool = False) -> int:
    counted = "count(user_id)" if in_use else "count(*)"
    row = reader.row(
        f"SELECT {counted} FROM mfa_devices WHERE account_id = :account",  # noqa: S608 - only constants
        {"account": account_id},
    )
    return int(row[0] or 0) if row else 0


def keys_without_factor(reader: Reader, account_id: AccountId, freeing_tag: str) -> list[KeyWithoutFactor]:
    """Every active key whose user has no enabled device, by user name; one user may stand there twice."""
    rows = reader.rows(
        "SELECT u.name, k.access_key_id, k.created_at,"
        " EXISTS (SELECT 1 FROM login_profiles p WHERE p.user_id = u.user_id),"
        " EXISTS (SELECT 1 FROM user_tags t WHERE t.user_id = u.user_id AND t.key = :tag)"
        " FROM access_keys k JOIN users u ON u.user_id = k.user_id"
        " WHERE u.account_id = :account AND k.status = 'Active'"
        " AND NOT EXISTS (SELECT 1 FROM mfa_devices d WHERE d.user_id = u.user_id)"
        " ORDER BY u.folded_name, k.created_at, k.access_key_id",
        {"account": account_id, "tag": freeing_tag},
    )
    return [
        KeyWithoutFactor(str(name), str(key), int(created_at or 0), bool(has_profile), bool(is_freed))
        for name, key, created_at, has_profile, is_freed in rows
    ]


def insert_device(tx: Transaction, device: MfaDevice, kek_id: bytes) -> None:
    tx.execute(
        "INSERT INTO mfa_devices (serial_number, folded_serial_number, account_id, sealed_seed, kek_id,"
        " created_at) VALUES (:serial, :folded, :account, :sealed, :kek, :created)",
        {
            "serial": device.serial_number,
            "folded": fold(device.serial_number),
            "account": device.account_id,
            "sealed": device.sealed_seed,
            "kek": kek_id,
            "created": device.created_at,
        },
    )


def enable_device(tx: Transaction, serial_number: str, user_id: UserId, now: int) -> None:
    tx.execute(
        "UPDATE mfa_devices SET user_id = :user, enabled_at = :now WHERE serial_number = :serial",
        {"serial": serial_number, "user": user_id, "now": now},
    )


def deactivate_device(tx: Transaction, serial_number: str) -> None:
    """The device stays, with its seed and the codes that it has used."""
    tx.execute(
        "UPDATE mfa_devices SET user_id = NULL, enabled_at = NULL WHERE serial_number = :serial",
        {"serial": serial_number},
    )


def note_used_step(tx: Transaction, serial_number: str, step: int, drift: int) -> None:
    tx.execute(
        "UPDATE mfa_devices SET last_step = :step, drift = :drift WHERE serial_number = :serial",
        {"serial": serial_number, "step": step, "drift": drift},
    )


def note_wrong_code(tx: Transaction, serial_number: str, count: int, since: int) -> None:
    tx.execute(
        "UPDATE mfa_devices SET wrong_codes = :count, wrong_since = :since WHERE serial_number = :serial",
        {"serial": serial_number, "count": count, "since": since},
    )


def delete_device(tx: Transaction, serial_number: str) -> None:
    DEVICE_TAGS.delete_all(tx, serial_number)
    tx.execute("DELETE FROM mfa_devices WHERE serial_number = :serial", {"serial": serial_number})
