"""`keyturn scan`: what its words are taken for, what it answers, and what it says while it works."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from command_line import Told, keyturn
from keyturn.cli.scan import scan_for_leaks
from leaks.archive_corpus import environment_of, new_key, plant_keys, zipped
from living_authority import LivingAuthority, environment_below, living_authority

_CHANCE = Random(31)  # noqa: S311 - it seeds a corpus
KEY, DELETED, STAGED = (new_key(_CHANCE) for _ in range(3))


def git(where: Path, *words: str) -> None:
    settings = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "HOME": str(where)}
    people = {
        f"GIT_{who}_{what}": text
        for who in ("AUTHOR", "COMMITTER")
        for what, text in (("NAME", "Ana"), ("EMAIL", "ana@example.com"), ("DATE", "2026-01-31T10:00:00Z"))
    }
    command = ["git", "-C", str(where), *words]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **settings, **people})


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A work tree with a key in a file, one in a deleted file, and one that is only staged."""
    where = tmp_path / "project"
    where.mkdir()
    git(where, "init", "-q", "-b", "main")
    (where / "old.env").write_bytes(environment_of(DELETED))
    git(where, "add", ".")
    git(where, "commit", "-q", "-m", "first")
    git(where, "rm", "-q", "old.env")
    git(where, "commit", "-q", "-m", "second")
    (where / "app.env").write_bytes(environment_of(KEY))
    (where / "new.env").write_bytes(environment_of(STAGED))
    git(where, "add", "new.env")
    return where


def rows(told: Told) -> list[tuple[str, str | None, bool]]:
    """Which key, at which path, and whether a commit brought it."""
    parsed = [json.loads(line) for line in told.stdout.splitlines()]
    return sorted((row["access_key_id"], row["path"], row["commit"] is not None) for row in parsed)


def scan(home: Path, *words: str) -> Told:
    return keyturn(home, "scan", "--output", "jsonl", *words)


def test_a_work_tree_is_its_files_and_its_whole_history(tmp_path: Path, repository: Path) -> None:
    told = scan(tmp_path / "home", str(repository))
    assert told.code == 3
    found = rows(told)
    assert (DELETED.access_key_id, "old.env", True) in found
    assert (KEY.access_key_id, "app.env", False) in found
    assert {key for key, _, _ in found} == {each.access_key_id for each in (KEY, DELETED, STAGED)}


def test_what_a_word_is_taken_for_can_be_forced(tmp_path: Path, repository: Path) -> None:
    assert {key for key, _, _ in rows(scan(tmp_path / "home", f"git:{repository}"))} == {
        DELETED.access_key_id,
        STAGED.access_key_id,
    }
    found = rows(scan(tmp_path / "home", f"dir:{repository}"))
    assert (KEY.access_key_id, "app.env", False) in found
    assert not any(commit for _, _, commit in found)


def test_a_bare_repository_and_a_repository_deep_in_a_directory_are_recognised(
    tmp_path: Path, repository: Path
) -> None:
    bare = tmp_path / "served" / "team" / "project.git"
    git(tmp_path, "clone", "-q", "--bare", "--no-local", str(repository), str(bare))
    for word in (bare, tmp_path / "served"):
        assert rows(scan(tmp_path / "home", str(word))) == [(DELETED.access_key_id, "old.env", True)]


def test_a_url_is_cloned(tmp_path: Path, repository: Path) -> None:
    told = scan(tmp_path / "home", f"file://{repository}")
    assert rows(told) == [(DELETED.access_key_id, "old.env", True)]
    assert told.code == 3


def test_a_rescan_tells_again_what_it_remembers_and_with_no_state_nothing_is_left_behind(
    tmp_path: Path, repository: Path
) -> None:
    home, state = tmp_path / "home", tmp_path / "state"
    first = scan(home, f"git:{repository}", "--state", str(state))
    again = scan(home, f"git:{repository}", "--state", str(state))
    assert rows(first) == rows(again) != []
    assert len(list(state.iterdir())) == 1
    for file in state.iterdir():
        assert DELETED.secret.reveal() not in file.read_bytes()
    scan(tmp_path / "elsewhere", f"git:{repository}", "--no-state")
    assert not list((tmp_path / "elsewhere").rglob("*.scan"))


