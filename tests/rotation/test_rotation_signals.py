"""Who may bring an old key back, on a real authority and with stock clients: only those who used it before the switch.

Everything that an outsider can forge leaves it dead: attempts with its id, proved ones from another program, and
any of them while an incident is open.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keyturn.aws_clients import Reach
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair
from keyturn.rotation.configuration import Configuration, SinkEntry, UserEntry
from keyturn.rotation.engine import Ended, Outcome
from keyturn.rotation.progress import Stage, Terms
from keyturn.rotation.room import Room, Where
from living_authority import REGION, LivingAuthority

TERMS = Terms(
    quiet=1_000, sparse_quiet=1_000, keep_inactive=3_600_000, watch_every=1_000, poll=1_000, may_delete=True
)
QUARANTINE = "AWSCompromisedKeyQuarantineV3"


@dataclass
class Served:
    """A user, the file that his consumers read, and his rotation."""

    authority: LivingAuthority
    directory: Path
    user: str
    old: tuple[str, str] = field(init=False)
    room: Room = field(init=False)
    rotation_id: str = ""

    def __post_init__(self) -> None:
        self.old = self.authority.new_user_with_key(self.user)
        self.file = self.directory / "app.env"
        self.file.write_text(f"AWS_ACCESS_KEY_ID={self.old[0]}\nAWS_SECRET_ACCESS_KEY={self.old[1]}\n")
        self.file.chmod(0o600)
        sinks = {"env": SinkEntry("env", "dotenv", {"path": str(self.file)}, None, "keyturn.toml:1")}
        configuration = Configuration(sinks=sinks, users={self.user: UserEntry(self.user, ("env",), TERMS)})
        administrator = self.authority.administrator
        pair = AccessKeyPair(AccessKeyId(administrator.access_key_id), administrator.secret)
        self.room = Room(
            Where(self.directory / "state", self.directory / "keys"),
            configuration,
            environment={"HOME": str(self.directory), "PATH": "/usr/bin:/bin"},
            clock=self.authority.clock,
            signer=lambda _reach: pair,
        )

    def held(self) -> tuple[str, str]:
        values = dict(line.split("=", 1) for line in self.file.read_text().splitlines())
        return values["AWS_ACCESS_KEY_ID"], values["AWS_SECRET_ACCESS_KEY"]

    def signs(self, pair: tuple[str, str], agent: str) -> bool:
        """A program of this name makes a call."""
        try:
            self.authority.sts(*pair, user_agent_extra=agent).get_caller_identity()
        except ClientError:
            return False
        finally:
            self.authority.keep_house()
        return True

    def begin(self) -> None:
        reach = Reach(self.authority.url, region=REGION)
        plan = self.room.plan([self.user], reach)
        (entry,) = plan.entries
        assert entry.blocked is None
        self.rotation_id = self.room.begin(plan, entry)

    def advance(self) -> Outcome:
        return self.room.advance(self.room.find(self.rotation_id))

    def step(self) -> Outcome:
        """One round, and the time until the next."""
        outcome = self.advance()
        wait = outcome.progress.next_at - self.authority.clock.now_ms()
        self.authority.clock.advance(seconds=min(max(0.02, wait / 1000), 1.5))
        return outcome

    def until_inactive(self) -> None:
        for _ in range(30):
            outcome = self.step()
            if outcome.progress.stage is Stage.WATCH:
                assert self.status() == "Inactive"
                return
            assert self.signs(self.held(), "app"), "a consumer that reads its sink was refused"
        raise AssertionError(outcome.why)

    def status(self) -> str:
        keys = self.authority.iam().list_access_keys(UserName=self.user)["AccessKeyMetadata"]
        return {key["AccessKeyId"]: key["Status"] for key in keys}[self.old[0]]


@pytest.fixture
def served(
    shared_authority: LivingAuthority, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Served]:
    found = Served(shared_authority, tmp_path, f"user-{abs(hash(request.node.name))}")
    assert found.signs(found.old, "nightly")
    yield found
    found.room.close()


def test_a_known_consumer_that_misses_the_old_key_has_it_back_within_seconds_and_once(served: Served) -> None:
    served.begin()
    served.until_inactive()
    assert not served.signs(served.old, "nightly")
    missed_at = served.authority.clock.now_ms()
    while served.status() == "Inactive":
        served.step()
        assert served.authority.clock.now_ms() - missed_at < 5_000
    assert served.signs(served.old, "nightly")
    served.until_inactive()
    served.authority.clock.advance(seconds=2)
    assert not served.signs(served.old, "nightly")
    outcome = [served.step() for _ in range(4)][-1]
    assert outcome.ended is Ended.ATTENTION
    assert "nightly" in outcome.progress.attention if outcome.progress.attention else False
    assert served.status() == "Inactive"


def test_an_outsider_who_knows_the_id_and_a_thief_with_the_secret_leave_it_dead(served: Served) -> None:
    served.begin()
    served.until_inactive()
    for _ in range(3):
        assert not served.signs((served.old[0], "x" * 40), "nightly"), "an outsider"
    outcome = [served.step() for _ in range(4)][-1]
    assert served.status() == "Inactive"
    assert outcome.progress.attention is None, "anybody can send that: it is not even told"
    assert not served.signs(served.old, "curl-of-a-thief"), "a thief"
    outcome = [served.step() for _ in range(4)][-1]
    assert served.status() == "Inactive"
    assert "curl-of-a-thief" in str(outcome.progress.attention)


def test_an_open_incident_keeps_it_dead_whoever_misses_it(served: Served) -> None:
    served.begin()
    served.until_inactive()
    nothing: dict[str, Any] = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Deny", "Action": "iam:CreateUser", "Resource": "*"},
    }
    iam = served.authority.iam()
    iam.put_user_policy(UserName=served.user, PolicyName=QUARANTINE, PolicyDocument=json.dumps(nothing))
    assert not served.signs(served.old, "nightly")
    outcome = [served.step() for _ in range(4)][-1]
    assert served.status() == "Inactive"
    assert outcome.ended is Ended.ATTENTION
    iam.delete_user_policy(UserName=served.user, PolicyName=QUARANTINE)
    served.step()
    served.step()
    assert served.status() == "Active", "the incident is closed, and a known consumer misses it"


def test_a_role_session_of_the_old_key_holds_the_deactivation_back(served: Served) -> None:
    iam = served.authority.iam()
    everything = {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}
    iam.put_user_policy(
        UserName=served.user,
        PolicyName="assume",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [everything]}),
    )
    account = served.authority.opened.instance.account_id
    trust = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}
    role_name = f"of-{served.user}"
    role = iam.create_role(
        RoleName=role_name,
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )["Role"]["Arn"]
    served.authority.sts(*served.old).assume_role(RoleArn=role, RoleSessionName="deploy", DurationSeconds=900)
    served.authority.keep_house()
    served.begin()
    for _ in range(12):
        outcome = served.step()
        assert served.signs(served.held(), "app")
    assert outcome.progress.stage is Stage.ADOPT
    assert "a session of" in outcome.why
    assert "deploy" in outcome.why
    assert served.status() == "Active"
    # Revoked on its role, it is not waited for any longer.
    served.authority.clock.advance(seconds=3)
    cut = datetime.fromtimestamp(served.authority.clock.now_ms() // 1000, UTC).isoformat()
    deny = {
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": cut}},
    }
    iam.put_role_policy(
        RoleName=role_name,
        PolicyName="AWSRevokeOlderSessions",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [deny]}),
    )
    served.until_inactive()
