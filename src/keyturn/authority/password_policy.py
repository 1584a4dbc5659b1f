"""The account's password policy, and whether a password keeps it.

Source: IAM user guide, "Set an account password policy for IAM users". Which passwords were used before, and
when one has to be changed, is known elsewhere.
"""

from __future__ import annotations

from typing import Final

from keyturn.authority.operations import Call, Result, WriteCall, anything, operation
from keyturn.authority.storage import password_policy as rows
from keyturn.authority.storage.password_policy import PasswordPolicy
from keyturn.model.secrets import Secret
from keyturn.wire.faults import Fault, no_such_entity

SHORTEST_BY_DEFAULT: Final = 8
"""Characters, where the account has no policy of its own; of four kinds there must then be three."""
SYMBOLS: Final = frozenset("!@#$%^&*()_+-=[]{}|'")
DAY_MS: Final = 86_400_000


def password_policy_violation(message: str) -> Fault:
    return Fault("PasswordPolicyViolation", message, status=400)


def check_password(policy: PasswordPolicy | None, password: Secret) -> None:
    """Raise PasswordPolicyViolation, with everything that is missing, unless the password keeps the policy."""
    text = password.reveal().decode()
    missing = _missing_by_default(text) if policy is None else _missing(policy, text)
    if missing:
        raise password_policy_violation("; ".join(missing))


def _kinds(text: str) -> tuple[bool, bool, bool, bool]:
    """Whether there is an ASCII uppercase letter, a lowercase one, a digit, and anything else."""
    upper = any("A" <= each <= "Z" for each in text)
    lower = any("a" <= each <= "z" for each in text)
    digit = any("0" <= each <= "9" for each in text)
    other = any(not (each.isascii() and each.isalnum()) for each in text)
    return upper, lower, digit, other


def _missing_by_default(text: str) -> list[str]:
    missing = []
    if len(text) < SHORTEST_BY_DEFAULT:
        missing.append(f"Password should have a minimum length of {SHORTEST_BY_DEFAULT}")
    if sum(_kinds(text)) < 3:
        missing.append(
            "Password should have at least three of: uppercase letters, lowercase letters, numbers,"
            " non-alphanumeric characters"
        )
    return missing


def _missing(policy: PasswordPolicy, text: str) -> list[str]:
    upper, lower, digit, _other = _kinds(text)
    missing = []
    if len(text) < policy.minimum_length:
        missing.append(f"Password should have a minimum length of {policy.minimum_length}")
    if policy.require_symbols and SYMBOLS.isdisjoint(text):
        missing.append("Password should have at least one symbol")
    if policy.require_numbers and not digit:
        missing.append("Password should have at least one number")
    if policy.require_uppercase and not upper:
        missing.append("Password should have at least one uppercase letter")
    if policy.require_lowercase and not lower:
        missing.append("Password should have at least one lowercase letter")
    return missing


def password_expires_at(policy: PasswordPolicy | None, changed_at: int) -> int | None:
    """Epoch milliseconds, or None where passwords do not expire."""
    if policy is None or policy.max_age_days is None:
        return None
    return changed_at + policy.max_age_days * DAY_MS


@operation("iam", "UpdateAccountPasswordPolicy", anything, writes=True)
def update_account_password_policy(
    call: WriteCall,
    *,
    minimum_password_length: int = 6,
    require_symbols: bool = False,
    require_numbers: bool = False,
    require_uppercase_characters: bool = False,
    require_lowercase_characters: bool = False,
    allow_users_to_change_password: bool = False,
    max_password_age: int | None = None,
    password_reuse_prevention: int | None = None,
    hard_expiry: bool | None = None,
) -> Result:
    """The whole policy: what is not given goes back to its default."""
    policy = PasswordPolicy(
        minimum_password_length,
        require_symbols,
        require_numbers,
        require_uppercase_characters,
        require_lowercase_characters,
        allow_users_to_change_password,
        max_password_age,
        password_reuse_prevention,
        hard_expiry,
    )
    rows.put_password_policy(call.tx, call.account_id, policy)
    call.services.authorization.policies_changed(call.tx)
    return {}


@operation("iam", "GetAccountPasswordPolicy", anything)
def get_account_password_policy(call: Call) -> Result:
    policy = rows.password_policy(call.reader, call.account_id)
    if policy is None:
        raise no_such_entity(f"The Password Policy with domain name {call.account_id} cannot be found.")
    return {
        "PasswordPolicy": {
            "MinimumPasswordLength": policy.minimum_length,
            "RequireSymbols": policy.require_symbols,
            "RequireNumbers": policy.require_numbers,
            "RequireUppercaseCharacters": policy.require_uppercase,
            "RequireLowercaseCharacters": policy.require_lowercase,
            "AllowUsersToChangePassword": policy.users_may_change,
            "ExpirePasswords": policy.max_age_days is not None,
            "MaxPasswordAge": policy.max_age_days,
            "PasswordReusePrevention": policy.reuse_prevention,
            "HardExpiry": policy.hard_expiry,
        }
    }


@operation("iam", "DeleteAccountPasswordPolicy", anything, writes=True)
def delete_account_password_policy(call: WriteCall) -> Result:
    if not rows.delete_password_policy(call.tx, call.account_id):
        raise no_such_entity("The account policy with name PasswordPolicy cannot be found.")
    call.services.authorization.policies_changed(call.tx)
    return {}