def test_staged_is_what_the_next_commit_would_bring(tmp_path: Path, repository: Path) -> None:
    told = scan(tmp_path / "home", "--staged", str(repository))
    assert rows(told) == [(STAGED.access_key_id, "new.env", False)]
    assert told.code == 3
    git(repository, "reset", "-q")
    assert scan(tmp_path / "home", "--staged", str(repository)).code == 0


def test_since_leaves_out_what_older_commits_brought(tmp_path: Path, repository: Path) -> None:
    assert (
        DELETED.access_key_id
        not in scan(tmp_path / "home", f"git:{repository}", "--since", "2026-02-01").stdout
    )
    assert (
        DELETED.access_key_id in scan(tmp_path / "home", f"git:{repository}", "--since", "2026-01-01").stdout
    )


def test_stdin_is_a_dash(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "keyturn.cli.main", "scan", "-", "--output", "jsonl"],
        input=zipped(environment_of(KEY)),
        env={**os.environ, **environment_below(tmp_path)},
        capture_output=True,
        check=False,
    )
    row = json.loads(told.stdout)
    assert told.returncode == 3
    assert (row["source"], row["path"], row["member"]) == ("-", None, "conf/app.env")


@pytest.mark.parametrize("output", ["jsonl", "sarif", "csv", "table"])
def test_a_report_goes_into_a_file_whole_and_without_a_secret(tmp_path: Path, output: str) -> None:
    plant_keys(tmp_path / "project")
    report = tmp_path / "report"
    told = keyturn(
        tmp_path / "home", "scan", str(tmp_path / "project"), "--output", output, "--output-file", str(report)
    )
    assert (told.code, told.stdout) == (3, "")
    assert "AKIA" in report.read_text()
    assert "AWS_SECRET" not in report.read_text()


def test_an_exit_code_of_4_means_clean_as_far_as_it_could_be_looked_into(tmp_path: Path) -> None:
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(100))
    told = scan(tmp_path / "home", str(tmp_path / "a.7z"))
    assert told.code == 4
    assert "7z archives are not unpacked" in told.stderr
    assert "clean" not in told.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--since", "yesterday"], "is no date"),
        (["--account", "12"], "is no account id"),
        (["--max-depth", "0"], "is no number from 1 on"),
        (["--state", "x", "--no-state"], "not allowed with"),
    ],
)
def test_wrong_words_are_refused(tmp_path: Path, words: list[str], says: str) -> None:
    told = keyturn(tmp_path, "scan", ".", *words)
    assert told.code == 2
    assert says in told.stderr


def test_limits_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(zipped(environment_of(KEY)), "b.zip"))
    assert scan(tmp_path / "home", str(tmp_path / "a.zip")).code == 3
    told = scan(tmp_path / "home", str(tmp_path / "a.zip"), "--max-depth", "1")
    assert told.code == 4
    assert "nested deeper than 1" in told.stderr


