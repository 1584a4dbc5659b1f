"""The real models, compiled, and a small one for what IAM and STS do not have."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from botocore.awsrequest import AWSRequest
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from botocore.serialize import QuerySerializer

from keyturn.wire.contracts import ServiceContract
from keyturn.wire.faults import Fault
from keyturn.wire.query import parse_form

SERVICES = ("iam", "sts")


@functools.cache
def service_model(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


@functools.cache
def contract(service: str) -> ServiceContract:
    return ServiceContract.from_model(service_model(service))


def operation_models() -> list[OperationModel]:
    return [
        service_model(service).operation_model(name)
        for service in SERVICES
        for name in service_model(service).operation_names
    ]


def as_botocore_sends_it(model: OperationModel, arguments: dict[str, object]) -> bytes:
    """The body of the request that botocore makes of these arguments."""
    request = QuerySerializer().serialize_to_request(arguments, model)
    body = AWSRequest(method="POST", url="http://127.0.0.1/", data=request["body"]).prepare().body
    return body if isinstance(body, bytes) else str(body).encode()


def decode(service: str, operation: str, *params: tuple[str, str]) -> dict[str, object]:
    return contract(service).operations[operation].decode(params)


def refusal(service: str, operation: str, *params: tuple[str, str]) -> Fault:
    """The fault that these parameters meet."""
    return refused(contract(service), operation, params)


def refused(service: ServiceContract, operation: str, params: Sequence[tuple[str, str]]) -> Fault:
    try:
        arguments = service.operations[operation].decode(params)
    except Fault as fault:
        return fault
    raise AssertionError(f"accepted: {arguments}")


def refused_bytes(body: bytes) -> Fault:
    try:
        pairs = parse_form(body)
    except Fault as fault:
        return fault
    raise AssertionError(f"accepted: {pairs}")


@functools.cache
def corners_model() -> ServiceModel:
    """Names of their own, flattened lists and maps, a structure inside itself, times, blobs, numbers."""
    return ServiceModel(
        {
            "metadata": {
                "apiVersion": "2026-01-01",
                "endpointPrefix": "corners",
                "protocol": "query",
                "protocols": ["query"],
                "serviceId": "Corners",
                "signatureVersion": "v4",
                "xmlNamespace": "https://corners.example/doc/",
            },
            "operations": {
                "Turn": {
                    "name": "Turn",
                    "http": {"method": "POST", "requestUri": "/"},
                    "input": {"shape": "Corner"},
                    "output": {"shape": "Corner", "resultWrapper": "TurnResult"},
                    "errors": [{"shape": "Untold"}],
                },
                "Open": {
                    "name": "Open",
                    "http": {"method": "POST", "requestUri": "/"},
                    "output": {"shape": "Corner"},
                },
            },
            "shapes": {
                "Untold": {"type": "structure", "members": {}, "exception": True},
                "Corner": {
                    "type": "structure",
                    "members": {
                        "Renamed": {"shape": "Text", "locationName": "OtherName"},
                        "Flat": {"shape": "FlatTexts"},
                        "FlatNamed": {"shape": "FlatNamedTexts"},
                        "Items": {"shape": "ItemTexts"},
                        "Pairs": {"shape": "Pairs"},
                        "FlatPairs": {"shape": "FlatPairs"},
                        "Inner": {"shape": "Corner"},
                        "Corners": {"shape": "Corners"},
                        "CornersByName": {"shape": "CornersByName"},
                        "At": {"shape": "Time"},
                        "Content": {"shape": "Bytes"},
                        "Hidden": {"shape": "HiddenBytes"},
                        "Ratio": {"shape": "Ratio"},
                        "Big": {"shape": "Big"},
                        "Yes": {"shape": "Yes"},
                        "Numbers": {"shape": "Numbers"},
                    },
                },
                "Text": {"type": "string"},
                "FlatTexts": {"type": "list", "member": {"shape": "Text"}, "flattened": True},
                "FlatNamedTexts": {
                    "type": "list",
                    "member": {"shape": "Text", "locationName": "One"},
                    "flattened": True,
                },
                "ItemTexts": {"type": "list", "member": {"shape": "Text", "locationName": "item"}},
                "Key": {"type": "string", "max": 3},
                "Pairs": {
                    "type": "map",
                    "key": {"shape": "Key"},
                    "value": {"shape": "Number"},
                    "max": 2,
                },
                "FlatPairs": {
                    "type": "map",
                    "key": {"shape": "Text", "locationName": "K"},
                    "value": {"shape": "Text", "locationName": "V"},
                    "flattened": True,
                },
                "Corners": {"type": "list", "member": {"shape": "Corner"}},
                "CornersByName": {"type": "map", "key": {"shape": "Text"}, "value": {"shape": "Corner"}},
                "Time": {"type": "timestamp"},
                "Bytes": {"type": "blob", "max": 8},
                "HiddenBytes": {"type": "blob", "sensitive": True},
                "Ratio": {"type": "double"},
                "Big": {"type": "long"},
                "Yes": {"type": "boolean"},
                "Number": {"type": "integer", "max": 9},
                "Numbers": {"type": "list", "member": {"shape": "Number"}},
            },
        },
        "corners",
    )


@functools.cache
def corners() -> ServiceContract:
    return ServiceContract.from_model(corners_model())
