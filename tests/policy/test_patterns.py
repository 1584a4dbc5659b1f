from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.policy.patterns import (
    LONGEST_ARN,
    Token,
    Variable,
    Wildcard,
    action_patterns,
    arn_fields,
    matcher_of,
    resource_pattern,
    tokenize,
)


def fits(pattern: str, text: str) -> bool:
    return matcher_of(tokenize(pattern, with_variables=False))(text)


def fits_by_definition(tokens: Sequence[Token], text: str) -> bool:
    """What the language says, tried in every way: right, and far too slow."""
    if not tokens:
        return not text
    head, rest = tokens[0], tokens[1:]
    if head is Wildcard.ANY:
        return any(fits_by_definition(rest, text[at:]) for at in range(len(text) + 1))
    if head is Wildcard.ONE:
        return bool(text) and fits_by_definition(rest, text[1:])
    assert isinstance(head, str)
    return text.startswith(head) and fits_by_definition(rest, text[len(head) :])


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("*", "anything: at/all", True),
        ("?", "", False),
        ("?", "a", True),
        ("?", "ab", False),
        ("a*", "a", True),
        ("a*", "ba", False),
        ("*a", "ba", True),
        ("*a", "ab", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("ab*bc", "abc", False),
        ("a*b*c", "axxbyyc", True),
        ("a*b*c", "axxcyyb", False),
        ("*a*", "xay", True),
        ("a**b", "ab", True),
        ("a?*", "a", False),
        ("a?*", "ab", True),
        ("*?b", "b", False),
        ("*?b", "ab", True),
        ("a.c", "abc", False),
        ("[a]", "a", False),
        ("A", "a", False),
    ],
)
def test_a_star_is_any_text_and_a_question_mark_one_character(
    pattern: str, text: str, *, expected: bool
) -> None:
    assert fits(pattern, text) is expected


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_the_matcher_agrees_with_the_definition(pattern: str, text: str) -> None:
    assert fits(pattern, text) is fits_by_definition(tokenize(pattern, with_variables=False), text)


@pytest.mark.parametrize(
    "pattern",
    [
        "*a" * 1000 + "*b",
        "*?a" * 600 + "*b",
        "a*" * 1000 + "b",
        "*" * 5000 + "b",
        "?" * 1500 + "*b",
        "*?" + "a" * 1000 + "b*",
        "*a?" * 3000 + "b",
    ],
)
def test_a_hostile_pattern_takes_no_longer_than_its_size(pattern: str) -> None:
    text = "a" * LONGEST_ARN
    started = time.process_time()
    assert not fits(pattern, text)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("text", ["${" * 60_000, "${}" * 40_000, "${a:b}" * 20_000 + ":", "$" * 130_000])
def test_reading_a_hostile_pattern_takes_no_longer_than_its_size(text: str) -> None:
    started = time.process_time()
    tokenize(text, with_variables=True)
    arn_fields("arn:aws:iam::" + text)
    assert time.process_time() - started < 2


def test_escapes_are_the_characters_themselves() -> None:
    assert tokenize("a${*}b${?}c${$}d", with_variables=True) == ("a", "*", "b", "?", "c", "$", "d")


def test_a_variable_has_no_case() -> None:
    assert tokenize("x/${aws:UserName}", with_variables=True) == ("x/", Variable("aws:username"))


@pytest.mark.parametrize(
    ("text", "variable"),
    [
        ("${aws:username, 'bob'}", Variable("aws:username", "bob")),
        ("${AWS:UserName, 'Bob, the *'}", Variable("aws:username", "Bob, the *")),
        ("${aws:username, ''}", Variable("aws:username", "")),
        ("${aws:username,'bob'}", Variable("")),
        ("${aws:username, bob}", Variable("")),
        ("${aws:username, 'bob}", Variable("")),
        ("${aws:username, '}", Variable("")),
        ("${}", Variable("")),
        ("${aws:username", Variable("")),
    ],
)
def test_a_default_stands_in_quotes_after_a_comma_and_a_space(text: str, variable: Variable) -> None:
    assert tokenize(text, with_variables=True) == (variable,)


def test_a_default_is_taken_where_the_key_has_no_single_value() -> None:
    pattern = resource_pattern("arn:aws:iam::1:user/${aws:PrincipalTag/team, 'x*'}", with_variables=True)
    for context, expected in (
        ({}, "x*"),
        ({"aws:principaltag/team": "a"}, "a"),
        ({"aws:principaltag/team": ("a",)}, "x*"),
    ):
        assert pattern.may_cover(f"arn:aws:iam::1:user/{expected}", context)
        assert not pattern.may_cover("arn:aws:iam::1:user/xy", context)


def test_before_2012_a_variable_is_plain_text_and_an_escape_a_wildcard() -> None:
    assert fits("${aws:username}", "${aws:username}")
    assert fits("${*}", "${whatever}")


def test_an_unclosed_variable_is_one_that_nobody_knows() -> None:
    pattern = resource_pattern("arn:aws:iam::1:user/${aws:username", with_variables=True)
    assert not pattern.is_understood


