"""What a service promises, compiled from its botocore model: operations, how each reads and answers, its errors.

The model is AWS's own machine-readable contract. Loading it from disk, and deciding which of its operations are
offered, is left to others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from botocore.model import OperationModel, ServiceModel

from keyturn.wire.answers import Encoders, encode_fault
from keyturn.wire.faults import Fault, invalid_action, missing_action, repeated_parameter
from keyturn.wire.query import Decoders, Parameters, parse_form, parse_query

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case."""

_MOST_PLAIN: Final = 512
_LONGEST_PLAIN: Final = 96
"""Bytes: room for the longest action with a version, in either order."""

HIDE_VALUES = frozenset({"iam"})
"""Services whose validation errors keep the refused value to themselves."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, whichever protocol it speaks."""

    operation: str
    arguments: Callable[[], dict[str, object]]
    """The handler's keyword arguments; raises what is wrong with them."""
    encode: Callable[[Mapping[str, object] | None, str], bytes]


class Contract(Protocol):
    """What every protocol's contract of a service can do."""

    @property
    def service(self) -> str:
        """As the credential scope names it."""

    @property
    def content_type(self) -> bytes:
        """Of every answer, results and faults."""

    def asked(self, headers: Headers, query: bytes, body: bytes, /) -> Asked:
        """The operation that is named. Raises the protocol's own Fault where none is."""

    def worded(self, fault: Fault, /) -> Fault:
        """The fault as this protocol's services name it."""

    def encode_fault(self, fault: Fault, request_id: str, /) -> bytes:
        """The whole answer for a fault."""


@dataclass(frozen=True, slots=True)
class OperationContract:
    """One operation: `decode` and `encode` are `Decoders.arguments` and `Encoders.result` of its shapes."""

    name: str
    decode: Callable[[Parameters], dict[str, object]]
    encode: Callable[[Mapping[str, object] | None, str], bytes]
    error_statuses: Mapping[str, int]
    """HTTP status of each error that the model declares, by its code on the wire."""
    needs_arguments: bool
    """Whether the model requires any."""


@dataclass(frozen=True, slots=True)
class ServiceContract:
    service: str
    api_version: str
    xml_namespace: str
    operations: Mapping[str, OperationContract]
    content_type: bytes = b"text/xml"
    _plain: dict[bytes, Asked] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What bodies ask for that hold an Action and a Version and nothing else, so nothing of a caller's: read once."""

    @classmethod
    def from_model(cls, model: ServiceModel) -> ServiceContract:
        """Compile all operations. The model must speak the Query protocol."""
        if "query" not in model.protocols:
            raise NotImplementedError(f"{model.service_name} does not speak the Query protocol")
        namespace = model.metadata["xmlNamespace"]
        decoders = Decoders(shows_values=model.service_name not in HIDE_VALUES)
        encoders = Encoders()
        operations = {
            name: _operation(model.operation_model(name), namespace, decoders, encoders)
            for name in model.operation_names
        }
        return cls(model.service_name, model.api_version, namespace, MappingProxyType(operations))

    def operation(self, params: Parameters) -> OperationContract:
        """The operation that `Action` and `Version` name.

        Hand in the parameters of the URL and of the body together: a second Action or Version is refused
        wherever it stands and in whatever letter case (CVE-2022-2385). Raises MissingAction, InvalidAction and
        InvalidQueryParameter.
        """
        named: dict[str, tuple[str, str]] = {}
        for name, value in params:
            folded = name.casefold()
            if folded in {"action", "version"}:
                if folded in named:
                    raise repeated_parameter(name)
                named[folded] = (name, value)
        name, action = named.get("action", ("", ""))
        if name != "Action" or not action:
            raise missing_action()
        name, version = named.get("version", ("", ""))
        if name != "Version":
            raise invalid_action(action, None)
        if version != self.api_version or action not in self.operations:
            raise invalid_action(action, version)
        return self.operations[action]

    def asked(self, _headers: Headers, query: bytes, body: bytes, /) -> Asked:
        """By the parameters of the URL, without those that sign it, and of the body."""
        plain = None if query else self._plain.get(body)
        if plain is not None:
            return plain
        parameters = parameters_of(query, body)
        operation = self.operation(parameters)
        asked = Asked(operation.name, lambda: operation.decode(parameters), operation.encode)
        is_plain = not query and len(parameters) == 2 and not operation.needs_arguments
        if is_plain and len(body) <= _LONGEST_PLAIN and len(self._plain) < _MOST_PLAIN:
            self._plain[body] = Asked(operation.name, dict, operation.encode)
        return asked

    def worded(self, fault: Fault) -> Fault:
        return fault

    def encode_fault(self, fault: Fault, request_id: str) -> bytes:
        """The whole answer for a fault, in this service's namespace."""
        return encode_fault(self.xml_namespace, fault, request_id)


def parameters_of(query: bytes, body: bytes) -> list[tuple[str, str]]:
    """The parameters of the URL, without those that sign it, and of the body."""
    parameters = parse_form(body) if body else []
    if query:
        parameters += [
            (name, value) for name, value in parse_query(query) if not name.lower().startswith("x-amz-")
        ]
    return parameters


def _operation(
    model: OperationModel, namespace: str, decoders: Decoders, encoders: Encoders
) -> OperationContract:
    return OperationContract(
        model.name,
        decoders.arguments(model.input_shape),
        encoders.result(model.name, model.output_shape, namespace),
        MappingProxyType(_error_statuses(model)),
        needs_arguments=model.input_shape is not None and bool(model.input_shape.required_members),
    )


def _error_statuses(model: OperationModel) -> dict[str, int]:
    """The shape's name is not the code: NoSuchEntityException goes over the wire as NoSuchEntity."""
    statuses = {}
    for shape in model.error_shapes:
        error = shape.metadata.get("error", {})
        statuses[error.get("code", shape.name)] = error.get("httpStatusCode", 400)
    return statuses
