"""A policy document: read from JSON, and compiled into what a decision looks up.

Compiling trusts nobody: what it does not understand counts for a Deny and not for an Allow. Whether a document
may be written, and AWS's texts where it may not, is validation's to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn, TypeAlias

from keyturn.policy.patterns import (
    EVERY_RESOURCE,
    ActionPatterns,
    ResourcePattern,
    action_patterns,
    resource_pattern,
)

CURRENT_VERSION: Final = "2012-10-17"
FIRST_VERSION: Final = "2008-10-17"
"""What a document without a Version is written in. It knows no variables."""

DOCUMENT_ELEMENTS: Final = frozenset({"Version", "Id", "Statement"})
DECIDED_ELEMENTS: Final = frozenset({"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource"})
"""The elements of a statement that the evaluation decides. Conditions join here when it does."""

Json: TypeAlias = str | int | float | bool | list["Json"] | dict[str, "Json"] | None

# What XML cannot carry back in a message, and what UTF-8 cannot encode at all.
_UNWRITABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class Effect(StrEnum):
    ALLOW = "Allow"
    DENY = "Deny"


class UnreadableError(ValueError):
    """Not a policy document by its grammar. Refuse it, or let it count for a Deny."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, ready to be asked."""

    index: int
    """Its position in the document, from 0."""
    sid: str | None
    effect: Effect
    actions: ActionPatterns
    is_not_action: bool
    resources: tuple[ResourcePattern, ...]
    is_not_resource: bool
    variables: frozenset[str]
    """The variables that need a value before the statement can allow."""
    undecided: tuple[str, ...]
    """Elements and variables that no rule decides yet. An Allow with any of them never allows."""


@dataclass(frozen=True, slots=True)
class StatementIndex:
    """Statements of one effect under what a request can look up, each list in the document's order."""

    exact: Mapping[str, Sequence[Statement]]
    by_service: Mapping[str, Sequence[Statement]]
    everywhere: Sequence[Statement]

    @classmethod
    def of(cls, statements: Iterable[Statement]) -> StatementIndex:
        exact: dict[str, list[Statement]] = {}
        by_service: dict[str, list[Statement]] = {}
        everywhere: list[Statement] = []
        for statement in statements:
            if statement.is_not_action or statement.actions.any_service:
                everywhere.append(statement)
                continue
            for action in statement.actions.exact:
                exact.setdefault(action, []).append(statement)
            for service in statement.actions.by_service:
                by_service.setdefault(service, []).append(statement)
        return cls(exact, by_service, tuple(everywhere))


@dataclass(frozen=True, slots=True)
class Document:
    """A compiled document. Costs up to a millisecond to make, and is safe to keep and share."""

    version: str
    statements: tuple[Statement, ...]
    denies: StatementIndex
    allows: StatementIndex

    @classmethod
    def of(cls, version: str, statements: Sequence[Statement]) -> Document:
        return cls(
            version,
            tuple(statements),
            StatementIndex.of(statement for statement in statements if statement.effect is Effect.DENY),
            StatementIndex.of(
                statement
                for statement in statements
                if statement.effect is Effect.ALLOW and not statement.undecided
            ),
        )


def compile_document(text: str) -> Document:
    """What was stored. Never raises: a document that can't be read denies everything, and says so in `undecided`."""
    try:
        elements = read_elements(text)
        statements = statements_of(elements)
        version = elements.get("Version", FIRST_VERSION)
        if not isinstance(version, str) or version not in {CURRENT_VERSION, FIRST_VERSION}:
            raise UnreadableError("no such version")
    except UnreadableError:
        return Document.of(CURRENT_VERSION, [_unreadable(0, Effect.DENY)])
    return Document.of(
        version,
        [
            compile_statement(
                index,
                statement,
                with_variables=version == CURRENT_VERSION,
                undecided=[element for element in elements if element not in DOCUMENT_ELEMENTS],
            )
            for index, statement in enumerate(statements)
        ],
    )


