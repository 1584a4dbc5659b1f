"""The answer to a leak on a real authority: the key dies first, what the holder made dies with it, consumers go on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keyturn.aws_clients import Reach
from keyturn.leaks.incidents import Incident, Stage
from keyturn.leaks.response import IncidentState
from keyturn.leaks.storage import incidents as rows
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.configuration import read_configuration
from keyturn.rotation.room import Where
from keyturn.settings import ConfigurationFile, configuration_file
from keyturn.toolroom import Answering, opened_answering
from living_authority import REGION, LivingAuthority

EVERYTHING = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
)


@contextmanager
def answering(
    authority: LivingAuthority,
    home: Path,
    boundary: Callable[[str], None] = lambda _name: None,
    told: Callable[[Incident, str], None] = lambda _incident, _what: None,
) -> Iterator[Answering]:
    """The leaks room as the administrator has it, with the sinks that `home/keyturn.toml` names."""
    file = home / "keyturn.toml"
    configuration = (
        configuration_file({"config": str(file)}) if file.exists() else ConfigurationFile(file, {})
    )
    mine = authority.administrator
    with opened_answering(
        Where(home / "state", home / "keys"),
        home / "incidents",
        read_configuration(configuration),
        Reach(authority.url, None, REGION),
        environment=os.environ | {"HOME": str(home)},
        pair=AccessKeyPair(mine.access_key_id, mine.secret),
        boundary=boundary,
        told=told,
    ) as opened:
        yield opened


def leaked(authority: LivingAuthority, user: str, *, allows: str | None = None) -> AccessKeyPair:
    key, secret = authority.new_user_with_key(user)
    if allows is not None:
        authority.iam().put_user_policy(UserName=user, PolicyName="may", PolicyDocument=allows)
    return AccessKeyPair(AccessKeyId(key), Secret(secret.encode()))


def in_a_sink(home: Path, user: str, pair: AccessKeyPair) -> Path:
    """The user's key in a `.env` file that keyturn.toml knows."""
    home.mkdir(exist_ok=True)
    env = home / f"{user}.env"
    env.write_text(
        f"AWS_ACCESS_KEY_ID={pair.access_key_id}\nAWS_SECRET_ACCESS_KEY={pair.secret.reveal().decode()}\n"
    )
    env.chmod(0o600)
    (home / "keyturn.toml").write_text(
        f'[sinks.env]\ntype = "dotenv"\npath = "{env}"\n[users.{user}]\nsinks = ["env"]\n'
    )
    return env


def pair_in(env: Path) -> tuple[str, str]:
    found = dict(line.split("=", 1) for line in env.read_text().splitlines())
    return found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]


def accepts(authority: LivingAuthority, key: str, secret: str) -> bool:
    try:
        authority.sts(key, secret).get_caller_identity()
    except ClientError:
        return False
    return True


def keys_of(authority: LivingAuthority, user: str) -> dict[str, str]:
    listed = authority.iam().list_access_keys(UserName=user)["AccessKeyMetadata"]
    return {key["AccessKeyId"]: key["Status"] for key in listed}


