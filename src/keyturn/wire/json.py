"""The AWS JSON 1.1 protocol: `X-Amz-Target` and a JSON body to arguments, results and faults to JSON.

Decoders and encoders are built once from botocore's shapes and then only run; single values are checked by
`constraints`. Signatures, authorisation and the meaning of an operation are left to others.
Source: https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NoReturn

from botocore import xform_name
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from keyturn.model.secrets import Secret
from keyturn.wire.constraints import (
    NOT_NULL,
    Range,
    Wording,
    members_must,
    scalar,
    validation_fault,
)
from keyturn.wire.contracts import Asked, Headers
from keyturn.wire.faults import Fault

CONTENT_TYPE: Final = b"application/x-amz-json-1.1"
DEEPEST: Final = 16
"""Objects and lists inside each other. No model here asks for more than five."""
LONGEST_TARGET: Final = 256
LATEST_MS: Final = 253_402_300_800_000
"""The year 10000: later times have no ISO 8601 form of four digits."""

Json = Any
Decode = Callable[[Json, str, list[str]], object]
"""A JSON value and the path that a fault names, to the value; what is wrong is appended to the list."""
Encode = Callable[[object], Json]


# Bytes to JSON.


def parse_body(body: bytes) -> dict[str, Json]:
    """The body as an object; an empty body is an empty one. Raises SerializationException.

    Refused are: what is not JSON in UTF-8, a name that is given twice, half a surrogate pair, NaN and the
    infinities, numerals longer than any number of a model, and more than sixteen levels.
    """
    if not body:
        return {}
    _check_depth(body)
    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_int=_whole_number,
            parse_float=_fraction,
        )
    except (ValueError, RecursionError):
        # The cause is not chained: it would hold the body, and with it a secret.
        raise _serialization("The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise _serialization("The body is not a JSON object.")
    return value


_OPENING: Final = re.compile(rb"[\[{]")
_TOKENS: Final = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)


def _check_depth(body: bytes) -> None:
    """Before anything is built. Brackets inside strings do not count."""
    if body.count(b"{") + body.count(b"[") <= DEEPEST:
        return
    depth, in_string = 0, False
    for token in _TOKENS.finditer(body):
        match token[0]:
            case b'"':
                in_string = not in_string
            case b"{" | b"[" if not in_string:
                depth += 1
                if depth > DEEPEST:
                    raise _serialization(f"The body has more than {DEEPEST} levels.")
            case b"}" | b"]" if not in_string:
                depth -= 1


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is given twice")
    return members


def _no_constant(_text: str) -> NoReturn:
    raise ValueError("JSON has no such number")


def _whole_number(text: str) -> int:
    """The digits are bounded before they are read: int() of a long numeral takes quadratic time."""
    if len(text) > 20:
        raise ValueError("a number with too many digits")
    return int(text)


def _fraction(text: str) -> float:
    if len(text) > 64 or not math.isfinite(number := float(text)):
        raise ValueError("a number with too many digits")
    return number


def _serialization(message: str) -> Fault:
    return Fault("SerializationException", message, status=400)


# JSON to arguments.


class _Decoders:
    """Builds decoders from input shapes; structures that repeat, or hold themselves, are built once."""

    def __init__(self) -> None:
        self._wording = Wording(shows_values=True)
        self._structures: dict[str, Decode | None] = {}

    def arguments(self, shape: StructureShape | None) -> Callable[[bytes], dict[str, object]]:
        """A body to a handler's keyword arguments, with the values of `query.Decoders.arguments`.

        Members outside the model, and those that are null, are left alone, as AWS does. Raises
        ValidationException for all broken constraints at once, SerializationException for another shape than
        the model's.
        """
        if shape is None:
            return lambda body: parse_body(body) and {}
        decode_structure = self._structure(shape)
        keywords = {name: xform_name(name) for name in shape.members}

        def decode(body: bytes) -> dict[str, object]:
            faults: list[str] = []
            value = decode_structure(parse_body(body), "", faults)
            if faults:
                raise validation_fault(faults)
            assert isinstance(value, dict)
            return {keywords[name]: inner for name, inner in value.items()}

        return decode

    def _of(self, shape: Shape) -> Decode:
        match shape:
            case StructureShape():
                return self._structure(shape)
            case ListShape():
                return self._list(shape)
            case MapShape():
                return self._map(shape)
        if shape.type_name == "boolean":
            return _boolean
        if shape.type_name == "timestamp":
            return _timestamp
        return self._single(shape)

    def _single(self, shape: Shape) -> Decode:
        single = scalar(shape, shows_values=True)
        assert single is not None
        is_text = shape.type_name in {"string", "character", "blob"}
        may_be_fraction = shape.type_name in {"float", "double"}
        wording = self._wording

        def decode(value: Json, path: str, faults: list[str]) -> object:
            if is_text:
                text = _text(value)
            elif isinstance(value, bool) or not isinstance(value, (int, float) if may_be_fraction else int):
                raise _converted(value, "a Number" if may_be_fraction else "an Integer")
            else:
                text = repr(value)
            if is_text and not single.is_sensitive and "\0" in text:
                raise _serialization("A string contains the character U+0000.")
            phrases: list[str] = []
            parsed = single.parse(text, phrases)
            faults += [wording.fault(path, each, text, is_sensitive=single.is_sensitive) for each in phrases]
            return parsed

        return decode

    def _structure(self, shape: StructureShape) -> Decode:
        if shape.name in self._structures:
            return self._structures[shape.name] or self._unfinished(shape.name)
        self._structures[shape.name] = None
        required = frozenset(shape.required_members)
        members = [
            (name, name[0].lower() + name[1:], name in required, self._of(member), _is_sensitive(member))
            for name, member in shape.members.items()
        ]
        wording = self._wording

        def decode(value: Json, path: str, faults: list[str]) -> dict[str, object]:
            if not isinstance(value, dict):
                raise _converted(value, "a Structure")
            prefix = f"{path}." if path else ""
            decoded: dict[str, object] = {}
            for name, path_name, is_required, inner, is_sensitive in members:
                given = value.get(name)
                if given is not None:
                    decoded[name] = inner(given, prefix + path_name, faults)
                elif is_required:
                    faults.append(
                        wording.fault(prefix + path_name, NOT_NULL, None, is_sensitive=is_sensitive)
                    )
            return decoded

        self._structures[shape.name] = decode
        return decode

    def _unfinished(self, name: str) -> Decode:
        """Stands for a structure inside itself."""

        def decode(value: Json, path: str, faults: list[str]) -> object:
            finished = self._structures[name]
            assert finished is not None
            return finished(value, path, faults)

        return decode

    def _list(self, shape: ListShape) -> Decode:
        bounds = Range.of(shape, "length")
        single = scalar(shape.member, shows_values=True) if _is_single(shape.member) else None
        inner = self._of(shape.member)
        wording = self._wording

        def decode(value: Json, path: str, faults: list[str]) -> list[object]:
            if not isinstance(value, list):
                raise _converted(value, "a List")
            if single is None:
                _check_size(wording, bounds, value, path, faults)
                return [
                    inner(each, f"{path}.{place}.member", faults) for place, each in enumerate(value, start=1)
                ]
            inner_faults: list[str] = []
            values = [inner(each, path, inner_faults) for each in value]
            _check_size(wording, bounds, value, path, faults, shown=not single.is_sensitive)
            if inner_faults:
                complaint = members_must("Member", single.constraints)
                shown = _listing(value)
                faults.append(wording.fault(path, complaint, shown, is_sensitive=single.is_sensitive))
            return values

        return decode

    def _map(self, shape: MapShape) -> Decode:
        bounds = Range.of(shape, "length")
        keys, inner = self._of(shape.key), self._of(shape.value)
        hidden = Wording(shows_values=False)

        def decode(value: Json, path: str, faults: list[str]) -> dict[object, object]:
            if not isinstance(value, dict):
                raise _converted(value, "a Map")
            _check_size(hidden, bounds, value, path, faults, shown=False)
            return {
                keys(key, path, faults): inner(each, f"{path}.member", faults) for key, each in value.items()
            }

        return decode


def _is_single(shape: Shape) -> bool:
    return shape.type_name not in {"structure", "list", "map", "boolean", "timestamp"}


def _is_sensitive(shape: Shape) -> bool:
    return bool(shape.metadata.get("sensitive"))


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise _converted(value, "a String")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise _serialization("A string contains half of a surrogate pair.")
    return value


def _boolean(value: Json, _path: str, _faults: list[str]) -> bool:
    if not isinstance(value, bool):
        raise _converted(value, "a Boolean")
    return value


def _timestamp(value: Json, _path: str, _faults: list[str]) -> int:
    """Epoch seconds, whole or not, to epoch milliseconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _converted(value, "a Timestamp")
    milliseconds = round(value * 1000)
    if not 0 <= milliseconds < LATEST_MS:
        raise _serialization("A Timestamp is out of range.")
    return milliseconds


