"""Private files: 0600, whole or not at all, never in another's place, and read only if nobody else can."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.store.private_files import create_private_file, new_private_file, read_private_file
from keyturn.store.sealing import create_master_key_file, generate_master_key, read_master_key

MASTER = generate_master_key(lambda size: bytes(range(size)))


def lose_the_race_for(path: Path) -> None:
    with new_private_file(path) as temporary:
        temporary.write_text("late")
        path.write_text("first")


def read(path: Path) -> Secret:
    return read_private_file(path, limit=100)


@pytest.fixture(params=[0o000, 0o022, 0o777])
def key_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    before = os.umask(request.param)
    try:
        create_master_key_file(tmp_path / "keyturn.key", MASTER)
    finally:
        os.umask(before)
    return tmp_path / "keyturn.key"


def test_a_key_file_is_private_and_read_back(key_file: Path) -> None:
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert read_master_key(key_file) == MASTER
    assert list(key_file.parent.iterdir()) == [key_file]
    assert key_file.stat().st_nlink == 1


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_key_file_that_only_its_owner_reads_is_taken(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    assert read_master_key(key_file) == MASTER


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o602, 0o644, 0o666, 0o601, 0o440])
def test_a_key_file_that_others_may_use_is_refused(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(KeyturnError, match="can be read by others") as caught:
        read_master_key(key_file)
    assert caught.value.hint == f"chmod 600 {key_file}"


def test_an_existing_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keyturn.key"
    path.write_text("precious")
    with pytest.raises(KeyturnError, match="exists already"):
        create_master_key_file(path, MASTER)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(KeyturnError, match="exists already"):
        create_master_key_file(tmp_path / "link", MASTER)
    assert path.read_text() == "precious"
    assert {entry.name for entry in tmp_path.iterdir()} == {"keyturn.key", "link"}


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(KeyturnError, match="exists already"):
        lose_the_race_for(path)
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    with suppress(LookupError), new_private_file(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise LookupError
    assert list(tmp_path.iterdir()) == []


def test_it_works_without_hard_links_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "file"
    create_private_file(path, Secret(b"content"))
    assert read(path) == Secret(b"content")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(KeyturnError, match="exists already"):
        lose_the_race_for(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "first"


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError, match="No such file"):
        create_private_file(tmp_path / "missing" / "file", Secret(b""))


def make_directory(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def make_nothing(_path: Path) -> None:
    pass


def make_long(path: Path) -> None:
    path.write_bytes(b"x" * 257)
    path.chmod(0o600)


def make_empty(path: Path) -> None:
    path.touch(0o600)


def make_garbage(path: Path) -> None:
    path.touch(0o600)
    path.write_bytes(b"\xff\x00 not a key\n")


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (make_nothing, "No such file"),
        (make_directory, "not a regular file"),
        (make_pipe, "not a regular file"),
        (make_long, "longer than 256 bytes"),
        (make_empty, "not a master key"),
        (make_garbage, "not a master key"),
    ],
)
def test_what_is_no_key_file_is_named(make: Callable[[Path], None], complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "keyturn.key"
    make(path)
    with pytest.raises(KeyturnError, match=complaint) as caught:
        read_master_key(path)
    assert str(path) in caught.value.message


def test_a_link_is_judged_by_the_file_behind_it(tmp_path: Path) -> None:
    """An orchestrator mounts secrets behind links."""
    create_private_file(tmp_path / "file", Secret(b"content"))
    (tmp_path / "link").symlink_to("file")
    assert read(tmp_path / "link") == Secret(b"content")
    (tmp_path / "file").chmod(0o644)
    with pytest.raises(KeyturnError, match="can be read by others"):
        read(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    create_private_file(path, Secret(b"content"))
    os.chown(path, 12345, 12345)
    tmp_path.chmod(0o777)
    path.chmod(0o600)
    assert read(path) == Secret(b"content")  # root reads what is its users'
    os.chown(path, 12345, 54321)
    os.seteuid(54321)
    try:
        with pytest.raises(KeyturnError, match=r"can't read|belongs to another user"):
            read(path)
    finally:
        os.seteuid(0)


def access_list(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF
OWNER, USER, GROUP, NAMED_GROUP, MASK, OTHERS = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20


@pytest.mark.parametrize(
    ("entries", "is_taken"),
    [
        ([(USER, 4, os.geteuid())], True),
        ([(USER, 4, 0)], True),
        ([(USER, 4, 12345)], False),
        ([(USER, 4, os.geteuid()), (USER, 4, 12345)], False),
        ([(USER, 4, os.geteuid()), (GROUP, 4, NOBODY)], False),
        ([(USER, 4, os.geteuid()), (NAMED_GROUP, 4, 12345)], False),
    ],
)
def test_an_access_list_for_this_user_alone_is_private(
    tmp_path: Path, entries: list[tuple[int, int, int]], *, is_taken: bool
) -> None:
    """A service gets its credentials from systemd so; `ls` shows 0440, and the group may not read all the same."""
    path = tmp_path / "credential"
    create_private_file(path, Secret(b"content"))
    required = [(OWNER, 4, NOBODY), (GROUP, 0, NOBODY), (MASK, 4, NOBODY), (OTHERS, 0, NOBODY)]
    named = {entry[0] for entry in entries}
    whole = sorted([*entries, *(entry for entry in required if entry[0] not in named)])
    try:
        os.setxattr(path, "system.posix_acl_access", access_list(*whole))
    except OSError as error:
        pytest.skip(f"this file system has no access lists: {error.strerror}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o440
    if is_taken:
        assert read(path) == Secret(b"content")
    else:
        with pytest.raises(KeyturnError, match="can be read by others"):
            read(path)
