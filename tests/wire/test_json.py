"""The JSON 1.1 protocol, both ways, against botocore's own serialiser and parser."""

from __future__ import annotations

import functools
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from botocore.parsers import JSONParser
from botocore.serialize import JSONSerializer
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.model.secrets import Secret
from keyturn.wire.faults import Fault, access_denied, internal_failure, validation_error
from keyturn.wire.json import DEEPEST, JsonServiceContract, parse_body

SERVICES = ("secretsmanager", "cloudtrail")
REQUEST_ID = "5b0f9b0e-ea16-44d2-9f49-a21e845ad647"
LOOKUP = b"com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents"


@functools.cache
def model(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


@functools.cache
def contract(service: str = "secretsmanager") -> JsonServiceContract:
    return JsonServiceContract.from_model(model(service))


def decode(operation: str, body: object, service: str = "secretsmanager") -> dict[str, object]:
    return contract(service).operations[operation].decode(json.dumps(body).encode())


def refusal(operation: str, body: object, service: str = "secretsmanager") -> str:
    with pytest.raises(Fault) as raised:
        decode(operation, body, service)
    return str(contract(service).worded(raised.value))


def parsed(operation: OperationModel, body: bytes, status: int = 200) -> dict[str, Any]:
    """What botocore makes of an answer."""
    response = {"body": body, "status_code": status, "headers": {"x-amzn-requestid": REQUEST_ID}}
    assert operation.output_shape is not None
    found: dict[str, Any] = JSONParser().parse(response, operation.output_shape)
    return found


# Which operation


def test_the_target_names_the_operation() -> None:
    found = contract().operation([(b"x-amz-target", b"secretsmanager.GetSecretValue")])
    assert found.name == "GetSecretValue"
    assert contract("cloudtrail").operation([(b"x-amz-target", LOOKUP)]).name == "LookupEvents"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-amz-target", b"")],
        [(b"x-amz-target", b"GetSecretValue")],
        [(b"x-amz-target", b"secretsmanager.MakeCoffee")],
        [(b"x-amz-target", b"SecretsManager.GetSecretValue")],
        [(b"x-amz-target", LOOKUP)],
        [(b"x-amz-target", b"secretsmanager.GetSecretValue" + b" " * 300)],
        [(b"x-amz-target", b"secretsmanager.GetSecretValue\xff")],
        [
            (b"x-amz-target", b"secretsmanager.ListSecrets"),
            (b"x-amz-target", b"secretsmanager.GetSecretValue"),
        ],
    ],
)
def test_a_target_that_is_missing_unknown_or_given_twice_is_an_unknown_operation(
    headers: list[tuple[bytes, bytes]],
) -> None:
    with pytest.raises(Fault, match="UnknownOperationException"):
        contract().operation(headers)


# Arguments


@pytest.mark.parametrize("service", SERVICES)
def test_what_botocore_sends_arrives(service: str) -> None:
    sent: dict[str, dict[str, Any]] = {
        "secretsmanager": {
            "Name": "app/db",
            "ClientRequestToken": "1" * 32,
            "SecretBinary": b"\0\xff",
            "Tags": [{"Key": "é", "Value": ""}],
            "ForceOverwriteReplicaSecret": False,
        },
        "cloudtrail": {
            "LookupAttributes": [{"AttributeKey": "AccessKeyId", "AttributeValue": "AKIAIOSFODNN7EXAMPLE"}],
            "StartTime": datetime(2026, 11, 22, 12, 0, 1, tzinfo=UTC),
            "MaxResults": 7,
        },
    }
    name = {"secretsmanager": "CreateSecret", "cloudtrail": "LookupEvents"}[service]
    operation = model(service).operation_model(name)
    request = JSONSerializer().serialize_to_request(sent[service], operation)
    target = request["headers"]["X-Amz-Target"].encode()
    asked = contract(service).asked([(b"x-amz-target", target)], b"", request["body"])
    expected: dict[str, object] = {xform_name(key): value for key, value in sent[service].items()}
    if service == "secretsmanager":
        expected["secret_binary"] = Secret(b"\0\xff")
    else:
        expected["start_time"] = 1795348801000
    assert asked.operation == name
    assert asked.arguments() == expected


@pytest.mark.parametrize(
    ("target", "is_known"),
    [
        ("com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents", True),
        ("CloudTrail_20131101.LookupEvents", True),
        ("v20131101.CloudTrail_20131101.LookupEvents", False),
        ("CloudTrail.LookupEvents", False),
        (".LookupEvents", False),
        ("LookupEvents", False),
    ],
)
def test_a_target_may_be_short_as_the_javascript_sdk_sends_it(target: str, *, is_known: bool) -> None:
    headers = [(b"x-amz-target", target.encode())]
    assert contract("cloudtrail").is_asked(headers) is is_known
    if is_known:
        assert contract("cloudtrail").operation(headers).name == "LookupEvents"
    else:
        with pytest.raises(Fault, match="UnknownOperationException"):
            contract("cloudtrail").operation(headers)


