"""The AWS Query protocol's requests: form or query bytes to parameters, parameters to a handler's arguments.

Decoders are built once from shapes and then only run. Single values are read and checked by `constraints`;
results and faults are written by `answers`; which operations there are belongs to `contracts`.
Source: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from botocore import xform_name
from botocore.model import ListShape, MapShape, Shape, StructureShape

from keyturn.wire.constraints import (
    NOT_NULL,
    Range,
    Scalar,
    Wording,
    members_must,
    scalar,
    shortened,
    validation_fault,
)
from keyturn.wire.faults import malformed_input, malformed_query_string, repeated_parameter

MAX_PARAMETERS: Final = 2_000
MAX_NAME: Final = 256
"""Characters of a parameter's name. It bounds nesting too, for every level takes two of them."""

Parameters = Sequence[tuple[str, str]]

# Bytes to parameters.


def parse_form(body: bytes) -> list[tuple[str, str]]:
    """The pairs of an `application/x-www-form-urlencoded` body, in order; `+` is a space.

    Raises `MalformedQueryString` for an escape that isn't one, for text that isn't UTF-8, for U+0000, and for
    more parameters or longer names than any client sends. Repeated names are refused by whoever reads them.
    """
    return _pairs(body.replace(b"+", b" "))


def parse_query(query: bytes) -> list[tuple[str, str]]:
    """The same for a URL's query, in which `+` is itself (RFC 3986), as in the signature's canonical query."""
    return _pairs(query)


_ESCAPES: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_NO_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    if raw.count(b"&") >= MAX_PARAMETERS:
        raise malformed_query_string(f"The request has more than {MAX_PARAMETERS} parameters.")
    has_escapes = b"%" in raw
    if has_escapes and _NO_ESCAPE.search(raw) is not None:
        raise malformed_query_string(
            "The query string contains a percent sign without two hexadecimal digits."
        )
    if b"\0" in raw or b"%00" in raw:
        raise malformed_query_string("The query string contains the character U+0000.")
    pairs = []
    try:
        for field in raw.decode().split("&"):
            if not field:
                continue
            name, _, value = field.partition("=")
            if has_escapes and "%" in field:
                name, value = _ESCAPES.sub(_unescape, name), _ESCAPES.sub(_unescape, value)
            if len(name) > MAX_NAME:
                raise malformed_query_string(f"A parameter's name is longer than {MAX_NAME} characters.")
            pairs.append((name, value))
    except UnicodeDecodeError:
        raise malformed_query_string("The query string is not UTF-8.") from None
    return pairs


def _unescape(run: re.Match[str]) -> str:
    """A character's bytes are escaped side by side, so each run is UTF-8 by itself."""
    return bytes.fromhex(run[0].replace("%", " ")).decode()


# Parameters to arguments.

