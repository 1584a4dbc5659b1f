"""Access keys: issue, list, deactivate, delete, say when one was last used.

A new key's secret stays a `Secret` up to the encoder of the answer, which runs after COMMIT.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from keyturn.authority.operations import (
    Call,
    Parameters,
    Result,
    Target,
    WriteCall,
    anything,
    operation,
    page_of,
)
from keyturn.authority.repeats import WINDOW_MS
from keyturn.authority.storage import access_keys as rows
from keyturn.authority.storage.access_keys import AccessKey
from keyturn.authority.storage.users import lock_user
from keyturn.authority.users import the_user, user_or_caller
from keyturn.model.access_keys import (
    KEYS_PER_USER,
    AccessKeyId,
    AccessKeyStatus,
    AccountId,
    NewAccessKey,
    account_of,
    mint_access_key,
    parse_access_key_id,
)
from keyturn.model.principals import User
from keyturn.model.secrets import Secret
from keyturn.store.interface import Reader, Transaction, UniqueViolationError
from keyturn.store.sealing import Purpose, Sealer
from keyturn.wire.faults import (
    Fault,
    access_denied,
    invalid_input,
    limit_exceeded,
    no_such_entity,
    validation_error,
)


def seal_access_key(sealer: Sealer, user: User, new: NewAccessKey) -> bytes:
    """The blob that a row holds. Its authenticated data binds account, user and key id: it fits no other row."""
    return sealer.seal(
        new.secret,
        purpose=Purpose.ACCESS_KEY,
        account_id=user.account_id,
        owner=user.user_id,
        name=new.access_key_id,
    )


def unseal_access_key(sealer: Sealer, user: User, access_key_id: AccessKeyId, sealed: bytes) -> Secret:
    return sealer.unseal(
        sealed,
        purpose=Purpose.ACCESS_KEY,
        account_id=user.account_id,
        owner=user.user_id,
        name=access_key_id,
    )


def issue(tx: Transaction, user: User, now: int, sealer: Sealer, new: NewAccessKey) -> AccessKey:
    """Put a minted key into a free slot. LimitExceeded if the user has two, active or not.

    The id is one that was never issued: UniqueViolationError if it was.
    """
    key = _in_slot(new, user, _free_slot(tx, user), now)
    if not rows.insert_access_key(tx, key, user, seal_access_key(sealer, user, new), sealer.kek_id):
        raise UniqueViolationError(f"the id {new.access_key_id} was issued before")
    return key


def mint_and_issue(
    tx: Transaction, user: User, now: int, sealer: Sealer, random_bytes: Callable[[int], bytes]
) -> tuple[AccessKey, Secret]:
    """As `issue`, of a key that is minted here: until its id is one that was never issued."""
    slot = _free_slot(tx, user)
    while True:
        new = mint_access_key(user.account_id, random_bytes)
        key = _in_slot(new, user, slot, now)
        if rows.insert_access_key(tx, key, user, seal_access_key(sealer, user, new), sealer.kek_id):
            return key, new.secret


def _free_slot(tx: Transaction, user: User) -> int:
    lock_user(tx, user.user_id)
    taken = {key.slot for key in rows.access_keys_of_user(tx, user.user_id)}
    slot = next((slot for slot in range(1, KEYS_PER_USER + 1) if slot not in taken), None)
    if slot is None:
        raise limit_exceeded(f"Cannot exceed quota for AccessKeysPerUser: {KEYS_PER_USER}")
    return slot


def _in_slot(new: NewAccessKey, user: User, slot: int, now: int) -> AccessKey:
    return AccessKey(new.access_key_id, user.user_id, slot, AccessKeyStatus.ACTIVE, now)


def mint_unissued(
    reader: Reader, account_id: AccountId, random_bytes: Callable[[int], bytes]
) -> NewAccessKey:
    """A key whose id was never issued: 39 random bits meet again sooner or later, ids never do."""
    while True:
        new = mint_access_key(account_id, random_bytes)
        if rows.issued_id(reader, new.access_key_id) is None:
            return new


def _created(user: User, key: AccessKey, secret: Secret) -> Result:
    return {
        "AccessKey": {
            "UserName": user.name,
            "AccessKeyId": key.access_key_id,
            "Status": key.status.value,
            "SecretAccessKey": secret,
            "CreateDate": key.created_at,
        }
    }


@operation("iam", "CreateAccessKey", the_user, writes=True, answers_once=True)
def create_access_key(call: WriteCall, *, user_name: str | None = None) -> Result:
    user = user_or_caller(call, user_name)
    request_hash = _request_hash(call, user_name)
    if request_hash is not None:
        repeated = _repeated(call, user, request_hash)
        if repeated is not None:
            return repeated
    key, secret = mint_and_issue(call.tx, user, call.now, call.services.sealer, call.services.random_bytes)
    if request_hash is not None:
        if call.services.repeats.is_cleaning_due(call.now):
            rows.forget_creations(call.tx, call.now - WINDOW_MS)
        rows.note_creation(call.tx, call.account_id, request_hash, key.access_key_id, call.now)
        call.services.repeats.note_created(key.access_key_id, call.now)
    return _created(user, key, secret)


def _request_hash(call: Call, user_name: str | None) -> bytes | None:
    """Caller, invocation id and parameters, hashed: all that is kept to know a repeat by."""
    if not call.facts.invocation_id:
        return None
    parts = (
        call.caller.access_key_id,
        call.facts.invocation_id,
        "" if user_name is None else f"={user_name}",
    )
    return hashlib.sha256("\0".join(parts).encode()).digest()


def _repeated(call: WriteCall, user: User, request_hash: bytes) -> Result | None:
    """The same key again, if this is a second try of the call that made it and the key has never signed."""
    access_key_id = rows.creation_of(call.reader, request_hash, call.now - WINDOW_MS)
    if access_key_id is None or not call.services.repeats.may_repeat(access_key_id, call.now):
        return None
    key = rows.access_key_of_user(call.reader, user.user_id, access_key_id)
    sealed = rows.sealed_secret_of(call.reader, access_key_id)
    if key is None or sealed is None or key.status is not AccessKeyStatus.ACTIVE:
        return None
    call.notes["repeatOfInvocation"] = call.facts.invocation_id or ""
    return _created(user, key, unseal_access_key(call.services.sealer, user, access_key_id, sealed))


@operation("iam", "ListAccessKeys", the_user)
def list_access_keys(
    call: Call,
    *,
    user_name: str | None = None,
    marker: str | None = None,
    max_items: int | None = None,
) -> Result:
    user = user_or_caller(call, user_name)
    keys, end = page_of(
        call,
        marker,
        max_items,
        rows.access_keys_of_user(call.reader, user.user_id),
        lambda key: f"{key.created_at:015d}{key.access_key_id}",
    )
    return {
        "AccessKeyMetadata": [
            {
                "UserName": user.name,
                "AccessKeyId": key.access_key_id,
                "Status": key.status.value,
                "CreateDate": key.created_at,
            }
            for key in keys
        ],
        **end,
    }


def _find_key(call: Call, user: User, access_key_id: str) -> AccessKey:
    key = rows.access_key_of_user(call.reader, user.user_id, access_key_id)
    if key is None:
        raise no_such_entity(f"The Access Key with id {access_key_id} cannot be found.")
    return key


def _deactivates(parameters: Parameters) -> bool:
    return parameters.get("status") == AccessKeyStatus.INACTIVE


@operation("iam", "UpdateAccessKey", the_user, writes=True, is_urgent=_deactivates)
def update_access_key(
    call: WriteCall, *, access_key_id: str, status: str, user_name: str | None = None
) -> Result:
    """When `Inactive` has been answered, no request signed with the key is accepted any more."""
    user = user_or_caller(call, user_name)
    key = _find_key(call, user, access_key_id)
    if status not in set(AccessKeyStatus):
        raise invalid_input(f"The status of an access key can be set to Active or Inactive, not to {status}.")
    rows.set_access_key_status(call.tx, key.access_key_id, AccessKeyStatus(status))
    call.tx.after_commit(lambda: call.services.forget_key(key.access_key_id))
    return {}


@operation("iam", "DeleteAccessKey", the_user, writes=True, is_urgent=lambda _parameters: True)
def delete_access_key(call: WriteCall, *, access_key_id: str, user_name: str | None = None) -> Result:
    """The secret is destroyed; the id is never issued again."""
    user = user_or_caller(call, user_name)
    key = _find_key(call, user, access_key_id)
    rows.delete_access_key(call.tx, key.access_key_id, user.name, call.now)
    call.tx.after_commit(lambda: call.services.forget_key(key.access_key_id))
    return {}


def _holder(call: Call, access_key_id: str) -> User | None:
    parsed = parse_access_key_id(access_key_id)
    holder = None if parsed is None else rows.holder_of(call.reader, parsed)
    return None if holder is None else holder.user


def _the_holder(call: Call, parameters: Parameters) -> Target:
    user = _holder(call, parameters["access_key_id"])
    return Target(user.arn if user else "*", f"access key {parameters['access_key_id']}")


def _last_used_denied(call: Call, parameters: Parameters) -> Fault:
    """The same words for a key that does not exist and one that the caller may not see."""
    return access_denied(
        f"User: {call.caller.arn} is not authorized to perform iam:GetAccessKeyLastUsed"
        f" on resource: access key {parameters['access_key_id']}"
    )


@operation("iam", "GetAccessKeyLastUsed", _the_holder, denial=_last_used_denied)
def get_access_key_last_used(call: Call, *, access_key_id: str) -> Result:
    user = _holder(call, access_key_id)
    if user is None:
        raise _last_used_denied(call, {"access_key_id": access_key_id})
    use = call.services.usage.last_used(AccessKeyId(access_key_id))
    if use is None:
        return {"UserName": user.name, "AccessKeyLastUsed": {"ServiceName": "N/A", "Region": "N/A"}}
    return {
        "UserName": user.name,
        "AccessKeyLastUsed": {"LastUsedDate": use.at, "ServiceName": use.service, "Region": use.region},
    }


@operation("sts", "GetAccessKeyInfo", anything)
def get_access_key_info(_call: Call, *, access_key_id: str) -> Result:
    """The account that the id itself names: any account's, without asking anyone."""
    parsed = parse_access_key_id(access_key_id)
    account_id = None if parsed is None else account_of(parsed)
    if account_id is None:
        raise validation_error(f"The access key id {access_key_id} names no account.")
    return {"Account": account_id}


@operation("sts", "GetCallerIdentity", anything, needs_permission=False, tells_caller_only=True)
def get_caller_identity(call: Call) -> Result:
    """Needs no permission, and no Deny stops it (STS API, GetCallerIdentity)."""
    caller = call.caller
    return {"UserId": caller.unique_id, "Account": caller.account_id, "Arn": caller.arn}
