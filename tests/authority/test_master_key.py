"""A new master key: nothing is lost, wherever it is killed, and old records stay what they were."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import apsw
import boto3
import pyotp
import pytest
from botocore.exceptions import ClientError

from keyturn.authority.instance import read_credentials
from keyturn.authority.master_key import Rotated, new_key_path, old_key_path, sealer_at_hand
from keyturn.authority.storage import instance as instance_rows
from keyturn.authority.storage import sealed_rows
from keyturn.authority.storage.sealed_rows import SEALED
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.settings import Place, ServeSettings, place, serve_settings
from keyturn.store.sealing import read_master_key
from keyturn.store.sqlite import open_read_only
from keyturn.wiring import opened_authority, rotate_master_key, verify_audit
from living_authority import LivingAuthority, environment_below, living_authority

CHILD = Path(__file__).parent / "children" / "rotate_until_killed.py"
USERS = ("ana", "ben", "ci-deploy-bot")
ROTATE = "keyturn master-key rotate"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose authority has keys, devices and records, and is stopped."""
    home = tmp_path_factory.mktemp("template") / "home"
    with living_authority(home) as authority:
        for name in USERS:
            authority.new_user_with_key(name)
        for name in ("phone", "tablet", "spare"):
            authority.iam().create_virtual_mfa_device(VirtualMFADeviceName=name)
            kept = authority._client("secretsmanager", None, None, {})
            kept.create_secret(Name=name, SecretString=f"the secret of {name}")
    return home


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "home"
    shutil.copytree(template, copy)
    return copy


def place_of(home: Path, **flags: str) -> Place:
    return place(flags, environment_below(home))


def key_file_of(where: Place) -> Path:
    with open_read_only(where.database) as reader:
        instance = instance_rows.instance(reader)
    assert instance is not None
    return where.key_file(instance.instance_id).path


def rotate(where: Place, batch: int = 2) -> Rotated:
    return asyncio.run(rotate_master_key(where, lambda _done, _whole: None, batch=batch))


def mark_of(where: Place) -> Path:
    (mark,) = where.locations.state.glob("*.mark")
    return mark


def start(home: Path, **flags: object) -> None:
    """Open everything as `serve` does, and close it again."""
    settings: ServeSettings = serve_settings(flags, environment_below(home))

    async def opened() -> None:
        async with opened_authority(settings):
            pass

    asyncio.run(opened())


def secrets_in(where: Place) -> dict[tuple[str, str], Secret]:
    """Every sealed value, opened with nothing but the keys beside the key file."""
    with open_read_only(where.database) as reader:
        instance = instance_rows.instance(reader)
        assert instance is not None
        sealer = sealer_at_hand(instance, key_file_of(where), os.urandom)
        return {
            (column.table, row.name): sealer.unseal(
                row.sealed,
                purpose=row.purpose,
                account_id=row.account_id,
                owner=row.owner,
                name=row.name,
            )
            for column in SEALED
            for row in sealed_rows.rows_after(reader, column, None, 1000)
        }


def faults_in(where: Place) -> tuple[str, ...]:
    verdict, _mark = verify_audit(where, lambda _done, _whole: None)
    return verdict.faults


