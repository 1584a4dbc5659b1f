"""A policy document: read from JSON, and compiled into what a decision looks up.

Compiling trusts nobody: what it does not understand counts for a Deny and not for an Allow. Whether a document
may be written, and AWS's texts where it may not, is validation's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from keyturn.policy.conditions import Condition, compile_conditions
from keyturn.policy.elements import Json, UnreadableError, one_of, read_elements, statements_of, text_of
from keyturn.policy.patterns import (
    EVERY_RESOURCE,
    ActionPatterns,
    ResourcePattern,
    action_patterns,
    resource_pattern,
)
from keyturn.policy.principals import Principals, compile_principals

CURRENT_VERSION: Final = "2012-10-17"
FIRST_VERSION: Final = "2008-10-17"
"""What a document without a Version is written in. It knows no variables."""

DOCUMENT_ELEMENTS: Final = frozenset({"Version", "Id", "Statement"})


class DocumentKind(StrEnum):
    """What a document is attached to, which says what its statements name."""

    IDENTITY = "identity"
    """A user, group or role; also as a boundary or session policy: actions and resources."""
    RESOURCE = "resource"
    """A resource: principals, actions and resources."""
    TRUST = "trust"
    """A role: principals and actions, the resource being the role."""


_COMMON_ELEMENTS: Final = frozenset({"Sid", "Effect", "Action", "NotAction", "Condition"})
_RESOURCE_ELEMENTS: Final = frozenset({"Resource", "NotResource"})
_PRINCIPAL_ELEMENTS: Final = frozenset({"Principal", "NotPrincipal"})
DECIDED_ELEMENTS: Final[Mapping[DocumentKind, frozenset[str]]] = {
    DocumentKind.IDENTITY: _COMMON_ELEMENTS | _RESOURCE_ELEMENTS,
    DocumentKind.RESOURCE: _COMMON_ELEMENTS | _RESOURCE_ELEMENTS | _PRINCIPAL_ELEMENTS,
    DocumentKind.TRUST: _COMMON_ELEMENTS | _PRINCIPAL_ELEMENTS,
}
"""The elements of a statement that the evaluation decides."""


class Effect(StrEnum):
    ALLOW = "Allow"
    DENY = "Deny"


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
    """Those that are no plain texts."""
    plain_resources: frozenset[str]
    is_not_resource: bool
    conditions: tuple[Condition, ...]
    principals: Principals | None
    """Whom it is about; None where the holder of the document is meant."""
    variables: frozenset[str]
    """The variables of its resources that have no default."""
    undecided: tuple[str, ...]
    """Elements that no rule decides. An Allow with any of them never allows."""


_MOST_ACTIONS: Final = 512
"""Of which a document remembers its statements. An authority asks a few hundred; more begin anew."""


@dataclass(frozen=True, slots=True)
class Concerned:
    """The statements of a document that are about one action, in the document's order."""

    denies: tuple[Statement, ...]
    allows: tuple[Statement, ...]
    """Without those that never allow."""


@dataclass(frozen=True, slots=True)
class Document:
    """A compiled document. Costs up to a millisecond to make, never changes, and is safe to keep and share."""

    kind: DocumentKind
    version: str
    statements: tuple[Statement, ...]
    _by_action: dict[str, Concerned] = field(default_factory=dict, init=False, repr=False, compare=False)

    def about(self, action: str) -> Concerned:
        """The statements about `service:name`, in lower case. Patterns are matched once an action, then remembered."""
        concerned = self._by_action.get(action)
        if concerned is None:
            service, _, name = action.partition(":")
            found = [
                statement
                for statement in self.statements
                if statement.actions.cover(action, service, name) is not statement.is_not_action
            ]
            concerned = Concerned(
                tuple(statement for statement in found if statement.effect is Effect.DENY),
                tuple(
                    statement
                    for statement in found
                    if statement.effect is Effect.ALLOW and not statement.undecided
                ),
            )
            if len(self._by_action) >= _MOST_ACTIONS:
                self._by_action.clear()
            self._by_action[action] = concerned
        return concerned


