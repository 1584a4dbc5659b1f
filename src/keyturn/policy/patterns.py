"""Patterns of Action and Resource: `*`, `?` and policy variables.

A pattern becomes tokens, and tokens become a matcher whose time grows with the text, never with what `*` could
mean: documents come from users. What a value of a variable holds is literal, whatever it looks like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from keyturn.policy.context import ContextValues

Matcher: TypeAlias = Callable[[str], bool]

LONGEST_ARN: Final = 2048
"""Characters (IAM API, `arnType`). Nothing longer is ever asked for, so a longer pattern matches nothing."""

ARN_FIELDS: Final = 6
"""arn, partition, service, region, account, resource; the last one may hold colons."""

_SPECIAL: Final = re.compile(r"[*?]|\$\{")
_ESCAPES: Final = frozenset("*?$")


class Wildcard(Enum):
    ANY = "*"
    ONE = "?"


@dataclass(frozen=True, slots=True)
class Variable:
    """`${name}` or `${name, 'default'}`. Key names know no case (IAM user guide, "Policy variables").

    What is written otherwise has no name: nothing can say what it stands for.
    """

    name: str
    default: str | None = None

    @classmethod
    def of(cls, text: str) -> Variable:
        """From what stands between the braces."""
        name, comma, rest = text.partition(", ")
        if not comma:
            return cls("" if "," in text or "'" in text else text.lower())
        if len(rest) < 2 or not (rest[0] == rest[-1] == "'"):
            return cls("")
        return cls(name.lower(), rest[1:-1])

    @property
    def is_known(self) -> bool:
        return bool(self.name)

    def value(self, context: ContextValues) -> str | None:
        """None without a value. A multivalued key has none to put in ("Policy variables with no value")."""
        value = context.get(self.name)
        return value if isinstance(value, str) else self.default


Token: TypeAlias = str | Wildcard | Variable


def tokenize(text: str, *, with_variables: bool) -> tuple[Token, ...]:
    """The pattern's parts, in one pass. `${*}`, `${?}` and `${$}` are the characters themselves.

    Without variables (Version 2008-10-17) `${` is two characters like others. One that is never closed is a
    variable that nobody knows.
    """
    tokens: list[Token] = []
    at = 0
    while special := _SPECIAL.search(text, at):
        mark, start = special.group(), special.start()
        if mark != "${":
            _append_literal(tokens, text[at:start])
            if not (mark == "*" and tokens and tokens[-1] is Wildcard.ANY):
                tokens.append(Wildcard(mark))
            at = special.end()
        elif not with_variables:
            _append_literal(tokens, text[at : special.end()])
            at = special.end()
        else:
            _append_literal(tokens, text[at:start])
            end = text.find("}", start)
            if end < 0:
                tokens.append(Variable(""))
                return tuple(tokens)
            name = text[start + 2 : end]
            if name in _ESCAPES:
                _append_literal(tokens, name)
            else:
                tokens.append(Variable.of(name))
            at = end + 1
    _append_literal(tokens, text[at:])
    return tuple(tokens)


def _append_literal(tokens: list[Token], text: str) -> None:
    if text:
        tokens.append(text)


def matcher_of(tokens: Sequence[Token], longest: int = LONGEST_ARN) -> Matcher:
    """A function from a text of at most `longest` to whether all of it fits. The tokens hold no variable any more."""
    if Wildcard.ONE in tokens:
        return _automaton(tokens, longest)
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token is Wildcard.ANY:
            parts.append([])
        else:
            assert isinstance(token, str)
            parts[-1].append(token)
    pieces = ["".join(part) for part in parts]
    return _literal(pieces[0]) if len(pieces) == 1 else _pieces(pieces[0], pieces[1:-1], pieces[-1])


def _literal(literal: str) -> Matcher:
    return literal.__eq__


def _pieces(first: str, between: Sequence[str], last: str) -> Matcher:
    """Pieces with `*` between them: each is taken where it first occurs, which is never worse than later."""
    middle = tuple(piece for piece in between if piece)
    shortest = len(first) + len(last) + sum(map(len, middle))
    if not shortest:
        return lambda _text: True
    if not middle and not last:
        return lambda text: text.startswith(first)

    def matches(text: str) -> bool:
        if len(text) < shortest or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for piece in middle:
            at = text.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True

    return matches


def _automaton(tokens: Sequence[Token], longest: int) -> Matcher:
    """All ways through the pattern at once, a bit for each place: nothing is ever tried twice (Shift-And)."""
    length = sum(len(token) if isinstance(token, str) else token is Wildcard.ONE for token in tokens)
    if length > longest:
        return lambda _text: False
    places: dict[str, int] = {}
    one = stays = 0
    place = 1
    for token in tokens:
        if token is Wildcard.ANY:
            stays |= place
        elif token is Wildcard.ONE:
            one |= place
            place <<= 1
        else:
            assert isinstance(token, str)
            for character in token:
                places[character] = places.get(character, 0) | place
                place <<= 1
    steps = {character: mask | one for character, mask in places.items()}
    accepted = place

    def matches(text: str) -> bool:
        state = 1
        for character in text:
            state = (state & steps.get(character, one)) << 1 | (state & stays)
            if not state:
                return False
        return bool(state & accepted)

    return matches


@dataclass(frozen=True, slots=True)
class Template:
    """A pattern that may wait for the values of its variables."""

    tokens: tuple[Token, ...]
    fixed: Matcher | None
    """The matcher of a template without variables."""
    start: str
    """What every text that fits begins with: most texts are turned away here, before a value is put in."""
    longest: int = LONGEST_ARN

    @classmethod
    def of(cls, tokens: tuple[Token, ...], longest: int = LONGEST_ARN) -> Template:
        has_variables = any(isinstance(token, Variable) for token in tokens)
        start = tokens[0] if tokens and isinstance(tokens[0], str) else ""
        return cls(tokens, None if has_variables else matcher_of(tokens, longest), start, longest)

    @property
    def variables(self) -> frozenset[str]:
        """The variables that have no default."""
        return frozenset(
            token.name for token in self.tokens if isinstance(token, Variable) and token.default is None
        )

    def matches(self, text: str, context: ContextValues) -> bool:
        """Whether the text fits; never, when a variable has no value."""
        if self.fixed is not None:
            return self.fixed(text)
        if not text.startswith(self.start):
            return False
        bound: list[str | Wildcard] = []
        literal = True
        for token in self.tokens:
            if isinstance(token, Variable):
                value = token.value(context)
                if value is None:
                    return False
                bound.append(value)
            else:
                literal = literal and isinstance(token, str)
                bound.append(token)
        return text == "".join(map(str, bound)) if literal else matcher_of(bound, self.longest)(text)

    def has_values(self, context: ContextValues) -> bool:
        """Whether every variable has a value."""
        return self.fixed is not None or all(
            token.value(context) is not None for token in self.tokens if isinstance(token, Variable)
        )


@dataclass(frozen=True, slots=True)
class ResourcePattern:
    """One value of Resource or NotResource, in its two readings.

    AWS reads an ARN field by field and fills missing fields with `*`, yet also says that a `*` at the end of a
    field "can expand to match beyond the colon boundaries" (IAM user guide, "Resource"). So a pattern surely
    covers what fits field by field, and may cover what fits as one text; a statement uses the reading that
    allows less.
    """

    written: Template
    """As one text."""
    whole: Template
    """As one text, with the missing fields filled in."""
    fields: tuple[Template, ...] | None
    """None where all readings are one."""
    variables: frozenset[str]
    """The keys that it needs a value of."""
    start: str = ""
    """What every resource that it may cover begins with: most are turned away here."""
    named: tuple[str, ...] = ()
    """The keys of all its variables."""
    is_understood: bool = True
    """False where a variable is written in a way that no rule explains."""

    @property
    def literal(self) -> str | None:
        """The one resource that it covers, where it has no wildcard, no variable and all fields."""
        tokens = self.whole.tokens
        is_text = self.written is self.whole and all(isinstance(token, str) for token in tokens)
        return "".join(map(str, tokens)) if is_text else None

    def surely_covers(self, resource: str, fields: Sequence[str], context: ContextValues) -> bool:
        fixed = self.whole.fixed
        if self.fields is None:
            return fixed(resource) if fixed is not None else self.whole.matches(resource, context)
        if fixed is not None and not fixed(resource):
            return False
        if len(fields) != ARN_FIELDS:
            return False
        # From the end, where patterns differ.
        return all(self.fields[at].matches(fields[at], context) for at in range(ARN_FIELDS - 1, -1, -1))

    def may_cover(self, resource: str, context: ContextValues) -> bool:
        return self.whole.matches(resource, context) or (
            self.written is not self.whole and self.written.matches(resource, context)
        )


_ANYTHING: Final = Template.of((Wildcard.ANY,))
EVERY_RESOURCE: Final = ResourcePattern(_ANYTHING, _ANYTHING, None, frozenset())


def resource_pattern(text: str, *, with_variables: bool) -> ResourcePattern:
    """A pattern of a Resource: `*` or an ARN. A variable that is not understood may be anything.

    Raises ValueError for a text that is neither.
    """
    if text == "*":
        return EVERY_RESOURCE
    tokens = tokenize(text, with_variables=with_variables)
    if not tokens or not isinstance(tokens[0], str) or not tokens[0].startswith("arn:"):
        raise ValueError("a resource is an ARN or *")
    variables = [token for token in tokens if isinstance(token, Variable)]
    fields = split_fields(
        Wildcard.ANY if isinstance(token, Variable) and not token.is_known else token for token in tokens
    )
    written = whole = Template.of(_joined(fields))
    if len(fields) < ARN_FIELDS:
        fields += [(Wildcard.ANY,)] * (ARN_FIELDS - len(fields))
        whole = Template.of(_joined(fields))
    is_plain = all(isinstance(token, str) for field in fields[:-1] for token in field)
    return ResourcePattern(
        written,
        whole,
        None if is_plain else tuple(Template.of(field) for field in fields),
        written.variables,
        written.start,
        tuple(dict.fromkeys(variable.name for variable in variables if variable.is_known)),
        all(variable.is_known for variable in variables),
    )


def _joined(fields: Sequence[tuple[Token, ...]]) -> tuple[Token, ...]:
    tokens: list[Token] = []
    for field in fields:
        tokens += (":", *field) if tokens else field
    return tuple(tokens)


def arn_fields(text: str) -> list[str]:
    """The fields of a pattern as they are written, at most six. A colon inside `${…}` parts nothing."""
    fields: list[str] = []
    start = at = 0
    colon = text.find(":")
    while colon >= 0 and len(fields) < ARN_FIELDS - 1:
        opening = text.find("${", at, colon)
        if opening >= 0:
            closing = text.find("}", opening)
            if closing < 0:
                break
            at = closing + 1
            if colon < at:
                colon = text.find(":", at)
            continue
        fields.append(text[start:colon])
        start = at = colon + 1
        colon = text.find(":", at)
    return [*fields, text[start:]]


def split_fields(tokens: Iterable[Token]) -> list[tuple[Token, ...]]:
    """The tokens of each field of an ARN. A colon inside a variable's name parts nothing."""
    fields: list[list[Token]] = [[]]
    for token in tokens:
        if not isinstance(token, str):
            fields[-1].append(token)
            continue
        head, *others = token.split(":", ARN_FIELDS - len(fields))
        _append_literal(fields[-1], head)
        for other in others:
            fields.append([])
            _append_literal(fields[-1], other)
    return [tuple(field) for field in fields]


