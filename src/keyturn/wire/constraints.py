"""The constraints of a service model on single values, and AWS's sentences for what breaks them.

What each constraint says is recorded from AWS; which parameters there are, and how they nest, is left to `query`.
Patterns in the models are Java's, matched against the whole value. Length is looked at first, so that no pattern
meets a value longer than the model allows.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from botocore.model import Shape

from keyturn.model.secrets import Secret
from keyturn.wire.faults import Fault, validation_error

SHOWN_LIMIT: Final = 16_384
"""Characters of one value that a sentence repeats: policies fit, a megabyte does not go round again."""

NOT_NULL: Final = "Member must not be null"

Parse = Callable[[str, list[str]], object]
"""Text to value; what is wrong with it is appended to the list, and then the value means nothing."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """How to read one value, and all its constraints as a list of such values words them."""

    parse: Parse
    constraints: tuple[str, ...]
    is_sensitive: bool


@dataclass(frozen=True, slots=True)
class Wording:
    """IAM keeps the refused value to itself; STS shows it, except where the model calls it sensitive."""

    shows_values: bool

    def fault(self, path: str, phrase: str, value: str | None, *, is_sensitive: bool = False) -> str:
        """One broken constraint. `value` None is a missing one."""
        if phrase.startswith(_IT_MUST):
            return f"The specified value for {path} is invalid. {phrase}"
        shown = ""
        if self.shows_values and not is_sensitive:
            shown = " null" if value is None else f" '{shortened(value)}'"
        return f"Value{shown} at '{path}' failed to satisfy constraint: {phrase}"


def validation_fault(faults: list[str]) -> Fault:
    """All that is wrong, in one answer, as AWS counts it.

    IAM's own sentences come from a later check than the model's constraints: from behind them, and one at a time.
    """
    constraints = [fault for fault in faults if fault.startswith("Value")]
    if not constraints:
        return validation_error(faults[0])
    faults = constraints
    noun = "error" if len(faults) == 1 else "errors"
    return validation_error(f"{len(faults)} validation {noun} detected: {'; '.join(faults)}")


def shortened(value: str) -> str:
    return value if len(value) <= SHOWN_LIMIT else value[:SHOWN_LIMIT] + "…"


def members_must(subject: str, constraints: Iterable[str]) -> str:
    """What a list says of its members, and a map of its keys and values: all constraints, whichever broke."""
    return f"{subject} must satisfy constraint: [{', '.join(constraints)}]"


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a length or a number."""

    low: float
    high: float
    noun: str

    @classmethod
    def of(cls, shape: Shape, noun: str) -> Range:
        """The model's `min` and `max`; `noun` is what they count, `length` or `value`."""
        return cls(shape.metadata.get("min", -math.inf), shape.metadata.get("max", math.inf), noun)

    def check(self, amount: int, phrases: list[str]) -> None:
        if amount > self.high:
            phrases.append(self.too_high)
        elif amount < self.low:
            phrases.append(self.too_low)

    @property
    def too_high(self) -> str:
        return f"Member must have {self.noun} less than or equal to {self.high}"

    @property
    def too_low(self) -> str:
        return f"Member must have {self.noun} greater than or equal to {self.low}"

    @property
    def phrases(self) -> tuple[str, ...]:
        """In the order in which AWS lists them."""
        high = () if self.high == math.inf else (self.too_high,)
        low = () if self.low == -math.inf else (self.too_low,)
        return high + low


_IT_MUST: Final = "It must "
_NAME: Final = r"[\w+=,.@-]+"


def _own_sentence(name: str, pattern: str) -> str | None:
    """What IAM says of a few patterns instead of reciting them; hashicorp/vault#567, aws/aws-cli#5860 and many more."""
    if name in {"path", "newPath"}:
        return "It must begin and end with / and contain only alphanumeric characters and/or / characters."
    if name == "pathPrefix":
        return (
            "It must begin with the / character and contain only alphanumeric characters and/or / characters."
        )
    if name == "accessKeyId":
        return "It must contain only alphanumeric characters."
    if pattern == _NAME:
        return "It must contain only alphanumeric characters and/or the following: +=,.@_-"
    return None


def scalar(shape: Shape, *, shows_values: bool, name: str = "") -> Scalar | None:
    """The reader of a shape under that name in faults, or None where the shape holds other shapes."""
    is_sensitive = bool(shape.metadata.get("sensitive"))
    match shape.type_name:
        case "string" | "character":
            parse, constraints = _string(shape, name, shows_values=shows_values)
            if is_sensitive:
                parse = _hidden(parse)
        case "integer":
            parse, constraints = _whole_number(shape, 32)
        case "long":
            parse, constraints = _whole_number(shape, 64)
        case "float" | "double":
            parse, constraints = _float, ("Member must be a number",)
        case "boolean":
            parse, constraints = _boolean, ("Member must be true or false",)
        case "timestamp":
            if shape.serialization.get("timestampFormat", "iso8601") != "iso8601":
                raise NotImplementedError(f"{shape.name}: the Query protocol's times are ISO 8601")
            parse, constraints = _timestamp, (_NO_TIME,)
        case "blob":
            parse, constraints = _blob(shape)
        case _:
            return None
    return Scalar(parse, constraints, is_sensitive)