def test_what_the_model_calls_sensitive_is_a_secret_from_the_first() -> None:
    arguments = decode("PutSecretValue", {"SecretId": "a", "SecretString": "hünter2"})
    assert arguments["secret_string"] == Secret("hünter2".encode())


def test_members_outside_the_model_and_null_ones_are_left_alone() -> None:
    assert decode("GetSecretValue", {"SecretId": "a", "VersionId": None, "Else": [{}]}) == {"secret_id": "a"}


def test_an_empty_body_is_an_empty_object() -> None:
    assert contract().operations["ListSecrets"].decode(b"") == {}


def test_fractions_of_a_second_survive() -> None:
    assert decode("LookupEvents", {"StartTime": 1523477145.713}, "cloudtrail") == {
        "start_time": 1523477145713
    }


@pytest.mark.parametrize(
    ("operation", "body", "message"),
    [
        (
            "GetSecretValue",
            {},
            "Value null at 'secretId' failed to satisfy constraint: Member must not be null",
        ),
        (
            "GetSecretValue",
            {"SecretId": "a", "VersionId": "b"},
            (
                "Value 'b' at 'versionId' failed to satisfy constraint:"
                " Member must have length greater than or equal to 32"
            ),
        ),
        (
            "CreateSecret",
            {"Name": "a", "SecretString": ""},
            (
                "Value at 'secretString' failed to satisfy constraint:"
                " Member must have length greater than or equal to 1"
            ),
        ),
        (
            "ListSecrets",
            {"MaxResults": 101},
            (
                "Value '101' at 'maxResults' failed to satisfy constraint:"
                " Member must have value less than or equal to 100"
            ),
        ),
        (
            "ListSecrets",
            {"SortOrder": "up"},
            "Value 'up' at 'sortOrder' failed to satisfy constraint: Member must satisfy enum value set: [asc, desc]",
        ),
        (
            "ListSecrets",
            {"Filters": [{"Key": "colour"}]},
            (
                "Value 'colour' at 'filters.1.member.key' failed to satisfy constraint: Member must satisfy enum value set:"
                " [description, name, tag-key, tag-value, primary-region, owning-service, all]"
            ),
        ),
        (
            "BatchGetSecretValue",
            {"SecretIdList": []},
            (
                "Value '[]' at 'secretIdList' failed to satisfy constraint:"
                " Member must have length greater than or equal to 1"
            ),
        ),
    ],
)
def test_a_broken_constraint_is_told_in_awss_words(
    operation: str, body: dict[str, object], message: str
) -> None:
    assert refusal(operation, body) == f"ValidationException: 1 validation error detected: {message}"


def test_all_broken_constraints_are_told_at_once() -> None:
    told = refusal("UpdateSecretVersionStage", {"VersionStage": ""})
    assert told.startswith("ValidationException: 2 validation errors detected: ")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"SecretId": 1}, "NUMBER_VALUE cannot be converted to a String"),
        ({"SecretId": ["a"]}, "START_ARRAY cannot be converted to a String"),
        ({"SecretId": {"a": 1}}, "START_OBJECT cannot be converted to a String"),
        ({"SecretId": True}, "BOOLEAN_VALUE cannot be converted to a String"),
        ({"SecretId": "a\0"}, "A string contains the character U+0000."),
        ({"SecretId": "\ud800"}, "A string contains half of a surrogate pair."),
    ],
)
def test_a_value_of_another_kind_is_refused(body: dict[str, object], told: str) -> None:
    assert refusal("GetSecretValue", body) == f"SerializationException: {told}"


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("ListSecrets", {"MaxResults": "1"}),
        ("ListSecrets", {"MaxResults": 1.5}),
        ("ListSecrets", {"MaxResults": True}),
        ("ListSecrets", {"IncludePlannedDeletion": "true"}),
        ("ListSecrets", {"Filters": {"Key": "all"}}),
        ("ListSecrets", {"Filters": ["all"]}),
        ("ListSecrets", {"Filters": [None]}),
        ("CreateSecret", {"Name": "a", "SecretBinary": 7}),
    ],
)
def test_numbers_truths_and_lists_are_not_guessed(operation: str, body: dict[str, object]) -> None:
    assert refusal(operation, body).startswith("SerializationException: ")


@pytest.mark.parametrize("time", [-1, 1e300, "2026-11-22T12:00:00Z", True])
def test_a_time_is_a_number_of_seconds_that_exists(time: object) -> None:
    assert refusal("LookupEvents", {"StartTime": time}, "cloudtrail").startswith("SerializationException: ")


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'"a"',
        b"null",
        b"{",
        b"{}{}",
        b"{'a': 1}",
        b"\xef\xbb\xbf{}",
        b'{"a": "\xff"}',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1) + b"}",
        b'{"a":' * 100_000,
    ],
)
def test_a_body_that_is_no_plain_object_is_refused_without_a_trace_of_it(body: bytes) -> None:
    with pytest.raises(Fault, match="SerializationException") as raised:
        parse_body(body)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_brackets_inside_a_string_are_not_levels() -> None:
    text = '{"[\\"' * 1000
    assert parse_body(json.dumps({"a": text}).encode()) == {"a": text}