def compile_document(text: str, kind: DocumentKind = DocumentKind.IDENTITY) -> Document:
    """What was stored. Never raises: a document that can't be read denies everything, and says so in `undecided`."""
    try:
        elements = read_elements(text)
        statements = statements_of(elements)
        version = elements.get("Version", FIRST_VERSION)
        if not isinstance(version, str) or version not in {CURRENT_VERSION, FIRST_VERSION}:
            raise UnreadableError("no such version")
    except UnreadableError:
        return Document(kind, CURRENT_VERSION, (_unreadable(0, Effect.DENY),))
    return Document(
        kind,
        version,
        tuple(
            compile_statement(
                index,
                statement,
                kind=kind,
                with_variables=version == CURRENT_VERSION,
                undecided=[element for element in elements if element not in DOCUMENT_ELEMENTS],
            )
            for index, statement in enumerate(statements)
        ),
    )


def compile_statement(
    index: int, statement: Json, *, kind: DocumentKind, with_variables: bool, undecided: Iterable[str] = ()
) -> Statement:
    """One statement; `undecided` are elements of its document that no rule decides.

    One that can't be read denies everything, unless it says that it allows: then it allows nothing.
    """
    if not isinstance(statement, dict):
        return _unreadable(index, Effect.DENY)
    try:
        return _compiled(index, statement, kind, with_variables=with_variables, undecided=undecided)
    except ValueError:
        return _unreadable(index, Effect.ALLOW if statement.get("Effect") == Effect.ALLOW else Effect.DENY)


def _compiled(
    index: int,
    statement: dict[str, Json],
    kind: DocumentKind,
    *,
    with_variables: bool,
    undecided: Iterable[str],
) -> Statement:
    effect = Effect(text_of(statement.get("Effect")))
    action_element, actions = one_of(statement, "Action", "NotAction")
    resources, is_not_resource = _resources(statement, kind, with_variables=with_variables)
    unknown = [element for element in statement if element not in DECIDED_ELEMENTS[kind]]
    if not all(pattern.is_understood for pattern in resources):
        unknown.append("Resource")
    if effect is Effect.DENY and is_not_resource:
        # What is spared from a Deny must be certain.
        resources = [pattern for pattern in resources if pattern.is_understood]
    conditions: tuple[Condition, ...] = ()
    try:
        conditions = compile_conditions(statement.get("Condition", {}), with_variables=with_variables)
    except UnreadableError:
        unknown.append("Condition")
    principals = None
    if kind is not DocumentKind.IDENTITY:
        try:
            principals = compile_principals(statement)
        except UnreadableError:
            unknown.append("Principal")
        if principals is not None and principals.is_negated and effect is Effect.ALLOW:
            unknown.append("NotPrincipal")
    sid = statement.get("Sid")
    return Statement(
        index=index,
        sid=None if sid is None else text_of(sid),
        effect=effect,
        actions=action_patterns(actions),
        is_not_action=action_element == "NotAction",
        resources=tuple(pattern for pattern in resources if pattern.literal is None),
        plain_resources=frozenset(pattern.literal for pattern in resources if pattern.literal is not None),
        is_not_resource=is_not_resource,
        conditions=conditions,
        principals=principals,
        variables=frozenset().union(*(pattern.variables for pattern in resources)),
        undecided=(*undecided, *unknown),
    )


def _resources(
    statement: Mapping[str, Json], kind: DocumentKind, *, with_variables: bool
) -> tuple[list[ResourcePattern], bool]:
    """The patterns, and whether they are those of NotResource. A trust policy is about its role."""
    if kind is DocumentKind.TRUST:
        return [EVERY_RESOURCE], False
    element, texts = one_of(statement, "Resource", "NotResource")
    patterns = [resource_pattern(text, with_variables=with_variables) for text in texts]
    return patterns, element == "NotResource"


def _unreadable(index: int, effect: Effect) -> Statement:
    return Statement(
        index=index,
        sid=None,
        effect=effect,
        actions=action_patterns(["*"]),
        is_not_action=False,
        resources=(EVERY_RESOURCE,),
        plain_resources=frozenset(),
        is_not_resource=False,
        conditions=(),
        principals=None,
        variables=frozenset(),
        undecided=("unreadable",),
    )
