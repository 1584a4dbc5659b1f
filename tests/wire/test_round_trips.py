"""botocore is the other end: what it sends we read, what we answer it reads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore import xform_name
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from botocore.parsers import create_parser

from keyturn.model.secrets import Secret
from keyturn.wire.faults import Fault
from keyturn.wire.query import parse_form
from wire.model_values import Values
from wire.service_models import (
    SERVICES,
    as_botocore_sends_it,
    contract,
    corners,
    corners_model,
    operation_models,
    service_model,
)

SEEDS = range(12)
operations = pytest.mark.parametrize(
    "model", operation_models(), ids=lambda model: f"{model.service_model.service_name}-{model.name}"
)


def as_a_handler_gets_it(shape: Shape, value: Any) -> object:
    """What botocore's caller wrote, in our own terms."""
    match shape:
        case StructureShape():
            return {name: as_a_handler_gets_it(shape.members[name], each) for name, each in value.items()}
        case ListShape():
            return [as_a_handler_gets_it(shape.member, each) for each in value]
        case MapShape():
            return {key: as_a_handler_gets_it(shape.value, each) for key, each in value.items()}
    if shape.metadata.get("sensitive"):
        return Secret(value if isinstance(value, bytes) else value.encode())
    return value * 1000 if shape.type_name == "timestamp" else value


def as_botocore_returns_it(shape: Shape, value: Any) -> object:
    """What a handler wrote, in botocore's terms."""
    match shape:
        case StructureShape():
            return {name: as_botocore_returns_it(shape.members[name], each) for name, each in value.items()}
        case ListShape():
            return [as_botocore_returns_it(shape.member, each) for each in value]
        case MapShape():
            return {key: as_botocore_returns_it(shape.value, each) for key, each in value.items()}
    if shape.type_name == "timestamp":
        return datetime.fromtimestamp(value, UTC)
    return value


def parsed(model: OperationModel, body: bytes, status: int = 200) -> dict[str, Any]:
    parser = create_parser("query")
    response = {"body": body, "headers": {}, "status_code": status}
    # botocore takes None where an operation has no output; its stubs don't say so.
    answer: dict[str, Any] = parser.parse(response, model.output_shape)  # type: ignore[arg-type]
    return answer


@operations
def test_what_botocore_sends_reaches_the_handler_unchanged(model: OperationModel) -> None:
    service = contract(model.service_model.service_name)
    shape = model.input_shape
    for seed in SEEDS:
        sent = {} if shape is None else Values(f"{model.name} {seed}", constrained=True).structure(shape)
        pairs = parse_form(as_botocore_sends_it(model, sent))

        operation = service.operation(pairs)

        assert operation.name == model.name
        expected: Any = {} if shape is None else as_a_handler_gets_it(shape, sent)
        assert operation.decode(pairs) == {xform_name(name): value for name, value in expected.items()}


@operations
def test_what_a_handler_answers_reaches_botocores_caller_unchanged(model: OperationModel) -> None:
    encode = contract(model.service_model.service_name).operations[model.name].encode
    shape = model.output_shape
    for seed in SEEDS:
        answered = {} if shape is None else Values(f"{model.name} {seed}", constrained=False).structure(shape)
        result: Any = {} if shape is None else as_a_handler_gets_it(shape, answered)

        answer = parsed(model, encode(result, f"request-{seed}"))

        assert answer.pop("ResponseMetadata")["RequestId"] == f"request-{seed}"
        assert answer == ({} if shape is None else as_botocore_returns_it(shape, answered))


@operations
def test_every_declared_error_reaches_botocores_caller_with_its_code(model: OperationModel) -> None:
    service = contract(model.service_model.service_name)
    for code, status in service.operations[model.name].error_statuses.items():
        fault = Fault(code, "a <b> & c", status=status, sender=status < 500)

        answer = parsed(model, service.encode_fault(fault, "request-1"), status)

        side = "Sender" if status < 500 else "Receiver"
        assert answer["Error"] == {"Code": code, "Message": "a <b> & c", "Type": side}
        assert answer["ResponseMetadata"]["RequestId"] == "request-1"
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.parametrize("service", SERVICES)
def test_the_codes_are_those_by_which_botocore_knows_its_exceptions(service: str) -> None:
    known = {
        shape.error_code for shape in service_model(service).error_shapes if isinstance(shape, StructureShape)
    }
    told: set[str] = set()
    for operation in contract(service).operations.values():
        told |= operation.error_statuses.keys()
    assert told <= known


CORNERS: list[dict[str, object]] = [
    {"Renamed": "a b+c%d&e=f"},
    {"Flat": ["a", "b"], "FlatNamed": ["c", "d", "e"], "Items": ["f"]},
    {"Pairs": {"a": 1, "b": 2}},
    {"FlatPairs": {"a": "1", "b": "2"}},
    {"Inner": {"Inner": {"Inner": {"Renamed": "deep"}}}},
    {"Corners": [{"Yes": True}, {"Corners": [{"Yes": False}, {"Flat": ["x"]}]}]},
    {"CornersByName": {"left": {"Big": 1 << 40}, "right": {"Ratio": -2.5}}},
    {"Content": b"\0\xff", "Numbers": [3, 1, 2]},
    {"Items": [], "Numbers": []},
    {"Flat": [str(number) for number in range(1, 13)]},
]


@pytest.mark.parametrize("sent", CORNERS, ids=str)
def test_the_protocols_corners_are_read_as_botocore_writes_them(sent: dict[str, object]) -> None:
    model = corners_model().operation_model("Turn")
    pairs = parse_form(as_botocore_sends_it(model, sent))
    assert corners().operation(pairs).decode(pairs) == {xform_name(name): sent[name] for name in sent}


def test_an_empty_flattened_list_goes_by_its_own_name() -> None:
    model = corners_model().operation_model("Turn")
    pairs = parse_form(as_botocore_sends_it(model, {"FlatNamed": [], "Flat": []}))
    assert corners().operation(pairs).decode(pairs) == {"flat_named": [], "flat": []}


def test_times_and_hidden_bytes_are_read_as_milliseconds_and_secrets() -> None:
    model = corners_model().operation_model("Turn")
    when = datetime(2026, 2, 11, 10, 40, 38, 500_000, UTC)
    pairs = parse_form(as_botocore_sends_it(model, {"At": when, "Hidden": b"seed"}))
    assert corners().operation(pairs).decode(pairs) == {"at": 1770806438500, "hidden": Secret(b"seed")}


@pytest.mark.parametrize("sent", CORNERS, ids=str)
@pytest.mark.parametrize("operation", ["Turn", "Open"])
def test_the_protocols_corners_are_answered_as_botocore_reads_them(
    operation: str, sent: Mapping[str, object]
) -> None:
    model = corners_model().operation_model(operation)
    answer = parsed(model, corners().operations[operation].encode(sent, "1"))
    del answer["ResponseMetadata"]
    assert {name: value for name, value in answer.items() if value != []} == {
        name: value for name, value in sent.items() if value != []
    }