@settings(max_examples=30, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_no_value_does_anything_but_arrive_or_be_refused(value: object) -> None:
    for operation in ("CreateSecret", "ListSecrets", "PutSecretValue"):
        shape = model("secretsmanager").operation_model(operation).input_shape
        assert shape is not None
        for member in shape.members:
            with suppress(Fault):
                decode(operation, {"Name": "a", "SecretId": "a", member: value})


# Answers


def test_botocore_reads_a_result_as_it_was_meant() -> None:
    operation = model("secretsmanager").operation_model("GetSecretValue")
    body = (
        contract()
        .operations["GetSecretValue"]
        .encode(
            {
                "Name": "é",
                "SecretBinary": Secret(b"\0\xff"),
                "SecretString": Secret("hünter2".encode()),
                "VersionStages": ["AWSCURRENT"],
                "CreatedDate": 1523477145713,
                "VersionId": None,
            },
            REQUEST_ID,
        )
    )
    found = parsed(operation, body)
    assert found.pop("CreatedDate").timestamp() == pytest.approx(1523477145.713)
    assert found == {
        "Name": "é",
        "SecretBinary": b"\0\xff",
        "SecretString": "hünter2",
        "VersionStages": ["AWSCURRENT"],
        "ResponseMetadata": {
            "RequestId": REQUEST_ID,
            "HTTPStatusCode": 200,
            "HTTPHeaders": {"x-amzn-requestid": REQUEST_ID},
        },
    }


def test_maps_lists_and_truths_are_written() -> None:
    encode = contract().operations["DescribeSecret"].encode
    assert json.loads(encode({"VersionIdsToStages": {"1": ["A"]}, "RotationEnabled": False}, "")) == {
        "VersionIdsToStages": {"1": ["A"]},
        "RotationEnabled": False,
    }
    assert contract().operations["TagResource"].encode({}, "") == b"{}"


@pytest.mark.parametrize(
    "result",
    [
        {"SecretString": "plain"},
        {"SecretBinary": b"plain"},
        {"CreatedDate": 1.5},
        {"Name": 1},
        {"VersionStages": "A"},
    ],
)
def test_a_result_of_another_type_is_our_own_mistake_and_shows_no_value(result: dict[str, object]) -> None:
    with pytest.raises(TypeError) as raised:
        contract().operations["GetSecretValue"].encode(result, "")
    assert "plain" not in str(raised.value)


def test_a_member_outside_the_model_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="has no member Colour"):
        contract().operations["GetSecretValue"].encode({"Colour": "red"}, "")
    with pytest.raises(ValueError, match="answers no result"):
        contract().operations["TagResource"].encode({"Colour": "red"}, "")


# Faults


def test_an_error_of_the_model_has_a_capital_message_and_others_have_not() -> None:
    modelled = Fault("ResourceNotFoundException", "gone", status=400)
    assert json.loads(contract().encode_fault(modelled, "")) == {
        "__type": "ResourceNotFoundException",
        "Message": "gone",
    }
    for fault, code in (
        (validation_error("no"), "ValidationException"),
        (access_denied("no"), "AccessDeniedException"),
    ):
        worded = contract().worded(fault)
        assert worded.status == 400
        assert json.loads(contract().encode_fault(worded, "")) == {"__type": code, "message": "no"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("SignatureDoesNotMatch", "InvalidSignatureException"),
        ("IncompleteSignature", "IncompleteSignatureException"),
        ("InvalidClientTokenId", "UnrecognizedClientException"),
        ("MissingAuthenticationToken", "MissingAuthenticationTokenException"),
        ("ExpiredToken", "ExpiredTokenException"),
    ],
)
def test_refused_signatures_have_the_names_of_json_services(code: str, expected: str) -> None:
    worded = contract().worded(Fault(code, "no", status=403))
    assert (worded.code, worded.status) == (expected, 400)


def test_botocore_reads_a_fault() -> None:
    operation = model("secretsmanager").operation_model("GetSecretValue")
    body = contract().encode_fault(contract().worded(access_denied("no")), REQUEST_ID)
    assert parsed(operation, body, 400)["Error"] == {"Code": "AccessDeniedException", "Message": "no"}


def test_our_own_failures_stay_ours() -> None:
    worded = contract().worded(internal_failure())
    assert (worded.code, worded.status) == ("InternalServiceError", 500)
    assert contract("cloudtrail").worded(internal_failure()).code == "InternalFailure"


def test_a_model_of_another_protocol_is_refused() -> None:
    with pytest.raises(NotImplementedError, match=r"does not speak the JSON 1\.1 protocol"):
        JsonServiceContract.from_model(model("iam"))
