"""MFA devices: virtual ones, whose codes are RFC 6238's (SHA-1, six digits, 30 seconds).

Each code works once: the step of the last one is kept, from the codes that enable a device on. What is
remembered of an attempt stays even if the call is refused. What a proved code permits is decided elsewhere.
"""

from __future__ import annotations

import base64
import hmac
import io
from collections.abc import Iterable, Sequence
from typing import Final

import pyotp
import segno

from keyturn.authority.operations import (
    Call,
    Parameters,
    Result,
    Target,
    WriteCall,
    operation,
    page,
    page_of,
)
from keyturn.authority.storage import mfa as rows
from keyturn.authority.storage.mfa import MfaDevice
from keyturn.authority.storage.tags import DEVICE_TAGS, fold
from keyturn.authority.storage.users import user_by_id
from keyturn.authority.tags import check_new_tags, tag_list
from keyturn.authority.users import described as described_user
from keyturn.authority.users import find_user, the_user, user_or_caller
from keyturn.model.arns import mfa_arn
from keyturn.model.principals import User
from keyturn.model.secrets import Secret
from keyturn.store.interface import Transaction
from keyturn.store.sealing import Purpose
from keyturn.wire.faults import (
    Fault,
    access_denied,
    already_exists,
    delete_conflict,
    limit_exceeded,
    no_such_entity,
    validation_error,
)

DEVICES_PER_USER: Final = 8
DEVICES_PER_ACCOUNT: Final = 5000
"""Assigned or not: as many as users (IAM user guide, "IAM and STS quotas")."""
LONGEST_SERIAL_NUMBER: Final = 256
STEP_MS: Final = 30_000
WINDOW: Final = 1
"""Steps before and after ours in which a code is accepted (RFC 6238, 5.2)."""
RESYNC_WINDOW: Final = 10
"""Steps in which two consecutive codes may tell us how wrong a device's clock is (RFC 6238, 6)."""
WRONG_CODES: Final = 10
WRONG_CODES_MS: Final = 300_000
_SEED_BYTES: Final = 20
"""160 bits, as RFC 4226 recommends (section 4, R6)."""
_OWNER: Final = "mfa"
_ISSUER: Final = "Keyturn"


# Codes


def _step(now: int) -> int:
    return now // STEP_MS


def _seed(call: Call, device: MfaDevice) -> pyotp.HOTP:
    seed = call.services.sealer.unseal(
        device.sealed_seed,
        purpose=Purpose.TOTP,
        account_id=device.account_id,
        owner=_OWNER,
        name=device.serial_number,
    )
    return pyotp.HOTP(seed.reveal().decode("ascii"))


def matching_step(seed: pyotp.HOTP, codes: Sequence[str], steps: Iterable[int]) -> int | None:
    """The step of the last of some consecutive codes, if there is one; each candidate costs the same time."""
    found = None
    for step in steps:
        first = step - len(codes) + 1
        expected = "".join(seed.at(max(first + offset, 0)) for offset in range(len(codes)))
        if hmac.compare_digest(expected, "".join(codes)) and first >= 0:
            found = step
    return found


def _prove(call: WriteCall, device: MfaDevice, codes: Sequence[str], window: int, invalid: Fault) -> None:
    """Use the codes up, or raise: `invalid` if they are wrong or were used."""
    if device.wrong_codes >= WRONG_CODES and call.now < device.wrong_since + WRONG_CODES_MS:
        raise access_denied(
            "Too many wrong codes for this MFA device. Wait five minutes, then try a new one."
        )
    drift = 0 if len(codes) > 1 else device.drift
    middle = _step(call.now) + drift
    step = matching_step(_seed(call, device), codes, range(middle - window, middle + window + 1))
    serial_number = device.serial_number
    if step is None or step - len(codes) < device.last_step:
        count, since = device.wrong_codes + 1, device.wrong_since
        if call.now >= since + WRONG_CODES_MS:
            count, since = 1, call.now

        def count_it(tx: Transaction) -> None:
            rows.note_wrong_code(tx, serial_number, count, since)

        call.remember(count_it)
        raise invalid
    used, ahead = step, _drift(step - _step(call.now), device.drift, codes)

    def use_it(tx: Transaction) -> None:
        rows.note_used_step(tx, serial_number, used, ahead)

    call.remember(use_it)


def _drift(seen: int, known: int, codes: Sequence[str]) -> int:
    """Two codes measure a device's clock, within the window nothing is learned; one code measures nothing."""
    if len(codes) == 1:
        return known
    return seen if abs(seen) > WINDOW else 0


def prove_code(call: WriteCall, user: User, serial_number: str, token_code: str) -> None:
    """Return if the code proves that the user has their device, and use it up; AccessDenied in STS's words if not.

    The code is used up, and a wrong one counted, even if the call is then refused.
    """
    device = rows.device_by_serial(call.reader, call.account_id, serial_number)
    if device is None or device.user_id != user.user_id:
        raise access_denied(
            "MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial"
            " number is valid and associated with this user."
        )
    invalid = access_denied("MultiFactorAuthentication failed with invalid MFA one time pass code.")
    _prove(call, device, (token_code,), WINDOW, invalid)


