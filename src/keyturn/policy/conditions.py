"""Condition: operators, their values, and whether they hold for a request (IAM user guide, "Condition operators").

Operators and keys are joined by AND, values by OR, values of a negated operator by NOR. Where AWS leaves open
what a comparison means (a value that is no number, a variable without value under a negated operator), it holds
for a Deny and not for an Allow. Which keys exist is condition_keys' to say.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Final, TypeAlias

from keyturn.policy.context import ContextValues
from keyturn.policy.elements import Json, UnreadableError, mapping_of, scalars_of, text_of
from keyturn.policy.patterns import ARN_FIELDS, Template, Token, Variable, Wildcard, split_fields, tokenize

Comparison: TypeAlias = Callable[[str, ContextValues], bool | None]
"""Whether a value of the context is among the policy's. None: nothing says so, and nothing says that it is not."""

_LONGEST_PATTERN: Final = 131_072
"""Characters of a pattern, as many as a document has."""

_SECONDS_A_DAY: Final = 86_400
_NANOSECONDS: Final = 1_000_000_000
_EPOCHS: Final = range(2**63)
_YEARS: Final = range(-292_275_054, 292_278_994)
_EPOCH: Final = re.compile(r"[0-9]{1,19}\Z")
_YEAR: Final = re.compile(r"[0-9]{4}\Z")
_ISO_8601: Final = re.compile(
    r"(?P<year>-?[0-9]{1,9})(?:-(?P<month>0?[1-9]|1[0-2])(?:-(?P<day>0?[1-9]|[12][0-9]|3[01]))?)?"
    r"(?:T(?:(?P<hour>[01]?[0-9]|2[0-3])"
    r"(?::(?P<minute>[0-5]?[0-9])(?::(?P<second>[0-5]?[0-9])(?:\.(?P<fraction>[0-9]{1,9}))?)?)?)?"
    r"(?:Z|(?P<sign>[+-])(?P<zone_hour>[01][0-9]|2[0-3])(?::(?P<zone_minute>[0-5][0-9]))?)?)?\Z",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,64}(?:\.[0-9]{1,64})?\Z")


class Quantifier(Enum):
    """What an operator asks of a key with several values."""

    ONE = ""
    ALL = "ForAllValues:"
    ANY = "ForAnyValue:"


@dataclass(frozen=True, slots=True)
class Operator:
    """`ForAnyValue:StringNotLikeIfExists`, taken apart."""

    quantifier: Quantifier
    name: str
    """Of the operator that it negates, if it negates one: `StringLike`."""
    negated: bool
    if_exists: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """One key under one operator, ready to be asked."""

    operator: Operator
    key: str
    """In lower case."""
    written_key: str
    variables: tuple[str, ...]
    """The keys that its values need, in lower case."""
    compares: Comparison

    def holds(self, context: ContextValues, *, surely: bool) -> bool:
        """Whether it does, or (not `surely`) may."""
        value = context.get(self.key)
        asked = self.operator
        if asked.name == "Null":
            return self.compares("true" if value is None else "false", context) is True
        if value is None:
            if asked.if_exists or asked.quantifier is Quantifier.ALL:
                return True
            return asked.negated and asked.quantifier is Quantifier.ONE
        if isinstance(value, str):
            return self._holds_for(value, context, surely=surely)
        if asked.quantifier is Quantifier.ALL:
            return all(self._holds_for(one, context, surely=surely) for one in value)
        if asked.quantifier is Quantifier.ANY or not surely:
            return any(self._holds_for(one, context, surely=surely) for one in value)
        # AWS does not say what an operator without a quantifier makes of several values.
        return len(value) == 1 and self._holds_for(value[0], context, surely=True)

    def _holds_for(self, value: str, context: ContextValues, *, surely: bool) -> bool:
        outcome = self.compares(value, context)
        if not self.operator.negated:
            return outcome is True
        return not outcome if outcome is not None else not surely


def operator_of(text: str) -> Operator | None:
    """The operator, or None for one that does not exist. `Null` takes neither a quantifier nor `IfExists`."""
    if text == "Null":
        return Operator(Quantifier.ONE, text, negated=False, if_exists=False)
    quantifier = Quantifier.ONE
    for one in (Quantifier.ALL, Quantifier.ANY):
        if text.startswith(one.value):
            text, quantifier = text.removeprefix(one.value), one
            break
    name = text.removesuffix("IfExists")
    positive = _NEGATIONS.get(name, name)
    if positive not in _COMPARISONS or positive == "Null":
        return None
    return Operator(quantifier, positive, negated=name in _NEGATIONS, if_exists=name != text)