@dataclass(frozen=True, slots=True)
class ActionPatterns:
    """The values of Action or NotAction, laid out by what a request can look up. Case does not count."""

    exact: frozenset[str]
    by_service: Mapping[str, tuple[Matcher, ...]]
    """Matchers of an action's name, under the service prefix."""
    any_service: tuple[Matcher, ...]
    """Matchers of an action's name in every service: `*` and `*:…`."""

    def cover(self, action: str, service: str, name: str) -> bool:
        """Whether `service:name`, all of it in lower case, is among them."""
        if action in self.exact:
            return True
        for matches in self.by_service.get(service, ()):
            if matches(name):
                return True
        return any(matches(name) for matches in self.any_service) if self.any_service else False


_VENDOR: Final = re.compile(r"[a-z0-9.-]+\Z")


def action_patterns(texts: Iterable[str]) -> ActionPatterns:
    """Patterns of actions. A service prefix takes no wildcard, except `*` alone: `*` and `*:*` are every action.

    Raises ValueError for a text that is no action.
    """
    exact: set[str] = set()
    by_service: dict[str, list[Matcher]] = {}
    any_service: list[Matcher] = []
    for text in texts:
        action = "*:*" if text == "*" else text.lower()
        service, colon, name = action.partition(":")
        if not colon or ":" in name or (service != "*" and not _VENDOR.match(service)):
            raise ValueError("an action is a service prefix, a colon and a name")
        tokens = tokenize(name, with_variables=False)
        if service == "*":
            any_service.append(matcher_of(tokens))
        elif all(isinstance(token, str) for token in tokens):
            exact.add(action)
        else:
            by_service.setdefault(service, []).append(matcher_of(tokens))
    return ActionPatterns(
        frozenset(exact),
        {service: tuple(matchers) for service, matchers in by_service.items()},
        tuple(any_service),
    )