def compile_statement(
    index: int, statement: Json, *, with_variables: bool, undecided: Iterable[str] = ()
) -> Statement:
    """One statement; `undecided` are elements of its document that no rule decides.

    One that can't be read denies everything, unless it says that it allows: then it allows nothing.
    """
    if not isinstance(statement, dict):
        return _unreadable(index, Effect.DENY)
    try:
        return _compiled(index, statement, with_variables=with_variables, undecided=undecided)
    except ValueError:
        return _unreadable(index, Effect.ALLOW if statement.get("Effect") == Effect.ALLOW else Effect.DENY)


def _compiled(
    index: int, statement: dict[str, Json], *, with_variables: bool, undecided: Iterable[str]
) -> Statement:
    effect = Effect(text_of(statement.get("Effect")))
    action_element, actions = one_of(statement, "Action", "NotAction")
    resource_element, resource_texts = one_of(statement, "Resource", "NotResource")
    is_not_resource = resource_element == "NotResource"
    resources = [resource_pattern(text, with_variables=with_variables) for text in resource_texts]
    unknown = sorted(
        {name for pattern in resources if not pattern.is_understood for name in pattern.variables}
    )
    if effect is Effect.DENY and is_not_resource:
        # What is spared from a Deny must be certain.
        resources = [pattern for pattern in resources if pattern.is_understood]
    sid = statement.get("Sid")
    return Statement(
        index=index,
        sid=None if sid is None else text_of(sid),
        effect=effect,
        actions=action_patterns(actions),
        is_not_action=action_element == "NotAction",
        resources=tuple(resources),
        is_not_resource=is_not_resource,
        variables=frozenset().union(*(pattern.variables for pattern in resources)),
        undecided=(
            *undecided,
            *(element for element in statement if element not in DECIDED_ELEMENTS),
            *unknown,
        ),
    )


def _unreadable(index: int, effect: Effect) -> Statement:
    return Statement(
        index=index,
        sid=None,
        effect=effect,
        actions=action_patterns(["*"]),
        is_not_action=False,
        resources=(EVERY_RESOURCE,),
        is_not_resource=False,
        variables=frozenset(),
        undecided=("unreadable",),
    )


def read_elements(text: str) -> dict[str, Json]:
    """The document's elements. Strict JSON: no name twice, no NaN, no text that can't be sent back.

    Raises UnreadableError.
    """
    try:
        value: Json = json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UnreadableError("not JSON") from error
    if not isinstance(value, dict):
        raise UnreadableError("a document is an object")
    return value


def _without_repetition(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    elements = dict(pairs)
    if len(elements) != len(pairs):
        raise UnreadableError("a name stands twice")
    return elements


def _no_constant(name: str) -> NoReturn:
    raise UnreadableError(f"{name} is not JSON")


def statements_of(elements: Mapping[str, Json]) -> list[Json]:
    """The statements: a list of at least one, or one on its own. Raises UnreadableError."""
    statement = elements.get("Statement")
    if isinstance(statement, dict):
        return [statement]
    if not isinstance(statement, list) or not statement:
        raise UnreadableError("a document has statements")
    return statement


def text_of(value: Json) -> str:
    """The value as a text that can be stored and sent back. Raises UnreadableError."""
    if not isinstance(value, str) or _UNWRITABLE.search(value):
        raise UnreadableError("not a text")
    return value


def texts_of(value: Json) -> list[str]:
    """One text or a list of texts. Raises UnreadableError."""
    return [text_of(item) for item in value] if isinstance(value, list) else [text_of(value)]


def one_of(statement: Mapping[str, Json], element: str, negated: str) -> tuple[str, list[str]]:
    """The one of two elements that is there, with its texts. Raises UnreadableError, also for both or an empty list."""
    present = [name for name in (element, negated) if name in statement]
    if len(present) != 1:
        raise UnreadableError(f"a statement has either {element} or {negated}")
    texts = texts_of(statement[present[0]])
    if not texts:
        raise UnreadableError(f"{present[0]} is empty")
    return present[0], texts
