"""GitHub's alerts read by REST, from a strict fake: the halves of a pair are found, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keyturn.leaks.alerts import GitHubAlert
from keyturn.leaks.github_alerts import (
    MOST_CANDIDATES,
    GitHubAlerts,
    GitHubError,
    GitHubUnavailableError,
)
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccountId, account_of, mint_access_key
from keyturn.model.secrets import Secret
from leaks.fake_github_alerts import GitHubAlertsFake
from rotation.sinks.fakes.loopback import Fault, Reply

TOKEN = "github-token-of-the-tests"
REPOSITORY = "acme/app"
ACCOUNT = AccountId("123456789012")
ID, SECRET = "aws_access_key_id", "aws_secret_access_key"


@pytest.fixture
def fake() -> Iterator[GitHubAlertsFake]:
    with GitHubAlertsFake(TOKEN).living() as living:
        yield living


def minted(number: int, account: str = ACCOUNT) -> AccessKeyPair:
    key = mint_access_key(
        AccountId(account), lambda size: bytes((number * 41 + n * 7) % 256 for n in range(size))
    )
    return AccessKeyPair(key.access_key_id, key.secret)


def is_ours(key: AccessKeyId) -> bool:
    return account_of(key) == ACCOUNT


def halves(
    fake: GitHubAlertsFake, number: int, token: str = TOKEN, path: str = ""
) -> list[AccessKeyId | AccessKeyPair]:
    github = GitHubAlerts(fake.url + path, lambda: Secret(token.encode()))
    return [found for found, _place in github.halves(GitHubAlert(REPOSITORY, number), is_ours)]


def found_pair(fake: GitHubAlertsFake, pair: AccessKeyPair, **more: object) -> tuple[int, int]:
    key = fake.found(REPOSITORY, ID, pair.access_key_id, **more)  # type: ignore[arg-type]  # as the test says
    secret = fake.found(REPOSITORY, SECRET, pair.secret.reveal().decode(), **more)  # type: ignore[arg-type]  # as above
    return key, secret


def test_either_half_leads_to_the_pair(fake: GitHubAlertsFake) -> None:
    pair = minted(1)
    key, secret = found_pair(fake, pair)
    fake.found(REPOSITORY, "npm_access_token", "npm_something")
    assert halves(fake, key) == [pair.access_key_id, pair]
    assert halves(fake, secret) == [pair]


def test_an_id_alone_stays_alone(fake: GitHubAlertsFake) -> None:
    pair = minted(1)
    number = fake.found(REPOSITORY, ID, pair.access_key_id)
    assert halves(fake, number) == [pair.access_key_id]


def test_an_id_of_another_account_is_told_and_put_together_with_nothing(fake: GitHubAlertsFake) -> None:
    ours, foreign = minted(1), minted(2, "999999999999")
    number = fake.found(REPOSITORY, ID, foreign.access_key_id)
    _, secret = found_pair(fake, ours)
    assert halves(fake, number) == [foreign.access_key_id]
    assert halves(fake, secret) == [ours]


def test_what_is_no_half_of_a_key_makes_no_further_calls(fake: GitHubAlertsFake) -> None:
    number = fake.found(REPOSITORY, "npm_access_token", "npm_something")
    assert halves(fake, number) == []
    assert len(fake.calls) == 1


def test_of_many_the_nearest_in_the_same_file_come_first(fake: GitHubAlertsFake) -> None:
    pairs = [minted(number) for number in range(12)]
    numbers = [
        found_pair(fake, pair, path=f"{number % 3}.env", line=number * 10)
        for number, pair in enumerate(pairs)
    ]
    for number, pair in enumerate(pairs):
        key, secret = numbers[number]
        assert halves(fake, key)[:2] == [pair.access_key_id, pair]
        assert halves(fake, secret)[0] == pair


def test_pages_are_followed_and_what_is_tried_is_bounded(fake: GitHubAlertsFake) -> None:
    pair = minted(1)
    key = fake.found(REPOSITORY, ID, pair.access_key_id)
    fake.found(REPOSITORY, SECRET, pair.secret.reveal().decode())
    for number in range(150):
        fake.found(REPOSITORY, ID, minted(number + 2).access_key_id)
    assert halves(fake, key) == [pair.access_key_id, pair], "it stands on the second page"
    for number in range(200):
        fake.found(REPOSITORY, SECRET, minted(number + 2).secret.reveal().decode(), path="b", line=number)
    assert len(halves(fake, key)) == 1 + MOST_CANDIDATES


def test_an_enterprise_server_has_its_api_below_a_path() -> None:
    with GitHubAlertsFake(TOKEN, "api/v3").living() as fake:
        pair = minted(1)
        key, _ = found_pair(fake, pair)
        assert halves(fake, key, path="/api/v3") == [pair.access_key_id, pair]


def test_a_wrong_token_is_said_to_be_one_and_never_repeated(fake: GitHubAlertsFake) -> None:
    key, _ = found_pair(fake, minted(1))
    with pytest.raises(GitHubError, match="status 401") as refused:
        halves(fake, key, token="another-token")
    assert "another-token" not in str(refused.value)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(reply=Reply(503)), GitHubUnavailableError),
        (Fault(reply=Reply(429)), GitHubUnavailableError),
        (Fault(reply=Reply(302, headers={"Location": "https://elsewhere.example/"})), GitHubError),
        (Fault(reply=Reply(404)), GitHubError),
        (Fault(is_cut=True), GitHubUnavailableError),
    ],
)
def test_what_is_no_answer_is_an_error_that_says_whether_to_try_again(
    fake: GitHubAlertsFake, fault: Fault, error: type[Exception]
) -> None:
    pair = minted(1)
    key, _ = found_pair(fake, pair)
    fake.arm({1: fault})
    with pytest.raises(error) as raised:
        halves(fake, key)
    assert pair.secret.reveal().decode() not in str(raised.value)
    assert halves(fake, key)[-1] == pair


def test_a_place_that_is_not_told_costs_the_order_only(fake: GitHubAlertsFake) -> None:
    pairs = [minted(number) for number in range(6)]
    numbers = [found_pair(fake, pair) for pair in pairs]
    fake.arm(dict.fromkeys(range(3, 30), Fault(reply=Reply(404))))
    tried = halves(fake, numbers[0][0])
    assert len(tried) == 7
    assert pairs[0] in tried
