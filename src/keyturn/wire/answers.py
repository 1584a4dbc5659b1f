"""The AWS Query protocol's answers: results and faults to XML.

Encoders are built once from shapes and then only run. The HTTP status and headers are left to others.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from botocore.model import ListShape, MapShape, Shape, StructureShape

from keyturn.model.clock import iso8601
from keyturn.model.secrets import Secret
from keyturn.wire.faults import Fault

Value = TypeVar("Value")
Encode = Callable[[object, list[str]], None]
"""A value to its element's content, appended in pieces."""
ToText = Callable[[object], str]

_MAPPINGS: Final = (
    dict,
    Mapping,
)  # dict first: asking an abstract class is slow, and so is `dict | Mapping` each time
_UNSAFE: Final = re.compile("[&<>\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_ESCAPED: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escaped(text: str) -> str:
    """Text as XML 1.0 character data. What XML can't carry becomes U+FFFD; a CR survives as a reference."""
    return text if _UNSAFE.search(text) is None else _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character == "\r" or "\x7f" <= character <= "\x9f":  # legal, but parsers may normalise them
        return f"&#{ord(character)};"
    return _ESCAPED.get(character, "�")


class Encoders:
    """Builds encoders from output shapes; structures that repeat, or hold themselves, are built once."""

    def __init__(self) -> None:
        self._structures: dict[str, Encode | None] = {}

    def result(
        self, operation: str, shape: StructureShape | None, namespace: str
    ) -> Callable[[Mapping[str, object] | None, str], bytes]:
        """A result under the model's member names, and the request's id, to the whole answer.

        None and {} are the result of an operation without output. Members that are absent or None have no
        element; an empty list has an empty one. Times are epoch milliseconds, blobs bytes, and what the model
        calls sensitive is a Secret. A member or a type outside the model is our own mistake: ValueError, TypeError.
        """
        wrapper = None if shape is None else shape.serialization.get("resultWrapper")
        start = f'<{operation}Response xmlns="{escaped(namespace)}">' + (f"<{wrapper}>" if wrapper else "")
        middle = (f"</{wrapper}>" if wrapper else "") + "<ResponseMetadata><RequestId>"
        end = f"</RequestId></ResponseMetadata></{operation}Response>"
        content = _nothing(operation) if shape is None else self._structure(shape)

        def encode(result: Mapping[str, object] | None, request_id: str) -> bytes:
            pieces = [start]
            content({} if result is None else result, pieces)
            pieces += (middle, escaped(request_id), end)
            return "".join(pieces).encode()

        return encode

    def _element(self, shape: Shape, name: str) -> Encode:
        """A value to its element, or elements where the model flattens it."""
        to_text = _to_text(shape)
        start, end = f"<{name}>", f"</{name}>"
        if to_text is not None and shape.type_name == "string" and not shape.metadata.get("sensitive"):

            def encode_string(value: object, pieces: list[str]) -> None:
                # Nearly all elements of an answer: no call is made that can be spared.
                if type(value) is str and _UNSAFE.search(value) is None:
                    pieces.append(start + value + end)
                else:
                    pieces.append(f"{start}{to_text(value)}{end}")

            return encode_string
        if to_text is not None:

            def encode_text(value: object, pieces: list[str]) -> None:
                pieces.append(f"{start}{to_text(value)}{end}")

            return encode_text
        match shape:
            case StructureShape():
                return _wrapped(self._structure(shape), start, end)
            case ListShape() if shape.serialization.get("flattened"):
                return self._list(shape, shape.member.serialization.get("name", name))
            case ListShape():
                inner = self._list(shape, shape.member.serialization.get("name", "member"))
                return _wrapped(inner, start, end)
            case MapShape() if shape.serialization.get("flattened"):
                return self._map(shape, name)
            case MapShape():
                return _wrapped(self._map(shape, "entry"), start, end)
            case _:
                raise NotImplementedError(f"{shape.name}: the Query protocol has no {shape.type_name}")

    def _structure(self, shape: StructureShape) -> Encode:
        if shape.name in self._structures:
            return self._structures[shape.name] or self._unfinished(shape.name)
        self._structures[shape.name] = None
        members = [
            (name, self._element(member, member.serialization.get("name", name)))
            for name, member in shape.members.items()
        ]

        def encode(value: object, pieces: list[str]) -> None:
            if not isinstance(value, _MAPPINGS):
                raise _mistake(shape, "a dict", value)
            met = 0
            for name, element in members:
                if name in value:
                    met += 1
                    inner = value[name]
                    if inner is not None:
                        element(inner, pieces)
            if met != len(value):
                unknown = sorted(map(str, value.keys() - shape.members.keys()))
                raise ValueError(f"{shape.name} has no member {', '.join(unknown)}")

        self._structures[shape.name] = encode
        return encode

    def _unfinished(self, name: str) -> Encode:
        """Stands for a structure inside itself."""

        def encode(value: object, pieces: list[str]) -> None:
            finished = self._structures[name]
            assert finished is not None
            finished(value, pieces)

        return encode

    def _list(self, shape: ListShape, name: str) -> Encode:
        element = self._element(shape.member, name)

        def encode(value: object, pieces: list[str]) -> None:
            if not isinstance(value, list | tuple):
                raise _mistake(shape, "a list", value)
            for each in value:
                element(each, pieces)

        return encode

    def _map(self, shape: MapShape, name: str) -> Encode:
        key_element = self._element(shape.key, shape.key.serialization.get("name", "key"))
        value_element = self._element(shape.value, shape.value.serialization.get("name", "value"))
        start, end = f"<{name}>", f"</{name}>"

        def encode(value: object, pieces: list[str]) -> None:
            if not isinstance(value, _MAPPINGS):
                raise _mistake(shape, "a dict", value)
            for key, each in value.items():
                pieces.append(start)
                key_element(key, pieces)
                value_element(each, pieces)
                pieces.append(end)

        return encode


def _wrapped(content: Encode, start: str, end: str) -> Encode:
    def encode(value: object, pieces: list[str]) -> None:
        pieces.append(start)
        content(value, pieces)
        pieces.append(end)

    return encode


def _nothing(operation: str) -> Encode:
    def encode(value: object, _pieces: list[str]) -> None:
        if value:
            raise ValueError(f"{operation} answers no result")

    return encode


def _to_text(shape: Shape) -> ToText | None:
    """A single value to character data; None where the shape holds other shapes."""
    if shape.metadata.get("sensitive"):
        return _secret_to_text(shape)
    match shape.type_name:
        case "string" | "character":
            return _typed(shape, str, escaped)
        case "integer" | "long":
            return _typed(shape, int, str)
        case "float" | "double":
            return _typed(shape, float, _float_to_text)
        case "boolean":
            return _typed(shape, bool, lambda value: "true" if value else "false")
        case "timestamp":
            if shape.serialization.get("timestampFormat", "iso8601") != "iso8601":
                raise NotImplementedError(f"{shape.name}: the Query protocol's times are ISO 8601")
            return _typed(shape, int, iso8601)
        case "blob":
            return _typed(shape, bytes, lambda value: base64.b64encode(value).decode())
        case _:
            return None


def _secret_to_text(shape: Shape) -> ToText:
    """A secret's last step before the wire, and its only way there."""
    is_blob = shape.type_name == "blob"

    def to_text(value: object) -> str:
        if not isinstance(value, Secret):
            raise _mistake(shape, "a Secret", value)
        content = value.reveal()
        return base64.b64encode(content).decode() if is_blob else escaped(content.decode())

    return to_text


def _typed(shape: Shape, kind: type[Value], to_text: Callable[[Value], str]) -> ToText:
    def checked(value: object) -> str:
        if type(value) is not kind and (not isinstance(value, kind) or isinstance(value, bool)):
            raise _mistake(shape, kind.__name__, value)
        return to_text(value)

    return checked


def _float_to_text(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _mistake(shape: Shape, wanted: str, value: object) -> TypeError:
    """Names the type and never the value: it may be what nobody should read."""
    return TypeError(f"{shape.name} takes {wanted}, not {type(value).__name__}")


def encode_fault(namespace: str, fault: Fault, request_id: str) -> bytes:
    """The whole answer for a fault; a fault without a message has no `<Message>` element, as AWS sends it."""
    side = "Sender" if fault.sender else "Receiver"
    message = "" if fault.message is None else f"<Message>{escaped(fault.message)}</Message>"
    return (
        f'<ErrorResponse xmlns="{escaped(namespace)}"><Error><Type>{side}</Type>'
        f"<Code>{escaped(fault.code)}</Code>{message}</Error>"
        f"<RequestId>{escaped(request_id)}</RequestId></ErrorResponse>"
    ).encode()
