"""Every secret ever issued is looked for in everything that is written down or answered. Only its own door may show it."""

from __future__ import annotations

import base64
import http.client
import os
import resource
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError

from command_line import keyturn
from keyturn.authority.operations import OPERATIONS, Call, Result
from keyturn.store.sealing import Purpose, Sealer, read_master_key
from living_authority import LivingAuthority
from real_program import ServedAuthority, environment_of
from secret_forms import forms, holders, names_found

MASTER = "master key"
ADMINISTRATOR = "administrator"


@dataclass
class Seen:
    """All secrets that were issued, and all bytes that were answered where no secret belongs."""

    secrets: dict[str, bytes] = field(default_factory=dict)
    answers: list[bytes] = field(default_factory=list)


def work(served: ServedAuthority, seen: Seen) -> None:
    """Keys made, used, misused, repeated, deactivated and deleted."""
    with served.client() as administrator:
        for number in range(25):
            name = f"user-{number}"
            assert administrator.call("iam", "CreateUser", UserName=name).status == 200
            for slot in range(1 + number % 2):
                created = administrator.call(
                    "iam", "CreateAccessKey", f"{name} {slot} {'x' * 20}", UserName=name
                )
                repeated = administrator.call(
                    "iam", "CreateAccessKey", f"{name} {slot} {'x' * 20}", UserName=name
                )
                access_key_id, secret = created.text("AccessKeyId"), created.text("SecretAccessKey")
                assert repeated.text("SecretAccessKey") == secret
                seen.secrets[access_key_id] = secret.encode()
                use(served, seen, access_key_id, secret)
            members = {"UserName": name, "AccessKeyId": access_key_id}
            seen.answers.append(
                administrator.call("iam", "UpdateAccessKey", Status="Inactive", **members).body
            )
            use(served, seen, access_key_id, secret)
            if number % 3 == 0:
                seen.answers.append(administrator.call("iam", "DeleteAccessKey", **members).body)
                use(served, seen, access_key_id, secret)
            seen.answers += [
                administrator.call("iam", "ListAccessKeys", UserName=name).body,
                administrator.call("iam", "ListAccessKeys", UserName=name, MaxItems="none").body,
                administrator.call("iam", "DeleteUser", UserName=name).body,
                administrator.call("iam", "CreateAccessKey", UserName="nobody").body,
                administrator.call("iam", "NoSuchAction").body,
            ]