def _invalid_code() -> Fault:
    return Fault("InvalidAuthenticationCode", "Authentication code for device is not valid.", status=403)


# What an action acts on


def _arn_of(call: Call, serial_number: str) -> str:
    """A hardware device's serial number is no ARN."""
    return serial_number if serial_number.startswith("arn:") else mfa_arn(call.account_id, "/", serial_number)


def _the_device(call: Call, parameters: Parameters) -> Target:
    arn = _arn_of(call, parameters["serial_number"])
    return Target(arn, arn)


def _the_new_device(call: Call, parameters: Parameters) -> Target:
    arn = mfa_arn(call.account_id, parameters.get("path") or "/", parameters["virtual_mfa_device_name"])
    return Target(arn, arn)


def _all_devices(call: Call, _parameters: Parameters) -> Target:
    arn = mfa_arn(call.account_id, "/", "")
    return Target(arn, arn)


def _the_device_s_user(call: Call, parameters: Parameters) -> Target:
    """The user that is named, or whose the device is."""
    if parameters.get("user_name") is not None:
        return the_user(call, parameters)
    device = rows.device_by_serial(call.reader, call.account_id, parameters["serial_number"])
    user = None if device is None or device.user_id is None else user_by_id(call.reader, device.user_id)
    return _the_device(call, parameters) if user is None else Target(user.arn, f"user {user.name}")


# Devices


def _find_device(call: Call, serial_number: str) -> MfaDevice:
    device = rows.device_by_serial(call.reader, call.account_id, serial_number)
    if device is None:
        raise _no_device(serial_number)
    return device


def _find_device_of(call: Call, user: User, serial_number: str) -> MfaDevice:
    device = _find_device(call, serial_number)
    if device.user_id != user.user_id:
        raise _no_device(serial_number)
    return device


def _no_device(serial_number: str) -> Fault:
    return no_such_entity(f"MFA Device with serial number {serial_number} does not exist.")


def _qr_code(uri: str) -> bytes:
    png = io.BytesIO()
    segno.make_qr(uri, error="m").save(png, kind="png", scale=5)
    return png.getvalue()


@operation("iam", "CreateVirtualMFADevice", _the_new_device, writes=True)
def create_virtual_mfa_device(
    call: WriteCall, *, virtual_mfa_device_name: str, path: str = "/", tags: Sequence[Result] = ()
) -> Result:
    """The seed is shown this once. It can't be used until two codes have enabled the device."""
    pairs = check_new_tags(tags)
    serial_number = mfa_arn(call.account_id, path, virtual_mfa_device_name)
    if len(serial_number) > LONGEST_SERIAL_NUMBER:
        raise validation_error(
            "1 validation error detected: Value at 'serialNumber' failed to satisfy constraint: Member must"
            f" have length less than or equal to {LONGEST_SERIAL_NUMBER}"
        )
    if rows.serial_is_taken(call.reader, serial_number):
        raise already_exists("MFA device already exists.")
    if rows.count_devices(call.reader, call.account_id) >= DEVICES_PER_ACCOUNT:
        raise limit_exceeded(f"Cannot exceed quota for VirtualMFADevicesPerAccount: {DEVICES_PER_ACCOUNT}")
    text = base64.b32encode(call.services.random_bytes(_SEED_BYTES)).decode("ascii")
    seed = Secret(text.encode("ascii"))
    sealer = call.services.sealer
    sealed = sealer.seal(
        seed, purpose=Purpose.TOTP, account_id=call.account_id, owner=_OWNER, name=serial_number
    )
    device = MfaDevice(serial_number, call.account_id, None, sealed, call.now)
    rows.insert_device(call.tx, device, sealer.kek_id)
    DEVICE_TAGS.put(call.tx, call.account_id, serial_number, pairs)
    uri = pyotp.TOTP(text).provisioning_uri(
        name=f"{virtual_mfa_device_name}@{call.account_id}", issuer_name=_ISSUER
    )
    shown: Result = {
        "SerialNumber": serial_number,
        "Base32StringSeed": seed,
        "QRCodePNG": Secret(_qr_code(uri)),
    }
    return {"VirtualMFADevice": shown | ({"Tags": tag_list(pairs)} if pairs else {})}


