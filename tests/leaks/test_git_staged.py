"""What a pre-commit hook is told: the staged blobs, each at its path, and nothing that was committed before."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from keyturn.leaks.sources.interface import SourceError
from keyturn.leaks.sources.staged import Staged
from real_git import ENVIRONMENT, KEY, Repository, Told, may_hold, scanned

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def staged(path: Path, **environment: str) -> Staged:
    return Staged(path, "it", ENVIRONMENT | environment)


def test_a_staged_key_is_found_before_the_first_commit(repository: Repository) -> None:
    repository.write("a.txt", KEY)
    repository.git("add", "a.txt")
    place = scanned(staged(repository.path)).only
    assert (place.source, place.path, place.commit) == ("it", "a.txt", None)
    assert place.object == repository.git("rev-parse", ":a.txt")


def test_only_what_differs_from_the_last_commit_is_handed_out(repository: Repository) -> None:
    repository.commit("old", old__txt=f"old {KEY}", changed__txt="x", gone__txt=f"gone {KEY}")
    repository.write("changed.txt", KEY)
    (repository.path / "gone.txt").unlink()
    repository.git("add", "--all")
    repository.write("unstaged.txt", f"unstaged {KEY}")
    assert scanned(staged(repository.path)).only.path == "changed.txt"


def test_what_is_staged_counts_and_not_what_the_worktree_holds_now(repository: Repository) -> None:
    repository.write("a.txt", KEY)
    repository.git("add", "a.txt")
    repository.write("a.txt", "clean")
    assert scanned(staged(repository.path)).only.path == "a.txt"


def test_one_blob_staged_at_two_paths_is_told_at_both(repository: Repository) -> None:
    repository.write("a.txt", KEY)
    repository.write("d/b.txt", KEY)
    repository.git("add", "--all")
    assert {place.path for place in scanned(staged(repository.path)).places} == {"a.txt", "d/b.txt"}


def test_nothing_staged_is_nothing_found(repository: Repository) -> None:
    repository.commit("old", old__txt=KEY)
    assert scanned(staged(repository.path)).places == []


def test_it_works_from_a_directory_below_and_in_a_linked_worktree(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit("first", readme__md="x")
    repository.git("worktree", "add", "-q", str(tmp_path / "linked"))
    linked = tmp_path / "linked"
    (linked / "below").mkdir()
    (linked / "below" / "a.txt").write_text(KEY)
    repository.git("-C", str(linked), "add", "--all")
    assert scanned(staged(linked / "below")).only.path == "below/a.txt"
    assert scanned(staged(repository.path)).places == []


def test_the_index_that_git_tells_a_hook_of_is_the_one_that_is_read(repository: Repository) -> None:
    """`git commit FILE` commits from an index that it makes for the occasion."""
    repository.commit("first", a__txt="a", b__txt="b")
    repository.write("a.txt", f"a {KEY}")
    repository.write("b.txt", f"b {KEY}")
    repository.git("add", "b.txt")
    hook = repository.path / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nenv > ../environment\n")
    hook.chmod(0o755)
    repository.git("commit", "-q", "-m", "one", "a.txt")
    said = dict(
        line.split("=", 1) for line in (repository.path.parent / "environment").read_text().splitlines()
    )
    assert said["GIT_INDEX_FILE"].endswith(".lock")
    repository.write("c.txt", f"c {KEY}")
    index = repository.path / ".git" / "other-index"
    index.write_bytes((repository.path / ".git" / "index").read_bytes())
    repository.git("add", "c.txt")
    index.write_bytes((repository.path / ".git" / "index").read_bytes())
    repository.git("reset", "-q", "--hard")
    assert scanned(staged(repository.path)).places == []
    found = scanned(staged(repository.path, GIT_INDEX_FILE=".git/other-index", GIT_DIR=".git"))
    assert {place.path for place in found.places} == {"b.txt", "c.txt"}


def test_names_with_control_characters_are_made_safe(repository: Repository) -> None:
    (repository.path / "a\x1b[31m\n.txt").write_text(KEY)
    repository.git("add", "--all")
    assert scanned(staged(repository.path)).only.path == r"a\x1b[31m\x0a.txt"


def test_links_to_other_repositories_are_no_blobs(repository: Repository, tmp_path: Path) -> None:
    inner = Repository(tmp_path / "inner")
    inner.commit("oops", a__txt=KEY)
    repository.git("submodule", "--quiet", "add", str(inner.path), "inner")
    found = scanned(staged(repository.path))
    assert (found.places, found.report.skips) == ([], [])


def test_outside_a_repository_it_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not in a Git repository"):
        list(staged(tmp_path).contents(may_hold, Told()))


def test_a_commits_worth_of_changes_is_read_in_a_moment(repository: Repository) -> None:
    for number in range(2000):
        repository.write(f"d{number % 40}/f{number}.txt", f"text {number}\n" * 20)
    repository.commit("many")
    for number in range(0, 2000, 100):
        repository.write(f"d{number % 40}/f{number}.txt", f"{KEY} {number}\n")
    repository.git("add", "--all")
    took = []
    for _ in range(5):
        began = time.perf_counter()
        assert len(scanned(staged(repository.path)).places) == 20
        took.append(time.perf_counter() - began)
    assert min(took) < 0.2


def test_the_hooks_manifest_names_a_command_that_we_have() -> None:
    text = (ROOT / ".pre-commit-hooks.yaml").read_text()
    entries = dict(line.strip("- ").split(": ", 1) for line in text.splitlines() if ": " in line)
    assert entries["id"] == "keyturn"
    assert entries["entry"] == "keyturn scan --staged"
    assert json.loads(entries["pass_filenames"]) is False