def use(served: ServedAuthority, seen: Seen, access_key_id: str, secret: str) -> None:
    """Rightly, wrongly and clumsily, as people do who paste a secret where it does not belong."""
    with served.client(access_key_id, secret) as right:
        seen.answers += [
            right.call("sts", "GetCallerIdentity").body,
            right.call("iam", "CreateUser", UserName="denied").body,
            right.call("iam", "GetUser", NoSuchMember=access_key_id).body,
        ]
    with served.client(access_key_id, secret[::-1]) as wrong:
        seen.answers.append(wrong.call("sts", "GetCallerIdentity").body)
    host = urlsplit(served.url).netloc
    request = AWSRequest("GET", f"{served.url}/?Action=GetCallerIdentity&Version=2011-06-15")
    SigV4QueryAuth(ReadOnlyCredentials(access_key_id, secret, None), "sts", "eu-west-1").add_auth(request)
    basic = base64.b64encode(f"{access_key_id}:{secret}".encode()).decode()
    scope = f"Credential={access_key_id}/20260101/eu-west-1/iam/aws4_request"
    connection = http.client.HTTPConnection(host, timeout=30)
    for target, authorization in (
        (str(request.url).removeprefix(served.url), ""),
        ("/", f"Basic {basic}"),
        ("/", f"AWS {access_key_id}:{secret}"),
        ("/", f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature={secret}"),
        (f"/?X-Amz-Security-Token={quote(secret)}&X-Amz-Credential={access_key_id}", ""),
        (f"/{quote(secret)}", ""),
        (f"/?AWSAccessKeyId={access_key_id}&Signature={quote(secret)}", ""),
    ):
        connection.request("GET", target, headers={"Authorization": authorization} if authorization else {})
        with connection.getresponse() as response:
            seen.answers.append(response.read())
    connection.close()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[ServedAuthority, Seen, Path]:
    """A server that has worked, was looked at beside, and is stopped; what was seen; and a backup."""
    home = tmp_path_factory.mktemp("search") / "home"
    backup = home.parent / "backups"
    backup.mkdir()
    seen = Seen()
    with ServedAuthority(home) as served:
        config = served.place.locations.config
        seen.secrets[ADMINISTRATOR] = served.administrator.secret.reveal()
        (key_file,) = config.glob("*.key")
        master = read_master_key(key_file)
        seen.secrets[MASTER] = master.key.reveal()
        sealer = Sealer(master, random_bytes=os.urandom)
        for purpose in Purpose:
            seen.secrets[f"{MASTER} for {purpose}"] = sealer.derive_mac_key(purpose).reveal()
        work(served, seen)
        used = next(name for name in seen.secrets if name.startswith("AKIA"))
        for verb in (
            ("backup", str(backup / "running.sqlite")),
            ("usage", used),
            ("audit", "verify"),
            ("key", "list", "user-1"),
        ):
            told = keyturn(home, *verb)
            assert told.code == 0
            seen.answers.append((told.stdout + told.stderr).encode())
        allowed = allowed_holders(served)
        assert holders([home, backup], seen.secrets) == allowed  # with the log and the shared memory in use
        process = Path("/proc") / str(served.process.pid)
        started_with = (process / "cmdline").read_bytes() + b"".join(
            value for _, value in environment_of(served.process.pid).items()
        )
        assert names_found(started_with, seen.secrets) == []
        core, _ = resource.prlimit(served.process.pid, resource.RLIMIT_CORE)
        assert core == 0
        assert served.stop() == 0
    return served, seen, backup


def allowed_holders(served: ServedAuthority) -> dict[Path, list[str]]:
    (key_file,) = served.place.locations.config.glob("*.key")
    return {served.credentials_file: [ADMINISTRATOR], key_file: [MASTER]}


def test_files_backups_and_logs_hold_no_secret_but_each_its_own_file(
    searched: tuple[ServedAuthority, Seen, Path],
) -> None:
    served, seen, backup = searched
    assert len(seen.secrets) > 35
    assert holders([served.home, backup], seen.secrets) == allowed_holders(served)
    assert {"authority.sqlite", "usage.sqlite"} <= {path.name for path in served.place.data_dir.iterdir()}


def test_a_search_would_find_what_is_there(
    searched: tuple[ServedAuthority, Seen, Path], tmp_path: Path
) -> None:
    _served, seen, _backup = searched
    name, secret = next(iter(seen.secrets.items()))
    for number, form in enumerate(forms(secret)):
        (tmp_path / f"{number}").write_bytes(b"before " + form + b" after")
    assert set(holders([tmp_path], seen.secrets)) == set(tmp_path.iterdir())
    assert names_found(base64.b64encode(b"a" + secret + b"zz"), seen.secrets) == [name]


def test_no_answer_but_the_creation_of_a_key_holds_its_secret(
    searched: tuple[ServedAuthority, Seen, Path],
) -> None:
    _served, seen, _backup = searched
    assert len(seen.answers) > 300
    assert names_found(b"\n".join(seen.answers), seen.secrets) == []


def test_what_the_server_says_holds_no_secret(searched: tuple[ServedAuthority, Seen, Path]) -> None:
    served, seen, _backup = searched
    said = served.stdout.encode() + served.log.read_bytes()
    assert b"keyturn listens on" in said
    assert names_found(said, seen.secrets) == []
    assert b"Signature" not in said
    assert b"Traceback" not in said


@pytest.mark.parametrize("action", ["ListUsers", "CreateGroup"])
def test_a_handler_that_crashes_with_a_secret_in_its_hands_tells_nobody(
    authority: LivingAuthority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    action: str,
) -> None:
    access_key_id, text = authority.new_user_with_key("ana")
    secret = {access_key_id: text.encode()}

    def broken(_call: Call, **_parameters: object) -> Result:
        held = text
        raise ValueError(f"no good: {held}") from KeyError(held)

    monkeypatch.setitem(OPERATIONS, ("iam", action), replace(OPERATIONS["iam", action], act=broken))
    iam = authority.iam()
    with pytest.raises(ClientError) as failed:
        iam.list_users() if action == "ListUsers" else iam.create_group(GroupName="x")
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert names_found(str(failed.value.response).encode(), secret) == []
    assert "ValueError from KeyError" in caplog.text
    assert names_found(caplog.text.encode(), secret) == []
    # The server lives on, and nothing was half done.
    assert authority.sts().get_caller_identity()["Account"]
    assert authority.iam().list_groups()["Groups"] == []