def _string(shape: Shape, name: str, *, shows_values: bool) -> tuple[Parse, tuple[str, ...]]:
    bounds = Range.of(shape, "length")
    low, high, too_low, too_high = bounds.low, bounds.high, bounds.too_low, bounds.too_high
    constraints = bounds.phrases
    pattern = shape.metadata.get("pattern")
    is_match = None
    not_matching = ""
    if pattern is not None:
        is_match = java_pattern(pattern)
        not_matching = f"Member must satisfy regular expression pattern: {pattern}"
        # Lists of such members are recorded with this last entry, lists of members without a pattern are not.
        constraints += (not_matching, NOT_NULL)
        if not shows_values:
            not_matching = _own_sentence(name, pattern) or not_matching
    enum = frozenset(shape.metadata.get("enum", ()))
    not_in_set = "Member must satisfy enum value set"
    if shows_values:
        not_in_set += f": [{', '.join(shape.metadata.get('enum', ()))}]"
    if enum:
        constraints += (not_in_set,)

    def parse(text: str, phrases: list[str]) -> str:
        length = len(text)
        if length > high:
            phrases.append(too_high)
            return text
        if is_match is not None and not is_match(text):
            phrases.append(not_matching)
        if length < low:
            phrases.append(too_low)
        if enum and text not in enum:
            phrases.append(not_in_set)
        return text

    return parse, constraints


def _hidden(parse: Parse) -> Parse:
    """What the model calls sensitive is a Secret from here on."""

    def parse_hidden(text: str, phrases: list[str]) -> Secret:
        parse(text, phrases)
        return Secret(text.encode())

    return parse_hidden


_DIGITS: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)


def _whole_number(shape: Shape, bits: int) -> tuple[Parse, tuple[str, ...]]:
    bounds = Range.of(shape, "value")
    limit = 1 << (bits - 1)
    no_number = f"Member must be a whole number of {bits} bits"

    def parse(text: str, phrases: list[str]) -> int:
        # The digits are bounded before they are read: int() of a long numeral takes quadratic time.
        if _DIGITS.fullmatch(text) is None or not -limit <= (number := int(text)) < limit:
            phrases.append(no_number)
            return 0
        bounds.check(number, phrases)
        return number

    return parse, (*bounds.phrases, no_number)


_FLOAT: Final = re.compile(r"-?[0-9]{1,64}(\.[0-9]{1,64})?([eE][+-]?[0-9]{1,3})?", re.ASCII)


def _float(text: str, phrases: list[str]) -> float:
    if _FLOAT.fullmatch(text) is None:
        phrases.append("Member must be a number")
        return 0.0
    return float(text)


def _boolean(text: str, phrases: list[str]) -> bool:
    folded = text[:6].lower()
    if folded not in {"true", "false"}:
        phrases.append("Member must be true or false")
    return folded == "true"


_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_TIME: Final = "Member must be an ISO 8601 time"


def _timestamp(text: str, phrases: list[str]) -> int:
    """Epoch milliseconds."""
    if _TIME.fullmatch(text) is not None:
        try:
            return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
        except (ValueError, OverflowError):
            pass
    phrases.append(_NO_TIME)
    return 0


def _blob(shape: Shape) -> tuple[Parse, tuple[str, ...]]:
    bounds = Range.of(shape, "length")
    no_base64 = "Member must be base64"
    is_sensitive = bool(shape.metadata.get("sensitive"))

    def parse(text: str, phrases: list[str]) -> bytes | Secret:
        try:
            content = base64.b64decode(text.encode(), validate=True)
        except binascii.Error:
            phrases.append(no_base64)
            return b""
        bounds.check(len(content), phrases)
        return Secret(content) if is_sensitive else content

    return parse, (*bounds.phrases, no_base64)


# Java's patterns.

_CATEGORIES: Final = {"L": ("A-Za-z", "a"), "N": ("0-9", "0"), "Z": (" ", " ")}
"""A Unicode category: its ASCII members as a class, and the one that stands for all others."""
_NOBODY: Final = "\x7f"
_NOT_SHADOWABLE: Final = re.compile(r"\\[pPuWDSx]|\[\^|[^\x20-\x7e]")


def java_pattern(pattern: str) -> Callable[[str], bool]:
    r"""A predicate for the whole of a text, as Java's `matches`: `\w` and `\d` are ASCII.

    `\p{L}`, `\p{N}` and `\p{Z}` are unknown to `re`. Such a pattern is asked about the text's shadow instead, in
    which an ASCII letter stands for every other letter, and so on; that is exact as long as the rest of the
    pattern is ASCII and positive, and a pattern that isn't is refused here.
    """
    if "\\p" not in pattern and "\\P" not in pattern:
        plain = re.compile(pattern, re.ASCII).fullmatch
        return lambda text: plain(text) is not None
    for category, (ascii_members, _) in _CATEGORIES.items():
        pattern = pattern.replace(f"\\p{{{category}}}", ascii_members)
    if _NOT_SHADOWABLE.search(pattern) is not None:
        raise NotImplementedError(f"no translation for the pattern {pattern}")
    over_ascii = re.compile(pattern, re.ASCII).fullmatch
    return lambda text: over_ascii(text if text.isascii() else _shadow(text)) is not None


def _shadow(text: str) -> str:
    category = unicodedata.category
    return "".join(
        character if character.isascii() else _CATEGORIES.get(category(character)[0], ("", _NOBODY))[1]
        for character in text
    )
