"""The GitHub sink against a strict fake that really opens what is sealed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks import github
from keyturn.rotation.sinks.interface import (
    Held,
    ReadBack,
    SinkChangedError,
    SinkRefusedError,
    SinkUnavailableError,
    WriteContext,
)
from rotation.sinks.fakes.github_api import GitHubFake
from rotation.sinks.fakes.loopback import Fault, Reply
from rotation.sinks.sink_conformance import (
    PlaceUnderTest,
    SinkConformance,
    new_context,
    new_pair,
    surroundings,
)
from secret_forms import names_found

TOKEN = "github-token-of-the-tests"
REPOSITORY = "repos/acme/app"
PLACES = {
    REPOSITORY: {"repository": "acme/app"},
    "repos/acme/app/environments/prod/eu": {"repository": "acme/app", "environment": "prod/eu"},
    "orgs/acme": {"organization": "acme"},
}


@pytest.fixture
def fake() -> Iterator[GitHubFake]:
    with GitHubFake(TOKEN).living() as living:
        living.places = set(PLACES)
        yield living


def sink_at(fake: GitHubFake, **settings: object) -> github.GitHubSink:
    given = {"api_url": fake.url, "create": True, "repository": "acme/app", **settings}
    return github.TYPE.open("gh", given, surroundings({"GITHUB_TOKEN": TOKEN}))


def put(fake: GitHubFake, pair: AccessKeyPair, place: str = REPOSITORY, **more: Any) -> None:
    visibility = "all" if place.startswith("orgs/") else None
    more = {"visibility": visibility, **more}
    fake.put(place, "AWS_ACCESS_KEY_ID", Secret(pair.access_key_id.encode()), **more)
    fake.put(place, "AWS_SECRET_ACCESS_KEY", pair.secret, **more)


def held_by(fake: GitHubFake, place: str = REPOSITORY) -> tuple[bytes, bytes]:
    """What a job of that place would see."""
    found = fake.state[place]
    return found["AWS_ACCESS_KEY_ID"].value.reveal(), found["AWS_SECRET_ACCESS_KEY"].value.reveal()


def as_seen(pair: AccessKeyPair) -> tuple[bytes, bytes]:
    return pair.access_key_id.encode(), pair.secret.reveal()


def limit(status: int, message: str = "", **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(Reply(status, {"message": message}, named))


class TestGitHubConformance(SinkConformance):
    @pytest.fixture(params=list(PLACES))
    def place(self, fake: GitHubFake, request: pytest.FixtureRequest) -> PlaceUnderTest:
        settings: dict[str, object] = {"repository": "", **PLACES[request.param]}
        sink = sink_at(fake, **settings)
        return PlaceUnderTest(
            sink,
            lambda pair: put(fake, pair, request.param),
            lambda: sorted(
                (name, held.updated_at) for name, held in fake.state.get(request.param, {}).items()
            ),
        )


@pytest.mark.parametrize("place", list(PLACES))
def test_jobs_see_both_halves_as_they_are(fake: GitHubFake, place: str) -> None:
    sink, pair = sink_at(fake, **{"repository": "", **PLACES[place]}), new_pair()
    sink.write(pair, expect=sink.read(), context=new_context())
    assert held_by(fake, place) == as_seen(pair)


def test_no_recorded_url_holds_a_secret_and_the_two_puts_go_out_back_to_back(fake: GitHubFake) -> None:
    sink, pair = sink_at(fake), new_pair()
    sink.write(pair, expect=sink.read(), context=new_context())
    assert [call.split()[0] for call in fake.calls[-2:]] == ["PUT", "PUT"]
    secrets = {"secret": pair.secret.reveal(), "token": TOKEN.encode()}
    assert names_found("\n".join(fake.calls).encode(), secrets) == []


def test_visibility_and_selected_repositories_are_kept(fake: GitHubFake) -> None:
    put(fake, new_pair(), "orgs/acme", visibility="selected", selected=list(range(1, 121)))
    sink = sink_at(fake, repository="", organization="acme")
    sink.write(new_pair(), expect=sink.read(), context=new_context())
    for held in fake.state["orgs/acme"].values():
        assert held.visibility == "selected"
        assert held.selected == list(range(1, 121))


def test_a_new_secret_of_an_organisation_is_for_its_private_repositories(fake: GitHubFake) -> None:
    sink = sink_at(fake, repository="", organization="acme")
    sink.write(new_pair(), expect=sink.read(), context=new_context())
    assert {held.visibility for held in fake.state["orgs/acme"].values()} == {"private"}


def test_an_enterprise_server_has_its_api_below_a_path() -> None:
    with GitHubFake(TOKEN, prefix="api/v3").living() as fake:
        fake.places = {REPOSITORY}
        sink, pair = sink_at(fake, api_url=f"{fake.url}/api/v3/"), new_pair()
        sink.write(pair, expect=sink.read(), context=new_context())
        assert held_by(fake) == as_seen(pair)


@pytest.mark.parametrize("failing", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("how", ["500", "cut"])
def test_whichever_call_fails_the_repeat_completes_the_pair(fake: GitHubFake, failing: int, how: str) -> None:
    old, new, context = new_pair(), new_pair(), new_context()
    sink = sink_at(fake)
    put(fake, old)
    before = sink.read()
    fault = Fault(Reply(500)) if how == "500" else Fault(is_cut=True)
    fake.arm({failing: fault})
    try:
        sink.write(new, expect=before, context=context)
    except SinkUnavailableError:
        sink.write(new, expect=before, context=context)
    else:
        assert (how, failing) in {("cut", 4), ("cut", 5)}, "a 204 has no body that could be cut"
    assert held_by(fake) == as_seen(new)


def test_a_half_written_pair_is_completed_by_another_process_that_knows_of_the_intent(
    fake: GitHubFake,
) -> None:
    old, new, context = new_pair(), new_pair(), new_context()
    put(fake, old)
    before = sink_at(fake).read()
    fake.arm({5: Fault(Reply(502))})
    with pytest.raises(SinkUnavailableError):
        sink_at(fake).write(new, expect=before, context=context)
    assert held_by(fake) == (old.access_key_id.encode(), new.secret.reveal())
    with pytest.raises(SinkChangedError):
        sink_at(fake).write(new, expect=before, context=context)
    sink_at(fake).write(new, expect=before, context=replace(context, is_repeat=True))
    assert held_by(fake) == as_seen(new)


@pytest.mark.parametrize("dropped", [4, 5])
def test_a_put_that_was_acknowledged_and_dropped_is_noticed(fake: GitHubFake, dropped: int) -> None:
    put(fake, new_pair())
    sink, pair = sink_at(fake), new_pair()
    before = sink.read()
    fake.arm({dropped: Fault(is_dropped=True)})
    sink.write(pair, expect=before, context=new_context())
    assert not sink.holds(pair, before=before)


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (limit(429, retry_after="17"), 17.0),
        (limit(403, "You have exceeded a secondary rate limit"), 60.0),
        (limit(403, retry_after="30"), 30.0),
        (limit(429), 60.0),
        (limit(403, x_ratelimit_remaining="0", x_ratelimit_reset="1"), 1.0),
        (limit(403, x_ratelimit_remaining="0", x_ratelimit_reset="99999999999"), 3600.0),
    ],
)
def test_a_rate_limit_says_when_to_come_back(fake: GitHubFake, fault: Fault, seconds: float) -> None:
    fake.arm({1: fault})
    with pytest.raises(SinkUnavailableError) as caught:
        sink_at(fake).read()
    assert caught.value.retry_after == seconds


def test_a_403_that_is_no_rate_limit_is_a_refusal(fake: GitHubFake) -> None:
    fake.arm({1: limit(403, "Resource not accessible by personal access token")})
    with pytest.raises(SinkRefusedError, match="403"):
        sink_at(fake).read()


def test_a_wrong_token_is_refused_and_not_repeated_in_the_error(fake: GitHubFake) -> None:
    around = surroundings({"OTHER": "wrong-token"})
    settings = {"api_url": fake.url, "repository": "acme/app", "token_env": "OTHER"}
    with pytest.raises(SinkRefusedError, match="401") as caught:
        github.TYPE.open("gh", settings, around).read()
    assert "wrong-token" not in repr(caught.value)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "\x00", "schlüssel", "  "])
def test_what_can_be_no_token_is_never_sent(fake: GitHubFake, token: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    settings = {"api_url": fake.url, "repository": "acme/app", "token_file": str(file)}
    with pytest.raises(SinkRefusedError, match="token"):
        github.TYPE.open("gh", settings, surroundings({})).read()
    assert fake.calls == []


def test_a_key_that_changes_during_the_write_is_a_reason_to_try_again(
    fake: GitHubFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, pair, context = sink_at(fake), new_pair(), new_context()
    before = sink.read()
    real = github._seal

    def then_the_key_changes(*arguments: Any) -> str:
        sealed = real(*arguments)
        fake.new_key()
        return sealed

    with monkeypatch.context() as patch:
        patch.setattr(github, "_seal", then_the_key_changes)
        with pytest.raises(SinkUnavailableError, match="key that seals"):
            sink.write(pair, expect=before, context=context)
    sink.write(pair, expect=before, context=context)
    assert held_by(fake) == as_seen(pair)


def test_missing_secrets_are_created_only_if_told_to(fake: GitHubFake) -> None:
    with pytest.raises(SinkRefusedError, match="AWS_ACCESS_KEY_ID, and `create` is not set"):
        sink_at(fake, create=False).read()


def test_the_plan_hears_of_the_jobs_that_run(fake: GitHubFake) -> None:
    run = {"name": "deploy", "html_url": "https://github.com/acme/app/actions/runs/1"}
    fake.runs = [
        {**run, "status": "in_progress", "run_started_at": f"2026-01-01T00:00:{n % 60:02}Z"}
        for n in range(120)
    ]
    fake.runs.append({**run, "status": "completed", "run_started_at": "2026-01-01T00:00:00Z"})
    jobs = sink_at(fake).jobs_running()
    assert jobs is not None
    assert len(jobs) == 120
    assert jobs[0] == github.RunningJob("deploy", run["html_url"], "2026-01-01T00:00:00Z")
    assert sink_at(fake, repository="", organization="acme").jobs_running() is None


def test_an_expectation_from_elsewhere_is_no_expectation(fake: GitHubFake) -> None:
    put(fake, new_pair())
    with pytest.raises(SinkChangedError):
        sink_at(fake).write(new_pair(), expect=Held(None, None, None), context=WriteContext("r", "u", "k"))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"repository": "acme/app", "organization": "acme"},
        {"organization": "acme", "environment": "prod"},
        {"repository": "acme"},
        {"repository": "acme/.."},
        {"repository": "acme/app/x"},
        {"repository": "acme/app", "id_field": "public-key"},
        {"repository": "acme/app", "api_url": "http://github.example/api/v3"},
        {"repository": "acme/app", "api_url": "https://user:password@github.example"},
    ],
)
def test_settings_that_name_no_place_are_errors(settings: dict[str, object]) -> None:
    with pytest.raises(KeyturnError):
        github.TYPE.open("gh", settings, surroundings({}))


def test_the_plan_is_told_what_it_is() -> None:
    settings = {"repository": "acme/app", "environment": "prod"}
    traits = github.TYPE.open("gh", settings, surroundings({})).describe()
    assert traits.where == "github acme/app environment prod"
    assert (traits.is_atomic, traits.read_back) == (False, ReadBack.VERSION)
