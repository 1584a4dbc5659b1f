"""A disk that is really full: nothing new is written, keys go on to verify, and a leaked one can still be stopped."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from keyturn.authority.mark import MarkFile
from keyturn.wiring import verify_audit
from living_authority import HeldClock, LivingAuthority, living_authority
from real_program import ServedAuthority

SIZE = "40m"
"""Room for the 16 MiB that are kept back, and as much again."""


class ClockAhead(HeldClock):
    """Also what must only pass goes ahead: the disk is asked for room once a second."""

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_ms / 1000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system on which everything lies that Keyturn writes."""
    if os.geteuid() != 0:
        pytest.skip("a file system that is really full needs root to mount one")
    directory = tmp_path / "disk"
    directory.mkdir()
    options = f"size={SIZE},mode=0700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system that is really full needs the right to mount one")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (65_536, 4_096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def fill_up(living: LivingAuthority, disk: Path) -> None:
    """Until not even the room that the log has left takes a write."""
    fill(disk)
    iam = living.iam()

    def write_on_and_on() -> None:
        for number in range(2_000):
            iam.tag_user(UserName="filler", Tags=[{"Key": "t", "Value": f"{number}".ljust(256, "x")}])

    assert refusal(write_on_and_on) == ("ServiceUnavailable", 503)


def refusal(act: Callable[[], object]) -> tuple[str, int]:
    with pytest.raises(ClientError) as raised:
        act()
    response = raised.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_on_a_full_disk_verification_and_revocation_go_on_and_survive_a_restart(disk: Path) -> None:
    clock = ClockAhead()
    home = disk / "home"
    with living_authority(home, clock) as living:
        living.iam().create_user(UserName="filler")
        kept = living.new_user_with_key("kept")
        stopped = living.new_user_with_key("stopped")
        leaked = living.new_user_with_key("leaked")
        fill_up(living, disk)
        iam = living.iam()

        assert refusal(lambda: iam.create_access_key(UserName="kept")) == ("ServiceUnavailable", 503)
        assert refusal(lambda: iam.create_user(UserName="new")) == ("ServiceUnavailable", 503)
        activate = {"UserName": "kept", "AccessKeyId": kept[0], "Status": "Active"}
        assert refusal(lambda: iam.update_access_key(**activate))[1] == 503  # type: ignore[arg-type]
        assert living.sts(*kept).get_caller_identity()["Arn"].endswith(":user/kept")
        assert living.sts(*leaked).get_caller_identity()["Arn"].endswith(":user/leaked")

        iam.update_access_key(UserName="stopped", AccessKeyId=stopped[0], Status="Inactive")
        iam.delete_access_key(UserName="leaked", AccessKeyId=leaked[0])
        assert refusal(living.sts(*stopped).get_caller_identity) == ("InvalidClientTokenId", 403)
        assert refusal(living.sts(*leaked).get_caller_identity) == ("InvalidClientTokenId", 403)
        assert len(iam.list_access_keys(UserName="kept")["AccessKeyMetadata"]) == 1
        # Use is still counted, in memory until it can be written down.
        used = iam.get_access_key_last_used(AccessKeyId=kept[0])
        assert used["AccessKeyLastUsed"]["ServiceName"] == "sts"
        living.keep_house()

    fill(disk)
    with living_authority(home, clock) as living:
        assert living.sts(*kept).get_caller_identity()["Arn"].endswith(":user/kept")
        assert refusal(living.sts(*stopped).get_caller_identity) == ("InvalidClientTokenId", 403)
        assert refusal(living.sts(*leaked).get_caller_identity) == ("InvalidClientTokenId", 403)
        assert refusal(lambda: living.iam().create_user(UserName="new")) == ("ServiceUnavailable", 503)
        living.iam().update_access_key(UserName="kept", AccessKeyId=kept[0], Status="Inactive")
        assert refusal(living.sts(*kept).get_caller_identity) == ("InvalidClientTokenId", 403)

        (disk / "filler").unlink()
        clock.advance(seconds=2)
        assert living.iam().create_user(UserName="new")["User"]["UserName"] == "new"
        living.iam().update_access_key(UserName="kept", AccessKeyId=kept[0], Status="Active")
        assert living.sts(*kept).get_caller_identity()["Arn"].endswith(":user/kept")
        living.keep_house()
        verdict, mark = verify_audit(living.settings.place, lambda _done, _all: None)
        assert verdict.faults == ()
        assert mark is not None
        assert mark.sequence == verdict.records


def test_a_server_that_was_killed_on_a_full_disk_starts_on_it_and_revokes(disk: Path) -> None:
    """Also when something else has eaten the room that was kept back."""
    home = disk / "home"
    with ServedAuthority(home) as served, served.client() as client:
        client.call("iam", "CreateUser", UserName="leaked")
        key = client.call("iam", "CreateAccessKey", UserName="leaked")
        access_key_id, secret = key.text("AccessKeyId"), key.text("SecretAccessKey")
        fill(disk)
        revoke = {"UserName": "leaked", "AccessKeyId": access_key_id, "Status": "Inactive"}
        revoked = 0
        while client.call("iam", "UpdateAccessKey", **revoke).status == 200 and revoked < 2_000:
            revoked += 1
            fill(disk)
        assert 0 < revoked < 2_000
        served.kill()
    with ServedAuthority(home) as served, served.client() as client:
        assert client.call("iam", "ListAccessKeys", UserName="leaked").text("Status") == "Inactive"
        with served.client(access_key_id, secret) as leaked:
            assert leaked.call("sts", "GetCallerIdentity").code == "InvalidClientTokenId"
        (disk / "filler").unlink()
        assert served.stop() == 0
    with ServedAuthority(home) as served, served.client() as client:
        delete = {"UserName": "leaked", "AccessKeyId": access_key_id}
        assert client.call("iam", "DeleteAccessKey", **delete).status == 200
        assert client.call("iam", "CreateUser", UserName="new").status == 200


def test_what_cannot_be_written_is_complained_of_once_and_not_twice_a_second(
    authority: LivingAuthority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_self: MarkFile, _head: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for times in (1, 2):
        with monkeypatch.context() as patched:
            patched.setattr(MarkFile, "write", full)
            for _ in range(3):
                authority.keep_house()
        assert caplog.text.count("can't be written: [Errno 28] No space left on device") == times
        authority.keep_house()
