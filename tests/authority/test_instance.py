"""The house starts safely: first start, its key and its mark, one server at a time, the way back in, no rollback."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from command_line import keyturn
from keyturn.authority.instance import read_credentials
from keyturn.model.errors import KeyturnError
from keyturn.settings import Place, place
from keyturn.store.private_files import create_private_file
from keyturn.store.sealing import create_master_key_file, format_master_key, generate_master_key
from keyturn.store.sqlite import open_read_only
from keyturn.wiring import reach, recover, verify_audit
from living_authority import LivingAuthority, environment_below, living_authority
from real_program import ServedAuthority
from secret_forms import holders


def place_below(home: Path) -> Place:
    return place({}, environment_below(home))


def only(directory: Path, pattern: str) -> Path:
    (path,) = directory.glob(pattern)
    return path


def key_file_of(home: Path) -> Path:
    return only(place_below(home).locations.config, "*.key")


def mark_of(home: Path) -> Path:
    return only(place_below(home).locations.state, "*.mark")


def start(home: Path, **flags: Any) -> None:
    """Start, and stop at once."""
    with living_authority(home, **flags):
        pass


def refused_start(home: Path, **flags: Any) -> KeyturnError:
    with pytest.raises(KeyturnError) as refused:
        start(home, **flags)
    assert refused.value.hint, "a refusal says what to do next"
    return refused.value


def files(home: Path) -> set[Path]:
    return {path for path in home.rglob("*") if path.is_file() and path.suffix != ".reserve"}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("started") / "home"
    start(home)
    return home


@pytest.fixture
def home(started: Path, tmp_path: Path) -> Path:
    """A home of the test's own whose authority was started once and stopped."""
    shutil.copytree(started, tmp_path / "home", ignore=shutil.ignore_patterns("*.reserve"))
    return tmp_path / "home"


# The first start


def test_a_first_start_makes_an_account_and_an_administrator_whose_file_can_be_used(tmp_path: Path) -> None:
    with living_authority(tmp_path / "home") as living:
        identity = living.sts().get_caller_identity()
        account = living.opened.instance.account_id
        assert identity["Arn"] == f"arn:aws:iam::{account}:user/administrator"
        assert len(account) == 12
        assert account.isdigit()
        iam = living.iam()
        (user,) = iam.list_users()["Users"]
        assert iam.list_user_policies(UserName=user["UserName"])["PolicyNames"] == ["Administrator"]
        assert len(iam.list_access_keys()["AccessKeyMetadata"]) == 1


def test_a_later_start_keeps_instance_account_key_and_credentials(home: Path) -> None:
    config = place_below(home).locations.config
    before = {path: path.read_bytes() for path in config.iterdir()}
    with living_authority(home) as living:
        first = living.opened.instance
        living.sts().get_caller_identity()
    with living_authority(home) as living:
        assert living.opened.instance == first
        living.sts().get_caller_identity()
    assert {path: path.read_bytes() for path in config.iterdir()} == before


@pytest.mark.parametrize("umask", [0o000, 0o277])
def test_all_that_is_made_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    home = tmp_path / "home"
    csv, backup = home / "key.csv", home / "backup.sqlite"
    with ServedAuthority(home, umask=umask) as served:
        with served.client() as client:
            client.call("iam", "CreateUser", UserName="ana")
        for verb in (("backup", str(backup)), ("key", "create", "ana", "--csv", str(csv))):
            told = keyturn(home, *verb, umask=umask)
            assert told.code == 0, told.stderr
        made = modes(home)
        assert served.stop() == 0
    assert keyturn(home, "admin", "recover", umask=umask).code == 0
    made |= modes(home)
    made.pop(served.log)
    assert {mode for path, mode in made.items() if path.is_dir()} == {0o700}
    assert {oct(mode) for path, mode in made.items() if not path.is_dir()} == {oct(0o600)}
    assert {csv, backup} < made.keys()


def modes(home: Path) -> dict[Path, int]:
    return {path: stat.S_IMODE(path.lstat().st_mode) for path in home.rglob("*")}


def test_an_empty_directory_that_waits_is_made_private_and_a_full_one_is_left_alone(tmp_path: Path) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o755)
    (tmp_path / "full" / "notes").touch()
    for name in ("empty", "full"):
        start(tmp_path / "home", data_dir=str(tmp_path / name))
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "full").stat().st_mode) == 0o755


