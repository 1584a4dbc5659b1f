"""The account's one password policy."""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.model.access_keys import AccountId
from keyturn.store.interface import Reader, Transaction, Value


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    minimum_length: int
    require_symbols: bool
    require_numbers: bool
    require_uppercase: bool
    require_lowercase: bool
    users_may_change: bool
    """AllowUsersToChangePassword."""
    max_age_days: int | None
    reuse_prevention: int | None
    hard_expiry: bool | None


def password_policy(reader: Reader, account_id: AccountId) -> PasswordPolicy | None:
    row = reader.row(
        "SELECT minimum_length, require_symbols, require_numbers, require_uppercase, require_lowercase,"
        " users_may_change, max_age_days, reuse_prevention, hard_expiry FROM password_policies"
        " WHERE account_id = :account",
        {"account": account_id},
    )
    if row is None:
        return None
    length, symbols, numbers, uppercase, lowercase, may_change, age, reuse, hard = row
    return PasswordPolicy(
        int(length or 0),
        bool(symbols),
        bool(numbers),
        bool(uppercase),
        bool(lowercase),
        bool(may_change),
        None if age is None else int(age),
        None if reuse is None else int(reuse),
        None if hard is None else bool(hard),
    )


def put_password_policy(tx: Transaction, account_id: AccountId, policy: PasswordPolicy) -> None:
    parameters: dict[str, Value] = {
        "account": account_id,
        "length": policy.minimum_length,
        "symbols": int(policy.require_symbols),
        "numbers": int(policy.require_numbers),
        "uppercase": int(policy.require_uppercase),
        "lowercase": int(policy.require_lowercase),
        "may_change": int(policy.users_may_change),
        "age": policy.max_age_days,
        "reuse": policy.reuse_prevention,
        "hard": None if policy.hard_expiry is None else int(policy.hard_expiry),
    }
    tx.execute("DELETE FROM password_policies WHERE account_id = :account", {"account": account_id})
    tx.execute(
        "INSERT INTO password_policies (account_id, minimum_length, require_symbols, require_numbers,"
        " require_uppercase, require_lowercase, users_may_change, max_age_days, reuse_prevention, hard_expiry)"
        " VALUES (:account, :length, :symbols, :numbers, :uppercase, :lowercase, :may_change, :age, :reuse,"
        " :hard)",
        parameters,
    )


def delete_password_policy(tx: Transaction, account_id: AccountId) -> int:
    return tx.execute("DELETE FROM password_policies WHERE account_id = :account", {"account": account_id})
