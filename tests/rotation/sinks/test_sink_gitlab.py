"""The GitLab sink against a strict fake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.errors import KeyturnError
from keyturn.rotation.sinks import gitlab
from keyturn.rotation.sinks.interface import (
    ReadBack,
    SinkChangedError,
    SinkRefusedError,
    SinkUnavailableError,
)
from rotation.sinks.fakes.gitlab_api import GitLabFake
from rotation.sinks.fakes.loopback import Fault, Reply
from rotation.sinks.sink_conformance import (
    PlaceUnderTest,
    SinkConformance,
    new_context,
    new_pair,
    surroundings,
)
from secret_forms import names_found

TOKEN = "gitlab-token-of-the-tests"
PROJECT = "projects/team/app"
PLACES = {PROJECT: {"project": "team/app"}, "groups/7": {"project": "", "group": "7"}}


@pytest.fixture
def fake() -> Iterator[GitLabFake]:
    with GitLabFake(TOKEN).living() as living:
        living.state = {place: [] for place in PLACES}
        yield living


def sink_at(fake: GitLabFake, **settings: object) -> gitlab.GitLabSink:
    given = {"url": fake.url, "create": True, "project": "team/app", **settings}
    return gitlab.TYPE.open("gl", given, surroundings({"GITLAB_TOKEN": TOKEN}))


def put(fake: GitLabFake, pair: AccessKeyPair, place: str = PROJECT, **attributes: object) -> None:
    fake.set(place, "AWS_ACCESS_KEY_ID", pair.access_key_id, **attributes)
    fake.set(place, "AWS_SECRET_ACCESS_KEY", pair.secret.reveal().decode(), **attributes)


def variables(fake: GitLabFake, place: str = PROJECT) -> dict[tuple[str, str], str]:
    return {(v["key"], v["environment_scope"]): v["value"] for v in fake.state[place]}


def as_seen(pair: AccessKeyPair, scope: str = "*") -> dict[tuple[str, str], str]:
    return {
        ("AWS_ACCESS_KEY_ID", scope): pair.access_key_id,
        ("AWS_SECRET_ACCESS_KEY", scope): pair.secret.reveal().decode(),
    }


class TestGitLabConformance(SinkConformance):
    @pytest.fixture(params=[(place, hidden) for place in PLACES for hidden in (False, True)])
    def place(self, fake: GitLabFake, request: pytest.FixtureRequest) -> PlaceUnderTest:
        place, is_hidden = request.param
        sink = sink_at(fake, hidden=is_hidden, **PLACES[place])
        return PlaceUnderTest(
            sink,
            lambda pair: put(fake, pair, place),
            lambda: sorted((v["key"], v["writes"]) for v in fake.state[place]),
        )


def test_all_else_about_a_variable_is_kept_and_other_scopes_are_left_alone(fake: GitLabFake) -> None:
    other, pair = new_pair(), new_pair()
    put(fake, other, environment_scope="staging")
    put(
        fake,
        new_pair(),
        environment_scope="prod",
        masked=True,
        protected=True,
        raw=True,
        description="theirs",
    )
    before = [{**v, "value": "", "writes": 0} for v in fake.state[PROJECT]]
    sink = sink_at(fake, environment_scope="prod")
    sink.write(pair, expect=sink.read(), context=new_context())
    assert [{**v, "value": "", "writes": 0} for v in fake.state[PROJECT]] == before
    assert variables(fake) == as_seen(other, "staging") | as_seen(pair, "prod")


def test_new_variables_are_masked_and_protected(fake: GitLabFake) -> None:
    sink = sink_at(fake)
    sink.write(new_pair(), expect=sink.read(), context=new_context())
    assert {(v["masked"], v["protected"], v["raw"]) for v in fake.state[PROJECT]} == {(True, True, True)}
    open_sink = sink_at(fake, protected=False, environment_scope="dev")
    open_sink.write(new_pair(), expect=open_sink.read(), context=new_context())
    assert {v["protected"] for v in fake.state[PROJECT] if v["environment_scope"] == "dev"} == {False}


def test_a_hidden_secret_is_created_hidden_and_the_id_tells_the_version(fake: GitLabFake) -> None:
    sink, pair = sink_at(fake, hidden=True), new_pair()
    before = sink.read()
    sink.write(pair, expect=before, context=new_context())
    assert {v["key"]: v["hidden"] for v in fake.state[PROJECT]} == {
        "AWS_ACCESS_KEY_ID": False,
        "AWS_SECRET_ACCESS_KEY": True,
    }
    held = sink.read()
    assert (held.pair, held.access_key_id, held.version) == (None, pair.access_key_id, pair.access_key_id)
    assert sink.holds(pair, before=before)
    assert sink.describe().read_back is ReadBack.VERSION


@pytest.mark.parametrize("is_hidden", [False, True])
@pytest.mark.parametrize("failing", [1, 2, 3, 4])
@pytest.mark.parametrize("how", ["503", "cut"])
@pytest.mark.parametrize("is_new", [False, True])
def test_whichever_call_fails_a_repeat_in_another_process_completes_the_pair(
    fake: GitLabFake, failing: int, how: str, *, is_hidden: bool, is_new: bool
) -> None:
    new, context = new_pair(), new_context()
    if not is_new:
        put(fake, new_pair(), raw=True)
        if is_hidden:
            fake.state[PROJECT][1] |= {"hidden": True, "masked": True}
    before = sink_at(fake, hidden=is_hidden).read()
    fake.arm({failing: Fault(Reply(503)) if how == "503" else Fault(is_cut=True)})
    with pytest.raises(SinkUnavailableError):
        sink_at(fake, hidden=is_hidden).write(new, expect=before, context=context)
    again = replace(context, is_repeat=True)
    sink_at(fake, hidden=is_hidden).write(new, expect=before, context=again)
    assert variables(fake) == as_seen(new)


@pytest.mark.parametrize("dropped", [3, 4])
def test_a_put_that_was_acknowledged_and_dropped_is_noticed(fake: GitLabFake, dropped: int) -> None:
    put(fake, new_pair())
    sink, pair = sink_at(fake), new_pair()
    before = sink.read()
    fake.arm({dropped: Fault(is_dropped=True)})
    sink.write(pair, expect=before, context=new_context())
    assert not sink.holds(pair, before=before)


def test_half_of_another_pair_is_somebody_else_s_write(fake: GitLabFake) -> None:
    old = new_pair()
    put(fake, old)
    sink = sink_at(fake)
    before = sink.read()
    fake.set(PROJECT, "AWS_SECRET_ACCESS_KEY", new_pair().secret.reveal().decode())
    with pytest.raises(SinkChangedError):
        sink.write(new_pair(), expect=before, context=new_context())


def test_a_server_that_ignores_the_filter_is_not_written_to(fake: GitLabFake) -> None:
    put(fake, new_pair(), environment_scope="staging")
    fake.knows_filter = False
    with pytest.raises(SinkRefusedError, match="another scope"):
        sink_at(fake, environment_scope="prod").read()


def test_a_variable_that_is_a_file_is_refused(fake: GitLabFake) -> None:
    put(fake, new_pair(), variable_type="file")
    with pytest.raises(SinkRefusedError, match="is a file"):
        sink_at(fake).read()


def test_missing_variables_are_created_only_if_told_to(fake: GitLabFake) -> None:
    with pytest.raises(SinkRefusedError, match="`create` is not set"):
        sink_at(fake, create=False).read()


def test_a_busy_server_says_when_to_come_back(fake: GitLabFake) -> None:
    fake.arm({1: Fault(Reply(429, headers={"Retry-After": "9"}))})
    with pytest.raises(SinkUnavailableError) as caught:
        sink_at(fake).read()
    assert caught.value.retry_after == 9.0


def test_an_answer_that_repeats_the_secret_puts_it_into_no_error(fake: GitLabFake) -> None:
    put(fake, new_pair())
    sink, pair = sink_at(fake), new_pair()
    before = sink.read()
    echo = {"message": {"value": [f"{pair.secret.reveal().decode()} is invalid"]}}
    fake.arm({3: Fault(Reply(400, echo))})
    with pytest.raises(SinkRefusedError, match="status 400") as caught:
        sink.write(pair, expect=before, context=new_context())
    shown = f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert names_found(shown.encode(), {"secret": pair.secret.reveal()}) == []


def test_no_recorded_url_holds_a_secret(fake: GitLabFake) -> None:
    sink, pair = sink_at(fake), new_pair()
    sink.write(pair, expect=sink.read(), context=new_context())
    secrets = {"secret": pair.secret.reveal(), "token": TOKEN.encode()}
    assert names_found("\n".join(fake.calls).encode(), secrets) == []


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"project": "a", "group": "b"},
        {"project": "a", "id_field": "a-b"},
        {"project": "a", "url": "ftp://x"},
    ],
)
def test_settings_that_name_no_place_are_errors(settings: dict[str, object]) -> None:
    with pytest.raises(KeyturnError):
        gitlab.TYPE.open("gl", settings, surroundings({}))


def test_two_variables_can_be_read_torn_as_the_plan_says(fake: GitLabFake) -> None:
    old, new = new_pair(), new_pair()
    put(fake, old, raw=True)
    sink = sink_at(fake)
    before = sink.read()
    fake.arm({4: Fault(Reply(503))})
    with pytest.raises(SinkUnavailableError):
        sink.write(new, expect=before, context=new_context())
    assert sink.read().pair == AccessKeyPair(old.access_key_id, new.secret)
    assert not sink.describe().is_atomic


@pytest.mark.parametrize(("which", "why"), [(0, "nothing can be read back"), (1, "`hidden` is not set")])
def test_a_variable_that_is_hidden_by_surprise_is_refused(fake: GitLabFake, which: int, why: str) -> None:
    put(fake, new_pair())
    fake.state[PROJECT][which]["hidden"] = True
    with pytest.raises(SinkRefusedError, match=why):
        sink_at(fake).read()