_KINDS: Final = {
    dict: "START_OBJECT",
    list: "START_ARRAY",
    str: "STRING_VALUE",
    int: "NUMBER_VALUE",
    float: "DECIMAL_VALUE",
    bool: "BOOLEAN_VALUE",
}


def _converted(value: Json, wanted: str) -> Fault:
    """Names the kind and never the value: it may be what nobody should read."""
    kind = _KINDS.get(type(value), "NULL_VALUE")
    return _serialization(f"{kind} cannot be converted to {wanted}")


def _check_size(
    wording: Wording,
    bounds: Range,
    value: list[Json] | dict[str, Json],
    path: str,
    faults: list[str],
    *,
    shown: bool = True,
) -> None:
    phrases: list[str] = []
    bounds.check(len(value), phrases)
    listing = _listing(value) if shown else None
    faults += [wording.fault(path, each, listing, is_sensitive=not shown) for each in phrases]


def _listing(values: Iterable[Json]) -> str:
    return f"[{', '.join(each if isinstance(each, str) else type(each).__name__ for each in values)}]"


# Results to JSON.


class _Encoders:
    def __init__(self) -> None:
        self._structures: dict[str, Encode | None] = {}

    def result(
        self, operation: str, shape: StructureShape | None
    ) -> Callable[[Mapping[str, object] | None, str], bytes]:
        """A result, with the values of `answers.Encoders.result`, to the whole answer.

        The request's id goes into a header only. A member or a type outside the model is our own mistake:
        ValueError, TypeError.
        """
        content = None if shape is None else self._structure(shape)

        def encode(result: Mapping[str, object] | None, _request_id: str) -> bytes:
            if content is None:
                if result:
                    raise ValueError(f"{operation} answers no result")
                return b"{}"
            return json.dumps(content(result or {}), separators=(",", ":"), ensure_ascii=False).encode()

        return encode

    def _of(self, shape: Shape) -> Encode:
        match shape:
            case StructureShape():
                return self._structure(shape)
            case ListShape():
                return self._list(shape)
            case MapShape():
                return self._map(shape)
        if _is_sensitive(shape):
            return _revealed(shape)
        match shape.type_name:
            case "string" | "character":
                return _typed(shape, str, lambda value: value)
            case "integer" | "long":
                return _typed(shape, int, lambda value: value)
            case "float" | "double":
                return _typed(shape, float, lambda value: value)
            case "boolean":
                return _typed(shape, bool, lambda value: value)
            case "timestamp":
                return _typed(shape, int, _epoch_seconds)
            case "blob":
                return _typed(shape, bytes, lambda value: base64.b64encode(value).decode())
            case _:
                raise NotImplementedError(f"{shape.name}: no way to write {shape.type_name}")

    def _structure(self, shape: StructureShape) -> Encode:
        if shape.name in self._structures:
            return self._structures[shape.name] or self._unfinished(shape.name)
        self._structures[shape.name] = None
        members = {name: self._of(member) for name, member in shape.members.items()}

        def encode(value: object) -> Json:
            if not isinstance(value, Mapping):
                raise _mistake(shape, "a dict", value)
            unknown = value.keys() - members.keys()
            if unknown:
                raise ValueError(f"{shape.name} has no member {', '.join(sorted(map(str, unknown)))}")
            return {name: members[name](each) for name, each in value.items() if each is not None}

        self._structures[shape.name] = encode
        return encode

    def _unfinished(self, name: str) -> Encode:
        def encode(value: object) -> Json:
            finished = self._structures[name]
            assert finished is not None
            return finished(value)

        return encode

    def _list(self, shape: ListShape) -> Encode:
        inner = self._of(shape.member)

        def encode(value: object) -> Json:
            if not isinstance(value, list | tuple):
                raise _mistake(shape, "a list", value)
            return [inner(each) for each in value]

        return encode

    def _map(self, shape: MapShape) -> Encode:
        inner = self._of(shape.value)

        def encode(value: object) -> Json:
            if not isinstance(value, Mapping):
                raise _mistake(shape, "a dict", value)
            return {str(key): inner(each) for key, each in value.items()}

        return encode


