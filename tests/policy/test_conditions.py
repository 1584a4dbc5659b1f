"""Operators as the IAM user guide describes them ("Condition operators", "Multivalued context keys")."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.policy.conditions import compile_conditions, instant, operator_of
from keyturn.policy.context import Context, Value
from keyturn.policy.elements import UnreadableError

BOB = "arn:aws:iam::123456789012:user/bob"


def outcome(element: Any, context: Mapping[str, Value]) -> tuple[bool, bool]:
    """Whether it surely holds, and whether it may."""
    values = Context.of(context).values
    conditions = compile_conditions(element, with_variables=True)
    surely = all(condition.holds(values, surely=True) for condition in conditions)
    return surely, all(condition.holds(values, surely=False) for condition in conditions)


def holds(operator: str, wanted: Any, actual: Value | None, **others: str) -> bool:
    """For one key, where no doubt is left."""
    context: dict[str, Value] = {} if actual is None else {"some:Key": actual}
    surely, maybe = outcome(
        {operator: {"some:Key": wanted}}, context | {f"aws:{k}": v for k, v in others.items()}
    )
    assert surely is maybe
    return surely


@pytest.mark.parametrize(
    ("operator", "wanted", "actual", "expected"),
    [
        ("StringEquals", "bob", "bob", True),
        ("StringEquals", "bob", "Bob", False),
        ("StringEquals", ["ann", "bob"], "bob", True),
        ("StringEquals", "b*", "bob", False),
        ("StringEquals", "b*", "b*", True),
        ("StringEquals", "b${*}", "b*", True),
        ("StringEquals", "", "", True),
        ("StringEquals", 5, "5", True),
        ("StringEquals", True, "true", True),
        ("StringNotEquals", ["ann", "bob"], "bob", False),
        ("StringNotEquals", ["ann", "bob"], "eve", True),
        ("StringNotEquals", [], "eve", True),
        ("StringEquals", [], "eve", False),
        ("StringEqualsIgnoreCase", "BOB", "bOb", True),
        ("StringNotEqualsIgnoreCase", "BOB", "bOb", False),
        ("StringLike", "b*", "bob", True),
        ("StringLike", "b?b", "bob", True),
        ("StringLike", "b${*}", "bob", False),
        ("StringLike", "B*", "bob", False),
        ("StringLike", ["x*", "*o*"], "bob", True),
        ("StringNotLike", ["x*", "*o*"], "bob", False),
        ("StringNotLike", "x*", "bob", True),
        ("NumericEquals", "10", "10.0", True),
        ("NumericNotEquals", "10", "10.5", True),
        ("NumericLessThan", "10", "9.999", True),
        ("NumericLessThan", 10, "10", False),
        ("NumericLessThanEquals", "10", "10", True),
        ("NumericGreaterThan", ["100", "-5"], "0", True),
        ("NumericGreaterThanEquals", "9", "10", True),
        ("NumericEquals", "123456789012345678901234567890", "123456789012345678901234567891", False),
        ("DateEquals", "2026-01-01", "2026-01-01T00:00:00Z", True),
        ("DateEquals", "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z", True),
        ("DateEquals", "1767225600", "2026-01-01T00:00:00Z", True),
        ("DateNotEquals", "2026-01-01", "2026-01-01T00:00:00.001Z", True),
        ("DateLessThan", "2026", "2025-12-31T23:59:59Z", True),
        ("DateGreaterThan", "2026-01-01T00:00:00Z", "1767225601", True),
        ("DateGreaterThanEquals", "2026-01-01T00:00:00Z", "1767225600", True),
        ("DateLessThanEquals", "2026-01-01T00:00:00-00:30", "2026-01-01T00:30:00Z", True),
        ("Bool", "true", "true", True),
        ("Bool", True, "true", True),
        ("Bool", "True", "TRUE", True),
        ("Bool", "true", "false", False),
        ("BinaryEquals", "Ym9i", "Ym9i", True),
        ("BinaryEquals", "Ym9i", "Ym9j", False),
        ("IpAddress", "10.0.0.0/8", "10.1.2.3", True),
        ("IpAddress", "10.0.0.0/8", "11.1.2.3", False),
        ("IpAddress", "10.1.2.3", "10.1.2.3", True),
        ("IpAddress", "10.9.9.9/8", "10.1.2.3", True),
        ("IpAddress", "0.0.0.0/0", "203.0.113.7", True),
        ("IpAddress", "0.0.0.0/0", "2001:db8::1", False),
        ("IpAddress", ["10.0.0.0/8", "2001:DB8::/32"], "2001:db8:0::1", True),
        ("IpAddress", "10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("NotIpAddress", "10.0.0.0/8", "::ffff:10.1.2.3", False),
        ("NotIpAddress", "10.0.0.0/8", "2001:db8::1", True),
        ("ArnEquals", "arn:aws:iam::*:user/*", BOB, True),
        ("ArnLike", BOB, BOB, True),
        ("ArnLike", "arn:aws:iam:*:user/bob", BOB, False),
        ("ArnLike", "arn:aws:*:*:*:*", "arn:aws:sns:us-east-1:1:topic:sub", True),
        ("ArnNotLike", "arn:aws:iam::*:user/*", BOB, False),
        ("ArnNotEquals", "arn:aws:iam::*:role/*", BOB, True),
        ("Null", "true", None, True),
        ("Null", "false", None, False),
        ("Null", "true", "x", False),
        ("Null", False, "x", True),
        ("Null", "true", "", False),
        ("Null", ["true", "false"], "x", True),
    ],
)
def test_an_operator_compares_as_documented(
    operator: str, wanted: Any, actual: str | None, *, expected: bool
) -> None:
    assert holds(operator, wanted, actual) is expected


@pytest.mark.parametrize(
    "family",
    [
        *(
            "StringEquals",
            "StringLike",
            "StringEqualsIgnoreCase",
            "NumericLessThan",
            "DateGreaterThan",
            "Bool",
        ),
        *("BinaryEquals", "IpAddress", "ArnLike", "ArnEquals"),
    ],
)
def test_a_missing_key_is_false_and_true_if_it_need_not_exist(family: str) -> None:
    assert not holds(family, "1", None)
    assert holds(family + "IfExists", "1", None)
    assert holds("ForAllValues:" + family, "1", None)
    assert not holds("ForAnyValue:" + family, "1", None)
    assert holds("ForAnyValue:" + family + "IfExists", "1", None)


@pytest.mark.parametrize(
    "family",
    ["StringNotEquals", "StringNotLike", "NumericNotEquals", "DateNotEquals", "NotIpAddress", "ArnNotLike"],
)
def test_a_missing_key_is_true_to_a_negated_operator(family: str) -> None:
    assert holds(family, "1", None)
    assert holds("ForAllValues:" + family, "1", None)
    assert not holds("ForAnyValue:" + family, "1", None)


@pytest.mark.parametrize(
    ("operator", "actual", "expected"),
    [
        ("ForAllValues:StringEquals", ["a", "b"], True),
        ("ForAllValues:StringEquals", ["a", "c"], False),
        ("ForAllValues:StringEquals", [], True),
        ("ForAnyValue:StringEquals", ["a", "c"], True),
        ("ForAnyValue:StringEquals", ["c"], False),
        ("ForAnyValue:StringEquals", [], False),
        ("ForAllValues:StringNotEquals", ["c", "d"], True),
        ("ForAllValues:StringNotEquals", ["a", "c"], False),
        ("ForAnyValue:StringNotEquals", ["a", "c"], True),
        ("ForAnyValue:StringNotEquals", ["a", "b"], False),
        ("ForAllValues:StringLike", ["a", "b"], True),
        ("ForAnyValue:StringEquals", "a", True),
        ("ForAllValues:StringEquals", "c", False),
    ],
)
def test_a_quantifier_asks_all_or_any_of_several_values(
    operator: str, actual: Value, *, expected: bool
) -> None:
    assert holds(operator, ["a", "b"], actual) is expected


def test_a_key_with_no_values_is_absent() -> None:
    assert holds("Null", "true", [])


def test_several_values_without_a_quantifier_are_for_a_deny_and_not_for_an_allow() -> None:
    assert outcome({"StringEquals": {"k:K": ["a", "b"]}}, {"k:K": ["a", "b"]}) == (False, True)
    assert outcome({"StringEquals": {"k:K": "a"}}, {"k:K": ["b", "c"]}) == (False, False)
    assert outcome({"StringEquals": {"k:K": "a"}}, {"k:K": ["a"]}) == (True, True)


def test_operators_and_keys_are_all_asked_and_values_are_alternatives() -> None:
    element = {
        "StringEquals": {"a:A": ["1", "2"], "b:B": "3"},
        "StringLike": {"a:A": "?"},
    }
    assert outcome(element, {"a:A": "2", "b:B": "3"}) == (True, True)
    assert outcome(element, {"a:A": "2", "b:B": "4"}) == (False, False)
    assert outcome(element, {"a:A": "4", "b:B": "3"}) == (False, False)


def test_keys_know_no_case_and_values_do() -> None:
    element = {"StringEquals": {"AWS:PrincipalTag/Team": "Red"}}
    assert outcome(element, {"aws:principaltag/TEAM": "Red"}) == (True, True)
    assert outcome(element, {"aws:PrincipalTag/Team": "red"}) == (False, False)


def test_a_key_given_twice_is_an_error_unless_it_says_the_same() -> None:
    assert Context.of({"a:B": "x", "A:b": "x"}).values == {"a:b": "x"}
    with pytest.raises(ValueError, match="twice"):
        Context.of({"a:B": "x", "A:b": "y"})


@pytest.mark.parametrize(
    ("operator", "wanted", "actual"),
    [
        ("NumericNotEquals", "ten", "10"),
        ("NumericNotEquals", "10", "ten"),
        ("NumericNotEquals", "1e3", "10"),
        ("DateNotEquals", "tomorrow", "2026-01-01"),
        ("DateNotEquals", "2026-02-30", "2026-01-01"),
        ("NotIpAddress", "10.0.0.0/33", "10.1.2.3"),
        ("NotIpAddress", "10.0.0.0/8", "localhost"),
        ("ArnNotLike", "*", BOB),
        ("ArnNotLike", "arn:aws:iam::*", BOB),
        ("ArnNotLike", "arn:aws:iam::*:user/*", "bob"),
        ("StringNotEquals", "${aws:PrincipalTag/team}", "x"),
        ("StringNotLike", "${aws:PrincipalTag/team}*", "x"),
        ("StringNotLike", "${aws:PrincipalTag/team", "x"),
        ("ArnNotLike", "arn:aws:iam::*:user/${aws:PrincipalTag/team}", BOB),
    ],
)
def test_what_cannot_be_compared_is_for_a_deny_and_not_for_an_allow(
    operator: str, wanted: str, actual: str
) -> None:
    assert outcome({operator: {"some:Key": wanted}}, {"some:Key": actual}) == (False, True)
    positive = operator.replace("Not", "", 1)
    assert outcome({positive: {"some:Key": wanted}}, {"some:Key": actual}) == (False, False)


def test_what_cannot_be_compared_hides_no_match_beside_it() -> None:
    assert holds("StringEquals", ["${aws:PrincipalTag/team}", "x"], "x")
    assert holds("NumericLessThan", ["ten", "20"], "10")
    assert not holds("NotIpAddress", ["nonsense", "10.0.0.0/8"], "10.1.2.3")
    assert holds("ArnLike", ["nonsense", BOB], BOB)


@pytest.mark.parametrize("operator", ["StringEquals", "StringLike", "StringEqualsIgnoreCase"])
def test_a_variable_is_put_in_where_texts_are_compared(operator: str) -> None:
    assert holds(operator, "home/${aws:username}/x", "home/bob/x", username="bob")
    assert not holds(operator, "home/${aws:username}/x", "home/bob/x", username="*")
    assert holds(operator, "home/${aws:username, 'nobody'}", "home/nobody")
    assert holds("ArnLike", "arn:aws:iam::*:user/${aws:username}", BOB, username="bob")
    assert not holds("ArnLike", "arn:aws:iam::*:user/${aws:username}", BOB, username="b*")


def test_a_variable_is_a_text_like_others_where_no_texts_are_compared() -> None:
    for operator in ("NumericEquals", "DateEquals", "Bool", "IpAddress", "BinaryEquals", "Null"):
        assert not holds(operator, "${aws:username}", "1", username="1")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "String",
            "StringEqual",
            "stringequals",
            "StringEqualsIfexists",
            "IfExists",
            "StringLikeIgnoreCase",
        ),
        *("NullIfExists", "ForAnyValue:Null", "ForAllValues:NullIfExists", "NotBool", "BinaryNotEquals"),
        *(
            "ForEachValue:StringEquals",
            "ForAnyValue:ForAnyValue:StringEquals",
            "StringEqualsIfExistsIfExists",
        ),
    ],
)
def test_an_operator_that_does_not_exist_is_none(name: str) -> None:
    assert operator_of(name) is None
    with pytest.raises(UnreadableError):
        compile_conditions({name: {"a:A": "x"}}, with_variables=True)
    assert compile_conditions({name: {}}, with_variables=True) == ()


@pytest.mark.parametrize("element", [None, [], "x", {"StringEquals": "x"}, {"StringEquals": {"a:A": {}}}])
def test_a_condition_of_another_shape_is_unreadable(element: Any) -> None:
    with pytest.raises(UnreadableError):
        compile_conditions(element, with_variables=True)


moments = st.datetimes(
    datetime.fromisoformat("0001-01-02"),
    datetime.fromisoformat("9999-12-30"),
    timezones=st.just(UTC),
)


@given(moments, st.integers(-23, 23), st.integers(0, 59))
def test_a_date_is_the_instant_that_it_names_in_any_zone(moment: datetime, hours: int, minutes: int) -> None:
    offset = timedelta(hours=abs(hours), minutes=minutes) * (-1 if hours < 0 else 1)
    sign = "-" if hours < 0 else "+"
    local = (moment + offset).replace(tzinfo=None).isoformat()
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    assert instant(f"{local}{sign}{abs(hours):02}:{minutes:02}") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1970", 0),
        ("1970-01", 0),
        ("1970-01-01T00:00Z", 0),
        ("2000-02-29", 951_782_400 * 10**9),
        ("1900-02-29", None),
        ("2026-04-31", None),
        ("2026-1-1T1:2:3.5Z", 1_767_229_323_500_000_000),
        ("9" * 19, None),
        ("9" * 25, None),
        ("now", None),
        ("", None),
        ("2026-01-01 00:00:00", None),
    ],
)
def test_a_date_ends_early_or_is_epoch_seconds(text: str, expected: int | None) -> None:
    assert instant(text) == expected


@pytest.mark.parametrize(
    ("operator", "wanted"),
    [
        ("StringLike", "*a" * 30_000 + "b"),
        ("StringLike", "*?a" * 2_000 + "b"),
        ("StringNotLike", ["a*" * 1_000 + "?b"] * 20),
        ("StringLike", "${aws:username}*?" * 4_000),
        ("ArnLike", "arn:aws:s3:::" + "*?a" * 10_000 + "b"),
        ("NumericEquals", ["9" * 100_000] * 10),
        ("DateEquals", "9" * 100_000),
        ("IpAddress", ["1" * 50_000] * 10),
        ("StringEquals", "${" * 60_000),
    ],
)
def test_a_hostile_condition_takes_no_longer_than_its_size(operator: str, wanted: Any) -> None:
    started = time.process_time()
    for actual in ("arn:aws:s3:::" + "a" * 4_000, "9" * 8_000):
        outcome({operator: {"some:Key": wanted}}, {"some:Key": actual, "aws:username": "a"})
    assert time.process_time() - started < 2
