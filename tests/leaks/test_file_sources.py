"""Directories, files and streams are read to their ends, and nothing outside of them."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from keyturn.leaks.containers.unpack import Limits, Unpacker
from keyturn.leaks.detector import detect
from keyturn.leaks.findings import Finding
from keyturn.leaks.prefilter import Prefilter
from keyturn.leaks.scan import Scan, ScanResult
from keyturn.leaks.sources.directory import DirectorySource
from keyturn.leaks.sources.interface import Source, SourceError
from keyturn.leaks.sources.stream import DescriptorSource, FileSource
from leaks.archive_corpus import environment_of, new_key, tarred, zipped

KEY = new_key(Random(5))  # noqa: S311 - it seeds a corpus
OTHER = new_key(Random(6))  # noqa: S311 - as above
ENVIRONMENT = environment_of(KEY)
PREFILTER = Prefilter()


def unpacker(limits: Limits | None = None) -> Unpacker:
    return Unpacker(PREFILTER.has_prefix, limits or Limits())


def scanned(*sources: Source) -> ScanResult:
    return Scan(PREFILTER.may_hold, detect, unpacker()).run(sources)


def places(result: ScanResult) -> list[tuple[str | None, int | None]]:
    return [(finding.place.path, finding.line) for finding in result.findings]


def reasons(result: ScanResult) -> list[tuple[str | None, str]]:
    return [(skipped.place.path, skipped.reason) for skipped in result.skipped]


def ids(findings: Sequence[Finding]) -> set[str]:
    return {finding.access_key_id for finding in findings}


def test_every_file_below_a_directory_is_read(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "app.env").write_bytes(ENVIRONMENT)
    (tmp_path / "program").write_bytes(bytes(range(256)) * 40 + b"\0" + ENVIRONMENT)
    (tmp_path / "backup.zip").write_bytes(zipped(ENVIRONMENT))
    result = scanned(DirectorySource(str(tmp_path), unpacker()))
    assert ("a/b/app.env", 2) in places(result)
    assert {(finding.place.path, finding.place.member) for finding in result.findings} == {
        ("a/b/app.env", None),
        ("program", None),
        ("backup.zip", "conf/app.env"),
    }
    assert result.searched == sum(each.stat().st_size for each in tmp_path.rglob("*") if each.is_file())


def test_nothing_outside_of_the_directory_is_read_through_a_link(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "app.env").write_bytes(ENVIRONMENT)
    (inside / "file").symlink_to(outside / "app.env")
    (inside / "directory").symlink_to(outside)
    (inside / "circle").symlink_to(inside)
    result = scanned(DirectorySource(str(inside), unpacker()))
    assert (result.findings, result.skipped, result.searched) == ((), (), 0)


def test_pipes_sockets_and_devices_do_not_hang_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        (tmp_path / "app.env").write_bytes(ENVIRONMENT)
        assert places(scanned(DirectorySource(".", unpacker()))) == [("app.env", 2)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "closed").write_bytes(ENVIRONMENT)
    (tmp_path / "closed").chmod(0)
    assert reasons(scanned(DirectorySource(str(tmp_path), unpacker()))) == [
        ("closed", "it can't be read: Permission denied")
    ]


def test_a_file_that_goes_away_meanwhile_is_said_and_the_rest_is_read(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(ENVIRONMENT)
    scan = Scan(
        PREFILTER.may_hold, detect, unpacker(), progress=lambda *_: (tmp_path / "b").unlink(missing_ok=True)
    )
    result = scan.run([DirectorySource(str(tmp_path), unpacker())])
    assert places(result) == [("a", 2), ("c", 2)]
    assert reasons(result) == [("b", "it can't be read: No such file or directory")]


def test_names_with_control_characters_and_without_an_encoding_are_told_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a\nb\x1b[2Jc").write_bytes(ENVIRONMENT)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")).write_bytes(ENVIRONMENT)
    told = places(scanned(DirectorySource(str(tmp_path), unpacker())))
    assert told == [("\\xff\\xfe", 2), ("a\nb\x1b[2Jc", 2)]


def test_directories_that_are_nested_without_end_are_left_and_said(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    result = scanned(DirectorySource(str(tmp_path), unpacker()))
    assert [reason for _, reason in reasons(result)] == ["nested deeper than 200 directories"]


def test_a_sparse_file_costs_what_is_in_it_and_lines_are_right(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.write(b"one\ntwo\n")
        file.seek(60 << 30)
        file.write(b"\n" + ENVIRONMENT)
        file.truncate(80 << 30)
    result = scanned(DirectorySource(str(tmp_path), unpacker()))
    assert places(result) == [("sparse", 5)]
    assert result.searched < 1 << 20


def test_a_repository_below_is_told_and_its_objects_are_left_to_the_one_who_is_told(tmp_path: Path) -> None:
    git = tmp_path / "project" / ".git"
    for name in ("objects/pack", "refs"):
        (git / name).mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "config").write_bytes(ENVIRONMENT)
    (git / "objects" / "pack" / "plain").write_bytes(ENVIRONMENT)
    told: list[str] = []
    result = scanned(DirectorySource(str(tmp_path), unpacker(), told.append))
    assert told == [f"{tmp_path}/project/.git"]
    assert places(result) == [("project/.git/config", 2)]


def test_a_directory_that_is_not_there_is_the_user_s_to_mend() -> None:
    with pytest.raises(SourceError, match="can't scan /nonexistent: No such file or directory"):
        scanned(DirectorySource("/nonexistent", unpacker()))


def test_one_source_that_can_not_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "app.env").write_bytes(ENVIRONMENT)
    result = scanned(
        FileSource("/nonexistent", unpacker()), FileSource(str(tmp_path / "app.env"), unpacker())
    )
    assert ids(result.findings) == {KEY.access_key_id}
    assert [reason for _, reason in reasons(result)] == [
        "can't scan /nonexistent: it can't be read: No such file or directory"
    ]


# One file, or stdin, of any size

LINE = b"2026-11-23T00:16:57Z INFO request served in 12 ms, nothing to see here at all ....................\n"


@pytest.mark.parametrize("at", [10, 165_000, 167_771, 167_772, 340_000])
def test_line_numbers_are_right_far_into_a_large_file(tmp_path: Path, at: int) -> None:
    """Windows are 16 MiB: line 167,772 stands across the first seam."""
    path = tmp_path / "big.log"
    path.write_bytes(LINE * at + ENVIRONMENT + LINE * (400_000 - at))
    assert places(scanned(FileSource(str(path), unpacker()))) == [(str(path), at + 2)]
    assert places(scanned(DirectorySource(str(tmp_path), unpacker()))) == [("big.log", at + 2)]
    with path.open("rb") as file:
        assert places(scanned(DescriptorSource(file.fileno(), unpacker()))) == [(None, at + 2)]


@pytest.mark.parametrize("shift", range(-60, 60, 7))
def test_a_key_across_the_seam_of_two_windows_is_found(tmp_path: Path, shift: int) -> None:
    limits = Limits(window=1 << 20, overlap=4096)
    path = tmp_path / "big"
    before = (1 << 20) - 4096 + shift - len(ENVIRONMENT) // 2
    path.write_bytes(b"-" * before + ENVIRONMENT + b"-" * (20 << 20))
    scan = Scan(PREFILTER.may_hold, detect, unpacker())
    result = scan.run([FileSource(str(path), unpacker(limits))])
    assert [(finding.access_key_id, finding.kind.value) for finding in result.findings] == [
        (KEY.access_key_id, "pair")
    ]


@pytest.mark.parametrize("pack", [zipped, tarred, gzip.compress])
def test_a_container_on_stdin_is_unpacked(pack: object) -> None:
    assert callable(pack)
    reading, writing = os.pipe()
    data = pack(ENVIRONMENT)
    assert len(data) < 60_000, "it fits into the pipe"
    os.write(writing, data)
    os.close(writing)
    result = scanned(DescriptorSource(reading, unpacker()))
    os.close(reading)
    assert ids(result.findings) == {KEY.access_key_id}
    assert {finding.place.source for finding in result.findings} == {"-"}


def test_a_large_zip_is_mapped_and_read(tmp_path: Path) -> None:
    path = tmp_path / "big.zip"
    path.write_bytes(zipped(Random(1).randbytes(20 << 20) + b"\n" + ENVIRONMENT))  # noqa: S311 - it is only large
    result = scanned(FileSource(str(path), unpacker()), DirectorySource(str(tmp_path), unpacker()))
    assert [finding.place.member for finding in result.findings] == ["conf/app.env", "conf/app.env"]


def test_everything_hostile_at_once_is_survived_in_bounded_memory_and_the_key_beside_it_is_found(
    tmp_path: Path,
) -> None:
    """The real program in a process of its own."""
    tree = tmp_path / "tree"
    tree.mkdir()
    nested = ENVIRONMENT
    for _ in range(40):
        nested = zipped(nested, "again.zip")
    (tree / "nested.zip").write_bytes(nested)
    (tree / "bomb.gz").write_bytes(gzip.compress(gzip.compress(bytes(300 << 20), 1), 9))
    with (tree / "line").open("wb") as file:
        for _ in range(20):
            file.write(b"A" * (16 << 20))
    with (tree / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    (tree / "out").symlink_to("/etc")
    os.mkfifo(tree / "pipe")
    (tree / "damaged.tar").write_bytes(tarred(ENVIRONMENT)[:1100])
    (tree / "a\x1b[2J\n.env").write_bytes(ENVIRONMENT)
    script = (
        "from pathlib import Path\nfrom keyturn.cli.main import main\n"
        f"code = main(['scan', '--no-state', '--output', 'jsonl', {str(tree)!r}])\n"
        # Not getrusage: there a child begins with what its parent had when it forked.
        "status = Path('/proc/self/status').read_text()\n"
        "print(code, status.split('VmHWM:')[1].split()[0])\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    *rows, last = told.stdout.splitlines()
    code, kibibytes = (int(each) for each in last.split())
    assert [json.loads(row)["path"] for row in rows] == ["a\x1b[2J\n.env"]
    assert code == 3
    assert kibibytes < 500_000
    for said in ("nested deeper than 8", "a bomb", "it ends in the middle"):
        assert said in told.stderr