def test_an_account_id_that_is_given_is_taken_at_the_first_start_and_must_agree_later(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with living_authority(home, account_id="000000000001") as living:
        assert living.sts().get_caller_identity()["Account"] == "000000000001"
    start(home)
    start(home, account_id="000000000001")
    assert "holds account 000000000001, not 000000000002" in str(
        refused_start(home, account_id="000000000002")
    )


# The key file


def test_a_database_whose_key_file_is_missing_is_refused_and_gets_no_new_one(home: Path) -> None:
    key_file = key_file_of(home)
    kept = key_file.rename(home / "kept.key")
    before = files(home)
    for _ in range(2):
        assert f"is missing: {key_file}" in str(refused_start(home))
    assert files(home) == before
    kept.rename(key_file)
    start(home)


@pytest.mark.parametrize("wrong", ["another key", "damaged", "empty", "of another format"])
def test_a_database_with_a_wrong_key_file_is_refused(home: Path, wrong: str) -> None:
    key_file = key_file_of(home)
    right = key_file.read_bytes()
    content = {
        "another key": format_master_key(generate_master_key(os.urandom)).reveal(),
        "damaged": right.replace(right[-9:-5], b"AAAA"),
        "empty": b"",
        "of another format": b"-----BEGIN PRIVATE KEY-----\n",
    }[wrong]
    key_file.write_bytes(content)
    refusal = refused_start(home)
    assert str(key_file) in str(refusal)
    assert right.split()[-1].decode() not in f"{refusal} {refusal.hint}"
    assert key_file.read_bytes() == content
    key_file.write_bytes(right)
    start(home)


@pytest.mark.parametrize("by", ["flag", "environment"])
def test_a_named_key_file_that_is_missing_is_not_created(tmp_path: Path, by: str) -> None:
    """A container's writable layer would eat it."""
    missing = tmp_path / "mounted" / "keyturn.key"
    missing.parent.mkdir()
    flags = ("--key-file", str(missing)) if by == "flag" else ()
    told = keyturn(
        tmp_path / "home",
        "serve",
        *flags,
        environment={"KEYTURN_KEY_FILE": str(missing), "KEYTURN_PORT": "0"},
    )
    assert told.code == 1
    assert f"there is no master key at {missing}" in told.stderr
    assert list(missing.parent.iterdir()) == []
    assert not list((tmp_path / "home").rglob("*.key"))


def test_a_key_file_that_systemd_loaded_is_used_and_none_is_made(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    create_master_key_file(credentials / "keyturn.key", generate_master_key(os.urandom))
    home = tmp_path / "home"
    start(home, key_file=str(credentials / "keyturn.key"))
    assert not list(home.rglob("*.key"))
    told = keyturn(home, "audit", "verify", environment={"CREDENTIALS_DIRECTORY": str(credentials)})
    assert (told.code, told.stdout) == (0, "whole: 1 records\n")
    assert keyturn(home, "audit", "verify").code == 1


def test_a_key_file_inside_the_data_directory_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    inside = data / "keyturn.key"
    create_master_key_file(inside, generate_master_key(os.urandom))
    link = tmp_path / "elsewhere.key"
    link.symlink_to(inside)
    for named in (inside, link):
        refusal = refused_start(tmp_path / "home", data_dir=str(data), key_file=str(named))
        assert "inside the data directory" in str(refusal)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_read_is_refused(home: Path, mode: int) -> None:
    key_file = key_file_of(home)
    key_file.chmod(mode)
    refusal = refused_start(home)
    assert "can be read by others" in str(refusal)
    assert refusal.hint == f"chmod 600 {key_file}"


# One server


def test_a_second_server_is_refused_and_told_who_is_there(home: Path) -> None:
    with living_authority(home) as living:
        refusal = refused_start(home)
        assert f"is in use by process {os.getpid()}" in str(refusal)
        assert living.sts().get_caller_identity()


def test_kill_9_frees_the_data_directory(home: Path) -> None:
    with ServedAuthority(home) as served:
        pid = served.process.pid
        told = keyturn(home, "serve", "--port", "0")
        assert told.code == 1
        assert f"{served.place.data_dir} is in use by process {pid}\n" in told.stderr
        served.process.send_signal(signal.SIGKILL)
        served.kill()
    start(home)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])  # noqa: S104 - refused, that is the point