@pytest.mark.parametrize("name", ["*", "a*", "?", "b?b", "${aws:username}", "${*}", "bob"])
def test_what_a_value_holds_is_literal(name: str) -> None:
    pattern = resource_pattern("arn:aws:iam::*:user/${aws:username}", with_variables=True)
    for user in ("bob", "abc", name):
        resource = f"arn:aws:iam::123456789012:user/{user}"
        assert pattern.may_cover(resource, {"aws:username": name}) is (user == name)
        assert pattern.surely_covers(resource, resource.split(":", 5), {"aws:username": name}) is (
            user == name
        )


ALICE = "arn:aws:iam::123456789012:user/dept/alice"
CROSSING = "arn:aws:iam::123456789012:user/a:user/alice"


@pytest.mark.parametrize(
    ("pattern", "resource", "surely", "maybe"),
    [
        ("*", ALICE, True, True),
        ("*", "*", True, True),
        ("arn:aws:iam::*", ALICE, True, True),
        ("arn:aws:iam", ALICE, True, True),
        ("arn:aws:iam::*:*", "*", False, False),
        ("arn:aws:iam::*:user/*", ALICE, True, True),
        ("arn:aws:iam::123456789012:user/*/alice", ALICE, True, True),
        ("arn:aws:iam::123456789012:user/????/alice", ALICE, True, True),
        ("arn:aws:iam::123456789012:user/alice", ALICE, False, False),
        ("arn:aws:iam::123456789012:USER/dept/alice", ALICE, False, False),
        ("arn:*:iam:*:*:user/*", ALICE, True, True),
        ("arn:aws:iam::210987654321:user/*", ALICE, False, False),
        # A `*` before a colon crosses it only in the generous reading.
        ("arn:aws:iam:*:user/dept/alice", ALICE, False, True),
        ("arn:aws:iam::1*:user/alice", CROSSING, False, True),
        # In the last field colons are like other characters.
        ("arn:aws:iam::123456789012:user/*", CROSSING, True, True),
        ("arn:aws:iam::123456789012:user/a?user/alice", CROSSING, True, True),
    ],
)
def test_a_resource_is_read_field_by_field_or_as_one_text(
    pattern: str, resource: str, *, surely: bool, maybe: bool
) -> None:
    compiled = resource_pattern(pattern, with_variables=True)
    assert compiled.surely_covers(resource, resource.split(":", 5), {}) is surely
    assert compiled.may_cover(resource, {}) is maybe


@given(st.text("a:*?", max_size=12), st.text("ab:", max_size=12))
def test_what_is_surely_covered_may_be_covered(pattern: str, text: str) -> None:
    compiled = resource_pattern("arn:" + pattern, with_variables=True)
    resource = "arn:" + text
    if compiled.surely_covers(resource, resource.split(":", 5), {}):
        assert compiled.may_cover(resource, {})


@pytest.mark.parametrize("text", ["", "bob", "iam:user", "aws:iam::1:user/x", "**"])
def test_what_is_no_arn_is_no_pattern(text: str) -> None:
    with pytest.raises(ValueError, match="ARN"):
        resource_pattern(text, with_variables=True)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("*", ["*"]),
        ("arn:aws", ["arn", "aws"]),
        ("arn:aws:iam::1:user/a:b", ["arn", "aws", "iam", "", "1", "user/a:b"]),
        (
            "arn:aws:iam::${aws:PrincipalAccount}:user/x",
            ["arn", "aws", "iam", "", "${aws:PrincipalAccount}", "user/x"],
        ),
        ("a${b}${c:d}e:f", ["a${b}${c:d}e", "f"]),
        ("a:${b:c", ["a", "${b:c"]),
    ],
)
def test_a_colon_inside_a_variable_parts_no_field(text: str, fields: list[str]) -> None:
    assert arn_fields(text) == fields


@pytest.mark.parametrize(
    ("pattern", "action", "expected"),
    [
        ("*", "iam:createuser", True),
        ("*:*", "sts:getsessiontoken", True),
        ("*:Get*", "sts:getsessiontoken", True),
        ("*:Get*", "sts:assumerole", False),
        ("iam:*", "iam:createuser", True),
        ("IAM:CREATEUSER", "iam:createuser", True),
        ("iam:Create*", "iam:createuser", True),
        ("iam:*User", "iam:createuser", True),
        ("iam:*eat*", "iam:createuser", True),
        ("iam:?reateUser", "iam:createuser", True),
        ("iam:Create", "iam:createuser", False),
        ("iam:", "iam:createuser", False),
        ("iam: CreateUser", "iam:createuser", False),
        ("s3:*", "iam:createuser", False),
        ("iam:${username}", "iam:bob", False),
    ],
)
def test_an_action_knows_no_case_and_its_name_takes_wildcards(
    pattern: str, action: str, *, expected: bool
) -> None:
    service, _, name = action.partition(":")
    assert action_patterns([pattern]).cover(action, service, name) is expected


@pytest.mark.parametrize(
    "text", ["", "**", "CreateUser", "i*m:CreateUser", "iam:Create:User", ":CreateUser", "a b:c"]
)
def test_a_service_prefix_takes_no_wildcard(text: str) -> None:
    with pytest.raises(ValueError, match="service prefix"):
        action_patterns([text])
