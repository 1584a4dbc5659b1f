"""Rows of login profiles and of password hashes, the current one and those before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keyturn.model.access_keys import AccountId
from keyturn.model.principals import UserId
from keyturn.store.interface import Reader, Row, Transaction


@dataclass(frozen=True, slots=True)
class LoginProfile:
    """A user's password, without its hash. Times are epoch milliseconds."""

    account_id: AccountId
    user_id: UserId
    reset_required: bool
    created_at: int
    changed_at: int
    last_used_at: int | None = None
    wrong_passwords: int = 0
    wrong_since: int = 0


@dataclass(frozen=True, slots=True)
class PasswordHash:
    scheme: str
    """The hash and its costs."""
    salt: bytes
    digest: bytes


_SELECT: Final = (
    "SELECT account_id, user_id, reset_required, created_at, changed_at, last_used_at, wrong_passwords,"
    " wrong_since FROM login_profiles"
)


def _profile(row: Row) -> LoginProfile:
    account_id, user_id, reset, created_at, changed_at, last_used_at, wrong, since = row
    return LoginProfile(
        AccountId(str(account_id)),
        UserId(str(user_id)),
        bool(reset),
        int(created_at or 0),
        int(changed_at or 0),
        None if last_used_at is None else int(last_used_at),
        int(wrong or 0),
        int(since or 0),
    )


def login_profile(reader: Reader, user_id: UserId) -> LoginProfile | None:
    row = reader.row(_SELECT + " WHERE user_id = :user", {"user": user_id})
    return _profile(row) if row else None


def has_login_profile(reader: Reader, user_id: UserId) -> bool:
    """A user with a password is a person."""
    return reader.row("SELECT 1 FROM login_profiles WHERE user_id = :user", {"user": user_id}) is not None


def login_profiles_of_account(reader: Reader, account_id: AccountId) -> dict[UserId, LoginProfile]:
    profiles = (
        _profile(row)
        for row in reader.rows(_SELECT + " WHERE account_id = :account", {"account": account_id})
    )
    return {profile.user_id: profile for profile in profiles}


def insert_login_profile(tx: Transaction, profile: LoginProfile) -> None:
    tx.execute(
        "INSERT INTO login_profiles (user_id, account_id, reset_required, created_at, changed_at)"
        " VALUES (:user, :account, :reset, :created, :changed)",
        {
            "user": profile.user_id,
            "account": profile.account_id,
            "reset": int(profile.reset_required),
            "created": profile.created_at,
            "changed": profile.changed_at,
        },
    )


def set_reset_required(tx: Transaction, user_id: UserId, *, required: bool) -> None:
    tx.execute(
        "UPDATE login_profiles SET reset_required = :reset WHERE user_id = :user",
        {"user": user_id, "reset": int(required)},
    )


def note_wrong_password(tx: Transaction, user_id: UserId, count: int, since: int) -> None:
    tx.execute(
        "UPDATE login_profiles SET wrong_passwords = :count, wrong_since = :since WHERE user_id = :user",
        {"user": user_id, "count": count, "since": since},
    )


def note_sign_in(tx: Transaction, user_id: UserId, now: int) -> None:
    """The password was used to sign in."""
    tx.execute(
        "UPDATE login_profiles SET last_used_at = :now WHERE user_id = :user", {"user": user_id, "now": now}
    )


def delete_login_profile(tx: Transaction, user_id: UserId) -> None:
    """The profile and every hash."""
    tx.execute("DELETE FROM passwords WHERE user_id = :user", {"user": user_id})
    tx.execute("DELETE FROM login_profiles WHERE user_id = :user", {"user": user_id})


def latest_passwords(reader: Reader, user_id: UserId, limit: int) -> list[PasswordHash]:
    """The current one first."""
    found = []
    for scheme, salt, digest in reader.rows(
        "SELECT scheme, salt, digest FROM passwords WHERE user_id = :user ORDER BY sequence DESC LIMIT :limit",
        {"user": user_id, "limit": limit},
    ):
        assert isinstance(salt, bytes)
        assert isinstance(digest, bytes)
        found.append(PasswordHash(str(scheme), salt, digest))
    return found


def add_password(tx: Transaction, profile: LoginProfile, password: PasswordHash, now: int, keep: int) -> None:
    """From now on this password counts; of those before, the latest are kept so that all are `keep`."""
    row = tx.row(
        "SELECT coalesce(max(sequence), 0) + 1 FROM passwords WHERE user_id = :user",
        {"user": profile.user_id},
    )
    sequence = int(row[0] or 1) if row else 1
    tx.execute(
        "INSERT INTO passwords (user_id, sequence, account_id, scheme, salt, digest)"
        " VALUES (:user, :sequence, :account, :scheme, :salt, :digest)",
        {
            "user": profile.user_id,
            "sequence": sequence,
            "account": profile.account_id,
            "scheme": password.scheme,
            "salt": password.salt,
            "digest": password.digest,
        },
    )
    tx.execute(
        "DELETE FROM passwords WHERE user_id = :user AND sequence <= :old",
        {"user": profile.user_id, "old": sequence - keep},
    )
    tx.execute(
        "UPDATE login_profiles SET changed_at = :now, wrong_passwords = 0 WHERE user_id = :user",
        {"user": profile.user_id, "now": now},
    )