def _revealed(shape: Shape) -> Encode:
    """A secret's last step before the wire, and its only way there."""
    is_blob = shape.type_name == "blob"

    def encode(value: object) -> Json:
        if not isinstance(value, Secret):
            raise _mistake(shape, "a Secret", value)
        content = value.reveal()
        return base64.b64encode(content).decode() if is_blob else content.decode()

    return encode


def _typed(shape: Shape, kind: type, to_json: Callable[[Any], Json]) -> Encode:
    def encode(value: object) -> Json:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _mistake(shape, kind.__name__, value)
        return to_json(value)

    return encode


def _epoch_seconds(milliseconds: int) -> float | int:
    return milliseconds // 1000 if milliseconds % 1000 == 0 else milliseconds / 1000


def _mistake(shape: Shape, wanted: str, value: object) -> TypeError:
    """Names the type and never the value."""
    return TypeError(f"{shape.name} takes {wanted}, not {type(value).__name__}")


# The contract.


@dataclass(frozen=True, slots=True)
class JsonOperationContract:
    """One operation: `decode` and `encode` are those of its shapes."""

    name: str
    decode: Callable[[bytes], dict[str, object]]
    encode: Callable[[Mapping[str, object] | None, str], bytes]


_IN_JSON: Final = {
    "AccessDenied": "AccessDeniedException",
    "ExpiredToken": "ExpiredTokenException",
    "IncompleteSignature": "IncompleteSignatureException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "MissingAuthenticationToken": "MissingAuthenticationTokenException",
    "ServiceUnavailable": "ServiceUnavailableException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
    "ValidationError": "ValidationException",
}
"""What the Query services call by one name and the JSON services by another."""