def test_a_host_that_others_can_reach_needs_tls_or_a_proxy(tmp_path: Path, host: str) -> None:
    refusal = refused_start(tmp_path / "home", host=host)
    assert f"refusing to listen on '{host}' without TLS" in str(refusal)
    assert "--tls-cert" in (refusal.hint or "")
    assert not (tmp_path / "home").exists(), "nothing was made for a start that could not be"


def test_tls_needs_both_halves(tmp_path: Path) -> None:
    assert "both" in str(refused_start(tmp_path / "home", tls_cert="cert.pem"))


# The way back in


def test_recover_gives_a_key_that_works_and_leaves_the_old_one(home: Path) -> None:
    instance_credentials = only(place_below(home).locations.config, "*.credentials")
    old = read_credentials(instance_credentials)
    told = keyturn(home, "admin", "recover")
    assert told.code == 0
    new = read_credentials(instance_credentials)
    assert told.stdout == f"{new.access_key_id}\n"
    assert str(instance_credentials) in told.stderr
    assert new.access_key_id != old.access_key_id
    with living_authority(home) as living:
        for held in (old, new):
            identity = living.sts(held.access_key_id, held.secret.reveal().decode()).get_caller_identity()
            assert identity["Arn"].endswith(":user/administrator")


def test_recover_is_refused_while_the_server_runs(home: Path) -> None:
    with living_authority(home):
        told = keyturn(home, "admin", "recover")
    assert told.code == 1
    assert f"is in use by process {os.getpid()}" in told.stderr
    assert keyturn(home, "admin", "recover").code == 0


def test_recover_with_two_keys_asks_which_may_go_and_replaces_that_one(home: Path) -> None:
    credentials_file = only(place_below(home).locations.config, "*.credentials")
    first = read_credentials(credentials_file)
    keyturn(home, "admin", "recover")
    second = read_credentials(credentials_file)
    content = credentials_file.read_bytes()

    told = keyturn(home, "admin", "recover")
    assert told.code == 1
    assert "has two keys already" in told.stderr
    assert f"keyturn admin recover --replace {first.access_key_id}" in told.stderr
    assert keyturn(home, "admin", "recover", "--replace", "AKIANOSUCHKEYATALL00").code == 1
    assert credentials_file.read_bytes() == content, "a recovery that failed leaves the old way in"

    assert keyturn(home, "admin", "recover", "--replace", first.access_key_id).code == 0
    third = read_credentials(credentials_file)
    with living_authority(home) as living:
        with pytest.raises(ClientError, match="InvalidClientTokenId"):
            living.sts(first.access_key_id, first.secret.reveal().decode()).get_caller_identity()
        living.sts(second.access_key_id, second.secret.reveal().decode()).get_caller_identity()
        listed = living.iam().list_access_keys()["AccessKeyMetadata"]
        assert {key["AccessKeyId"] for key in listed} == {second.access_key_id, third.access_key_id}


def test_recover_makes_the_administrator_again_if_user_and_policy_are_gone(home: Path) -> None:
    with living_authority(home) as living:
        iam = living.iam()
        iam.create_user(UserName="other")
        allow = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
        iam.put_user_policy(UserName="other", PolicyName="all", PolicyDocument=allow)
        key = iam.create_access_key(UserName="other")["AccessKey"]
        other = living.iam(key["AccessKeyId"], key["SecretAccessKey"])
        other.delete_access_key(UserName="administrator", AccessKeyId=living.administrator.access_key_id)
        other.delete_user_policy(UserName="administrator", PolicyName="Administrator")
        other.delete_user(UserName="administrator")
        with pytest.raises(ClientError, match="InvalidClientTokenId"):
            living.sts().get_caller_identity()
    assert keyturn(home, "admin", "recover").code == 0
    with living_authority(home) as living:
        assert living.iam().get_user()["User"]["UserName"] == "administrator"
        assert len(living.iam().list_users()["Users"]) == 2


def test_recover_is_audited_and_the_mark_knows_it(home: Path) -> None:
    assert keyturn(home, "admin", "recover").code == 0
    here = place_below(home)
    verdict, mark = verify_audit(here, lambda _done, _all: None)
    assert mark is not None
    assert (verdict.records, verdict.faults, mark.sequence) == (2, (), 2)


async def test_recover_never_gives_an_unfinished_authority_a_second_administrator_key(home: Path) -> None:
    import apsw

    here = place_below(home)
    connection = apsw.Connection(str(here.database))
    connection.execute("UPDATE instance SET is_ready = 0")
    connection.close()
    with pytest.raises(KeyturnError, match="never started to the end"):
        await recover(here, None)