def test_the_key_dies_first_and_its_consumers_go_on_with_another(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    pair = leaked(shared_authority, "web")
    env = in_a_sink(tmp_path, "web", pair)
    told: list[str] = []
    with answering(shared_authority, tmp_path, told=lambda _incident, what: told.append(what)) as here:
        outcome = here.responder.respond(pair.access_key_id, how="typed by an operator")
    assert outcome.incident.stage is Stage.CLOSED
    assert told[0] == f"deactivated {pair.access_key_id} of web"
    new = pair_in(env)
    assert keys_of(shared_authority, "web") == {new[0]: "Active"}
    assert accepts(shared_authority, *new)
    assert not accepts(shared_authority, pair.access_key_id, pair.secret.reveal().decode())
    attached = shared_authority.iam().list_attached_user_policies(UserName="web")["AttachedPolicies"]
    assert attached == [], "the quarantine was not lifted"


def test_what_the_thief_made_meanwhile_is_found_and_dies_too(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    pair = leaked(shared_authority, "robbed", allows=EVERYTHING)
    thief = shared_authority.iam(pair.access_key_id, pair.secret.reveal().decode())
    own = thief.create_access_key(UserName="robbed")["AccessKey"]
    thief.create_user(UserName="backdoor")
    other = thief.create_access_key(UserName="backdoor")["AccessKey"]
    second = shared_authority.iam(own["AccessKeyId"], own["SecretAccessKey"])
    second.create_user(UserName="deeper")
    deeper = second.create_access_key(UserName="deeper")["AccessKey"]
    with answering(shared_authority, tmp_path) as here:
        incident = here.responder.respond(pair.access_key_id, how="typed by an operator").incident
    assert incident.stage is Stage.CLOSED
    for made in (own, other, deeper):
        assert not accepts(shared_authority, made["AccessKeyId"], made["SecretAccessKey"])
    assert {key for _, key in incident.dead_keys} == {
        pair.access_key_id, own["AccessKeyId"], other["AccessKeyId"], deeper["AccessKeyId"]
    }  # fmt: skip
    for user in ("backdoor", "deeper"):
        names = shared_authority.iam().list_user_policies(UserName=user)["PolicyNames"]
        assert names == ["KeyturnContained"]


def test_a_session_of_the_leaked_key_ends_with_it(shared_authority: LivingAuthority, tmp_path: Path) -> None:
    pair = leaked(shared_authority, "sessions", allows=EVERYTHING)
    obtained = shared_authority.sts(pair.access_key_id, pair.secret.reveal().decode()).get_session_token()
    given: Any = obtained["Credentials"]
    with answering(shared_authority, tmp_path) as here:
        here.responder.respond(pair.access_key_id, how="typed by an operator")
    import boto3

    client = boto3.client(
        "sts", endpoint_url=shared_authority.url, region_name=REGION, aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"], aws_session_token=given["SessionToken"],
    )  # fmt: skip
    with pytest.raises(ClientError):
        client.get_caller_identity()
    client.close()


def test_an_id_with_a_random_secret_changes_nothing(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    pair = leaked(shared_authority, "slandered")
    wrong = AccessKeyPair(pair.access_key_id, Secret(b"x" * 40))
    with answering(shared_authority, tmp_path) as here:
        assert here.responder.exposed(wrong, "a webhook") is None
        with here.state.database.reading() as ledger:
            assert rows.latest(ledger, 10) == []
            assert [each[0] for each in rows.exposed(ledger, 10)] == [pair.access_key_id]
    assert keys_of(shared_authority, "slandered") == {pair.access_key_id: "Active"}


def test_a_proved_pair_kills_and_a_second_alert_changes_nothing_more(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    pair = leaked(shared_authority, "alerted")
    with answering(shared_authority, tmp_path) as here:
        first = here.responder.exposed(pair, "a public repository")
        second = here.responder.exposed(pair, "the same repository")
    assert first is not None
    assert second is not None
    assert first.is_new
    assert not second.is_new
    assert first.incident.incident_id == second.incident.incident_id
    assert keys_of(shared_authority, "alerted") == {}


def test_a_pair_of_another_account_is_never_sent(shared_authority: LivingAuthority, tmp_path: Path) -> None:
    foreign = AccessKeyPair(AccessKeyId("AKIAY34FZKBOKMUTVV7A"), Secret(b"y" * 40))
    with answering(shared_authority, tmp_path) as here:

        def refuse(_pair: AccessKeyPair) -> None:
            raise AssertionError("the pair was sent to somebody who has not issued it")

        here.issuer.prove = refuse  # type: ignore[method-assign, assignment]  # nobody may ask
        assert here.responder.exposed(foreign, "somewhere") is None


def test_the_key_that_signs_the_answer_is_refused_with_a_way_out(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    with answering(shared_authority, tmp_path) as here, pytest.raises(KeyturnError, match="lock itself out"):
        here.responder.respond(shared_authority.administrator.access_key_id, how="typed by an operator")


def test_the_other_key_of_the_user_is_left_alone_unless_all_are_asked_for(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    for all_keys, left in ((False, {"Active"}), (True, set())):
        user = f"two-{all_keys}"
        pair = leaked(shared_authority, user)
        other = shared_authority.iam().create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]
        with answering(shared_authority, tmp_path / user) as here:
            here.responder.respond(pair.access_key_id, how="typed by an operator", all_keys=all_keys)
        assert set(keys_of(shared_authority, user).values()) == left, other


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs, and nothing catches it."""


def test_killed_at_every_boundary_the_answer_still_ends_the_same(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    passed: list[str] = []
    pair = leaked(shared_authority, "counted")
    in_a_sink(tmp_path / "counted", "counted", pair)
    with answering(shared_authority, tmp_path / "counted", passed.append) as here:
        here.responder.respond(pair.access_key_id, how="typed by an operator")
    for number in range(1, len(passed) + 1):
        user = f"dies-{number}"
        pair = leaked(shared_authority, user)
        env = in_a_sink(tmp_path / user, user, pair)
        count = 0

        def boundary(name: str, number: int = number) -> None:
            nonlocal count
            count += 1
            if count == number:
                raise Killed(name)

        with pytest.raises(Killed), answering(shared_authority, tmp_path / user, boundary) as here:
            here.responder.respond(pair.access_key_id, how="typed by an operator")
        with answering(shared_authority, tmp_path / user) as here:
            outcome = here.responder.respond(pair.access_key_id, how="typed by an operator")
        assert outcome.incident.stage is Stage.CLOSED, passed[number - 1]
        new = pair_in(env)
        assert keys_of(shared_authority, user) == {new[0]: "Active"}, passed[number - 1]


def test_the_plan_says_who_stops_and_changes_nothing(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    pair = leaked(shared_authority, "planned")
    assert accepts(shared_authority, pair.access_key_id, pair.secret.reveal().decode())
    shared_authority.keep_house()
    with answering(shared_authority, tmp_path) as here:
        planned = here.responder.planned(pair.access_key_id)
    assert planned.user_name == "planned"
    assert any(line.startswith("stops: 127.0.0.1 ") for line in planned.lines), planned.lines
    assert keys_of(shared_authority, "planned") == {pair.access_key_id: "Active"}


def test_no_secret_is_in_the_room_files(shared_authority: LivingAuthority, tmp_path: Path) -> None:
    pair = leaked(shared_authority, "searched")
    with answering(shared_authority, tmp_path) as here:
        here.responder.exposed(pair, "somewhere")
        assert isinstance(here.state, IncidentState)
    for file in (tmp_path / "incidents").rglob("*"):
        if file.is_file():
            assert pair.secret.reveal() not in file.read_bytes(), file
