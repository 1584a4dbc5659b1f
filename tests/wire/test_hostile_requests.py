"""Requests that no client sends."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.wire.faults import Fault
from keyturn.wire.query import MAX_NAME, MAX_PARAMETERS, parse_form, parse_query
from wire.service_models import contract, corners, decode, refusal, refused, refused_bytes

USER = ("UserName", "ci-deploy-bot")


def test_a_plus_is_a_space_in_a_form_and_itself_in_a_url() -> None:
    assert parse_form(b"a+b=c+d%2B") == [("a b", "c d+")]
    assert parse_query(b"a+b=c+d%2B") == [("a+b", "c+d+")]


def test_pairs_keep_their_order_and_a_name_alone_has_an_empty_value() -> None:
    assert parse_form(b"b=1&a&c=&=d&a=2=3&&") == [("b", "1"), ("a", ""), ("c", ""), ("", "d"), ("a", "2=3")]
    assert parse_form(b"") == []


def test_escapes_are_utf_8_in_either_letter_case() -> None:
    assert parse_form(b"Na%6De=%e6%BC%A2%F0%9F%98%80&x=\xc3\xa9") == [("Name", "漢😀"), ("x", "é")]


@pytest.mark.parametrize(
    "body", [b"a=%", b"a=%4", b"a=%4g", b"a=%%34", b"%zz=1", b"a=%+1", b"a=%u0041", b"a=% 41"]
)
def test_a_percent_sign_without_two_hexadecimal_digits_is_refused(body: bytes) -> None:
    fault = refused_bytes(body)
    assert (fault.code, fault.status) == ("MalformedQueryString", 404)
    assert fault.message == "The query string contains a percent sign without two hexadecimal digits."


@pytest.mark.parametrize(
    "body",
    [
        b"a=\xff",
        b"a=%FF",
        b"a=%C3",
        b"a=%C3x",
        b"a=\xc3%A9",
        b"a=%C0%80",
        b"a=%ED%A0%80",
        b"a=%F4%90%80%80",
        b"%FF=a",
    ],
)
def test_what_is_not_utf_8_is_refused(body: bytes) -> None:
    assert refused_bytes(body).message == "The query string is not UTF-8."


@pytest.mark.parametrize("body", [b"a=\0", b"a=b%00c", b"a%00=b"])
def test_the_character_nul_is_refused(body: bytes) -> None:
    assert refused_bytes(body).message == "The query string contains the character U+0000."


def test_a_percent_sign_that_was_escaped_escapes_nothing() -> None:
    assert parse_form(b"a=%2500%2541") == [("a", "%00%41")]


def test_parameters_are_counted_before_they_are_read() -> None:
    assert len(parse_form(b"&".join(b"a%d=" % number for number in range(MAX_PARAMETERS)))) == MAX_PARAMETERS
    fault = refused_bytes(b"&" * (1 << 20))
    assert fault.message == f"The request has more than {MAX_PARAMETERS} parameters."


def test_the_name_of_a_parameter_has_its_length() -> None:
    assert parse_form(b"a" * MAX_NAME) == [("a" * MAX_NAME, "")]
    assert refused_bytes(b"a." * MAX_NAME + b"=1").code == "MalformedQueryString"


@settings(derandomize=True, database=None, deadline=None)
@given(st.binary(max_size=200) | st.text("a=&%+2b.\xe9", max_size=60).map(str.encode))
def test_any_bytes_are_pairs_or_a_fault(body: bytes) -> None:
    for parse in (parse_form, parse_query):
        try:
            pairs = parse(body)
        except Fault as fault:
            assert fault.code == "MalformedQueryString"  # noqa: PT017 - both ends are allowed
        else:
            assert all("\0" not in name + value for name, value in pairs)


NAMES = ["Tags", "Tags.member", "Tags.member.1", "Tags.member.1.Key", "Tags.member.2.Value", "Tags.1", "Tags.",
         "Tags.member.1.Key.", "Tags.member.x.Key", "UserName", "UserName.a", "Path", "Action", "x.y", "", "."]  # fmt: skip


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["", "a", "/", "é!"])), max_size=6))
def test_any_parameters_are_arguments_or_a_fault(params: list[tuple[str, str]]) -> None:
    codes = {"ValidationError", "MalformedInput", "InvalidQueryParameter"}
    try:
        arguments = contract("iam").operations["CreateUser"].decode(params)
    except Fault as fault:
        assert fault.code in codes  # noqa: PT017 - both ends are allowed
    else:
        assert arguments["user_name"] == "a"


# Names.


def test_a_repeated_parameter_is_refused_even_if_both_say_the_same() -> None:
    fault = refusal("iam", "GetUser", USER, ("MaxItems", "1"), USER)
    assert (fault.code, fault.status) == ("InvalidQueryParameter", 400)
    assert fault.message == "The parameter UserName is given more than once."


def test_a_repeated_parameter_is_refused_even_if_the_model_does_not_know_it() -> None:
    assert refusal("sts", "GetCallerIdentity", ("a", "1"), ("a", "2")).code == "InvalidQueryParameter"


def test_a_parameter_outside_the_model_is_left_alone() -> None:
    assert decode(
        "iam", "GetUser", USER, ("username", "b"), ("X-Amz-Date", "c"), ("a.b", "d"), ("", "e")
    ) == {"user_name": "ci-deploy-bot"}
    assert decode("iam", "TagUser", USER, ("Tags.member.1.Key", "a"), ("Tags.member.1.Value", "b"),
                  ("Tags.member.1.Colour", "c"))["tags"] == [{"Key": "a", "Value": "b"}]  # fmt: skip


@pytest.mark.parametrize("name", ["Action", "action", "ACTION", "aCtIoN", "Version", "version", "VERSION"])
def test_a_second_action_or_version_in_any_letter_case_is_refused(name: str) -> None:
    params = [("Action", "GetUser"), ("Version", "2010-05-08"), (name, "DeleteUser")]
    for order in (params, params[::-1]):
        with pytest.raises(
            Fault, match=r"^InvalidQueryParameter: The parameter \w+ is given more than once\.$"
        ):
            contract("iam").operation(order)


def test_an_action_in_another_letter_case_is_none() -> None:
    with pytest.raises(Fault, match=r"^MissingAction: "):
        contract("iam").operation([("action", "GetUser"), ("Version", "2010-05-08")])
    with pytest.raises(
        Fault, match=r"^InvalidAction: Could not find operation GetUser for version NO_VERSION_SPEC"
    ):
        contract("iam").operation([("Action", "GetUser"), ("version", "2010-05-08")])


# Shapes.


def test_members_of_a_list_come_in_the_order_of_their_numbers() -> None:
    tags = [(f"TagKeys.member.{number}", f"k{number}") for number in (10, 2, 30, 1)]
    assert decode("iam", "UntagUser", USER, *tags)["tag_keys"] == ["k1", "k2", "k10", "k30"]


@pytest.mark.parametrize("value", ["TagKeys", "TagKeys.member"])
def test_an_empty_list_is_a_name_with_nothing(value: str) -> None:
    assert decode("iam", "UntagUser", USER, (value, "")) == {"user_name": "ci-deploy-bot", "tag_keys": []}


@pytest.mark.parametrize(
    "number",
    [
        "0",
        "-1",
        "01",
        "1e3",
        "+1",
        " 1",
        "1 ",
        "x",
        "",
        "999999999",
        "10000",
        "9" * 200,
        "١",
        "1.5",
        "²",
        "1\n",
        "0x1",
    ],
)
def test_a_number_that_no_member_has_is_refused(number: str) -> None:
    fault = refusal("iam", "UntagUser", USER, (f"TagKeys.member.{number}", "a"))
    assert (fault.code, fault.status) == ("MalformedInput", 400)


def test_a_large_number_costs_no_memory() -> None:
    params = [USER, ("TagKeys.member.9999", "a")]
    contract("iam").operations["UntagUser"].decode(params)
    tracemalloc.start()
    try:
        assert decode("iam", "UntagUser", *params)["tag_keys"] == ["a"]
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([("UserName.a", "b")], "Start of list found where not expected"),
        ([USER, ("UserName.member.1", "b")], "Start of list found where not expected"),
        ([USER, ("Tags", "b")], "Unexpected list element termination"),
        ([USER, ("Tags.1.Key", "b")], "Unexpected list element termination"),
        ([USER, ("Tags", ""), ("Tags.member.1.Key", "b")], "Unexpected list element termination"),
        ([USER, ("Tags.", "")], "Unexpected complex element termination"),
        ([USER, ("Tags.member.1", "b")], "Unexpected complex element termination"),
        ([USER, ("Tags.member.1", "")], "Unexpected complex element termination"),
        ([USER, ("Tags.member.1.", "b")], "Unexpected list element termination"),
        ([USER, ("Tags.member.1.Key.a", "b")], "Start of list found where not expected"),
        ([USER, ("Tags.member.1.Key", "a"), ("Tags.member.1.Key.a", "b")], "Start of list found where not expected"),
    ],
    ids=str,
)  # fmt: skip
def test_a_parameter_of_another_shape_than_the_models_is_refused(
    params: list[tuple[str, str]], message: str
) -> None:
    fault = refusal("iam", "CreateUser", *params)
    assert (fault.code, fault.status, fault.message) == ("MalformedInput", 400, message)


@pytest.mark.parametrize(
    "params",
    [
        [("Pairs.entry.1.key", "a")],
        [("Pairs.entry.1.value", "1")],
        [("Pairs.entry.1", "1")],
        [("Pairs.1.key", "a"), ("Pairs.1.value", "1")],
        [("Pairs", "a")],
        [("Pairs.entry.1.key", "a"), ("Pairs.entry.1.value", "1"), ("Pairs.entry.2.key", "a"), ("Pairs.entry.2.value", "2")],
        [("Flat.member.1", "a")],
        [("Flat.0", "a")],
        [("Inner", "")],
    ],
    ids=str,
)  # fmt: skip
def test_an_entry_of_a_map_or_a_flattened_list_of_another_shape_is_refused(
    params: list[tuple[str, str]],
) -> None:
    assert refused(corners(), "Turn", params).code == "MalformedInput"


def test_nesting_goes_no_deeper_than_a_name_is_long() -> None:
    name = b"Inner." * 42 + b"Big"
    (pair,) = parse_form(name + b"=1")
    value: object = corners().operations["Turn"].decode([pair])["inner"]
    for _ in range(41):
        assert isinstance(value, dict)
        value = value["Inner"]
    assert value == {"Big": 1}
    assert refused_bytes(b"Inner." * 100_000 + b"Big=1").code == "MalformedQueryString"


def test_the_largest_requests_take_no_time_to_speak_of() -> None:
    escapes = b"Action=PutUserPolicy&PolicyDocument=" + b"%C3%A9" * 170_000
    tags = "&".join(f"Tags.member.{n}.Key={'k' * 400}&x{n}.y.z=1" for n in range(1, 1000)).encode()
    before = time.thread_time()
    assert refusal("iam", "PutUserPolicy", *parse_form(escapes)[1:]).code == "ValidationError"
    fault = refusal("iam", "TagUser", *parse_form(tags))
    assert fault.message is not None
    # No user name, too many tags, each with a key too long and no value.
    assert fault.message.startswith("2000 validation errors detected: ")
    assert time.thread_time() - before < 2