def test_progress_with_its_rate_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(b"nothing here\n" * (24 << 20))
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "keyturn.cli.main", "scan", str(tmp_path / "zeros")],
        env={**os.environ, **environment_below(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 65_536)
        except OSError:  # how Linux says that nobody writes there any more
            break
        shown += part
    os.close(leader)
    assert process.communicate()[0] == b""
    assert process.returncode == 0
    assert b" %, " in shown
    assert b" MB/s" in shown
    assert shown.rstrip().endswith(b"clean")


def test_a_rescan_tells_what_the_first_one_found_and_what_it_could_not_look_into(
    tmp_path: Path, repository: Path
) -> None:
    (repository / "dump.7z").write_bytes(b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(40))
    git(repository, "add", "dump.7z")
    git(repository, "commit", "-q", "-m", "third")
    git(repository, "gc", "-q")
    first, second = (scan(tmp_path / "home", f"git:{repository}") for _ in range(2))
    assert DELETED.access_key_id in second.stdout
    assert (first.code, first.stdout) == (second.code, second.stdout)
    assert "dump.7z: 7z archives are not unpacked" in second.stderr


def test_what_is_compiled_is_kept_for_the_next_run(tmp_path: Path, repository: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "keyturn.cli.main", "scan", "--staged", str(repository)]
    environment = {"PATH": os.environ["PATH"], **environment_below(home)}
    written = []
    for _ in range(2):
        assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 3
        (kept,) = home.rglob("*.hyperscan")
        written.append(kept.stat().st_mtime_ns)
    assert written[0] == written[1]


def test_a_canary_is_only_spoken_of_together_with_verifying(tmp_path: Path) -> None:
    told = scan(tmp_path / "home", ".", "--allow-canary")
    assert (told.code, told.stdout) == (2, "")
    assert "--verify" in told.stderr


def test_a_profile_that_is_not_there_is_an_error_before_anything_is_scanned(tmp_path: Path) -> None:
    told = scan(tmp_path / "home", ".", "--profile", "nowhere")
    assert (told.code, told.stdout) == (1, "")
    assert "nowhere" in told.stderr


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingAuthority]:
    with living_authority(tmp_path_factory.mktemp("authority")) as living:
        yield living


def verdicts(told: Told) -> dict[str, str]:
    return {row["access_key_id"]: row["verdict"] for row in map(json.loads, told.stdout.splitlines())}


def test_nobody_is_asked_unless_the_user_says_so_and_only_a_right_secret_proves_a_pair(
    tmp_path: Path, authority: LivingAuthority
) -> None:
    right, dead, wrong = (authority.new_user_with_key(name) for name in ("right", "dead", "wrong"))
    authority.iam().update_access_key(UserName="dead", AccessKeyId=dead[0], Status="Inactive")
    pairs = [right, dead, (wrong[0], new_key(_CHANCE).secret.reveal().decode())]
    for key, secret in pairs:
        text = f"aws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
        (tmp_path / f"{key}.ini").write_text(text)
    environment = {
        "AWS_ENDPOINT_URL": authority.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": authority.administrator.access_key_id,
        "AWS_SECRET_ACCESS_KEY": authority.administrator.secret.reveal().decode(),
    }

    def asking(*options: str) -> dict[str, str]:
        words = ("scan", f"dir:{tmp_path}", "--output", "jsonl", *options)
        told = keyturn(tmp_path.parent / "home", *words, environment=environment)
        assert told.code == 3, told.stderr
        return verdicts(told)

    ids = [key for key, _ in pairs]
    assert asking() == dict.fromkeys(ids, "unverified")
    assert asking("--ask") == dict(zip(ids, ("live", "inactive", "live"), strict=True))
    assert asking("--verify") == dict(zip(ids, ("live", "inactive", "unknown"), strict=True))
    assert asking("--endpoint-url", authority.url) == asking("--ask")


def test_pairs_are_handed_to_another_verb_with_their_secret(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_bytes(environment_of(KEY))
    (found,) = scan_for_leaks([f"dir:{tmp_path}"])
    assert found.pair is not None
    assert found.pair.fingerprint == found.fingerprint


def test_a_submodules_repository_inside_of_its_superproject_is_searched(
    tmp_path: Path, repository: Path
) -> None:
    above = tmp_path / "above"
    above.mkdir()
    git(above, "init", "-q", "-b", "main")
    git(above, "clone", "-q", "--bare", str(repository), ".git/modules/below")
    found = rows(scan(tmp_path / "home", str(above)))
    assert (DELETED.access_key_id, "old.env", True) in found
