"""Virtual MFA devices: two codes enable one, each code works once, wrong ones are counted."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING

import pyotp
import pytest
import segno
from botocore.exceptions import ClientError

from keyturn.authority.mfa import DEVICES_PER_USER, WRONG_CODES, matching_step, prove_code
from keyturn.authority.operations import RequestFacts, WriteCall
from keyturn.authority.storage.users import user_by_name
from keyturn.store.interface import Transaction
from keyturn.wire.faults import Fault, access_denied
from living_authority import HeldClock, LivingAuthority, living_authority

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient
    from types_boto3_iam.type_defs import TagTypeDef, VirtualMFADeviceTypeDef

NAMES = (f"ana-{number}" for number in count())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingAuthority]:
    with living_authority(tmp_path_factory.mktemp("home"), clock=HeldClock()) as living:
        yield living


@pytest.fixture
def authority(shared: LivingAuthority) -> LivingAuthority:
    """At the beginning of a step, so that no test crosses into the next one by itself."""
    shared.clock.ahead_ms = 0
    shared.clock.ahead_ms = 30_000 - shared.clock.now_ms() % 30_000
    return shared


def error(raised: pytest.ExceptionInfo[ClientError]) -> tuple[str, int, str]:
    response = raised.value.response
    return (
        response["Error"]["Code"],
        response["ResponseMetadata"]["HTTPStatusCode"],
        response["Error"]["Message"],
    )


_CLIENTS: dict[str, IAMClient] = {}


def administrator(authority: LivingAuthority) -> IAMClient:
    """The same client for all: making one costs more than a call."""
    if authority.url not in _CLIENTS:
        _CLIENTS[authority.url] = authority.iam()
    return _CLIENTS[authority.url]


INVALID = ("InvalidAuthenticationCode", 403, "Authentication code for device is not valid.")


class Device:
    """Somebody's telephone."""

    def __init__(self, authority: LivingAuthority, name: str, user: str = "", path: str = "/") -> None:
        self.authority = authority
        self.user = user or name
        made = administrator(authority).create_virtual_mfa_device(VirtualMFADeviceName=name, Path=path)
        self.serial = made["VirtualMFADevice"]["SerialNumber"]
        self.seed = made["VirtualMFADevice"]["Base32StringSeed"].decode()
        self.png = made["VirtualMFADevice"]["QRCodePNG"]

    def code(self, offset: int = 0) -> str:
        """The code of a step, counted from now."""
        return pyotp.HOTP(self.seed).at(self.authority.clock.now_ms() // 30_000 + offset)

    def enable(self, user: str = "", first: int = -1, second: int = 0) -> None:
        administrator(self.authority).enable_mfa_device(
            UserName=user or self.user,
            SerialNumber=self.serial,
            AuthenticationCode1=self.code(first),
            AuthenticationCode2=self.code(second),
        )

    def resync(self, first: int, second: int) -> None:
        administrator(self.authority).resync_mfa_device(
            UserName=self.user,
            SerialNumber=self.serial,
            AuthenticationCode1=self.code(first),
            AuthenticationCode2=self.code(second),
        )

    def enabled_serials(self, user: str = "") -> list[str]:
        listed = administrator(self.authority).list_mfa_devices(UserName=user or self.user)
        return [held["SerialNumber"] for held in listed["MFADevices"]]

    def prove(self, code: str, user: str = "") -> str | None:
        """What STS would be told: None if the code is right, else the fault as text. Refusals undo, as there."""
        return prove(self.authority, user or self.user, self.serial, code)


def prove(authority: LivingAuthority, user_name: str, serial: str, code: str) -> str | None:
    def act(call: WriteCall) -> None:
        user = user_by_name(call.reader, call.account_id, user_name)
        assert user is not None
        prove_code(call, user, serial, code)

    return refusal_of(authority, act)


def refusal_of(authority: LivingAuthority, act: Callable[[WriteCall], None]) -> str | None:
    """Act in the writer's transaction as an operation of STS does; a refusal undoes what was done."""

    def write(tx: Transaction) -> str | None:
        facts = RequestFacts("id", "127.0.0.1", "test", "sts", "eu-west-1", is_secure=False)
        services = authority.opened.authority.services
        call = WriteCall("AssumeRole", None, authority.clock.now_ms(), facts, services, tx, tx=tx)  # type: ignore[arg-type]  # nobody asks who calls
        try:
            with tx.savepoint():
                act(call)
        except Fault as refused:
            for remembered in call.even_if_refused:
                remembered(tx)
            return f"{refused.status} {refused}"
        return None

    return authority.run(authority.opened.store.write(write))


def new_user(authority: LivingAuthority) -> str:
    name = next(NAMES)
    administrator(authority).create_user(UserName=name)
    return name


@pytest.fixture
def ana(authority: LivingAuthority) -> str:
    """The name of a user of the test's own."""
    return new_user(authority)


@pytest.fixture
def bob(authority: LivingAuthority) -> str:
    """Somebody else."""
    return new_user(authority)


@pytest.fixture
def device(authority: LivingAuthority, ana: str) -> Device:
    """Ana's, not enabled yet."""
    return Device(authority, ana)


@pytest.fixture
def enabled(device: Device) -> Device:
    device.enable()
    return device


WRONG = "403 AccessDenied: MultiFactorAuthentication failed with invalid MFA one time pass code."


def wrong_code(device: Device) -> str:
    right = {device.code(offset) for offset in range(-12, 13)}
    return next(code for code in (f"{number:06}" for number in range(100)) if code not in right)


def matrix_of_png(png: bytes, scale: int, border: int) -> list[list[int]]:
    """The modules of a one-bit greyscale PNG, 1 for dark, read from the pixels."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        chunks[png[at + 4 : at + 8]] = png[at + 8 : at + 8 + length]
        at += 12 + length
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert (depth, colour, width) == (1, 0, height)
    pixels = zlib.decompress(chunks[b"IDAT"])
    stride = (width + 7) // 8 + 1
    lines = [bytes(stride - 1)]
    for start in range(0, height * stride, stride):
        kind, line = pixels[start], pixels[start + 1 : start + stride]
        assert kind in {0, 2}, "the filters None and Up (PNG specification, 9.2)"
        lines.append(bytes(a + b & 255 for a, b in zip(line, lines[-1], strict=True)) if kind else line)
    middles = [(border + number) * scale + scale // 2 for number in range(width // scale - 2 * border)]
    return [[1 - (lines[1 + row][x // 8] >> (7 - x % 8) & 1) for x in middles] for row in middles]


# Devices


def test_a_new_device_has_a_seed_and_a_qr_code_that_an_authenticator_app_reads(device: Device) -> None:
    account = device.authority.opened.instance.account_id
    assert device.serial == f"arn:aws:iam::{account}:mfa/{device.user}"
    assert len(device.seed) == 32
    uri = f"otpauth://totp/Keyturn:{device.user}%40{account}?secret={device.seed}&issuer=Keyturn"
    read = pyotp.TOTP(device.seed)
    assert read.provisioning_uri(name=f"{device.user}@{account}", issuer_name="Keyturn") == uri
    assert (read.digits, read.interval) == (6, 30)
    expected = [list(row) for row in segno.make_qr(uri, error="m").matrix]
    assert matrix_of_png(device.png, scale=5, border=4) == expected


def test_the_seed_stands_nowhere_in_the_clear(device: Device) -> None:
    device.authority.keep_house()
    files = [file for file in device.authority.settings.place.data_dir.rglob("*") if file.is_file()]
    assert files
    for file in files:
        content = file.read_bytes()
        assert device.seed.encode() not in content, file.name
        assert device.png not in content, file.name


def virtual_devices(authority: LivingAuthority, status: str) -> dict[str, VirtualMFADeviceTypeDef]:
    listed = administrator(authority).list_virtual_mfa_devices(AssignmentStatus=status, MaxItems=1000)  # type: ignore[arg-type]  # a literal
    assert listed["IsTruncated"] is False
    return {device["SerialNumber"]: device for device in listed["VirtualMFADevices"]}


def test_a_device_is_listed_without_its_seed(device: Device) -> None:
    assert virtual_devices(device.authority, "Any")[device.serial] == {"SerialNumber": device.serial}
    assert device.serial in virtual_devices(device.authority, "Unassigned")
    assert device.serial not in virtual_devices(device.authority, "Assigned")
    assert device.enabled_serials() == []


@pytest.mark.parametrize("path", ["/", "/test-path/", "/test//double/"])
def test_a_device_may_have_a_path_and_can_be_deleted(authority: LivingAuthority, path: str) -> None:
    name = next(NAMES)
    device = Device(authority, name, path=path)
    assert device.serial.endswith(f":mfa{path}{name}")
    administrator(authority).delete_virtual_mfa_device(SerialNumber=device.serial)
    assert device.serial not in virtual_devices(authority, "Any")


def test_names_are_unique_without_regard_to_case(device: Device) -> None:
    for name in (device.user, device.user.upper()):
        with pytest.raises(ClientError) as refused:
            Device(device.authority, name)
        assert error(refused) == ("EntityAlreadyExists", 409, "MFA device already exists.")


@pytest.mark.parametrize("path", ["invalid-path/", "/invalid-path"])
def test_a_path_without_its_slashes_is_refused(authority: LivingAuthority, path: str) -> None:
    with pytest.raises(ClientError) as refused:
        Device(authority, "phone", path=path)
    told = (
        "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric"
        " characters and/or / characters."
    )
    assert error(refused) == ("ValidationError", 400, told)


def test_a_serial_number_that_no_request_could_name_is_refused(authority: LivingAuthority) -> None:
    with pytest.raises(ClientError) as refused:
        Device(authority, "x" * 230)
    assert error(refused)[:2] == ("ValidationError", 400)


def test_a_device_that_does_not_exist_is_named_so(authority: LivingAuthority, ana: str) -> None:
    iam = administrator(authority)
    serial = f"arn:aws:iam::{authority.opened.instance.account_id}:mfa/nobody"
    missing = ("NoSuchEntity", 404, f"MFA Device with serial number {serial} does not exist.")
    codes = {"AuthenticationCode1": "123456", "AuthenticationCode2": "654321"}
    acts: list[Callable[[], object]] = [
        lambda: iam.delete_virtual_mfa_device(SerialNumber=serial),
        lambda: iam.deactivate_mfa_device(UserName=ana, SerialNumber=serial),
        lambda: iam.get_mfa_device(SerialNumber=serial),
        lambda: iam.list_mfa_device_tags(SerialNumber=serial),
        lambda: iam.tag_mfa_device(SerialNumber=serial, Tags=[{"Key": "a", "Value": "b"}]),
        lambda: iam.untag_mfa_device(SerialNumber=serial, TagKeys=["a"]),
        lambda: iam.enable_mfa_device(UserName=ana, SerialNumber=serial, **codes),
        lambda: iam.resync_mfa_device(UserName=ana, SerialNumber=serial, **codes),
    ]
    for act in acts:
        with pytest.raises(ClientError) as refused:
            act()
        assert error(refused) == missing


def test_a_user_that_does_not_exist_is_named_before_the_device(device: Device) -> None:
    missing = ("NoSuchEntity", 404, "The user with name nonexistent-user cannot be found.")
    with pytest.raises(ClientError) as refused:
        device.enable("nonexistent-user")
    assert error(refused) == missing
    with pytest.raises(ClientError) as refused:
        administrator(device.authority).deactivate_mfa_device(
            UserName="nonexistent-user", SerialNumber=device.serial
        )
    assert error(refused) == missing


def test_listings_have_pages_and_refuse_a_marker_that_is_not_theirs(authority: LivingAuthority) -> None:
    serials = {Device(authority, name).serial for name in ("page-b", "Page-C", "page-a")}
    iam = administrator(authority)
    pages = iam.get_paginator("list_virtual_mfa_devices").paginate(PaginationConfig={"PageSize": 2})
    found = [held["SerialNumber"] for page in pages for held in page["VirtualMFADevices"]]
    assert found == sorted(found, key=str.lower)
    assert len(set(found)) == len(found)
    assert serials <= set(found)
    with pytest.raises(ClientError) as refused:
        iam.list_virtual_mfa_devices(Marker="invalid-marker-value")
    assert error(refused) == ("ValidationError", 400, "Invalid Marker.")


def test_tags_are_kept_and_their_keys_fold(authority: LivingAuthority) -> None:
    iam = administrator(authority)
    tag: TagTypeDef = {"Key": "Owner", "Value": "a"}
    made = iam.create_virtual_mfa_device(VirtualMFADeviceName=next(NAMES), Tags=[tag])
    serial = made["VirtualMFADevice"]["SerialNumber"]
    assert made["VirtualMFADevice"]["Tags"] == [tag]
    iam.tag_mfa_device(SerialNumber=serial, Tags=[{"Key": "owner", "Value": "b"}, {"Key": "x", "Value": ""}])
    listed = iam.list_mfa_device_tags(SerialNumber=serial)
    assert listed["Tags"] == [{"Key": "owner", "Value": "b"}, {"Key": "x", "Value": ""}]
    iam.untag_mfa_device(SerialNumber=serial, TagKeys=["OWNER"])
    assert iam.list_mfa_device_tags(SerialNumber=serial)["Tags"] == [{"Key": "x", "Value": ""}]


# Enabling


def test_two_consecutive_codes_enable_a_device(enabled: Device) -> None:
    iam = administrator(enabled.authority)
    (held,) = iam.list_mfa_devices(UserName=enabled.user)["MFADevices"]
    assert (held["UserName"], held["SerialNumber"]) == (enabled.user, enabled.serial)
    virtual = virtual_devices(enabled.authority, "Assigned")[enabled.serial]
    assert virtual["User"]["UserName"] == enabled.user
    assert virtual["EnableDate"] == held["EnableDate"]
    assert enabled.serial not in virtual_devices(enabled.authority, "Unassigned")
    shown = iam.get_mfa_device(SerialNumber=enabled.serial)
    assert (shown["UserName"], shown["EnableDate"]) == (enabled.user, held["EnableDate"])


def test_a_policy_for_users_lets_them_enable_and_read_their_own_device(device: Device) -> None:
    iam = administrator(device.authority)
    iam.put_user_policy(
        UserName=device.user,
        PolicyName="own-mfa",
        PolicyDocument='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":'
        '["iam:EnableMFADevice","iam:GetMFADevice","iam:ListMFADevices"],'
        '"Resource":"arn:aws:iam::*:user/${aws:username}"}]}',
    )
    key = iam.create_access_key(UserName=device.user)["AccessKey"]
    own = device.authority.iam(key["AccessKeyId"], key["SecretAccessKey"])
    own.enable_mfa_device(
        UserName=device.user,
        SerialNumber=device.serial,
        AuthenticationCode1=device.code(-1),
        AuthenticationCode2=device.code(),
    )
    assert len(own.list_mfa_devices()["MFADevices"]) == 1
    assert own.get_mfa_device(SerialNumber=device.serial)["UserName"] == device.user
    with pytest.raises(ClientError) as refused:
        own.deactivate_mfa_device(SerialNumber=device.serial)
    assert error(refused)[:2] == ("AccessDenied", 403)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(0, -1, id="the wrong way round"),
        pytest.param(0, 0, id="one code twice"),
        pytest.param(-2, 0, id="not consecutive"),
        pytest.param(-3, -2, id="too old"),
        pytest.param(1, 2, id="too early"),
    ],
)
def test_other_codes_do_not_enable_a_device(device: Device, first: int, second: int) -> None:
    with pytest.raises(ClientError) as refused:
        device.enable(first=first, second=second)
    assert error(refused) == INVALID
    assert device.enabled_serials() == []


@pytest.mark.parametrize("ahead", [-1, 1])
def test_a_device_may_be_a_step_off(device: Device, ahead: int) -> None:
    device.enable(first=ahead - 1, second=ahead)
    assert device.enabled_serials() == [device.serial]


def test_a_device_serves_one_user(enabled: Device, bob: str) -> None:
    enabled.authority.clock.advance(seconds=60)
    with pytest.raises(ClientError) as refused:
        enabled.enable(bob)
    assert error(refused) == ("EntityAlreadyExists", 409, "MFA Device is already in use.")


def test_a_user_has_at_most_eight_devices(authority: LivingAuthority, ana: str) -> None:
    for number in range(DEVICES_PER_USER):
        Device(authority, f"{ana}-{number}", ana).enable()
    with pytest.raises(ClientError) as refused:
        Device(authority, f"{ana}-more", ana).enable()
    assert error(refused) == ("LimitExceeded", 409, "Cannot exceed quota for MFADevicesPerUser: 8")


def test_a_device_in_use_is_deactivated_before_it_or_its_user_is_deleted(enabled: Device) -> None:
    iam = administrator(enabled.authority)
    with pytest.raises(ClientError) as refused:
        iam.delete_virtual_mfa_device(SerialNumber=enabled.serial)
    assert error(refused)[:2] == ("DeleteConflict", 409)
    with pytest.raises(ClientError) as refused:
        iam.delete_user(UserName=enabled.user)
    told = "Cannot delete entity, must delete MFA device first."
    assert error(refused) == ("DeleteConflict", 409, told)
    iam.deactivate_mfa_device(UserName=enabled.user, SerialNumber=enabled.serial)
    assert enabled.enabled_serials() == []
    iam.delete_virtual_mfa_device(SerialNumber=enabled.serial)
    iam.delete_user(UserName=enabled.user)


def test_nobody_deactivates_a_device_in_another_user_s_name(enabled: Device, bob: str) -> None:
    with pytest.raises(ClientError) as refused:
        administrator(enabled.authority).deactivate_mfa_device(UserName=bob, SerialNumber=enabled.serial)
    assert error(refused)[:2] == ("NoSuchEntity", 404)
    assert enabled.enabled_serials() == [enabled.serial]


# Each code once


def test_the_codes_that_enabled_a_device_prove_nothing_afterwards(enabled: Device) -> None:
    assert enabled.prove(enabled.code(-1)) == WRONG
    assert enabled.prove(enabled.code()) == WRONG
    assert enabled.prove(enabled.code(1)) is None


def test_a_code_works_once(enabled: Device) -> None:
    enabled.authority.clock.advance(seconds=60)
    code = enabled.code()
    assert enabled.prove(code) is None
    assert enabled.prove(code) == WRONG


def test_a_code_of_before_the_last_one_is_refused(enabled: Device) -> None:
    enabled.authority.clock.advance(seconds=90)
    assert enabled.prove(enabled.code()) is None
    assert enabled.prove(enabled.code(-1)) == WRONG


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_a_code_of_the_steps_beside_ours_is_accepted(enabled: Device, offset: int) -> None:
    enabled.authority.clock.advance(seconds=90)
    assert enabled.prove(enabled.code(offset)) is None


@pytest.mark.parametrize("offset", [-2, 2])
def test_a_code_of_another_step_is_refused(enabled: Device, offset: int) -> None:
    enabled.authority.clock.advance(seconds=120)
    assert enabled.prove(enabled.code(offset)) == WRONG


def test_codes_stay_used_when_the_device_changes_hands(enabled: Device, bob: str) -> None:
    administrator(enabled.authority).deactivate_mfa_device(UserName=enabled.user, SerialNumber=enabled.serial)
    with pytest.raises(ClientError) as refused:
        enabled.enable(bob)
    assert error(refused) == INVALID
    enabled.authority.clock.advance(seconds=60)
    enabled.enable(bob)
    assert enabled.enabled_serials(bob) == [enabled.serial]


def test_a_code_stays_used_when_the_call_that_it_was_for_is_refused(enabled: Device) -> None:
    enabled.authority.clock.advance(seconds=60)
    code = enabled.code()

    def proved_and_then_denied(call: WriteCall) -> None:
        user = user_by_name(call.reader, call.account_id, enabled.user)
        assert user is not None
        prove_code(call, user, enabled.serial, code)
        raise access_denied("the role trusts somebody else")

    assert refusal_of(enabled.authority, proved_and_then_denied) is not None
    assert enabled.prove(code) == WRONG


def test_only_one_s_own_enabled_device_proves_anything(device: Device, bob: str) -> None:
    unable = (
        "403 AccessDenied: MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your"
        " MFA serial number is valid and associated with this user."
    )
    assert device.prove(device.code()) == unable
    device.enable()
    assert device.prove(device.code(1), bob) == unable
    assert prove(device.authority, device.user, f"{device.serial}x", device.code(1)) == unable
    assert device.prove(device.code(1)) is None


# Wrong codes


def test_after_ten_wrong_codes_even_the_right_one_waits_five_minutes(enabled: Device) -> None:
    clock = enabled.authority.clock
    clock.advance(seconds=60)
    for _attempt in range(WRONG_CODES):
        assert enabled.prove(wrong_code(enabled)) == WRONG
    blocked = enabled.prove(enabled.code())
    assert blocked is not None
    assert "Too many wrong codes" in blocked
    clock.advance(seconds=301)
    assert enabled.prove(enabled.code()) is None


def test_wrong_codes_are_counted_although_enabling_is_refused(device: Device) -> None:
    for _attempt in range(WRONG_CODES):
        with pytest.raises(ClientError) as refused:
            device.enable(first=0, second=0)
        assert error(refused) == INVALID
    with pytest.raises(ClientError) as refused:
        device.enable()
    assert error(refused)[:2] == ("AccessDenied", 403)
    device.authority.clock.advance(seconds=301)
    device.enable()
    assert device.enabled_serials() == [device.serial]


def test_wrong_codes_of_another_time_do_not_add_up(enabled: Device) -> None:
    for _time in range(2):
        enabled.authority.clock.advance(seconds=301)
        for _attempt in range(WRONG_CODES - 1):
            assert enabled.prove(wrong_code(enabled)) == WRONG
    assert enabled.prove(enabled.code()) is None


@pytest.mark.parametrize("code", ["１２３４５６", "1234567", "12345a"])
def test_what_is_not_six_digits_never_reaches_the_comparison(device: Device, code: str) -> None:
    with pytest.raises(ClientError) as refused:
        administrator(device.authority).enable_mfa_device(
            UserName=device.user,
            SerialNumber=device.serial,
            AuthenticationCode1=code,
            AuthenticationCode2=device.code(),
        )
    assert error(refused)[:2] == ("ValidationError", 400)


# Clocks


def test_a_device_with_a_wrong_clock_works_again_after_a_resync(enabled: Device) -> None:
    enabled.authority.clock.advance(seconds=600)
    behind = -6
    assert enabled.prove(enabled.code(behind)) == WRONG
    enabled.resync(behind - 1, behind)
    assert enabled.prove(enabled.code(behind)) == WRONG
    enabled.authority.clock.advance(seconds=30)
    assert enabled.prove(enabled.code(behind)) is None
    assert enabled.prove(enabled.code()) == WRONG


def test_a_clock_that_is_right_again_is_believed_again(enabled: Device) -> None:
    clock = enabled.authority.clock
    clock.advance(seconds=420)
    enabled.resync(-7, -6)
    enabled.resync(-1, 0)
    clock.advance(seconds=60)
    assert enabled.prove(enabled.code()) is None


@pytest.mark.parametrize(("first", "second"), [(-12, -11), (11, 12), (0, 2), (3, 3)])
def test_a_resync_takes_two_consecutive_codes_of_about_now(enabled: Device, first: int, second: int) -> None:
    enabled.authority.clock.advance(seconds=600)
    with pytest.raises(ClientError) as refused:
        enabled.resync(first, second)
    assert error(refused) == INVALID


def test_a_resync_takes_no_used_codes(enabled: Device) -> None:
    with pytest.raises(ClientError) as refused:
        enabled.resync(-1, 0)
    assert error(refused) == INVALID


def test_codes_are_rfc_6238_s() -> None:
    """RFC 6238, appendix B, of which the last six digits count (SHA-1)."""
    seed = pyotp.HOTP("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
    for seconds, code in ((59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")):
        step = seconds // 30
        assert matching_step(seed, [code], range(step - 1, step + 2)) == step


def test_no_step_before_the_epoch_matches() -> None:
    seed = pyotp.HOTP("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
    assert matching_step(seed, [seed.at(0)], range(-1, 0)) is None
