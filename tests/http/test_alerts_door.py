"""`POST /-/alerts` over the wire, on a living authority: what is proved is dead when the answer comes, and nothing else is."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

import keyturn.wiring
from keyturn.http.alerts import AlertDoor, Trusted
from keyturn.leaks import github_alerts
from keyturn.leaks.alert_desk import Desk
from keyturn.leaks.iam_issuer import IamIssuer
from keyturn.leaks.issuer import Answer
from keyturn.leaks.storage import incidents as rows
from keyturn.leaks.storage.incidents import Line
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccountId, mint_access_key
from keyturn.model.clock import SystemClock
from keyturn.model.secrets import Secret
from keyturn.store.shared_sqlite import SharedSqlite
from leaks.fake_github_alerts import GitHubAlertsFake
from leaks.signed_alerts import Alert, Partner, github_alert, lowered, match, signed_alert, token_of
from living_authority import LivingAuthority, living_authority
from rotation.sinks.fakes.loopback import Fault, Reply

HOOK, SIGNED, TOKEN = "github-webhook-secret-0123456789", "signed-webhook-secret-0123456789", "github-token"
ID, SECRET = "aws_access_key_id", "aws_secret_access_key"
FOREIGN = AccountId("999999999999")


@dataclass(frozen=True, slots=True)
class Told:
    status: int
    content: Any

    def label(self, key: str) -> str:
        return next(str(row["label"]) for row in self.content["results"] if row["access_key_id"] == key)


@dataclass
class World:
    authority: LivingAuthority
    github: GitHubAlertsFake
    partner: Partner
    home: Path

    def send(self, alert: Alert, path: str = "/-/alerts") -> Told:
        headers, body = alert
        parts = urlsplit(self.authority.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            content = response.read()
            is_json = response.headers.get_content_type() == "application/json"
            return Told(response.status, json.loads(content) if is_json else content)
        finally:
            connection.close()

    # Each kind of alert, of one pair

    def by_github(self, pair: AccessKeyPair, secret: str | None = None) -> Told:
        repository = f"acme/{pair.access_key_id}"
        self.github.found(repository, ID, pair.access_key_id)
        number = self.github.found(repository, SECRET, secret or pair.secret.reveal().decode())
        return self.send(github_alert(self.github.webhook(repository, number), Secret(HOOK.encode())))

    def by_signature(self, pair: AccessKeyPair, secret: str | None = None) -> Told:
        told = {
            "access_key_id": pair.access_key_id,
            "secret_access_key": secret or pair.secret.reveal().decode(),
            "source": "a wiki page",
        }
        return self.send(signed_alert({"pairs": [told]}, Secret(SIGNED.encode()), int(time.time())))

    def by_partner(self, pair: AccessKeyPair, secret: str | None = None) -> Told:
        shown = AccessKeyPair(pair.access_key_id, Secret(secret.encode())) if secret else pair
        told = self.send(self.partner.alert([match(token_of(shown))]))
        rows = [{"access_key_id": pair.access_key_id, "label": each["label"]} for each in told.content]
        return Told(told.status, {"results": rows})

    # What a caller sees

    def leaked(self, user: str) -> AccessKeyPair:
        key, secret = self.authority.new_user_with_key(user)
        return AccessKeyPair(AccessKeyId(key), Secret(secret.encode()))

    def accepts(self, pair: AccessKeyPair) -> bool:
        try:
            self.authority.sts(pair.access_key_id, pair.secret.reveal().decode()).get_caller_identity()
        except ClientError:
            return False
        return True

    def is_untouched(self, user: str, pair: AccessKeyPair) -> bool:
        iam = self.authority.iam()
        keys = [
            (key["AccessKeyId"], key["Status"])
            for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
        ]
        return (
            keys == [(pair.access_key_id, "Active")]
            and not iam.list_user_policies(UserName=user)["PolicyNames"]
            and not iam.list_attached_user_policies(UserName=user)["AttachedPolicies"]
            and self.accepts(pair)
        )

    @contextmanager
    def journal(self) -> Iterator[Any]:
        file = self.authority.settings.place.locations.state / "incidents" / "incidents.sqlite"
        database = SharedSqlite(file)
        try:
            with database.reading() as ledger:
                yield ledger
        finally:
            database.close()

    def exposed(self) -> set[str]:
        with self.journal() as ledger:
            return {row[0] for row in rows.exposed(ledger, 10_000)}

    def timeline(self, key: str) -> list[Line]:
        with self.journal() as ledger:
            row = rows.of_key(ledger, key)
            return [] if row is None else list(rows.timeline(ledger, row.incident.incident_id))

    def is_closed(self, key: str) -> bool:
        return any(line.kind == "closed" for line in self.timeline(key))


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """What has no event of its own for a test to wait for is asked about."""
    never, end = threading.Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        never.wait(0.02)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("home")
    partner = Partner()
    for name, secret in (("hook", HOOK), ("signed", SIGNED), ("token", TOKEN)):
        (home / name).write_text(secret + "\n")
    with GitHubAlertsFake(TOKEN).living() as github, pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyturn.wiring, "fetch", partner.fetch)
        (home / "keyturn.toml").write_text(
            f'[leaks]\ngithub_secret_file = "{home}/hook"\ngithub_token_file = "{home}/token"\n'
            f'github_api_url = "{github.url}"\nwebhook_secret_file = "{home}/signed"\npartner = true\n'
            f'[sinks.env]\ntype = "dotenv"\npath = "{home}/replaced.env"\n'
            '[users.replaced]\nsinks = ["env"]\n'
        )
        with living_authority(home, config=str(home / "keyturn.toml")) as authority:
            yield World(authority, github, partner, home)


KINDS = ("github", "signature", "partner")


def sender(world: World, kind: str) -> Callable[..., Told]:
    return {"github": world.by_github, "signature": world.by_signature, "partner": world.by_partner}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_that_is_real_is_dead_when_the_answer_comes(world: World, kind: str) -> None:
    pair = world.leaked(f"real-{kind}")
    assert world.accepts(pair)
    told = sender(world, kind)(pair)
    assert not world.accepts(pair)
    assert (told.status, told.label(pair.access_key_id)) == (200, "true_positive")
    kinds = [(line.kind, line.what.split()[0]) for line in world.timeline(pair.access_key_id)]
    assert kinds[0][0] == "opened"
    assert kinds[1] == ("done", "deactivated"), "before anything else"
    until(lambda: world.is_closed(pair.access_key_id))


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_with_a_random_secret_changes_nothing(world: World, kind: str) -> None:
    user = f"slandered-{kind}"
    pair = world.leaked(user)
    told = sender(world, kind)(pair, secret="x" * 39 + "7")
    assert (told.status, told.label(pair.access_key_id)) == (200, "false_positive")
    assert world.is_untouched(user, pair)
    assert pair.access_key_id in world.exposed()
    assert world.timeline(pair.access_key_id) == []


def test_an_id_alone_changes_nothing_by_any_kind(world: World) -> None:
    pair = world.leaked("mentioned")
    key = pair.access_key_id
    number = world.github.found("acme/alone", ID, key)
    alerts = [
        github_alert(world.github.webhook("acme/alone", number), Secret(HOOK.encode())),
        signed_alert({"ids": [key]}, Secret(SIGNED.encode()), int(time.time())),
    ]
    for alert in alerts:
        told = world.send(alert)
        assert (told.status, told.label(key)) == (200, "false_positive")
    (label,) = world.send(world.partner.alert([match(key)])).content
    assert label["label"] == "false_positive"
    assert world.is_untouched("mentioned", pair)
    assert key in world.exposed()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_of_another_account_is_never_sent_to_anybody(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = KINDS.index(kind) * 50
    minted = mint_access_key(FOREIGN, lambda size: bytes((seed + n * 13) % 256 for n in range(size)))
    foreign = AccessKeyPair(minted.access_key_id, minted.secret)
    sent: list[str] = []

    def refuse(_issuer: IamIssuer, pair: AccessKeyPair) -> Answer:
        sent.append(pair.access_key_id)
        return Answer.ACCEPTED

    monkeypatch.setattr(IamIssuer, "prove", refuse)
    told = sender(world, kind)(foreign)
    assert told.status == 200
    assert sent == []
    if kind != "github":  # there the id's own alert tells it
        assert told.label(foreign.access_key_id) == "false_positive"
        assert foreign.access_key_id in world.exposed()


def test_the_replacement_goes_on_after_the_answer(world: World) -> None:
    pair = world.leaked("replaced")
    env = world.home / "replaced.env"
    env.write_text(
        f"AWS_ACCESS_KEY_ID={pair.access_key_id}\nAWS_SECRET_ACCESS_KEY={pair.secret.reveal().decode()}\n"
    )
    env.chmod(0o600)
    assert world.by_signature(pair).label(pair.access_key_id) == "true_positive"
    until(lambda: world.is_closed(pair.access_key_id))
    new = dict(line.split("=", 1) for line in env.read_text().splitlines())
    assert new["AWS_ACCESS_KEY_ID"] != pair.access_key_id
    assert world.accepts(
        AccessKeyPair(AccessKeyId(new["AWS_ACCESS_KEY_ID"]), Secret(new["AWS_SECRET_ACCESS_KEY"].encode()))
    )


def test_of_many_pairs_all_are_dead_before_any_is_replaced(world: World) -> None:
    pairs = [world.leaked(f"many-{number}") for number in range(6)]
    told = [
        {
            "access_key_id": pair.access_key_id,
            "secret_access_key": pair.secret.reveal().decode(),
            "source": "x",
        }
        for pair in pairs
    ]
    answer = world.send(signed_alert({"pairs": told}, Secret(SIGNED.encode()), int(time.time())))
    assert [row["label"] for row in answer.content["results"]] == ["true_positive"] * 6
    assert not any(world.accepts(pair) for pair in pairs)
    for pair in pairs:
        until(lambda key=pair.access_key_id: world.is_closed(key))  # type: ignore[misc]  # bound at once


def test_the_same_alert_again_is_answered_as_before_and_worked_on_once(world: World) -> None:
    pair = world.leaked("again")
    told = {
        "access_key_id": pair.access_key_id,
        "secret_access_key": pair.secret.reveal().decode(),
        "source": "x",
    }
    alert = signed_alert({"pairs": [told]}, Secret(SIGNED.encode()), int(time.time()))
    first = world.send(alert)
    until(lambda: world.is_closed(pair.access_key_id))
    assert world.send(alert) == first
    lines = world.timeline(pair.access_key_id)
    assert world.by_partner(pair).label(pair.access_key_id) == "true_positive"
    assert world.by_signature(pair, secret="y" * 39 + "1").label(pair.access_key_id) == "false_positive"
    assert world.timeline(pair.access_key_id) == lines


def test_a_delivery_that_proved_nothing_is_looked_at_anew(world: World) -> None:
    pair = world.leaked("halves")
    repository = "acme/halves"
    number = world.github.found(repository, ID, pair.access_key_id)
    delivery = github_alert(world.github.webhook(repository, number), Secret(HOOK.encode()))
    assert world.send(delivery).label(pair.access_key_id) == "false_positive"
    world.github.found(repository, SECRET, pair.secret.reveal().decode())
    assert world.send(delivery).label(pair.access_key_id) == "true_positive"
    assert not world.accepts(pair)


def test_while_github_does_not_answer_it_is_tried_again(world: World) -> None:
    pair = world.leaked("later")
    world.github.arm({1: Fault(reply=Reply(503))})
    told = world.by_github(pair)
    world.github.arm({})
    assert (told.status, told.content["under_way"]) == (202, True)
    until(lambda: not world.accepts(pair))


def test_a_wrong_signature_is_401_and_nothing_is_said(world: World) -> None:
    wrong = Secret(b"another-secret-that-is-long-enough")
    alerts = [
        github_alert(b'{"action": "created"}', wrong),
        signed_alert({}, wrong, int(time.time())),
        signed_alert({}, Secret(SIGNED.encode()), int(time.time()) - 3600),
        Partner().alert([]),
        (world.partner.alert([])[0], b"[1]"),
    ]
    for alert in alerts:
        assert world.send(alert) == Told(401, {})


def test_what_is_signed_in_no_way_that_we_know_is_not_found(world: World, authority: LivingAuthority) -> None:
    nothing = {"error": "there is nothing at this path"}
    assert world.send(({}, b"{}")) == Told(404, nothing)
    without = World(authority, world.github, world.partner, world.home)
    for alert in (({}, b""), signed_alert({}, Secret(SIGNED.encode()), int(time.time()))):
        assert without.send(alert) == Told(404, nothing)


def test_a_body_that_is_too_large_is_413(world: World) -> None:
    headers, _ = signed_alert({}, Secret(SIGNED.encode()), int(time.time()))
    assert world.send((headers, b"x" * (1024 * 1024 + 1))).status == 413


def test_what_is_signed_and_is_no_alert_is_400(world: World) -> None:
    told = world.send(signed_alert({"pairs": 1}, Secret(SIGNED.encode()), int(time.time())))
    assert told == Told(400, {"error": "pairs is no list"})
    assert world.send(
        github_alert(b'{"zen": "."}', Secret(HOOK.encode()), **{"X-GitHub-Event": "ping"})
    ) == Told(200, {"results": [], "ignored": True})


def test_many_alerts_at_once_are_all_answered(world: World) -> None:
    pairs = [world.leaked(f"at-once-{number}") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(world.by_signature, pairs))
    assert [each.label(pair.access_key_id) for each, pair in zip(told, pairs, strict=True)] == [
        "true_positive"
    ] * 8


def test_no_secret_of_an_alert_is_kept(world: World) -> None:
    pair = world.leaked("kept")
    world.by_signature(pair)
    world.by_github(pair, secret="z" * 39 + "3")
    for file in (world.authority.settings.place.locations.state).rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert pair.secret.reveal() not in content, file
            assert b"z" * 39 not in content, file


# The door alone


def door(desk: Desk, per_minute: int = 100) -> AlertDoor:
    trusted = Trusted(webhook_secret=Secret(SIGNED.encode()))
    return AlertDoor(trusted, desk, SystemClock(), per_minute=per_minute, answer_seconds=0.01)


def ask(here: AlertDoor, source: str, secret: str = SIGNED) -> tuple[int, Any]:
    alert = {"ids": [{"access_key_id": "AKIAIOSFODNN7EXAMPLE", "source": source}]}
    headers, body = signed_alert(alert, Secret(secret.encode()), int(time.time()))
    status, content = asyncio.run(here.answer(list(lowered(headers).items()), body))
    return status, json.loads(content)


def test_more_than_can_be_worked_on_is_429() -> None:
    here = door(Desk(threading.Event(), at_once=1, waiting=2))
    assert [ask(here, str(number))[0] for number in range(3)] == [202, 202, 429]


def test_more_than_a_minute_may_bring_is_429_and_strangers_do_not_count() -> None:
    here = door(Desk(threading.Event(), at_once=1), per_minute=2)
    assert [ask(here, "x", "a-stranger-with-a-long-secret")[0] for _ in range(10)] == [401] * 10
    assert [ask(here, str(number))[0] for number in range(3)] == [202, 202, 429]


def test_what_came_and_is_under_way_is_not_taken_twice() -> None:
    desk = Desk(threading.Event(), at_once=1, waiting=1)
    here = door(desk)
    headers, body = signed_alert({"ids": []}, Secret(SIGNED.encode()), int(time.time()))
    said = [asyncio.run(here.answer(list(lowered(headers).items()), body)) for _ in range(2)]
    assert [status for status, _ in said] == [202, 202], "the second would find no room"


def test_a_room_that_could_not_be_opened_is_503() -> None:
    desk = Desk(threading.Event(), at_once=1)
    desk.is_broken = True
    assert ask(door(desk), "x")[0] == 503


def test_the_bound_on_candidates_is_small_enough_for_one_alert() -> None:
    assert github_alerts.MOST_CANDIDATES <= 100
