"""Login profiles: the passwords of users, hashed, with those before them so that none comes back.

A user with a login profile is a person. Signing in with the password, and what happens when it has expired,
is left to others.
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keyturn.authority.operations import Call, Parameters, Result, Target, WriteCall, operation
from keyturn.authority.password_policy import check_password, password_policy_violation
from keyturn.authority.storage import login_profiles as rows
from keyturn.authority.storage.login_profiles import LoginProfile, PasswordHash
from keyturn.authority.storage.password_policy import password_policy
from keyturn.authority.users import find_user, the_user, user_or_caller
from keyturn.model.principals import User
from keyturn.model.secrets import Secret
from keyturn.store.interface import Transaction
from keyturn.wire.faults import Fault, access_denied, already_exists, no_such_entity, validation_error

REMEMBERED: Final = 24
"""The most that PasswordReusePrevention can ask for."""
WRONG_PASSWORDS: Final = 10
WRONG_PASSWORDS_MS: Final = 300_000
_MEMORY_KIB, _ITERATIONS, _LANES = 19_456, 2, 1
_SCHEME: Final = f"argon2id m={_MEMORY_KIB} t={_ITERATIONS} p={_LANES}"
"""The least memory that OWASP's password storage cheat sheet advises: the hash is made inside the one writer's
transaction, and takes the others about 50 ms of waiting."""
_SALT_BYTES: Final = 16
_DIGEST_BYTES: Final = 32


# Hashes


def _digest(scheme: str, salt: bytes, password: Secret) -> bytes:
    name, *costs = scheme.split(" ")
    if name != "argon2id":
        raise ValueError(f"passwords hashed with {name} can't be compared")
    cost = {key: int(value) for key, _equals, value in (each.partition("=") for each in costs)}
    hasher = Argon2id(
        salt=salt, length=_DIGEST_BYTES, iterations=cost["t"], lanes=cost["p"], memory_cost=cost["m"]
    )
    return hasher.derive(password.reveal())


def _new_hash(call: Call, password: Secret, before: list[PasswordHash]) -> tuple[PasswordHash, bool]:
    """The hash, and whether the password is one of those before.

    A user's passwords share their salt, so that one hash compares with all of them.
    """
    digests: dict[tuple[str, bytes], bytes] = {}
    for known in before:
        if (known.scheme, known.salt) not in digests:
            digests[known.scheme, known.salt] = _digest(known.scheme, known.salt, password)
    was_used = any(hmac.compare_digest(digests[known.scheme, known.salt], known.digest) for known in before)
    for (scheme, salt), digest in digests.items():
        if scheme == _SCHEME:
            return PasswordHash(scheme, salt, digest), was_used
    salt = call.services.random_bytes(_SALT_BYTES)
    return PasswordHash(_SCHEME, salt, _digest(_SCHEME, salt, password)), was_used


def _set_password(call: WriteCall, profile: LoginProfile, password: Secret) -> None:
    policy = password_policy(call.reader, call.account_id)
    check_password(policy, password)
    before = rows.latest_passwords(call.reader, profile.user_id, REMEMBERED)
    forbidden = (policy.reuse_prevention or 0) if policy else 0
    hashed, was_used = _new_hash(call, password, before[: max(forbidden, 1)])
    if was_used and forbidden:
        raise password_policy_violation(f"Password should not be one of the last {forbidden} passwords")
    rows.add_password(call.tx, profile, hashed, call.now, REMEMBERED)


def prove_password(call: WriteCall, user: User, password: Secret, wrong: Fault) -> LoginProfile:
    """The user's profile if that is their password; raise NoSuchEntity, `wrong`, or AccessDenied after too many.

    A wrong password is counted even if the call is refused.
    """
    profile = _find_profile(call, user)
    if profile.wrong_passwords >= WRONG_PASSWORDS and call.now < profile.wrong_since + WRONG_PASSWORDS_MS:
        raise access_denied("Too many wrong passwords. Wait five minutes, then try again.")
    current = rows.latest_passwords(call.reader, user.user_id, 1)[0]
    if hmac.compare_digest(_digest(current.scheme, current.salt, password), current.digest):
        return profile
    count, since = profile.wrong_passwords + 1, profile.wrong_since
    if call.now >= since + WRONG_PASSWORDS_MS:
        count, since = 1, call.now

    def count_it(tx: Transaction) -> None:
        rows.note_wrong_password(tx, user.user_id, count, since)

    call.remember(count_it)
    raise wrong


# Login profiles


def _find_profile(call: Call, user: User) -> LoginProfile:
    profile = rows.login_profile(call.reader, user.user_id)
    if profile is None:
        raise no_such_entity(f"Login Profile for User {user.name} cannot be found.")
    return profile


def _described(user: User, profile: LoginProfile) -> Result:
    return {
        "LoginProfile": {
            "UserName": user.name,
            "CreateDate": profile.created_at,
            "PasswordResetRequired": profile.reset_required,
        }
    }


@operation("iam", "CreateLoginProfile", the_user, writes=True)
def create_login_profile(
    call: WriteCall,
    *,
    user_name: str | None = None,
    password: Secret | None = None,
    password_reset_required: bool = False,
) -> Result:
    user = user_or_caller(call, user_name)
    if password is None:
        # The model leaves it out for the root user of a member account, and there is none here.
        raise validation_error(
            "1 validation error detected: Value at 'password' failed to satisfy constraint: Member must not be null"
        )
    if rows.login_profile(call.reader, user.user_id):
        raise already_exists(f"Login Profile for user {user.name} already exists.")
    profile = LoginProfile(call.account_id, user.user_id, password_reset_required, call.now, call.now)
    rows.insert_login_profile(call.tx, profile)
    _set_password(call, profile, password)
    call.services.authorization.policies_changed(call.tx)  # from now on the user is one of the people
    return _described(user, profile)


@operation("iam", "GetLoginProfile", the_user)
def get_login_profile(call: Call, *, user_name: str | None = None) -> Result:
    user = user_or_caller(call, user_name)
    return _described(user, _find_profile(call, user))


@operation("iam", "UpdateLoginProfile", the_user, writes=True)
def update_login_profile(
    call: WriteCall,
    *,
    user_name: str,
    password: Secret | None = None,
    password_reset_required: bool | None = None,
) -> Result:
    user = find_user(call, user_name)
    profile = _find_profile(call, user)
    if password is not None:
        _set_password(call, profile, password)
    if password_reset_required is not None:
        rows.set_reset_required(call.tx, user.user_id, required=password_reset_required)
    return {}


@operation("iam", "DeleteLoginProfile", the_user, writes=True)
def delete_login_profile(call: WriteCall, *, user_name: str | None = None) -> Result:
    user = user_or_caller(call, user_name)
    _find_profile(call, user)
    rows.delete_login_profile(call.tx, user.user_id)
    call.services.authorization.policies_changed(call.tx)
    return {}


def _oneself(call: Call, _parameters: Parameters) -> Target:
    user = call.caller.user
    return Target(call.caller.arn, call.caller.arn if user is None else f"user {user.name}")


@operation("iam", "ChangePassword", _oneself, writes=True)
def change_password(call: WriteCall, *, old_password: Secret, new_password: Secret) -> Result:
    user = call.caller.user
    if user is None:
        raise Fault("InvalidUserType", "Only IAM Users can change their own password", status=400)
    profile = prove_password(call, user, old_password, access_denied("The old password was incorrect."))
    _set_password(call, profile, new_password)
    rows.set_reset_required(call.tx, user.user_id, required=False)
    return {}
