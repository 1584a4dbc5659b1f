"""kill -9 of the real server at any moment under load: what was answered stays so, and nothing else appeared."""

from __future__ import annotations

import http.client
import os
import random
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keyturn.authority.storage import audit_trail
from keyturn.store.sqlite import open_read_only
from keyturn.wiring import verify_audit
from real_program import Answer, CheapClient, ServedAuthority, run_keyturn

WORKERS = 5
USERS_EACH = 3
DELETED = "Deleted"


@dataclass
class Key:
    access_key_id: str
    secret: str
    status: str


@dataclass
class User:
    """What the answers have said of one user, and the one call that has not been answered."""

    name: str
    keys: dict[str, Key] = field(default_factory=dict)
    unanswered: tuple[str, str] | None = None
    """Action and key id; for a creation, action and invocation id."""

    def living(self) -> list[Key]:
        return [key for key in self.keys.values() if key.status != DELETED]

    def created(self, answer: Answer) -> Key:
        key = Key(answer.text("AccessKeyId"), answer.text("SecretAccessKey"), "Active")
        self.keys[key.access_key_id] = key
        return key


class Load:
    """Workers that create, update and delete until the server is killed after a number of requests."""

    def __init__(self, served: ServedAuthority, users: list[User], requests: int, seed: int) -> None:
        self._served = served
        self._users = users
        self._left = requests
        self._seed = seed
        self._lock = threading.Lock()
        self.acknowledged: list[str] = []
        """Request ids of all that was answered 200."""
        self.unexpected: list[Answer] = []

    def run_until_killed(self) -> None:
        threads = [threading.Thread(target=self._work, args=(number,)) for number in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
        assert self.unexpected == []

    def _work(self, number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")  # noqa: S311 - a test's dice
        mine = self._users[number::WORKERS]
        try:
            with self._served.client() as client:
                while not self.unexpected:
                    # Half of the kills come right before a request of this worker, half right behind an
                    # answer; the other workers are in the middle of theirs.
                    early = chance.random() < 0.5
                    if early:
                        self._kill_if_due()
                    self._one_call(client, chance.choice(mine), chance)
                    if not early:
                        self._kill_if_due()
        except (OSError, http.client.HTTPException):
            return  # killed: what is unanswered stays noted

    def _kill_if_due(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._served.signal_kill()

    def _one_call(self, client: CheapClient, user: User, chance: random.Random) -> None:
        living = user.living()
        wanted = chance.choice(["CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey"])
        if not living or (wanted == "CreateAccessKey"):
            invocation = str(uuid.uuid4())
            user.unanswered = ("CreateAccessKey", invocation)
            answer = client.call("iam", "CreateAccessKey", invocation, UserName=user.name)
            if answer.status == 200:
                user.created(answer)
            elif not (answer.code == "LimitExceeded" and len(living) == 2):
                self.unexpected.append(answer)
        else:
            key = chance.choice(living)
            user.unanswered = (wanted, key.access_key_id)
            members = {"UserName": user.name, "AccessKeyId": key.access_key_id}
            status = DELETED
            if wanted == "UpdateAccessKey":
                status = members["Status"] = "Inactive" if key.status == "Active" else "Active"
            answer = client.call("iam", wanted, **members)
            if answer.status == 200:
                key.status = status
            else:
                self.unexpected.append(answer)
        user.unanswered = None
        if answer.status == 200:
            self.acknowledged.append(answer.request_id)


def check_user(served: ServedAuthority, client: CheapClient, user: User, were_living: list[Key]) -> None:
    listed = client.call("iam", "ListAccessKeys", UserName=user.name)
    found = dict(zip(listed.texts("AccessKeyId"), listed.texts("Status"), strict=True))
    assert len(found) <= 2
    action, subject = user.unanswered or ("", "")
    for key in user.keys.values():
        if key.access_key_id == subject:  # either way is right: nobody was told
            key.status = found.get(key.access_key_id, DELETED)
        assert found.get(key.access_key_id, DELETED) == key.status
    strangers = found.keys() - user.keys.keys()
    assert len(strangers) <= (action == "CreateAccessKey")
    if action == "CreateAccessKey" and len(user.living()) < 2:
        # The same call again finds the key whose answer was cut, or makes the one that never was.
        repeated = client.call("iam", "CreateAccessKey", subject, UserName=user.name)
        assert repeated.status == 200
        key = user.created(repeated)
        assert strangers <= {key.access_key_id}
    user.unanswered = None
    for key in user.keys.values():
        if key.status != DELETED or key in were_living:
            check_key(served, user, key)


def check_key(served: ServedAuthority, user: User, key: Key) -> None:
    with served.client(key.access_key_id, key.secret) as signing:
        answer = signing.call("sts", "GetCallerIdentity")
    if key.status == "Active":
        assert answer.status == 200
        assert answer.text("Arn").endswith(f":user/{user.name}")
    else:
        assert (answer.status, answer.code) == (403, "InvalidClientTokenId")


def recorded_requests(database: Path) -> str:
    with open_read_only(database) as reader:
        return "".join(record.record for record in audit_trail.records_after(reader, 0, 1_000_000))


def kill_again_and_again(home: Path, kills: int) -> None:
    chance = random.Random(kills)  # noqa: S311 - a test's dice
    users = [User(f"user-{number}") for number in range(WORKERS * USERS_EACH)]
    answered = 0
    served = ServedAuthority(home)
    with served.client() as client:
        for user in users:
            assert client.call("iam", "CreateUser", UserName=user.name).status == 200
    for kill in range(kills):
        with served:
            living = {user.name: user.living() for user in users}
            load = Load(served, users, requests=chance.randint(WORKERS, 300), seed=kill)
            load.run_until_killed()
        answered += len(load.acknowledged)
        served = ServedAuthority(home)
        with served.client() as client:
            for user in users:
                check_user(served, client, user, living[user.name])
        recorded = recorded_requests(served.place.database)
        assert all(request_id in recorded for request_id in load.acknowledged)
        verdict, mark = verify_audit(served.place, lambda _done, _all: None)
        assert (verdict.faults, mark is None) == ((), False)
    assert answered > kills
    with served:
        told = run_keyturn(home, "audit", "verify")
        assert (told.returncode, told.stdout[:6]) == (0, "whole:")
        assert served.stop() == 0


def test_nothing_that_was_answered_is_lost_or_undone_by_kill_9(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path / "home", 6)


@pytest.mark.faults
@pytest.mark.timeout(7_200)
@pytest.mark.skipif(os.environ.get("KEYTURN_FAULTS") != "long", reason="the long form: KEYTURN_FAULTS=long")
def test_nothing_that_was_answered_is_lost_or_undone_by_hundreds_of_kills(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path / "home", 300)