async def test_recover_where_nothing_is_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError, match="there is no authority in"):
        await recover(place_below(tmp_path / "home"), None)
    assert not (tmp_path / "home").exists()


def test_recover_needs_the_master_key(home: Path) -> None:
    key_file_of(home).unlink()
    told = keyturn(home, "admin", "recover")
    assert told.code == 1
    assert "master key of this database is missing" in told.stderr


def test_what_a_killed_run_left_in_the_configuration_is_cleared_away(home: Path) -> None:
    credentials_file = only(place_below(home).locations.config, "*.credentials")
    left = credentials_file.with_name(f".{credentials_file.name}.new.abcd1234.tmp")
    shutil.copy(credentials_file, left)
    pending = credentials_file.with_name(f"{credentials_file.name}.new")
    pending.write_text("half a fi")
    pending.chmod(0o600)
    before = credentials_file.read_bytes()
    start(home)
    assert credentials_file.read_bytes() == before
    assert not left.exists()
    assert not pending.exists()


# Rollback


def data_of(home: Path) -> dict[str, bytes]:
    data_dir = place_below(home).data_dir
    return {path.name: path.read_bytes() for path in data_dir.iterdir() if "reserve" not in path.name}


def put_back(home: Path, data: Mapping[str, bytes]) -> None:
    data_dir = place_below(home).data_dir
    shutil.rmtree(data_dir)
    data_dir.mkdir(mode=0o700)
    for name, content in data.items():
        (data_dir / name).write_bytes(content)
        (data_dir / name).chmod(0o600)


@pytest.fixture
def rolled_back(home: Path) -> tuple[Path, tuple[str, str]]:
    """A home with yesterday's data, in which a key lives that was deleted since; and that key."""
    with living_authority(home) as living:
        key = living.new_user_with_key("leaked")
    yesterday = data_of(home)
    with living_authority(home) as living:
        living.iam().delete_access_key(UserName="leaked", AccessKeyId=key[0])
    put_back(home, yesterday)
    return home, key


def test_yesterdays_database_is_refused_for_it_would_revive_revoked_keys(
    rolled_back: tuple[Path, tuple[str, str]],
) -> None:
    home, _key = rolled_back
    refusal = refused_start(home)
    assert "the data is older than its mark" in str(refusal)
    assert "--accept-rollback" in (refusal.hint or "")


def test_a_rollback_that_was_accepted_is_audited_and_needs_no_second_word(
    rolled_back: tuple[Path, tuple[str, str]],
) -> None:
    home, key = rolled_back
    with living_authority(home, accept_rollback=True) as living:
        assert living.sts(*key).get_caller_identity()["Arn"].endswith(":user/leaked")
    with open_read_only(place_below(home).database) as reader:
        (row,) = reader.rows("SELECT record FROM audit_records WHERE event_name = 'AcceptRollback'")
    assert '"invokedBy":"keyturn"' in str(row[0])
    start(home)
    verdict, _mark = verify_audit(place_below(home), lambda _done, _all: None)
    assert verdict.faults == ()


def test_yesterdays_database_that_has_grown_again_is_refused_too(
    rolled_back: tuple[Path, tuple[str, str]],
) -> None:
    """As many records as before, but others."""
    home, _key = rolled_back
    mark = mark_of(home).read_bytes()
    with living_authority(home, accept_rollback=True) as living:
        for number in range(3):
            living.iam().create_group(GroupName=f"group-{number}")
    mark_of(home).write_bytes(mark)
    assert "parts from what the mark remembers" in str(refused_start(home))
    verdict, _mark = verify_audit(place_below(home), lambda _done, _all: None)
    assert any("not the one that the mark file remembers" in fault for fault in verdict.faults)


def test_recover_does_not_make_yesterdays_database_acceptable(
    rolled_back: tuple[Path, tuple[str, str]],
) -> None:
    home, _key = rolled_back
    assert keyturn(home, "admin", "recover").code == 0
    assert "mark" in str(refused_start(home))


def test_a_missing_mark_is_refused_until_it_is_accepted(home: Path) -> None:
    mark_of(home).unlink()
    refusal = refused_start(home)
    assert "is missing: whether this data is the newest can't be told" in str(refusal)
    start(home, accept_rollback=True)
    start(home)


