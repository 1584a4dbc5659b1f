"""A key planted in a pushed commit: found by the hook of a local Git server, dead, and replaced where it was used."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import IO, Any

import pytest
from botocore.exceptions import ClientError

from acceptance.pushed import USER, Team, team
from keyturn.model.access_keys import AccessKeyPair

GENEROUS_MS = 20_000
"""A machine that others share: the figure that is published is a benchmark's."""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("team")) as opened:
        opened.commit("README", "an application\n")
        opened.push()
        yield opened


def said_by(lines: IO[str], **wanted: object) -> dict[str, Any]:
    """The first line of the workload that says this."""
    while line := lines.readline():
        told: dict[str, Any] = json.loads(line)
        if all(told[name] == value for name, value in wanted.items()):
            return told
    raise AssertionError(f"the workload ended before it said {wanted}")


def accepts(here: Team, pair: AccessKeyPair) -> bool:
    try:
        here.authority.sts(pair.access_key_id, pair.secret.reveal().decode()).get_caller_identity()
    except ClientError:
        return False
    return True


def planted(pair: AccessKeyPair) -> str:
    return f'[{USER}]\naws_access_key_id = "{pair.access_key_id}"\naws_secret_access_key = "{pair.secret.reveal().decode()}"\n'


def test_a_pushed_key_is_refused_and_its_workload_goes_on_with_another(here: Team) -> None:
    pair = here.new_key(USER)
    here.hand_over(pair)
    with here.workload() as lines:
        said_by(lines, key=pair.access_key_id, accepted=True)
        here.commit("settings.ini", planted(pair))
        said, began, ended = here.push()
        assert not accepts(here, pair), "when the push has returned, the key is dead"
        assert f"{pair.access_key_id} was pushed with its secret. It is dead now" in said
        said_by(lines, key=pair.access_key_id, accepted=False)
        after = said_by(lines, accepted=True)
        recovered = time.time_ns() // 1_000_000
    incident = here.incident(pair.access_key_id)
    assert incident is not None
    assert began <= incident["deactivated_at"] <= ended
    assert incident["deactivated_at"] - began < GENEROUS_MS
    assert recovered - incident["deactivated_at"] < GENEROUS_MS
    keys = here.authority.iam().list_access_keys(UserName=USER)["AccessKeyMetadata"]
    assert after["key"] in {key["AccessKeyId"] for key in keys if key["Status"] == "Active"}
    assert "a push to app.git: settings.ini" in incident["how"]
    print(  # noqa: T201 - the figure, for whoever asks with -s
        f"from the beginning of git push: dead after {incident['deactivated_at'] - began} ms,"
        f" git push returned after {ended - began} ms, the workload went on with another after {recovered - began} ms"
    )


def test_a_pushed_pair_that_is_not_real_changes_nothing(here: Team) -> None:
    pair = here.new_key("slandered")
    real = pair.secret.reveal().decode()
    wrong = planted(pair).replace(real, real[::-1])
    here.commit("wrong.ini", wrong)
    said, _began, _ended = here.push()
    assert pair.access_key_id not in said
    assert accepts(here, pair)
    assert here.incident(pair.access_key_id) is None


def test_a_push_goes_through_when_the_authority_is_not_there(here: Team) -> None:
    url = here.git("config", "keyturn.url", cwd=here.bare).strip()
    here.git("config", "keyturn.url", "http://127.0.0.1:1", cwd=here.bare)
    try:
        here.commit("unheard.ini", planted(here.new_key("unheard")))
        said, _began, _ended = here.push()
    finally:
        here.git("config", "keyturn.url", url, cwd=here.bare)
    assert "keyturn: could not look at this push" in said
    assert here.git("rev-parse", "HEAD").strip() == here.git("rev-parse", "main", cwd=here.bare).strip()


def test_the_hook_sends_no_secret_in_the_clear(here: Team) -> None:
    url = here.git("config", "keyturn.url", cwd=here.bare).strip()
    here.git("config", "keyturn.url", "http://keyturn.example", cwd=here.bare)
    try:
        here.commit("again", "again\n")
        said, _began, _ended = here.push()
    finally:
        here.git("config", "keyturn.url", url, cwd=here.bare)
    assert "keyturn.url is https" in said