@dataclass(frozen=True, slots=True)
class JsonServiceContract:
    """What a service of the JSON 1.1 protocol promises; stands beside `contracts.ServiceContract`."""

    service: str
    target_prefixes: frozenset[str]
    """Botocore's, and its last part alone, which Smithy's SDKs send: `CloudTrail_20131101`."""
    operations: Mapping[str, JsonOperationContract]
    modelled_errors: frozenset[str]
    """The codes that the model declares: their text is called `Message`, that of all others `message`."""
    content_type: bytes = CONTENT_TYPE

    @classmethod
    def from_model(cls, model: ServiceModel) -> JsonServiceContract:
        """Compile all operations. The model must speak the JSON 1.1 protocol."""
        if "json" not in model.protocols or model.metadata.get("jsonVersion") != "1.1":
            raise NotImplementedError(f"{model.service_name} does not speak the JSON 1.1 protocol")
        decoders, encoders = _Decoders(), _Encoders()
        models = [model.operation_model(name) for name in model.operation_names]
        operations = {each.name: _operation(each, decoders, encoders) for each in models}
        errors = frozenset(shape.name for each in models for shape in each.error_shapes)
        prefix = model.metadata["targetPrefix"]
        prefixes = frozenset({prefix, prefix.rpartition(".")[2]})
        return cls(model.service_name, prefixes, MappingProxyType(operations), errors)

    def is_asked(self, headers: Headers) -> bool:
        """Whether the target is one of this service's."""
        return self._target(headers).rpartition(".")[0] in self.target_prefixes

    def operation(self, headers: Headers) -> JsonOperationContract:
        """The operation that `X-Amz-Target` names. Raises UnknownOperationException."""
        prefix, _, name = self._target(headers).rpartition(".")
        if prefix not in self.target_prefixes or name not in self.operations:
            raise Fault("UnknownOperationException", None, status=400)
        return self.operations[name]

    def asked(self, headers: Headers, _query: bytes, body: bytes, /) -> Asked:
        operation = self.operation(headers)
        return Asked(operation.name, lambda: operation.decode(body), operation.encode)

    def worded(self, fault: Fault) -> Fault:
        """The fault by the name that JSON services have for it; what the caller did wrong is always a 400."""
        code = _IN_JSON.get(fault.code, fault.code)
        if code == "InternalFailure" and "InternalServiceError" in self.modelled_errors:
            code = "InternalServiceError"
        status = 400 if 400 <= fault.status < 500 else fault.status
        return Fault(code, fault.message, status=status, sender=fault.sender)

    def encode_fault(self, fault: Fault, _request_id: str, /) -> bytes:
        answer: dict[str, str] = {"__type": fault.code}
        if fault.message is not None:
            answer["Message" if fault.code in self.modelled_errors else "message"] = fault.message
        return json.dumps(answer, separators=(",", ":")).encode()

    @staticmethod
    def _target(headers: Headers) -> str:
        """The header's text; nothing where it is missing, given twice or longer than any."""
        targets = [value for name, value in headers if name == b"x-amz-target"]
        if len(targets) != 1 or len(targets[0]) > LONGEST_TARGET:
            return ""
        return targets[0].decode("ascii", "replace")


def _operation(model: OperationModel, decoders: _Decoders, encoders: _Encoders) -> JsonOperationContract:
    return JsonOperationContract(
        model.name,
        decoders.arguments(model.input_shape),
        encoders.result(model.name, model.output_shape),
    )