def test_the_mark_of_another_instance_is_refused(home: Path, tmp_path: Path) -> None:
    start(tmp_path / "other")
    shutil.copy(mark_of(tmp_path / "other"), mark_of(home))
    refusal = refused_start(home)
    assert "belongs to another instance or master key" in str(refusal)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.replace(b'"sequence": 1', b'"sequence": 0'),
        lambda content: content.replace(b'"revision": 1', b'"revision": 0'),
        lambda content: content.replace(b'"seal": "', '"seal": "é'.encode()),
        lambda content: content[: len(content) // 2],
        lambda _content: b"",
        lambda _content: b"[]",
        lambda _content: b'{"sequence": null}',
        lambda _content: b"\xff" * 10_000,
        lambda _content: b"[" * 4_000,
    ],
    ids=["sequence", "revision", "seal", "half", "empty", "list", "no number", "no text", "deep"],
)
def test_a_mark_that_was_changed_or_damaged_is_refused_with_a_sentence(
    home: Path, spoil: Callable[[bytes], bytes]
) -> None:
    mark = mark_of(home)
    before = mark.read_bytes()
    mark.write_bytes(spoil(before))
    assert mark.read_bytes() != before
    assert f"the mark file {mark} is damaged" in str(refused_start(home))


def test_a_mark_inside_the_data_directory_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "data" / "x.mark"
    refusal = refused_start(tmp_path / "home", data_dir=str(tmp_path / "data"), mark_file=str(inside))
    assert "it would be restored with it" in str(refusal)


def test_a_crash_between_a_change_and_its_mark_is_no_rollback(home: Path) -> None:
    """The mark may be behind; it must never be ahead."""
    mark = mark_of(home).read_bytes()
    with living_authority(home) as living:
        living.iam().create_user(UserName="ana")
    mark_of(home).write_bytes(mark)
    start(home)
    assert mark_of(home).read_bytes() != mark


# Backup


def test_a_backup_restored_into_a_new_directory_lets_its_keys_sign_again(home: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.sqlite"
    with living_authority(home) as living:
        key = living.new_user_with_key("ana")
        assert keyturn(home, "backup", str(backup)).code == 0
        living.iam().create_user(UserName="after-the-backup")
    data_dir = place_below(home).data_dir
    data_dir.rename(tmp_path / "moved-away")
    data_dir.mkdir(mode=0o700)
    shutil.copy(backup, data_dir / "authority.sqlite")
    assert "older than its mark" in str(refused_start(home))
    with living_authority(home, accept_rollback=True) as living:
        assert living.sts(*key).get_caller_identity()["Arn"].endswith(":user/ana")
        assert living.sts().get_caller_identity()["Arn"].endswith(":user/administrator")
        names = {user["UserName"] for user in living.iam().list_users()["Users"]}
        assert names == {"administrator", "ana"}
    verdict, _mark = verify_audit(place_below(home), lambda _done, _all: None)
    assert verdict.faults == ()


def test_a_backup_overwrites_nothing_and_holds_no_key(authority: LivingAuthority, tmp_path: Path) -> None:
    home = tmp_path / "home"
    target = tmp_path / "backups" / "one.sqlite"
    target.parent.mkdir()
    assert keyturn(home, "backup", str(target)).code == 0
    content = target.read_bytes()
    told = keyturn(home, "backup", str(target))
    assert told.code == 1
    assert "exists already" in told.stderr
    assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == ["one.sqlite"]
    master = key_file_of(home).read_bytes().split()[-1]
    secrets = {
        "master": master,
        "administrator": authority.administrator.secret.reveal(),
    }
    assert holders([target.parent], secrets) == {}


def test_a_backup_opens_with_no_other_master_key(home: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.sqlite"
    assert keyturn(home, "backup", str(backup)).code == 0
    stranger = tmp_path / "stranger"
    data_dir = place_below(stranger).data_dir
    data_dir.mkdir(mode=0o700, parents=True)
    shutil.copy(backup, data_dir / "authority.sqlite")
    assert "is missing" in str(refused_start(stranger))
    other_key = tmp_path / "other.key"
    create_private_file(other_key, format_master_key(generate_master_key(os.urandom)))
    assert "is not the master key of this database" in str(
        refused_start(stranger, key_file=str(other_key), accept_rollback=True)
    )


# Beside a running server


def test_a_place_can_be_reached_with_its_files_alone(authority: LivingAuthority) -> None:
    found = reach(authority.settings.place)
    assert found.endpoint_url == authority.url
    assert found.credentials.access_key_id == authority.administrator.access_key_id
    assert found.account_id == authority.opened.instance.account_id
