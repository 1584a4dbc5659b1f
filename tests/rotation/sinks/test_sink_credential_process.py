"""`credential_process`: real SDKs take the answer, and a running boto3 takes up a new key without a restart."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import pytest

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair
from keyturn.model.clock import SystemClock
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.credential_process import (
    ADVISORY_SECONDS,
    Stored,
    answer,
    read_stored,
    store_path,
)
from keyturn.rotation.sinks.interface import Sink, SinkRefusedError
from keyturn.rotation.sinks.registry import open_sink
from living_authority import LivingAuthority
from rotation.sinks.sink_conformance import (
    PlaceUnderTest,
    SinkConformance,
    file_mark,
    new_context,
    new_pair,
    surroundings,
)

ROOT: Final = Path(__file__).parents[3]
AWS: Final = ROOT / ".venv-aws/bin/aws"
HELPER: Final = Path(__file__).parent / "credential_helper.py"
SWITCHING: Final = Path(__file__).parent / "switching_program.py"


def process_sink(home: Path, **more: Any) -> Sink:
    return open_sink(
        "sdk", {"type": "credential_process", "profile": "ci", **more}, surroundings({"HOME": str(home)})
    )


def rotate(sink: Sink) -> AccessKeyPair:
    pair = new_pair()
    sink.write(pair, expect=sink.read(), context=new_context())
    return pair


def a_home(home: Path, *arguments: str) -> dict[str, str]:
    """A home whose profile `ci` asks the helper."""
    path = store_path("ci", {"HOME": str(home)})
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text(
        f"[profile ci]\nregion = eu-west-1\n"
        f"credential_process = {sys.executable} {HELPER} {path} {' '.join(arguments)}\n"
    )
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "src"),
        "AWS_PROFILE": "ci",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class TestCredentialProcess(SinkConformance):
    @pytest.fixture
    def place(self, tmp_path: Path) -> PlaceUnderTest:
        path = store_path("ci", {"HOME": str(tmp_path)})

        def behind(pair: AccessKeyPair) -> None:
            other = process_sink(tmp_path)
            other.write(pair, expect=other.read(), context=new_context())

        return PlaceUnderTest(
            process_sink(tmp_path),
            behind,
            mark=lambda: file_mark(path),
            directories=(tmp_path,),
            may_hold=(path,),
        )


def test_the_file_is_private_and_so_is_its_directory(tmp_path: Path) -> None:
    rotate(process_sink(tmp_path))
    path = store_path("ci", {"HOME": str(tmp_path)})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_answer_lives_as_long_as_botocore_s_window_and_refresh_together(tmp_path: Path) -> None:
    pair = rotate(process_sink(tmp_path, refresh=120))
    stored = read_stored(store_path("ci", {"HOME": str(tmp_path)}))
    assert stored == Stored(pair, 120)
    assert json.loads(answer(stored, now_ms=0).reveal()) == {
        "Version": 1,
        "AccessKeyId": pair.access_key_id,
        "SecretAccessKey": pair.secret.reveal().decode(),
        "Expiration": "1970-01-01T00:17:00Z",
    }


def test_the_window_is_botocore_s_own() -> None:
    from botocore.credentials import RefreshableCredentials

    assert vars(RefreshableCredentials)["_advisory_refresh_timeout"] == ADVISORY_SECONDS


def test_nothing_there_or_something_else_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    path = store_path("ci", {"HOME": str(tmp_path)})
    with pytest.raises(KeyturnError, match="there is no key to hand out"):
        read_stored(path)
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    path.chmod(0o600)
    with pytest.raises(KeyturnError, match="is not a file of keyturn creds"):
        read_stored(path)
    with pytest.raises(SinkRefusedError, match="is not a file of keyturn creds"):
        process_sink(tmp_path).read()
    path.chmod(0o644)
    with pytest.raises(KeyturnError, match="can be read by others"):
        read_stored(path)


@pytest.mark.parametrize("profile", ["", "..", ".x", "a/b", "a b", "x" * 129])
def test_a_profile_that_is_no_file_name_is_refused(tmp_path: Path, profile: str) -> None:
    with pytest.raises(KeyturnError):
        open_sink(
            "sdk",
            {"type": "credential_process", "profile": profile},
            surroundings({"HOME": str(tmp_path)}),
        )


@pytest.mark.parametrize("refresh", [0, 59, 43201])
def test_refresh_has_its_bounds(tmp_path: Path, refresh: int) -> None:
    with pytest.raises(KeyturnError, match="refresh must be 60 to 43200"):
        process_sink(tmp_path, refresh=refresh)


@pytest.mark.skipif(not AWS.exists(), reason="`make clients` fetches the aws CLI")
def test_the_aws_command_line_takes_the_answer(tmp_path: Path) -> None:
    environment, sink = a_home(tmp_path), process_sink(tmp_path)
    rotate(sink)
    pair = rotate(sink)
    told = subprocess.run(
        [AWS, "configure", "list"], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    (line,) = [line for line in told.stdout.splitlines() if "access_key" in line]
    assert f"*{pair.access_key_id[-4:]}" in line
    assert "custom-process" in line


class Switching:
    """A process with one boto3 client that it keeps: each line to it is a call, each line from it says who signed."""

    def __init__(self, environment: dict[str, str], authority: LivingAuthority) -> None:
        self.process = subprocess.Popen(
            [sys.executable, SWITCHING],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "AWS_ENDPOINT_URL": authority.url},
        )

    def signs_with(self) -> str:
        """The id of the key of a call that was accepted."""
        stdin, stdout = _open(self.process.stdin), _open(self.process.stdout)
        stdin.write(b"call\n")
        stdin.flush()
        return stdout.readline().decode().strip()

    def close(self) -> None:
        self.process.communicate(timeout=60)


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


@dataclass(frozen=True, slots=True)
class User:
    """A user of a real authority, whose keys go into the sink."""

    authority: LivingAuthority
    sink: Sink
    name: str

    def rotate(self) -> AccessKeyId:
        """A second key, into the sink."""
        key = self.authority.iam().create_access_key(UserName=self.name)["AccessKey"]
        pair = AccessKeyPair(AccessKeyId(key["AccessKeyId"]), Secret(key["SecretAccessKey"].encode()))
        self.sink.write(pair, expect=self.sink.read(), context=new_context())
        return pair.access_key_id


@pytest.fixture
def user(shared_authority: LivingAuthority, tmp_path: Path) -> User:
    name = f"user-{tmp_path.name}"[:64]
    shared_authority.iam().create_user(UserName=name)
    return User(shared_authority, process_sink(tmp_path), name)


def test_a_running_boto3_takes_up_a_new_key_within_refresh_and_asks_no_oftener(
    tmp_path: Path, user: User
) -> None:
    asked, clock = tmp_path / "asked", SystemClock()
    environment = a_home(tmp_path, "2", str(asked))  # an answer to be asked again after 2 s
    first = user.rotate()
    program = Switching(environment, user.authority)
    try:
        assert program.signs_with() == first
        second = user.rotate()
        since = clock.monotonic()
        calls = 1
        while (signer := program.signs_with()) != second:
            assert signer == first
            calls += 1
            assert clock.monotonic() - since < 60
        assert calls > 1
        # So often it asked: at the start, and once for each window that has passed, not once for each call.
        assert asked.stat().st_size <= 2 + (clock.monotonic() - since) / 2
        user.authority.iam().delete_access_key(UserName=user.name, AccessKeyId=first)
        assert program.signs_with() == second
    finally:
        program.close()


def test_an_answer_that_ends_within_botocore_s_window_would_be_asked_for_at_every_call(
    tmp_path: Path, user: User
) -> None:
    asked = tmp_path / "asked"
    environment = a_home(tmp_path, str(-ADVISORY_SECONDS + 300), str(asked))
    user.rotate()
    program = Switching(environment, user.authority)
    try:
        for _ in range(5):
            program.signs_with()
        assert asked.stat().st_size >= 5
    finally:
        program.close()


def test_a_running_boto3_goes_on_when_the_helper_fails_for_a_while(tmp_path: Path, user: User) -> None:
    asked = tmp_path / "asked"
    environment = a_home(tmp_path, "-1", str(asked))  # to be asked again at once
    first = user.rotate()
    program = Switching(environment, user.authority)
    path = store_path("ci", {"HOME": str(tmp_path)})
    try:
        assert program.signs_with() == first
        path.rename(path.with_suffix(".away"))
        assert program.signs_with() == first
        assert asked.stat().st_size >= 2
        path.with_suffix(".away").rename(path)
        second = user.rotate()
        assert program.signs_with() == second
    finally:
        program.close()