def compile_conditions(element: Json, *, with_variables: bool) -> tuple[Condition, ...]:
    """The conditions of a statement. An operator without keys says nothing, whatever it is called.

    Raises UnreadableError for an operator that does not exist, too.
    """
    conditions = []
    for name, keys in mapping_of(element).items():
        for key, value in mapping_of(keys).items():
            asked = operator_of(name)
            if asked is None:
                raise UnreadableError("no such operator")
            values = scalars_of(value)
            patterns = [tokenize(text, with_variables=with_variables) for text in values]
            variables = _variables(patterns) if asked.name in _WITH_VARIABLES else ()
            compares = _COMPARISONS[asked.name](values, patterns)
            conditions.append(Condition(asked, text_of(key).lower(), key, variables, compares))
    return tuple(conditions)


def _variables(patterns: Sequence[Sequence[Token]]) -> tuple[str, ...]:
    names = (token.name for tokens in patterns for token in tokens if isinstance(token, Variable))
    return tuple(dict.fromkeys(filter(None, names)))


def instant(text: str) -> int | None:
    """Nanoseconds since the epoch of an ISO 8601 date, whose parts may end early, or of epoch seconds.

    Four digits are a year. None for what is no date. UTC where no zone is named.
    """
    if _EPOCH.match(text) and not _YEAR.match(text):
        return int(text) * _NANOSECONDS if int(text) in _EPOCHS else None
    date = _ISO_8601.match(text)
    if date is None or int(date["year"]) not in _YEARS:
        return None
    days = _days(int(date["year"]), int(date["month"] or 1), int(date["day"] or 1))
    if days is None:
        return None
    seconds = int(date["hour"] or 0) * 3600 + int(date["minute"] or 0) * 60 + int(date["second"] or 0)
    offset = int(date["zone_hour"] or 0) * 3600 + int(date["zone_minute"] or 0) * 60
    seconds += offset if date["sign"] == "-" else -offset
    return (days * _SECONDS_A_DAY + seconds) * _NANOSECONDS + int((date["fraction"] or "0").ljust(9, "0"))


def is_date(text: str) -> bool:
    """Whether AWS stores it as a date. That a month has no 31st is nothing that it looks at."""
    if _EPOCH.match(text):
        return int(text) in _EPOCHS
    date = _ISO_8601.match(text)
    return date is not None and int(date["year"]) in _YEARS


def _days(year: int, month: int, day: int) -> int | None:
    """Days since the epoch in the proleptic Gregorian calendar: years here go far beyond datetime's."""
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > (29 if is_leap and month == 2 else (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]):
        return None
    # Years that begin in March: the leap day is a year's last.
    year -= month <= 2
    return (
        365 * year
        + year // 4
        - year // 100
        + year // 400
        + (153 * ((month + 9) % 12) + 2) // 5
        + day
        - 719_469
    )


def _string_equals(_values: Sequence[str], patterns: Sequence[Sequence[Token]]) -> Comparison:
    return _texts(patterns, str)


def _string_equals_ignore_case(_values: Sequence[str], patterns: Sequence[Sequence[Token]]) -> Comparison:
    return _texts(patterns, str.lower)


def _texts(patterns: Sequence[Sequence[Token]], folded: Callable[[str], str]) -> Comparison:
    """Equality of whole texts. A `*` is a star here."""
    # An escape and a bare `*` mean the same where nothing is a wildcard.
    literals = frozenset(
        folded("".join(_plain(token) for token in tokens if not isinstance(token, Variable)))
        for tokens in patterns
        if not any(isinstance(token, Variable) for token in tokens)
    )
    open_ones = [tokens for tokens in patterns if any(isinstance(token, Variable) for token in tokens)]

    def is_literal(value: str, _context: ContextValues) -> bool:
        return folded(value) in literals

    def compares(value: str, context: ContextValues) -> bool | None:
        text = folded(value)
        if text in literals:
            return True
        outcome: bool | None = False
        for tokens in open_ones:
            parts = [
                token.value(context) if isinstance(token, Variable) else _plain(token) for token in tokens
            ]
            if None in parts:
                outcome = None
            elif folded("".join(filter(None, parts))) == text:
                return True
        return outcome

    return compares if open_ones else is_literal


def _plain(token: Token) -> str:
    assert not isinstance(token, Variable)
    return token.value if isinstance(token, Wildcard) else token


