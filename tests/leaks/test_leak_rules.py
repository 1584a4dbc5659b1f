"""What rules say of ids and secrets: hardly a real one is lost, and what only looks like one is told apart."""

from __future__ import annotations

import hashlib

import pytest

from keyturn.leaks import rules
from keyturn.leaks.findings import Verdict
from keyturn.leaks.rules import Label
from leaks.corpus import Maker


def test_fewer_than_one_real_id_in_ten_thousand_is_taken_for_an_example() -> None:
    maker = Maker(1)
    lost = sum(rules.judge_id(maker.id().encode()) is not Verdict.UNVERIFIED for _ in range(100_000))
    assert lost < 10


def test_fewer_than_one_real_secret_in_ten_thousand_is_refused() -> None:
    maker = Maker(2)
    secrets = [maker.secret().encode() for _ in range(50_000)]
    assert sum(not rules.may_be_secret(one) or rules.is_example_secret(one) for one in secrets) < 5


def test_a_secret_is_seen_whole_whatever_it_begins_or_ends_with() -> None:
    maker = Maker(3)
    for _ in range(2_000):
        secret = maker.secret()
        for text in (
            f'"{secret}"',
            f"={secret}\n",
            f" {secret}",
            f":{secret}@",
            f"<a>{secret}</a>",
            f"\\n{secret}\\n",
        ):
            assert [one.group().decode() for one in rules.SECRET.finditer(text.encode())] == [secret]


@pytest.mark.parametrize("text", ["%2B{}", "\\u002f{}", "{}%2F", "{}\\/", "{}=", "a{}", "{}+", "/{}"])
def test_a_part_of_something_longer_is_no_secret(text: str) -> None:
    assert not rules.SECRET.search(text.format("a1B" * 13 + "a").encode())


@pytest.mark.parametrize(
    "text",
    [
        hashlib.sha1(b"x", usedforsecurity=False).hexdigest(),
        hashlib.sha1(b"x", usedforsecurity=False).hexdigest().upper(),
        "someVeryLongCamelCaseMethodNameThatIsXyz",
        "com/example/project/module/ClassNameHere",
        "a" * 40,
    ],
)
def test_hashes_names_and_paths_are_no_secrets(text: str) -> None:
    assert len(text) == 40
    assert not rules.may_be_secret(text.encode())


@pytest.mark.parametrize("left", ["", "=", '"', "_", "%3D", "\\n", "\\u0022", "\x1b[33m", "/"])
def test_an_id_is_seen_behind_whatever_may_stand_before_it(left: str) -> None:
    assert rules.ID.search(f"{left}AKIAQNZGKIQY56JQ7WML ".encode())


@pytest.mark.parametrize(
    "text", ["xAKIAQNZGKIQY56JQ7WML", "AKIAQNZGKIQY56JQ7WMLA", "AKIA0123456789ABCDEF", "AROAQNZGKIQY56JQ7WML"]
)
def test_what_is_longer_or_of_other_letters_or_of_another_kind_is_no_id(text: str) -> None:
    assert not rules.ID.search(text.encode())


@pytest.mark.parametrize(
    "text", ["AKIAXXXXXXXXXXXXXXXX", "AKIAABCDEFGHIJKLMNOP", "AKIAQWERTYUIQWERTYUI", "AKIAYOURACCESSKEYIDX"]
)
def test_placeholders_are_told(text: str) -> None:
    assert rules.judge_id(text.encode()) is Verdict.PLACEHOLDER


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("aws_secret_access_key", Label.ACCESS_SECRET),
        ("SecretAccessKey", Label.ACCESS_SECRET),
        ("AWS_SECRET", Label.ACCESS_SECRET),
        ("secretKey", Label.SECRET),
        ("secret", Label.SECRET),
        ("password", Label.PASSWORD),
        ("jwt_secret", Label.OTHER),
        ("sha256", Label.OTHER),
        ("secret_hash", Label.OTHER),
        ("requestId", Label.OTHER),
        ("region", Label.UNKNOWN),
    ],
)
def test_a_name_says_what_its_value_is(name: str, label: Label) -> None:
    assert rules.label_of(rules.words_of(name.encode())) is label