Entries = dict[str, str]
"""What lies below one name: the rest of each parameter's name, `""` for the name itself, and the value."""
Decode = Callable[[Entries, str, list[str]], object]
"""Entries and the path that a fault names, to the value; what is wrong is appended to the list."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    wire_name: str
    path_name: str
    is_required: bool
    scalar: Scalar | None
    decode: Decode


class Decoders:
    """Builds decoders from input shapes; structures that repeat, or hold themselves, are built once."""

    def __init__(self, *, shows_values: bool) -> None:
        self._shows_values = shows_values
        self._wording = Wording(shows_values)
        self._structures: dict[str, Decode | None] = {}

    def arguments(self, shape: StructureShape | None) -> Callable[[Parameters], dict[str, object]]:
        """Parameters to a handler's keyword arguments: snake-case names of the members that are there.

        Values: str, int, float, bool, bytes, times as epoch milliseconds, Secret for what the model calls
        sensitive; lists, and dicts under the model's own member names. Parameters outside the model are left
        alone, as AWS does. The decoder raises ValidationError for all broken constraints at once, MalformedInput
        for another shape than the model's, InvalidQueryParameter for a repeated name.
        """
        members = self._members(shape)
        singles = {member.wire_name for member in members if member.scalar is not None}
        heads = _heads(shape, members)
        keywords = {member.wire_name: xform_name(member.name) for member in members}
        # Unpacked, for this loop runs for every request.
        plan = [
            (m, m.wire_name, keywords[m.wire_name], m.scalar.parse if m.scalar else None) for m in members
        ]
        wording = self._wording

        def decode(params: Parameters) -> dict[str, object]:
            named = dict(params)
            if len(named) != len(params):
                raise repeated_parameter(_first_repeated(params))
            if "." in "".join(named):
                groups = _grouped(named.items(), heads, singles)
            else:
                groups = {head: {"": named[name]} for name, head in heads.items() if name in named}
            arguments: dict[str, object] = {}
            faults: list[str] = []
            phrases: list[str] = []
            for member, wire_name, keyword, parse in plan:
                if parse is not None:
                    text = named.get(wire_name)
                    if text is not None:
                        arguments[keyword] = parse(text, phrases)
                        if phrases:
                            _explain(wording, member, member.path_name, text, phrases, faults)
                        continue
                elif wire_name in groups:
                    arguments[keyword] = member.decode(groups[wire_name], member.path_name, faults)
                    continue
                if member.is_required:
                    _miss(wording, member, member.path_name, faults)
            if faults:
                raise validation_fault(faults)
            return arguments

        return decode

    def _members(self, shape: StructureShape | None) -> list[_Member]:
        if shape is None:
            return []
        required = frozenset(shape.required_members)
        names = {name[0].lower() + name[1:]: name for name in shape.members}
        members = []
        for path_name in _java_order(names):
            name = names[path_name]
            inner = shape.members[name]
            wire_name = inner.serialization.get("name", name)
            single = scalar(inner, shows_values=self._shows_values, name=path_name)
            decode = self._single(single) if single is not None else self._compound(inner)
            members.append(_Member(name, wire_name, path_name, name in required, single, decode))
        return members

    def _of(self, shape: Shape) -> Decode:
        single = scalar(shape, shows_values=self._shows_values)
        return self._compound(shape) if single is None else self._single(single)

    def _compound(self, shape: Shape) -> Decode:
        match shape:
            case StructureShape():
                return self._structure(shape)
            case ListShape():
                return self._list(shape)
            case MapShape():
                return self._map(shape)
            case _:
                raise NotImplementedError(f"{shape.name}: the Query protocol has no {shape.type_name}")

    def _single(self, single: Scalar) -> Decode:
        wording = self._wording

        def decode(entries: Entries, path: str, faults: list[str]) -> object:
            text = _text(entries)
            phrases: list[str] = []
            value = single.parse(text, phrases)
            faults += [wording.fault(path, each, text, is_sensitive=single.is_sensitive) for each in phrases]
            return value

        return decode

    def _structure(self, shape: StructureShape) -> Decode:
        if shape.name in self._structures:
            return self._structures[shape.name] or self._unfinished(shape.name)
        self._structures[shape.name] = None
        members = self._members(shape)
        singles: set[str] = set()
        heads = {member.wire_name: member.wire_name for member in members} | _heads(shape, members)
        wording = self._wording

        def decode(entries: Entries, path: str, faults: list[str]) -> dict[str, object]:
            if "" in entries:
                raise malformed_input("Unexpected complex element termination")
            groups = _grouped(entries.items(), heads, singles)
            value: dict[str, object] = {}
            for member in members:
                inner = f"{path}.{member.path_name}"
                if member.wire_name in groups:
                    value[member.name] = member.decode(groups[member.wire_name], inner, faults)
                elif member.is_required:
                    _miss(wording, member, inner, faults)
            return value

        self._structures[shape.name] = decode
        return decode

    def _unfinished(self, name: str) -> Decode:
        """Stands for a structure inside itself."""

        def decode(entries: Entries, path: str, faults: list[str]) -> object:
            finished = self._structures[name]
            assert finished is not None
            return finished(entries, path, faults)

        return decode

    def _list(self, shape: ListShape) -> Decode:
        prefix = (
            ""
            if shape.serialization.get("flattened")
            else shape.member.serialization.get("name", "member") + "."
        )
        bounds = Range.of(shape, "length")
        single = scalar(shape.member, shows_values=self._shows_values)
        inner = self._of(shape.member)
        wording = self._wording

        def decode(entries: Entries, path: str, faults: list[str]) -> list[object]:
            items = _numbered(entries, prefix)
            if single is None:
                _check_size(wording, bounds, len(items), path, None, faults)
                return [
                    inner(item, f"{path}.{place}.member", faults) for place, item in enumerate(items, start=1)
                ]
            texts = [_text(item) for item in items]
            phrases: list[str] = []
            values = [single.parse(text, phrases) for text in texts]
            _check_size(wording, bounds, len(items), path, None if single.is_sensitive else texts, faults)
            if phrases:
                complaint = members_must("Member", single.constraints)
                faults.append(
                    wording.fault(path, complaint, _listing(texts), is_sensitive=single.is_sensitive)
                )
            return values

        return decode

    def _map(self, shape: MapShape) -> Decode:
        prefix = "" if shape.serialization.get("flattened") else "entry."
        key_name = shape.key.serialization.get("name", "key")
        value_name = shape.value.serialization.get("name", "value")
        heads = {key_name: key_name, value_name: value_name}
        bounds = Range.of(shape, "length")
        keys = scalar(shape.key, shows_values=self._shows_values)
        single = scalar(shape.value, shows_values=self._shows_values)
        inner = self._of(shape.value)
        hidden = Wording(shows_values=False)
        assert keys is not None

        def decode(entries: Entries, path: str, faults: list[str]) -> dict[object, object]:
            pairs: dict[object, object] = {}
            key_phrases: list[str] = []
            value_phrases: list[str] = []
            for item in _numbered(entries, prefix):
                if "" in item:
                    raise malformed_input("Unexpected complex element termination")
                parts = _grouped(item.items(), heads, set())
                if len(parts) != 2:
                    raise malformed_input("A map entry has one key and one value")
                text = _text(parts[key_name])
                key = keys.parse(text, key_phrases)
                if key in pairs:
                    raise malformed_input("A map has each of its keys once")
                if single is None:
                    pairs[key] = inner(parts[value_name], f"{path}.{shortened(text)}.member", faults)
                else:
                    pairs[key] = single.parse(_text(parts[value_name]), value_phrases)
            _check_size(hidden, bounds, len(pairs), path, None, faults)
            if key_phrases:
                faults.append(hidden.fault(path, members_must("Map keys", keys.constraints), None))
            if value_phrases and single is not None:
                faults.append(hidden.fault(path, members_must("Map value", single.constraints), None))
            return pairs

        return decode


def _java_order(names: Iterable[str]) -> list[str]:
    """Members in the order in which AWS's faults name them: that of the slots of a Java HashMap.

    Two IAM recordings and one of STS bear it out; the slot is `h ^ h >>> 16` of `String.hashCode`, in the
    smallest table of 16, 32, … that stays under three quarters full.
    """
    names = list(names)
    size = 16
    while len(names) > size * 3 // 4:
        size *= 2

    def slot(name: str) -> int:
        code = 0
        for character in name:
            code = (31 * code + ord(character)) & 0xFFFFFFFF
        return (code ^ code >> 16) & (size - 1)

    return sorted(names, key=slot)


def _heads(shape: StructureShape | None, members: list[_Member]) -> dict[str, str]:
    """First words of the names of members that hold others, each with its member's own wire name.

    A flattened list goes by its members' name where that is given, and by its own where it is empty.
    """
    heads = {}
    for member in members:
        if shape is None or member.scalar is not None:
            continue
        heads[member.wire_name] = member.wire_name
        inner = shape.members[member.name]
        if isinstance(inner, ListShape) and inner.serialization.get("flattened"):
            heads[inner.member.serialization.get("name", member.wire_name)] = member.wire_name
    return heads


def _grouped(
    entries: Iterable[tuple[str, str]], heads: Mapping[str, str], singles: set[str]
) -> dict[str, Entries]:
    """Entries by the first word of their name. Words outside the model are left out."""
    groups: dict[str, Entries] = {}
    for name, text in entries:
        head, dot, rest = name.partition(".")
        if head in heads:
            if dot and not rest:
                raise malformed_input("Unexpected complex element termination")
            groups.setdefault(heads[head], {})[rest] = text
        elif dot and head in singles:
            raise malformed_input("Start of list found where not expected")
    return groups


_NUMBER: Final = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)


def _numbered(entries: Entries, prefix: str) -> list[Entries]:
    """The entries of each member of a list or map, by its number: the order counts, gaps do not.

    Numbers are bounded by what a request can hold, and cost no memory for what isn't there.
    """
    if len(entries) == 1 and entries.get("", entries.get(prefix[:-1])) == "":
        return []
    items: dict[int, Entries] = {}
    for name, text in entries.items():
        if not name.startswith(prefix):
            raise malformed_input("Unexpected list element termination")
        number, dot, rest = name[len(prefix) :].partition(".")
        if _NUMBER.fullmatch(number) is None or (dot and not rest):
            raise malformed_input("Unexpected list element termination")
        items.setdefault(int(number), {})[rest] = text
    return [items[number] for number in sorted(items)]


def _text(entries: Entries) -> str:
    text = entries.get("")
    if text is None or len(entries) > 1:
        raise malformed_input("Start of list found where not expected")
    return text


def _explain(
    wording: Wording, member: _Member, path: str, text: str, phrases: list[str], faults: list[str]
) -> None:
    assert member.scalar is not None
    faults += [wording.fault(path, each, text, is_sensitive=member.scalar.is_sensitive) for each in phrases]
    phrases.clear()


def _miss(wording: Wording, member: _Member, path: str, faults: list[str]) -> None:
    is_sensitive = member.scalar is not None and member.scalar.is_sensitive
    faults.append(wording.fault(path, NOT_NULL, None, is_sensitive=is_sensitive))


def _check_size(
    wording: Wording, bounds: Range, size: int, path: str, texts: list[str] | None, faults: list[str]
) -> None:
    phrases: list[str] = []
    bounds.check(size, phrases)
    faults += [
        wording.fault(path, each, _listing(texts or ()), is_sensitive=texts is None) for each in phrases
    ]


def _listing(texts: Iterable[str]) -> str:
    return f"[{', '.join(texts)}]"


def _first_repeated(params: Parameters) -> str:
    seen: set[str] = set()
    for name, _ in params:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError
