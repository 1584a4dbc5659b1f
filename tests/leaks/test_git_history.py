"""Wherever a repository keeps a key, the scan finds it and says where it came from."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keyturn.leaks.git.layout import layout_of
from keyturn.leaks.sources.git_history import GitHistory
from keyturn.leaks.sources.interface import SourceError
from real_git import FIRST_SECOND, KEY, Repository, Told, as_git_says, history, may_hold, scanned


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.commit("first", readme__md="nothing here\n")
    return made


@pytest.fixture(params=["loose", "packed"])
def kept(request: pytest.FixtureRequest) -> str:
    """How the objects lie when they are searched."""
    return str(request.param)


def pack_if(kept: str, repository: Repository) -> None:
    if kept == "packed":
        repository.git("repack", "-adfkq")


def test_a_key_deleted_in_a_later_commit_is_found_with_the_commit_that_brought_it(
    repository: Repository, kept: str
) -> None:
    commit = repository.commit("oops", config__ini=f"key = {KEY}\n")
    second = repository.second
    (repository.path / "config.ini").unlink()
    repository.commit("clean up")
    pack_if(kept, repository)
    place = history(repository.path).only
    assert (place.source, place.commit, place.path) == ("it", commit, "config.ini")
    assert place.author == "Ann Author <ann@example.com>"
    assert place.date == datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_key_that_comes_back_belongs_to_the_commit_that_brought_it_first(repository: Repository) -> None:
    first = repository.commit("oops", a__txt=KEY)
    repository.commit("moved on", a__txt="clean")
    repository.commit("again", b__txt=KEY)
    place = history(repository.path).only
    assert (place.commit, place.path) == (first, "a.txt")


def test_a_key_only_in_a_merge_is_found_in_the_merge(repository: Repository, kept: str) -> None:
    repository.git("checkout", "-q", "-b", "side")
    repository.commit("side", side__txt="side")
    repository.git("checkout", "-q", "main")
    repository.commit("main", main__txt="main")
    repository.git("merge", "-q", "--no-commit", "--no-ff", "side")
    merge = repository.commit("merge", evil__txt=KEY)
    assert len(repository.git("rev-list", "--parents", "-n1", merge).split()) == 3
    pack_if(kept, repository)
    place = history(repository.path).only
    assert (place.commit, place.path) == (merge, "evil.txt")


def test_a_key_brought_by_a_merged_branch_belongs_to_the_branchs_commit(repository: Repository) -> None:
    repository.git("checkout", "-q", "-b", "side")
    side = repository.commit("side", side__txt=KEY)
    repository.git("checkout", "-q", "main")
    repository.commit("main", main__txt="main")
    repository.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    assert history(repository.path).only.commit == side


def test_a_key_in_a_commit_message_has_its_commit_and_no_path(repository: Repository, kept: str) -> None:
    commit = repository.commit(f"use {KEY} for now")
    pack_if(kept, repository)
    place = history(repository.path).only
    assert (place.object, place.commit, place.path) == (commit, commit, None)
    assert place.author == "Ann Author <ann@example.com>"


def test_a_key_in_a_tags_annotation_has_the_tags_id_and_tagger(repository: Repository, kept: str) -> None:
    repository.git("tag", "-a", "v1", "-m", f"the key is {KEY}")
    pack_if(kept, repository)
    place = history(repository.path).only
    assert place.object == repository.git("rev-parse", "v1")
    assert (place.commit, place.path) == (None, None)
    assert place.author == "Carl Committer <carl@example.com>"


def test_a_key_in_a_note_has_the_notes_commit(repository: Repository, kept: str) -> None:
    repository.git("notes", "add", "-m", KEY)
    pack_if(kept, repository)
    place = history(repository.path).only
    assert place.commit == repository.git("rev-parse", "refs/notes/commits")
    assert place.path == repository.git("rev-parse", "HEAD")


def test_keys_in_a_stash_are_found(repository: Repository, kept: str) -> None:
    repository.write("readme.md", f"in work {KEY}")
    repository.git("stash", "-q")
    pack_if(kept, repository)
    place = history(repository.path).only
    assert place.path == "readme.md"
    assert place.commit == repository.git("rev-parse", "stash")


def test_a_stash_that_is_only_in_the_reflog_is_found(repository: Repository) -> None:
    repository.write("readme.md", f"in work {KEY}")
    repository.git("stash", "-q")
    stash = repository.git("rev-parse", "stash")
    repository.write("readme.md", "more work")
    repository.git("stash", "-q")
    assert history(repository.path).only.commit == stash


def test_a_commit_that_only_the_reflog_knows_is_found(repository: Repository, kept: str) -> None:
    commit = repository.commit("oops", config__ini=KEY)
    repository.git("reset", "-q", "--hard", "HEAD~")
    pack_if(kept, repository)
    place = history(repository.path).only
    assert (place.commit, place.path) == (commit, "config.ini")


def test_a_commit_that_nothing_leads_to_is_found_with_author_and_path(repository: Repository) -> None:
    commit = repository.commit("oops", config__ini=KEY)
    repository.git("reset", "-q", "--hard", "HEAD~")
    repository.git("reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
    place = history(repository.path).only
    assert (place.commit, place.path) == (commit, "config.ini")
    assert place.author == "Ann Author <ann@example.com>"


def test_a_dangling_blob_has_its_object_alone(repository: Repository) -> None:
    blob = repository.blob(KEY)
    place = history(repository.path).only
    assert (place.object, place.commit, place.author, place.date, place.path) == (
        blob,
        None,
        None,
        None,
        None,
    )


def test_a_blob_that_is_only_staged_has_its_path_and_no_commit(repository: Repository) -> None:
    repository.write("new.txt", KEY)
    repository.git("add", "new.txt")
    place = history(repository.path).only
    assert (place.path, place.commit) == ("new.txt", None)


def test_a_blob_that_is_staged_in_a_linked_worktree_has_its_path(
    repository: Repository, tmp_path: Path
) -> None:
    repository.git("worktree", "add", "-q", str(tmp_path / "linked"))
    (tmp_path / "linked" / "new.txt").write_text(KEY)
    repository.git("-C", str(tmp_path / "linked"), "add", "new.txt")
    assert history(repository.path).only.path == "new.txt"
    assert history(tmp_path / "linked").only.path == "new.txt"


def test_many_hits_are_located_in_one_go(repository: Repository) -> None:
    for number in range(5):
        for file in range(250):
            repository.write(f"d{number}/f{file}.txt", f"{KEY} {number} {file}")
        repository.commit(f"batch {number}")
    found = history(repository.path)
    assert len(found.places) == 1250
    assert {place.path for place in found.places} == {f"d{n}/f{f}.txt" for n in range(5) for f in range(250)}
    assert len({place.commit for place in found.places}) == 5


def test_names_with_control_characters_are_safe_for_a_terminal(repository: Repository) -> None:
    repository.git("config", "user.name", "x")
    name = b"a\x1b[2Jb\nc\t\xff\xe2\x80\xae.txt"
    (repository.path / name.decode("utf-8", "surrogateescape")).write_text(KEY)
    repository.commit("odd")
    path = history(repository.path).only.path
    assert path == r"a\x1b[2Jb\x0ac\x09\xff\u202e.txt"


def test_a_bare_repository_is_searched(repository: Repository, tmp_path: Path) -> None:
    repository.commit("oops", config__ini=KEY)
    repository.git("clone", "-q", "--bare", ".", str(tmp_path / "bare.git"))
    assert history(tmp_path / "bare.git").only.path == "config.ini"


def test_the_git_directory_itself_may_be_named(repository: Repository) -> None:
    repository.commit("oops", config__ini=KEY)
    assert history(repository.path / ".git").only.path == "config.ini"


def test_a_submodules_directory_is_searched_through_its_git_file(
    repository: Repository, tmp_path: Path
) -> None:
    inner = Repository(tmp_path / "inner")
    inner.commit("oops", config__ini=KEY)
    repository.git("submodule", "--quiet", "add", str(inner.path), "inner")
    assert (repository.path / "inner" / ".git").is_file()
    assert history(repository.path / "inner").only.path == "config.ini"


def test_objects_in_alternates_are_searched_and_circles_of_them_end(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit("oops", config__ini=KEY)
    repository.git("clone", "-q", "--shared", ".", str(tmp_path / "borrower"))
    back = repository.path / ".git" / "objects" / "info" / "alternates"
    back.write_text(f"{tmp_path / 'borrower' / '.git' / 'objects'}\n")
    assert not list((tmp_path / "borrower" / ".git" / "objects").glob("??/*"))
    assert history(tmp_path / "borrower").only.path == "config.ini"


def test_an_alternate_that_is_not_there_is_reported(repository: Repository) -> None:
    (repository.path / ".git" / "objects" / "info" / "alternates").write_text("/nowhere/objects\n")
    assert history(repository.path).report.reasons == ["the alternate object directory is not there"]


def test_a_sha256_repository_is_searched(tmp_path: Path, kept: str) -> None:
    repository = Repository(tmp_path / "repository", "--object-format=sha256")
    commit = repository.commit("oops", config__ini=KEY)
    repository.commit(f"and {KEY}")
    pack_if(kept, repository)
    found = history(repository.path)
    assert found.objects == as_git_says(repository)
    assert commit in {place.commit for place in found.places}
    assert all(len(place.object or "") == 64 for place in found.places)


def test_a_repository_whose_refs_git_cannot_read_is_still_searched(repository: Repository) -> None:
    repository.commit("oops", config__ini=KEY)
    repository.git("config", "core.repositoryFormatVersion", "1")
    with (repository.path / ".git" / "config").open("a") as config:
        config.write("[extensions]\n\trefStorage = of-the-future\n")
    place = history(repository.path).only
    assert (place.path, place.commit) == (None, None)


def test_a_whole_repository_is_not_called_incomplete(repository: Repository) -> None:
    assert history(repository.path).report.skips == []


def test_a_shallow_clone_is_incomplete(repository: Repository, tmp_path: Path) -> None:
    repository.commit("second", a__txt="a")
    repository.git("clone", "-q", "--depth=1", f"file://{repository.path}", str(tmp_path / "shallow"))
    assert "incomplete: the clone is shallow" in history(tmp_path / "shallow").report.reasons[0]


def test_a_partial_clone_is_incomplete_and_nothing_is_fetched_for_it(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit("oops", config__ini=KEY)
    repository.git("config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial"
    repository.git(
        "clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{repository.path}", str(partial)
    )
    found = history(partial)
    assert found.places == []
    assert found.report.reasons == ["incomplete: the clone is partial, 2 of its objects were never fetched"]
    assert "incomplete" in history(partial).report.reasons[0]


def test_only_what_came_after_a_date_is_handed_out(repository: Repository) -> None:
    repository.commit("old", old__txt=f"old {KEY}")
    since = datetime.fromtimestamp(repository.second, UTC)
    young = repository.commit(f"young {KEY}", young__txt=f"young {KEY}", old__txt=f"old {KEY}")
    repository.git("repack", "-adfq")
    found = history(repository.path, since=since)
    assert {(place.commit, place.path) for place in found.places} == {(young, None), (young, "young.txt")}
    assert since.timestamp() > FIRST_SECOND


def test_a_place_without_a_repository_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a Git repository"):
        list(GitHistory(tmp_path).contents(may_hold, Told()))


def test_an_empty_repository_holds_nothing(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    found = history(repository.path)
    assert (found.places, found.report.skips) == ([], [])


def test_nothing_that_the_repository_configures_is_run(repository: Repository, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {ran}\n")
    script.chmod(0o755)
    for setting in ("core.fsmonitor", "diff.external", "core.pager", "gpg.program", "core.sshCommand"):
        repository.git("config", setting, str(script))
    repository.git("config", "log.showSignature", "true")
    repository.git("config", "core.hooksPath", str(tmp_path))
    repository.write("new.txt", f"{KEY} staged")
    (repository.path / ".git" / "index").touch()
    repository.git("-c", "core.fsmonitor=", "-c", "core.hooksPath=/dev/null", "add", "new.txt")
    repository.git("-c", "core.fsmonitor=", "-c", "core.hooksPath=/dev/null", "commit", "-qm", "oops")
    ran.unlink(missing_ok=True)
    assert history(repository.path).only.path == "new.txt"
    assert not ran.exists()


def test_a_pipe_where_git_looks_does_not_hang_the_scan(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyturn.leaks.sources.git_history._IMPATIENCE", 0.2)
    repository.commit("oops", a__txt=KEY)
    os.mkfifo(repository.path / ".git" / "objects" / "info" / "alternates")
    found = history(repository.path)
    assert len(found.objects) == 1


def test_a_repository_of_plain_files_has_git_waited_for(repository: Repository) -> None:
    repository.commit("oops", a__txt=KEY)
    assert not layout_of(repository.path).has_odd_files
    os.mkfifo(repository.path / ".git" / "refs" / "heads" / "pipe")
    assert layout_of(repository.path).has_odd_files


def test_what_a_push_brings_is_searched_while_its_hook_decides(
    repository: Repository, tmp_path: Path
) -> None:
    """git-receive-pack(1): the objects lie in a quarantine, and no ref leads to them yet."""
    server = tmp_path / "server.git"
    repository.commit("first", a__txt="harmless")
    repository.git("clone", "--quiet", "--bare", ".", str(server))
    commit = repository.commit("oops", b__txt=KEY)
    hook = server / "hooks" / "pre-receive"
    hook.write_text('#!/bin/sh\ncp -r "$GIT_QUARANTINE_PATH" objects/kept\nexit 1\n')
    hook.chmod(0o755)
    with pytest.raises(AssertionError):
        repository.git("push", str(server), "main")
    quarantine = server / "objects" / "kept"
    assert not history(server).objects
    found = scanned(GitHistory(server, "it", quarantine=quarantine))
    assert found.only.commit == commit
    assert found.only.path == "b.txt"
    assert not scanned(GitHistory(server, "it", quarantine=tmp_path)).objects
