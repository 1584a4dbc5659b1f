"""What a set of policies says to one request: deny by default, and an explicit deny wins.

Identity policies only. Boundaries, session policies, resource policies and conditions are further voices that
`decide` will hear; until it does, a statement that needs them never allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from keyturn.policy.document import Document, Statement, StatementIndex
from keyturn.policy.patterns import ARN_FIELDS, LONGEST_ARN


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: one action on one resource."""

    action: str
    """`iam:CreateUser`; case does not count."""
    resource: str
    """An ARN, or `*` for an action that names no resource: only a Resource of `*` covers that."""
    context: Mapping[str, str] = field(default_factory=dict)
    """Condition keys in lower case with their values: `aws:username` for an IAM user. A key without value is absent."""


@dataclass(frozen=True, slots=True)
class AttachedPolicy:
    """A policy that speaks for the caller: the name of an inline policy or the ARN of a managed one."""

    name: str
    document: Document


@dataclass(frozen=True, slots=True)
class StatementReference:
    """The statement that decided."""

    policy: str
    index: int
    """Its position in the document, from 0."""
    sid: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed, or denied by a statement (`explicit_deny`), or denied because no statement allows."""

    allowed: bool
    explicit_deny: bool
    statement: StatementReference | None


IMPLICIT_DENY: Final = Decision(allowed=False, explicit_deny=False, statement=None)


@dataclass(slots=True)
class _Asked:
    """The request, taken apart once. Not frozen, for speed: one is made for each decision, and none leaves it."""

    action: str
    service: str
    name: str
    resource: str
    fields: Sequence[str]
    context: Mapping[str, str]


def decide(request: Request, policies: Sequence[AttachedPolicy]) -> Decision:
    """The decision and the first statement, in the policies' order, that made it."""
    if len(request.resource) > LONGEST_ARN or len(request.action) > LONGEST_ARN:
        return IMPLICIT_DENY
    action = request.action.lower()
    service, _, name = action.partition(":")
    fields = request.resource.split(":", ARN_FIELDS - 1)
    asked = _Asked(action, service, name, request.resource, fields, request.context)
    for policy in policies:
        if denial := _first(policy.document.denies, asked, _denies):
            return Decision(allowed=False, explicit_deny=True, statement=_reference(policy, denial))
    for policy in policies:
        if allowance := _first(policy.document.allows, asked, _allows):
            return Decision(allowed=True, explicit_deny=False, statement=_reference(policy, allowance))
    return IMPLICIT_DENY


def denial_message(principal_arn: str, action: str, resource: str, decision: Decision) -> str:
    """AWS's words, which people and clients search for ("Troubleshoot access denied error messages")."""
    because = (
        "with an explicit deny in an identity-based policy"
        if decision.explicit_deny
        else f"because no identity-based policy allows the {action} action"
    )
    return f"User: {principal_arn} is not authorized to perform: {action} on resource: {resource} {because}"


def _first(
    index: StatementIndex, asked: _Asked, applies: Callable[[Statement, _Asked], bool]
) -> Statement | None:
    found: Statement | None = None
    for statements in (
        index.exact.get(asked.action, ()),
        index.by_service.get(asked.service, ()),
        index.everywhere,
    ):
        for statement in statements:
            if found is not None and statement.index > found.index:
                break
            if applies(statement, asked):
                found = statement
                break
    return found


def _concerns_action(statement: Statement, asked: _Asked) -> bool:
    return statement.actions.cover(asked.action, asked.service, asked.name) is not statement.is_not_action


def _allows(statement: Statement, asked: _Asked) -> bool:
    """Whether it surely concerns the request. A variable without value leaves the whole statement without meaning."""
    if not _concerns_action(statement, asked):
        return False
    if statement.variables and not asked.context.keys() >= statement.variables:
        return False
    if statement.is_not_resource:
        return not any(pattern.may_cover(asked.resource, asked.context) for pattern in statement.resources)
    for pattern in statement.resources:
        if pattern.surely_covers(asked.resource, asked.fields, asked.context):
            return True
    return False


def _denies(statement: Statement, asked: _Asked) -> bool:
    """Whether it may concern the request."""
    if not _concerns_action(statement, asked):
        return False
    if statement.is_not_resource:
        return not any(
            pattern.surely_covers(asked.resource, asked.fields, asked.context)
            for pattern in statement.resources
        )
    return any(pattern.may_cover(asked.resource, asked.context) for pattern in statement.resources)


def _reference(policy: AttachedPolicy, statement: Statement) -> StatementReference:
    return StatementReference(policy.name, statement.index, statement.sid)