def _string_like(_values: Sequence[str], patterns: Sequence[Sequence[Token]]) -> Comparison:
    templates = [Template.of(tuple(tokens), _LONGEST_PATTERN) for tokens in patterns]

    def compares(value: str, context: ContextValues) -> bool | None:
        outcome: bool | None = False
        for template in templates:
            if template.matches(value, context):
                return True
            if outcome is False and not template.has_values(context):
                outcome = None
        return outcome

    return compares


def _arn_like(_values: Sequence[str], patterns: Sequence[Sequence[Token]]) -> Comparison:
    """ARNs field by field; `ArnEquals` and `ArnLike` "behave identically" ("ARN condition operators")."""
    fields = [split_fields(tokens) for tokens in patterns]
    templates = [[Template.of(field) for field in each] for each in fields if len(each) == ARN_FIELDS]
    all_are_arns = len(templates) == len(fields)

    def compares(value: str, context: ContextValues) -> bool | None:
        asked = value.split(":", ARN_FIELDS - 1)
        if len(asked) != ARN_FIELDS:
            return None
        outcome: bool | None = False if all_are_arns else None
        for each in templates:
            # From the end, where ARNs differ.
            if all(each[at].matches(asked[at], context) for at in range(ARN_FIELDS - 1, -1, -1)):
                return True
            if outcome is False and not all(template.has_values(context) for template in each):
                outcome = None
        return outcome

    return compares


def _number(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.match(text) else None


def _ordered(
    parsed: Callable[[str], Decimal | int | None],
    compared: Callable[[Decimal | int, Decimal | int], bool],
) -> Callable[[Sequence[str], Sequence[Sequence[Token]]], Comparison]:
    def comparison(values: Sequence[str], _patterns: Sequence[Sequence[Token]]) -> Comparison:
        every = [parsed(value) for value in values]
        bounds = [bound for bound in every if bound is not None]
        all_are_bounds = len(bounds) == len(every)

        def compares(value: str, _context: ContextValues) -> bool | None:
            asked = parsed(value)
            if asked is None:
                return None
            if any(compared(asked, bound) for bound in bounds):
                return True
            return False if all_are_bounds else None

        return compares

    return comparison


def _bool(values: Sequence[str], _patterns: Sequence[Sequence[Token]]) -> Comparison:
    wanted = frozenset(value.lower() for value in values)

    def compares(value: str, _context: ContextValues) -> bool | None:
        asked = value.lower()
        return asked in wanted if asked in {"true", "false"} else None

    return compares


def _binary_equals(values: Sequence[str], _patterns: Sequence[Sequence[Token]]) -> Comparison:
    wanted = frozenset(map(_decoded, values)) - {None}

    def compares(value: str, _context: ContextValues) -> bool | None:
        asked = _decoded(value)
        return None if asked is None else asked in wanted

    return compares


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _ip_address(values: Sequence[str], _patterns: Sequence[Sequence[Token]]) -> Comparison:
    networks: list[tuple[int, int, int]] = []
    for value in values:
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            continue
        networks.append((network.version, int(network.netmask), int(network.network_address)))
    all_are_networks = len(networks) == len(values)

    def compares(value: str, _context: ContextValues) -> bool | None:
        asked = _address(value)
        if asked is None:
            return None
        version, address = asked
        for of_version, mask, network in networks:
            if of_version == version and address & mask == network:
                return True
        return False if all_are_networks else None

    return compares


@lru_cache(maxsize=1024)
def _address(text: str) -> tuple[int, int] | None:
    """Version and number. A dual-stack socket's `::ffff:10.0.0.1` is the address 10.0.0.1."""
    if len(text) > 64:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


_ORDERS: Final[Mapping[str, Callable[[Decimal | int, Decimal | int], bool]]] = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}
_COMPARISONS: Final[Mapping[str, Callable[[Sequence[str], Sequence[Sequence[Token]]], Comparison]]] = {
    "StringEquals": _string_equals,
    "StringEqualsIgnoreCase": _string_equals_ignore_case,
    "StringLike": _string_like,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Bool": _bool,
    "Null": _bool,
    "BinaryEquals": _binary_equals,
    "IpAddress": _ip_address,
    **{f"Numeric{name}": _ordered(_number, compared) for name, compared in _ORDERS.items()},
    **{f"Date{name}": _ordered(instant, compared) for name, compared in _ORDERS.items()},
}
_NEGATIONS: Final[Mapping[str, str]] = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NotIpAddress": "IpAddress",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
}
_WITH_VARIABLES: Final = frozenset(
    {"StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike"}
)
"""Elsewhere "you can't use a policy variable" ("Policy variables", "Condition element"): it is a text like others."""