def execute(where: Place, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    connection = apsw.Connection(str(where.database))
    try:
        return list(connection.execute(sql, parameters))
    finally:
        connection.close()


def rotations_in(where: Place) -> int:
    return len(execute(where, "SELECT 1 FROM audit_records WHERE event_name = 'RotateMasterKey'"))


# What it does


def test_after_a_rotation_keys_sign_codes_count_records_verify_and_session_tokens_are_dead(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    with living_authority(home) as authority:
        access_key_id, secret = authority.new_user_with_key("ana")
        device = authority.iam().create_virtual_mfa_device(VirtualMFADeviceName="phone")["VirtualMFADevice"]
        codes = pyotp.TOTP(device["Base32StringSeed"].decode())
        session = authority.sts(access_key_id, secret).get_session_token()["Credentials"]
        assert _calls_as(authority, session) == "ana"
    before = read_master_key(key_file_of(place_of(home)))
    rotated = rotate(place_of(home))
    assert rotated.kek_id != before.kek_id
    with living_authority(home) as authority:
        assert authority.sts(access_key_id, secret).get_caller_identity()["Arn"].endswith("user/ana")
        now = authority.clock.now_ms() // 1000
        authority.iam().enable_mfa_device(
            UserName="ana",
            SerialNumber=device["SerialNumber"],
            AuthenticationCode1=codes.at(now - 30),
            AuthenticationCode2=codes.at(now),
        )
        with pytest.raises(ClientError) as refused:
            _calls_as(authority, session)
        assert refused.value.response["Error"]["Code"] == "InvalidClientTokenId"
        authority.keep_house()
        assert faults_in(place_of(home)) == ()
    assert rotations_in(place_of(home)) == 1


def _calls_as(authority: LivingAuthority, session: object) -> str:
    assert isinstance(session, dict)
    client = boto3.client(
        "sts",
        endpoint_url=authority.url,
        region_name="eu-west-1",
        aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )
    try:
        return client.get_caller_identity()["Arn"].rpartition("/")[2]
    finally:
        client.close()


def test_the_old_key_is_kept_beside_the_new_one_and_both_are_private(home: Path) -> None:
    key_file = key_file_of(place_of(home))
    old = read_master_key(key_file)
    rotated = rotate(place_of(home))
    assert rotated.key_file == key_file
    assert rotated.kept == (old_key_path(key_file, old),)
    assert read_master_key(rotated.kept[0]) == old
    assert read_master_key(key_file).kek_id == rotated.kek_id
    assert not new_key_path(key_file).exists()
    assert {file.stat().st_mode & 0o777 for file in (key_file, *rotated.kept)} == {0o600}


def test_no_value_is_left_under_the_old_key(home: Path) -> None:
    before = secrets_in(place_of(home))
    rotated = rotate(place_of(home))
    for kept in rotated.kept:
        kept.unlink()
    assert secrets_in(place_of(home)) == before
    assert rotated.resealed == len(before)
    assert len(before) >= len(USERS) + 1 + 3 + 3 + 2
    start(home)


def test_a_rotation_can_follow_a_rotation(home: Path) -> None:
    before = secrets_in(place_of(home))
    first, second = rotate(place_of(home)), rotate(place_of(home))
    assert first.kek_id != second.kek_id
    assert len(second.kept) == 2
    assert secrets_in(place_of(home)) == before
    assert faults_in(place_of(home)) == ()


def test_a_key_file_that_somebody_named_is_replaced_where_it_lies(home: Path, tmp_path: Path) -> None:
    named = tmp_path / "keys" / "master.key"
    named.parent.mkdir()
    key_file_of(place_of(home)).rename(named)
    rotated = rotate(place_of(home, key_file=str(named)))
    assert rotated.key_file == named
    assert sorted(file.name for file in named.parent.iterdir()) == ["master.key", rotated.kept[0].name]
    start(home, key_file=str(named))


def test_behind_a_link_it_is_the_file_that_is_replaced(home: Path, tmp_path: Path) -> None:
    link = key_file_of(place_of(home))
    real = tmp_path / "keys" / "real.key"
    real.parent.mkdir()
    link.rename(real)
    link.symlink_to(real)
    rotated = rotate(place_of(home))
    assert rotated.key_file == real
    assert link.is_symlink()
    start(home)


# Databases of before


def test_a_database_without_stored_keys_of_its_own_verifies_before_and_after(home: Path) -> None:
    where = place_of(home)
    execute(where, "DELETE FROM sealed_keys")
    assert faults_in(where) == ()
    rotate(where)
    assert faults_in(where) == ()
    assert execute(where, "SELECT count(*) FROM sealed_keys") == [(2,)]
    start(home)
    assert faults_in(where) == ()


def test_a_start_stores_the_keys_that_the_master_key_led_to(home: Path) -> None:
    where = place_of(home)
    before = secrets_in(where)
    execute(where, "DELETE FROM sealed_keys")
    start(home)
    assert secrets_in(where) == before


def test_a_backup_of_before_opens_with_the_key_that_was_kept_or_is_rotated_too(home: Path) -> None:
    where = place_of(home)
    backup = where.database.read_bytes()
    before = secrets_in(where)
    kept = str(rotate(where).kept[0])
    where.database.write_bytes(backup)
    for companion in where.data_dir.glob("authority.sqlite-*"):
        companion.unlink()
    with pytest.raises(KeyturnError, match="is not the master key of this database") as refused:
        start(home)
    assert "--key-file" in str(refused.value.hint)
    with pytest.raises(KeyturnError, match="older than its mark"):
        start(home, key_file=kept)
    start(home, key_file=kept, accept_rollback=True)
    assert len(rotate(where).kept) == 2
    start(home)
    assert secrets_in(where) == before


# Killed anywhere


def test_killed_at_any_step_nothing_is_lost_and_the_next_rotation_goes_on(
    template: Path, tmp_path: Path
) -> None:
    subprocess.run(
        [sys.executable, str(CHILD), str(template), str(tmp_path)],
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    wanted = secrets_in(place_of(template))
    homes = sorted(tmp_path.iterdir(), key=lambda copy: int(copy.name))
    assert len(homes) > 20, "each is one step"
    refused = 0
    for home in homes:
        where = place_of(home)
        assert secrets_in(where) == wanted, home.name
        assert faults_in(where) == (), home.name
        hint = _hint_of_a_start(home)
        if hint is not None:
            refused += 1
            assert ROTATE in hint, home.name
        rotate(where)
        names = {file.suffix for file in key_file_of(where).parent.iterdir()}
        assert names == {".key", ".old", ".credentials"}, home.name
        assert secrets_in(where) == wanted, home.name
        start(home)
        assert faults_in(where) == (), home.name
        assert rotations_in(where) in {1, 2}, home.name
    assert 10 < refused < len(homes)


def _hint_of_a_start(home: Path) -> str | None:
    """None if it starts."""
    try:
        start(home)
    except KeyturnError as refused:
        return str(refused.hint)
    return None


# What is refused


def test_beside_a_running_server_it_is_refused(tmp_path: Path) -> None:
    with living_authority(tmp_path / "home"), pytest.raises(KeyturnError, match="is in use by"):
        rotate(place_of(tmp_path / "home"))


def test_where_the_new_key_cannot_be_written_nothing_is_changed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = place_of(home)
    before = execute(where, "SELECT * FROM access_keys")

    def read_only(**_options: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", read_only)
        with pytest.raises(KeyturnError, match="Read-only file system") as refused:
            rotate(where)
    assert "--key-file" in str(refused.value.hint)
    assert execute(where, "SELECT * FROM access_keys") == before
    start(home)


def test_a_value_that_does_not_open_is_named_before_anything_is_changed(home: Path) -> None:
    where = place_of(home)
    ((damaged, sealed),) = execute(
        where,
        "SELECT k.access_key_id, k.sealed_secret FROM access_keys k JOIN users u USING (user_id) WHERE u.name = 'ana'",
    )
    assert isinstance(sealed, bytes)
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    execute(where, "UPDATE access_keys SET sealed_secret = ? WHERE access_key_id = ?", changed, damaged)
    with pytest.raises(KeyturnError, match=str(damaged)):
        rotate(where)
    assert not new_key_path(key_file_of(where)).exists()
    start(home)


def test_a_waiting_key_stops_a_start_with_the_command_that_goes_on(home: Path) -> None:
    key_file = key_file_of(place_of(home))
    shutil.copy2(key_file, new_key_path(key_file))
    with pytest.raises(KeyturnError, match="has not ended") as refused:
        start(home)
    assert ROTATE in str(refused.value.hint)


def test_half_a_rotation_without_its_other_key_is_refused_and_the_key_named(home: Path) -> None:
    where = place_of(home)
    backup, mark = where.database.read_bytes(), mark_of(where).read_bytes()
    rotated = rotate(where)
    mark_of(where).write_bytes(mark)
    half_resealed = execute(where, "SELECT access_key_id, sealed_secret, kek_id FROM access_keys LIMIT 1")
    new_key = rotated.key_file.read_bytes()
    where.database.write_bytes(backup)
    for companion in where.data_dir.glob("authority.sqlite-*"):
        companion.unlink()
    rotated.kept[0].replace(rotated.key_file)
    for access_key_id, sealed, kek_id in half_resealed:
        execute(
            where,
            "UPDATE access_keys SET sealed_secret = ?, kek_id = ? WHERE access_key_id = ?",
            sealed,
            kek_id,
            access_key_id,
        )
    with pytest.raises(KeyturnError, match="a rotation has not ended") as not_started:
        start(home)
    assert ROTATE in str(not_started.value.hint)
    with pytest.raises(KeyturnError, match=rotated.kek_id.hex()) as not_rotated:
        rotate(where)
    assert ".new" in str(not_rotated.value.hint)
    new_key_path(rotated.key_file).write_bytes(new_key)
    new_key_path(rotated.key_file).chmod(0o600)
    rotate(where)
    start(home)


def test_a_key_inside_the_data_directory_is_not_rotated_there(home: Path) -> None:
    where = place_of(home)
    inside = where.data_dir / "master.key"
    key_file_of(where).rename(inside)
    with pytest.raises(KeyturnError, match="lies inside the data directory"):
        rotate(replace(where, named_key_file=inside))


def test_where_there_is_no_authority_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError, match="there is no authority"):
        rotate(place_of(tmp_path / "nobody"))
    assert not (tmp_path / "nobody").exists()


# Nothing is forgotten


def test_every_column_that_holds_sealed_values_is_in_the_list(home: Path) -> None:
    columns = execute(
        place_of(home),
        "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'",
    )
    sealed = {(table, column) for table, column in columns if str(column).startswith("sealed")}
    assert sealed == {(listed.table, listed.column) for listed in SEALED}
    tables = {table for table, column in columns if column == "kek_id"} - {"instance"}
    assert tables == {listed.table for listed in SEALED}


def test_each_listed_column_names_its_primary_key(home: Path) -> None:
    for listed in SEALED:
        keys = execute(
            place_of(home), "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", listed.table
        )
        assert tuple(name for (name,) in keys) == listed.key


def test_the_administrator_can_still_call_with_the_credentials_file(home: Path) -> None:
    rotate(place_of(home))
    with living_authority(home) as authority:
        file = next(authority.settings.place.locations.config.glob("*.credentials"))
        held = read_credentials(file)
        arn = authority.sts(held.access_key_id, held.secret.reveal().decode()).get_caller_identity()["Arn"]
        assert arn.endswith("user/administrator")
