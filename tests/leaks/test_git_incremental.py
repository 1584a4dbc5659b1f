"""A second scan costs only what is new, tells no less than the first, and never trusts another version's memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyturn.leaks.git import pack as pack_module
from keyturn.leaks.sources.git_history import GitHistory
from keyturn.leaks.sources.incremental import Memory, StateFile
from keyturn.leaks.sources.interface import Buffer
from real_git import KEY, Repository, Told, history, may_hold


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    for number in range(5):
        made.commit(f"change {number}", **{f"f{number}__txt": f"text {number}\n" * 50})
    made.commit("oops", config__ini=KEY)
    made.pack()
    return made


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "states" / "one.state", "rules 1")


def searched(repository: Repository, state: StateFile | None) -> list[bytes]:
    """The contents that were searched."""
    seen: list[bytes] = []

    def note(data: Buffer) -> bool:
        seen.append(bytes(data))
        return may_hold(data)

    list(GitHistory(repository.path, state=state).contents(note, Told()))
    return seen


def test_a_second_scan_opens_no_pack_that_it_knows_and_tells_the_same(
    repository: Repository, state: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = history(repository.path, state=state)

    def never(*_: object) -> Iterator[None]:
        pytest.fail("a known pack was opened")

    monkeypatch.setattr(pack_module.Pack, "objects", never)
    second = history(repository.path, state=state)
    assert first.places == second.places
    assert len(second.places) == 1


def test_only_what_is_new_is_searched(repository: Repository, state: StateFile) -> None:
    assert len(searched(repository, state)) > 10
    assert searched(repository, state) == []
    repository.commit("more", new__txt=f"new {KEY}")
    again = searched(repository, state)
    assert sorted(data[:4] for data in again) == [b"new ", b"tree"]


def test_a_new_pack_costs_only_the_objects_that_were_not_known(
    repository: Repository, state: StateFile
) -> None:
    searched(repository, state)
    repository.commit("more", f1__txt="text 1\n" * 50 + f"new {KEY}\n")
    repository.pack("--depth=50", "--window=10")
    again = searched(repository, state)
    assert len(again) == 2
    assert len(history(repository.path, state=state).places) == 2


def test_other_rules_search_everything_again(
    repository: Repository, state: StateFile, tmp_path: Path
) -> None:
    everything = len(searched(repository, state))
    assert len(searched(repository, StateFile(tmp_path / "states" / "one.state", "rules 2"))) == everything


def test_what_was_not_searched_whole_is_not_remembered(repository: Repository, state: StateFile) -> None:
    (repository.packs() / "pack-0.pack").write_bytes(b"nonsense" * 100)
    everything = len(searched(repository, state))
    assert len(searched(repository, state)) == everything


def test_an_object_that_was_collected_is_no_longer_told(repository: Repository, state: StateFile) -> None:
    assert len(history(repository.path, state=state).places) == 1
    repository.git("reset", "-q", "--hard", "HEAD~")
    repository.git("reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
    repository.git("gc", "-q", "--prune=now")
    found = history(repository.path, state=state)
    assert (found.places, found.report.skips) == ([], [])


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1], lambda data: data[:40] + b"x" + data[41:], lambda _: b""]
)
def test_a_damaged_memory_counts_as_none(
    repository: Repository, state: StateFile, tmp_path: Path, spoil: object
) -> None:
    everything = len(searched(repository, state))
    file = tmp_path / "states" / "one.state"
    assert callable(spoil)
    file.write_bytes(spoil(file.read_bytes()))
    assert state.read() is None
    assert len(searched(repository, state)) == everything


def test_a_memory_is_read_as_it_was_written_and_is_private(tmp_path: Path) -> None:
    memory = Memory(frozenset({b"p" * 28}), array("Q", [1, 2, 1 << 63]), frozenset({b"o" * 20, b"q" * 20}))
    state = StateFile(tmp_path / "a.state", "1")
    state.write(memory)
    assert state.read() == memory
    assert (tmp_path / "a.state").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a.state"]


def test_a_write_that_fails_leaves_the_memory_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = StateFile(tmp_path / "a.state", "1")
    before = Memory(frozenset(), array("Q", [1]), frozenset())
    state.write(before)

    def fails(_: int) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="no space left"):
        state.write(Memory(frozenset(), array("Q", [2]), frozenset()))
    assert state.read() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.state"]
