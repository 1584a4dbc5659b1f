"""What is compiled once is loaded the next time, and only if nobody else can have put it there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hyperscan
import pytest

from keyturn.leaks import compiled
from keyturn.leaks.compiled import database

EXPRESSIONS = [b"AKIA[A-Z2-7]{16}", b"ASIA[A-Z2-7]{16}"]
TEXT = b"..ASIAY34FZKBOKMUTVV7A.."


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "keyturn"


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that expressions were compiled."""
    compile_ = compiled._compiled
    counted: list[int] = []

    def counting(expressions: list[bytes]) -> Any:
        counted.append(len(expressions))
        return compile_(expressions)

    monkeypatch.setattr(compiled, "_compiled", counting)
    return counted


def found(in_: Any) -> list[int]:
    matches: list[int] = []
    in_.scan(
        TEXT, match_event_handler=lambda index, *_: matches.append(index), scratch=hyperscan.Scratch(in_)
    )
    return matches


def only_file(kept: Path) -> Path:
    (path,) = kept.iterdir()
    return path


def test_a_second_run_loads_what_the_first_has_compiled(kept: Path, compilations: list[int]) -> None:
    assert found(database(EXPRESSIONS, kept)) == [1]
    assert found(database(EXPRESSIONS, kept)) == [1]
    assert compilations == [2]
    assert kept.stat().st_mode & 0o777 == 0o700
    assert only_file(kept).stat().st_mode & 0o777 == 0o600


def test_other_expressions_are_another_file(kept: Path, compilations: list[int]) -> None:
    database(EXPRESSIONS, kept)
    assert found(database(EXPRESSIONS[1:], kept)) == [0]
    assert compilations == [2, 1]


def test_without_a_directory_nothing_is_kept(compilations: list[int]) -> None:
    assert found(database(EXPRESSIONS, None)) == [1]
    assert compilations == [2]


def test_one_changed_byte_is_compiled_anew_and_put_right(kept: Path, compilations: list[int]) -> None:
    database(EXPRESSIONS, kept)
    data = bytearray(only_file(kept).read_bytes())
    data[-1] ^= 1
    only_file(kept).write_bytes(data)
    for _ in range(2):
        assert found(database(EXPRESSIONS, kept)) == [1]
    assert compilations == [2, 2]


@pytest.mark.parametrize("content", [b"", b"keyturn hyperscan database 1\n", b"x" * 1000])
def test_what_is_no_database_is_compiled_anew(kept: Path, compilations: list[int], content: bytes) -> None:
    database(EXPRESSIONS, kept)
    only_file(kept).write_bytes(content)
    assert found(database(EXPRESSIONS, kept)) == [1]
    assert compilations == [2, 2]


def test_a_file_that_others_may_write_is_not_loaded(kept: Path, compilations: list[int]) -> None:
    database(EXPRESSIONS, kept)
    only_file(kept).chmod(0o620)
    assert found(database(EXPRESSIONS, kept)) == [1]
    assert compilations == [2, 2]


def test_a_directory_that_others_may_enter_is_neither_read_nor_written(
    kept: Path, compilations: list[int]
) -> None:
    database(EXPRESSIONS, kept)
    only_file(kept).unlink()
    kept.chmod(0o755)
    assert found(database(EXPRESSIONS, kept)) == [1]
    assert list(kept.iterdir()) == []
    assert compilations == [2, 2]


def test_links_are_not_followed(kept: Path, tmp_path: Path, compilations: list[int]) -> None:
    database(EXPRESSIONS, kept)
    elsewhere = tmp_path / "elsewhere"
    path = only_file(kept)
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert found(database(EXPRESSIONS, kept)) == [1]
    kept.rename(tmp_path / "moved")
    kept.symlink_to(tmp_path / "moved")
    assert found(database(EXPRESSIONS, kept)) == [1]
    assert compilations == [2, 2, 2]


def test_a_directory_that_can_not_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert found(database(EXPRESSIONS, tmp_path / "file" / "below")) == [1]