@operation("iam", "EnableMFADevice", the_user, writes=True)
def enable_mfa_device(
    call: WriteCall,
    *,
    user_name: str,
    serial_number: str,
    authentication_code1: str,
    authentication_code2: str,
) -> Result:
    """Two consecutive codes prove that the device is set up and show its clock."""
    user = find_user(call, user_name)
    device = _find_device(call, serial_number)
    if device.user_id is not None:
        raise already_exists("MFA Device is already in use.")
    if len(rows.devices_of_user(call.reader, user.user_id)) >= DEVICES_PER_USER:
        raise limit_exceeded(f"Cannot exceed quota for MFADevicesPerUser: {DEVICES_PER_USER}")
    _prove(call, device, (authentication_code1, authentication_code2), WINDOW, _invalid_code())
    rows.enable_device(call.tx, serial_number, user.user_id, call.now)
    return {}


@operation("iam", "ResyncMFADevice", the_user, writes=True)
def resync_mfa_device(
    call: WriteCall,
    *,
    user_name: str,
    serial_number: str,
    authentication_code1: str,
    authentication_code2: str,
) -> Result:
    """A device whose clock is up to five minutes wrong shows by how much; its codes work again from then on."""
    device = _find_device_of(call, find_user(call, user_name), serial_number)
    _prove(call, device, (authentication_code1, authentication_code2), RESYNC_WINDOW, _invalid_code())
    return {}


@operation("iam", "DeactivateMFADevice", the_user, writes=True)
def deactivate_mfa_device(call: WriteCall, *, serial_number: str, user_name: str | None = None) -> Result:
    device = _find_device_of(call, user_or_caller(call, user_name), serial_number)
    rows.deactivate_device(call.tx, device.serial_number)
    return {}


@operation("iam", "DeleteVirtualMFADevice", _the_device, writes=True)
def delete_virtual_mfa_device(call: WriteCall, *, serial_number: str) -> Result:
    device = _find_device(call, serial_number)
    if device.user_id is not None:
        raise delete_conflict("MFA VirtualDevice in use. Must deactivate first.")
    rows.delete_device(call.tx, serial_number)
    return {}


@operation("iam", "ListMFADevices", the_user)
def list_mfa_devices(
    call: Call, *, user_name: str | None = None, marker: str | None = None, max_items: int | None = None
) -> Result:
    user = user_or_caller(call, user_name)
    devices, end = page_of(
        call,
        marker,
        max_items,
        rows.devices_of_user(call.reader, user.user_id),
        lambda device: fold(device.serial_number),
    )
    return {
        "MFADevices": [
            {
                "UserName": user.name,
                "SerialNumber": device.serial_number,
                "EnableDate": device.enabled_at,
            }
            for device in devices
        ],
        **end,
    }


@operation("iam", "ListVirtualMFADevices", _all_devices)
def list_virtual_mfa_devices(
    call: Call,
    *,
    assignment_status: str = "Any",
    marker: str | None = None,
    max_items: int | None = None,
) -> Result:
    """Never with their seeds."""
    listed, end = page(
        call,
        marker,
        max_items,
        lambda after, limit: rows.devices_after(
            call.reader, call.account_id, after, assignment_status, limit
        ),
        lambda held: fold(held[0].serial_number),
    )
    return {
        "VirtualMFADevices": [
            {"SerialNumber": device.serial_number}
            | ({"User": described_user(user), "EnableDate": device.enabled_at} if user else {})
            for device, user in listed
        ],
        **end,
    }


@operation("iam", "GetMFADevice", _the_device_s_user)
def get_mfa_device(call: Call, *, serial_number: str, user_name: str | None = None) -> Result:
    """Without `Certifications`: those are of FIDO keys."""
    if user_name is not None:
        device = _find_device_of(call, find_user(call, user_name), serial_number)
    else:
        device = _find_device(call, serial_number)
    user = None if device.user_id is None else user_by_id(call.reader, device.user_id)
    if user is None:
        return {"SerialNumber": serial_number}
    return {"UserName": user.name, "SerialNumber": serial_number, "EnableDate": device.enabled_at}


# Tags


@operation("iam", "TagMFADevice", _the_device, writes=True)
def tag_mfa_device(call: WriteCall, *, serial_number: str, tags: Sequence[Result]) -> Result:
    _find_device(call, serial_number)
    pairs = check_new_tags(tags, DEVICE_TAGS.of(call.reader, serial_number))
    DEVICE_TAGS.put(call.tx, call.account_id, serial_number, pairs)
    return {}


@operation("iam", "UntagMFADevice", _the_device, writes=True)
def untag_mfa_device(call: WriteCall, *, serial_number: str, tag_keys: Sequence[str]) -> Result:
    _find_device(call, serial_number)
    DEVICE_TAGS.delete(call.tx, serial_number, tag_keys)
    return {}


@operation("iam", "ListMFADeviceTags", _the_device)
def list_mfa_device_tags(
    call: Call, *, serial_number: str, marker: str | None = None, max_items: int | None = None
) -> Result:
    _find_device(call, serial_number)
    listed, end = page_of(
        call, marker, max_items, DEVICE_TAGS.of(call.reader, serial_number), lambda tag: fold(tag[0])
    )
    return {"Tags": tag_list(listed), **end}
