"""What a thief, or somebody who only publishes a pair, tries on the answer to a leak; on a real authority."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from keyturn.aws_clients import Reach
from keyturn.leaks import iam_issuer
from keyturn.leaks.alert_desk import Bench, Label
from keyturn.leaks.incidents import Stage
from keyturn.leaks.response import Replaced, Replacement
from keyturn.leaks.storage import incidents as rows
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair
from keyturn.model.secrets import Secret
from keyturn.rotation.configuration import read_configuration
from keyturn.rotation.room import Where
from keyturn.settings import ConfigurationFile
from keyturn.toolroom import Answering, opened_answering
from living_authority import REGION, LivingAuthority

EVERYTHING = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
)


@contextmanager
def answering_as(
    authority: LivingAuthority,
    home: Path,
    pair: AccessKeyPair | None = None,
    boundary: Callable[[str], None] = lambda _name: None,
) -> Iterator[Answering]:
    """The leaks room without sinks; the administrator signs unless another pair does."""
    mine = authority.administrator
    with opened_answering(
        Where(home / "state", home / "keys"),
        home / "incidents",
        read_configuration(ConfigurationFile(home / "keyturn.toml", {})),
        Reach(authority.url, None, REGION),
        environment=os.environ | {"HOME": str(home)},
        pair=pair or AccessKeyPair(mine.access_key_id, mine.secret),
        boundary=boundary,
    ) as opened:
        yield opened


class Waits:
    """A rotator whose replacement takes its time."""

    def replace(self, _user: str, _key: AccessKeyId, _name: str | None) -> Replacement:
        return Replacement(Replaced.WAITING, "later", "not yet")


def may_do_all(authority: LivingAuthority, user: str) -> AccessKeyPair:
    key, secret = authority.new_user_with_key(user)
    authority.iam().put_user_policy(UserName=user, PolicyName="may", PolicyDocument=EVERYTHING)
    return AccessKeyPair(AccessKeyId(key), Secret(secret.encode()))


def another_key(authority: LivingAuthority, user: str) -> AccessKeyPair:
    made = authority.iam().create_access_key(UserName=user)["AccessKey"]
    return AccessKeyPair(AccessKeyId(made["AccessKeyId"]), Secret(made["SecretAccessKey"].encode()))


def status_of(authority: LivingAuthority, user: str) -> dict[str, str]:
    listed = authority.iam().list_access_keys(UserName=user)["AccessKeyMetadata"]
    return {key["AccessKeyId"]: key["Status"] for key in listed}


def test_an_answer_signed_by_another_key_of_the_same_user_locks_nobody_out(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    for deny_all in (False, True):
        user = f"operator-{deny_all}".lower()
        leaked = may_do_all(shared_authority, user)
        mine = another_key(shared_authority, user)
        with answering_as(shared_authority, tmp_path / user, mine) as here:
            incident = here.responder.respond(
                leaked.access_key_id, how="typed by an operator", deny_all=deny_all
            ).incident
        assert incident.attention is None
        assert incident.stage is Stage.CLOSED
        assert status_of(shared_authority, user) == {mine.access_key_id: "Active"}


def test_an_answer_never_contains_the_user_or_role_that_signs_it(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    leaked = may_do_all(shared_authority, "founder")
    founder = shared_authority.iam(leaked.access_key_id, leaked.secret.reveal().decode())
    founder.create_user(UserName="responder")
    founder.put_user_policy(UserName="responder", PolicyName="may", PolicyDocument=EVERYTHING)
    mine = another_key(shared_authority, "responder")
    with answering_as(shared_authority, tmp_path, mine) as here:
        incident = here.responder.respond(leaked.access_key_id, how="typed by an operator").incident
    assert incident.attention is None
    assert incident.stage is Stage.CLOSED


def test_a_published_key_takes_no_healthy_key_of_its_user_along(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    key, secret = shared_authority.new_user_with_key("two-keys")
    leaked = AccessKeyPair(AccessKeyId(key), Secret(secret.encode()))
    healthy = another_key(shared_authority, "two-keys")
    with answering_as(shared_authority, tmp_path) as here:
        outcome = here.responder.exposed(leaked, "a public repository")
    assert outcome is not None
    assert status_of(shared_authority, "two-keys") == {healthy.access_key_id: "Active"}


def test_a_quarantine_stays_while_another_leak_of_the_user_is_open(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    first = may_do_all(shared_authority, "twice")
    second = another_key(shared_authority, "twice")
    with answering_as(shared_authority, tmp_path) as here:
        rotator = here.responder._rotator
        here.responder._rotator = Waits()
        here.responder.respond(first.access_key_id, how="typed by an operator")
        here.responder._rotator = rotator
        here.responder.respond(second.access_key_id, how="typed by an operator")
    attached = shared_authority.iam().list_attached_user_policies(UserName="twice")["AttachedPolicies"]
    assert [each["PolicyName"] for each in attached] == ["AWSCompromisedKeyQuarantineV3"]


def test_a_leaked_key_that_was_made_active_again_dies_again(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    leaked = may_do_all(shared_authority, "revived")
    with answering_as(shared_authority, tmp_path) as here:
        here.responder._rotator = Waits()
        here.responder.exposed(leaked, "a public repository")
        shared_authority.iam().update_access_key(
            UserName="revived", AccessKeyId=leaked.access_key_id, Status="Active"
        )
        here.responder.exposed(leaked, "a public repository", only_kill=True)
    assert status_of(shared_authority, "revived") == {leaked.access_key_id: "Inactive"}


def test_a_key_that_came_back_after_its_incident_was_closed_dies_when_it_is_proved(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    leaked = may_do_all(shared_authority, "restored")
    with answering_as(shared_authority, tmp_path) as here:
        killed = here.responder.exposed(leaked, "a public repository", only_kill=True)
        assert killed is not None
        with here.state.database.writing() as ledger:  # as before a backup of the authority was restored
            row = rows.by_id(ledger, killed.incident.incident_id)
            assert row is not None
            rows.keep(ledger, row, replace(row.incident, stage=Stage.CLOSED), closed_at=1)
        shared_authority.iam().update_access_key(
            UserName="restored", AccessKeyId=leaked.access_key_id, Status="Active"
        )
        account = here.issuer.account_id()
        judged = Bench(here.responder, here.state, account, lambda _id: None).judge(leaked, "an alert")
        assert judged.label is Label.TRUE_POSITIVE
        assert status_of(shared_authority, "restored") == {leaked.access_key_id: "Inactive"}
        again = here.responder.exposed(leaked, "a public repository")
    assert again is not None
    assert again.incident.stage is Stage.CLOSED
    assert status_of(shared_authority, "restored") == {}


def test_a_user_that_a_thief_made_stays_denied_when_a_leak_of_its_key_is_closed(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    leaked = may_do_all(shared_authority, "robbed-again")
    thief = shared_authority.iam(leaked.access_key_id, leaked.secret.reveal().decode())
    thief.create_user(UserName="planted")
    with answering_as(shared_authority, tmp_path) as here:
        here.responder.respond(leaked.access_key_id, how="typed by an operator")
        own = another_key(shared_authority, "planted")
        here.responder.respond(own.access_key_id, how="typed by an operator", deny_all=True)
    names = shared_authority.iam().list_user_policies(UserName="planted")["PolicyNames"]
    assert "KeyturnContained" in names


def test_a_key_made_before_a_flood_of_other_calls_is_found(
    shared_authority: LivingAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iam_issuer, "_MOST_EVENTS", 8)
    leaked = may_do_all(shared_authority, "flooded")
    thief = shared_authority.iam(leaked.access_key_id, leaked.secret.reveal().decode())
    own = thief.create_access_key(UserName="flooded")["AccessKey"]["AccessKeyId"]
    for number in range(12):
        thief.tag_user(UserName="flooded", Tags=[{"Key": "noise", "Value": str(number)}])
    with answering_as(shared_authority, tmp_path) as here:
        incident = here.responder.respond(leaked.access_key_id, how="typed by an operator").incident
    assert own in {key for _, key in incident.dead_keys}
    assert status_of(shared_authority, "flooded") == {}


def test_a_key_made_behind_a_flood_of_sessions_is_found(
    shared_authority: LivingAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iam_issuer, "_MOST_FOLLOWED", 3)
    leaked = may_do_all(shared_authority, "chained")
    sts = shared_authority.sts(leaked.access_key_id, leaked.secret.reveal().decode())
    thief = shared_authority.iam(leaked.access_key_id, leaked.secret.reveal().decode())
    made = thief.create_access_key(UserName="chained")["AccessKey"]
    for _ in range(6):
        sts.get_session_token()
    thief.create_user(UserName="behind-it")
    second = shared_authority.iam(made["AccessKeyId"], made["SecretAccessKey"])
    deeper = second.create_access_key(UserName="behind-it")["AccessKey"]["AccessKeyId"]
    for _ in range(6):
        sts.get_session_token()
    with answering_as(shared_authority, tmp_path) as here:
        incident = here.responder.respond(leaked.access_key_id, how="typed by an operator").incident
    assert {made["AccessKeyId"], deeper} <= {key for _, key in incident.dead_keys}


def test_a_sweep_that_does_not_see_everything_says_so(
    shared_authority: LivingAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iam_issuer, "_MOST_EVENTS", 2)
    leaked = may_do_all(shared_authority, "drowned")
    thief = shared_authority.iam(leaked.access_key_id, leaked.secret.reveal().decode())
    for _ in range(3):
        made = thief.create_access_key(UserName="drowned")["AccessKey"]["AccessKeyId"]
        thief.delete_access_key(UserName="drowned", AccessKeyId=made)
    with answering_as(shared_authority, tmp_path) as here:
        incident = here.responder.respond(leaked.access_key_id, how="typed by an operator").incident
        with here.state.database.reading() as ledger:
            told = [line.what for line in rows.timeline(ledger, incident.incident_id)]
    assert any("more events than are looked at" in line for line in told), told
