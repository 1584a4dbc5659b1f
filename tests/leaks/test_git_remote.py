"""A URL is cloned into a place of its own, searched, and leaves nothing behind. Only plain URLs are accepted."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from keyturn.leaks.sources.interface import SourceError
from keyturn.leaks.sources.remote import RemoteRepository, is_remote
from real_git import ENVIRONMENT, KEY, Repository, Told, may_hold, scanned


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories are made in this test."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.commit("oops", config__ini=KEY)
    made.commit("clean", config__ini="clean")
    return made


def test_every_ref_of_a_remote_is_searched_and_nothing_stays(repository: Repository, private: Path) -> None:
    repository.git("notes", "add", "-m", f"note {KEY}")
    url = f"file://{repository.path}"
    found = scanned(RemoteRepository(url, environment=ENVIRONMENT))
    assert {place.source for place in found.places} == {url}
    assert "config.ini" in {place.path for place in found.places}
    assert len(found.places) == 2
    assert list(private.iterdir()) == []


def test_a_scan_that_is_given_up_leaves_nothing(repository: Repository, private: Path) -> None:
    source = RemoteRepository(f"file://{repository.path}", environment=ENVIRONMENT)
    contents = source.contents(may_hold, Told())
    assert isinstance(contents, Generator)
    next(contents)
    assert [path.stat().st_mode & 0o777 for path in private.iterdir()] == [0o700]
    contents.close()
    del source, contents
    gc.collect()
    assert list(private.iterdir()) == []


def test_a_remote_that_is_too_large_is_refused_and_leaves_nothing(
    repository: Repository, private: Path
) -> None:
    source = RemoteRepository(f"file://{repository.path}", environment=ENVIRONMENT, largest=1000)
    with pytest.raises(SourceError, match="larger than"):
        list(source.contents(may_hold, Told()))
    assert list(private.iterdir()) == []


def test_a_clone_that_takes_too_long_is_ended(repository: Repository, private: Path) -> None:
    times = iter(range(0, 10_000_000, 1000))
    source = RemoteRepository(
        f"file://{repository.path}", environment=ENVIRONMENT, longest=10, clock=lambda: float(next(times))
    )
    with pytest.raises(SourceError, match="takes too long"):
        list(source.contents(may_hold, Told()))
    assert list(private.iterdir()) == []


def test_a_remote_that_is_not_there_is_a_source_error(tmp_path: Path, private: Path) -> None:
    source = RemoteRepository(f"file://{tmp_path}/nowhere", environment=ENVIRONMENT)
    with pytest.raises(SourceError, match="can't be cloned"):
        list(source.contents(may_hold, Told()))
    assert list(private.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.git",
        "ssh://git@example.com:2222/a.git",
        "git://example.com/a",
        "file:///srv/a.git",
        "git@example.com:team/a.git",
    ],
)
def test_plain_urls_are_accepted(url: str) -> None:
    assert RemoteRepository(url).name == url
    assert is_remote(url)


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c id",
        "http://example.com/a.git",
        "ftp://example.com/a.git",
        "fd::7",
        "ssh://-oProxyCommand=id/a",
        "ssh://-oProxyCommand=id@example.com/a",
        "-oProxyCommand=id@example.com:a",
        "git@-oProxyCommand=id:a",
        "git@example.com:-a",
        "ssh://example.com/-a",
        "--upload-pack=id",
        "file://other.example.com/a",
        "file:relative",
        "https:///a",
        "https://example.com:99999/a",
        "https://example.com/a\nb",
        "https://example.com/a b",
        "/a/path",
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    with pytest.raises(SourceError):
        RemoteRepository(url)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(SourceError) as refused:
        RemoteRepository("https://user:hunter2@example.com/a.git")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["/srv/a.git", "a.git", "./git@x", "C:\\a", "-", "image.tar"])
def test_paths_are_no_remotes(name: str) -> None:
    assert not is_remote(name)
