"""What all policies that concern a request say to it: deny by default, and an explicit deny wins.

An identity is allowed what its policies, its boundary and its session's policy all allow; a resource's policy
joins by whom it names (IAM user guide, "Policy evaluation logic"). Who holds which policies is the authority's
to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from keyturn.policy.context import NO_CONTEXT, Context, ContextValues, Value
from keyturn.policy.document import Document, DocumentKind, Effect, Statement
from keyturn.policy.patterns import ARN_FIELDS, LONGEST_ARN
from keyturn.policy.principals import Principal, PrincipalKind, Reach


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: one action on one resource."""

    action: str
    """`iam:CreateUser`; case does not count."""
    resource: str
    """An ARN, or `*` for an action that names no resource: only a Resource of `*` covers that."""
    context: Context | Mapping[str, Value] = NO_CONTEXT
    """Condition keys with their values. A Context is taken as it is; a mapping is made into one each time."""
    principal: Principal | None = None
    """Who asks. Needed where a resource policy has a say; without one only the identity's own policies do."""
    resource_account: str | None = None
    """Who owns the resource, where its ARN does not say. Without either it is the principal's own account."""


class PolicyKind(StrEnum):
    """Which kind of policy decided, in the words of AWS's denials."""

    GUARDRAIL = "service control policy"
    RESOURCE = "resource-based policy"
    TRUST = "role trust policy"
    IDENTITY = "identity-based policy"
    BOUNDARY = "permissions boundary"
    SESSION = "session policy"


@dataclass(frozen=True, slots=True)
class AttachedPolicy:
    """A policy that has a say: the name of an inline policy or the ARN of a managed one, or whatever tells it apart."""

    name: str
    document: Document


@dataclass(frozen=True, slots=True)
class Policies:
    """All policies that have a say in a request."""

    identity: Sequence[AttachedPolicy] = ()
    """Of the user and its groups, or of the role."""
    boundary: AttachedPolicy | None = None
    """The permissions boundary of the user or role."""
    session: Sequence[AttachedPolicy] | None = None
    """The session's own policies, of which one must allow. None where none was passed; an empty list allows nothing."""
    resource: AttachedPolicy | None = None
    """The resource's policy, or the role's trust policy."""
    needs_resource_policy: bool = False
    """Whether the resource's policy must allow even within an account, as a KMS key's. A trust policy always must."""
    guardrails: Sequence[AttachedPolicy] = ()
    """Rules over everybody: they deny, and never need to allow."""


@dataclass(frozen=True, slots=True)
class StatementReference:
    """The statement that decided."""

    policy: str
    index: int
    """Its position in the document, from 0."""
    sid: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed, or denied by a statement (`explicit_deny`), or denied because no statement allows.

    An account's root is allowed without a statement.
    """

    allowed: bool
    explicit_deny: bool
    statement: StatementReference | None
    kind: PolicyKind = PolicyKind.IDENTITY
    """Which kind of policy allows, denies, or lacks an Allow."""


IMPLICIT_DENY: Final = Decision(allowed=False, explicit_deny=False, statement=None)


@dataclass(slots=True)
class _Asked:
    """The request, taken apart once. Not frozen, for speed: one is made for each decision, and none leaves it."""

    action: str
    """In lower case."""
    resource: str
    fields: Sequence[str]
    context: ContextValues
    principal: Principal | None
    has_boundary: bool


def decide(request: Request, policies: Policies | Sequence[AttachedPolicy]) -> Decision:
    """The decision, and the statement that made it: the first of its kind, in the policies' order.

    A sequence of policies is the identity's own.
    """
    if not isinstance(policies, Policies):
        policies = Policies(policies)
    asked = _taken_apart(request, has_boundary=policies.boundary is not None)
    if asked is None:
        return IMPLICIT_DENY
    for kind, attached in _by_kind(policies):
        for policy in attached:
            for statement in policy.document.about(asked.action).denies:
                if _denies(statement, asked):
                    reference = _reference(policy, statement)
                    return Decision(allowed=False, explicit_deny=True, statement=reference, kind=kind)
    if policies.resource is None and not policies.needs_resource_policy and _is_at_home(request, asked):
        return _decided_by_identity(asked, policies)
    return _decided_with_resource(request, asked, policies)


def denial_message(principal_arn: str, action: str, resource: str, decision: Decision) -> str:
    """AWS's words, which people and clients search for ("Troubleshoot access denied error messages")."""
    kind = decision.kind
    if decision.explicit_deny:
        article = "the" if kind is PolicyKind.TRUST else "an" if kind is PolicyKind.IDENTITY else "a"
        because = f"with an explicit deny in {article} {kind}"
    else:
        because = f"because no {kind} allows the {action} action"
    return f"User: {principal_arn} is not authorized to perform: {action} on resource: {resource} {because}"


def matching_statements(
    request: Request, policies: Sequence[AttachedPolicy], effect: Effect, *, has_boundary: bool = False
) -> Iterator[tuple[AttachedPolicy, Statement]]:
    """Every statement of one effect that concerns the request, in the policies' order."""
    asked = _taken_apart(request, has_boundary=has_boundary)
    if asked is None:
        return
    applies = _denies if effect is Effect.DENY else _allows
    for policy in policies:
        concerned = policy.document.about(asked.action)
        for statement in concerned.denies if effect is Effect.DENY else concerned.allows:
            if applies(statement, asked):
                yield policy, statement


def concerned_statements(
    request: Request, policies: Sequence[AttachedPolicy]
) -> Iterator[tuple[AttachedPolicy, Statement]]:
    """Every statement whose action and resource are those of the request, whatever its conditions say."""
    asked = _taken_apart(request, has_boundary=False)
    if asked is None:
        return
    for policy in policies:
        concerned = policy.document.about(asked.action)
        for statement in sorted((*concerned.denies, *concerned.allows), key=lambda each: each.index):
            if _may_concern_resource(statement, asked):
                yield policy, statement


def _taken_apart(request: Request, *, has_boundary: bool) -> _Asked | None:
    """None for what is longer than anything that exists."""
    if len(request.resource) > LONGEST_ARN or len(request.action) > LONGEST_ARN:
        return None
    fields = request.resource.split(":", ARN_FIELDS - 1)
    context = request.context if isinstance(request.context, Context) else Context.of(request.context)
    return _Asked(
        request.action.lower(), request.resource, fields, context.values, request.principal, has_boundary
    )


def _by_kind(policies: Policies) -> Iterator[tuple[PolicyKind, Sequence[AttachedPolicy]]]:
    """In the order in which AWS asks them."""
    if policies.guardrails:
        yield PolicyKind.GUARDRAIL, policies.guardrails
    if policies.resource is not None:
        yield _kind_of(policies.resource), (policies.resource,)
    yield PolicyKind.IDENTITY, policies.identity
    if policies.boundary is not None:
        yield PolicyKind.BOUNDARY, (policies.boundary,)
    if policies.session:
        yield PolicyKind.SESSION, policies.session


def _kind_of(resource: AttachedPolicy | None) -> PolicyKind:
    if resource is not None and resource.document.kind is DocumentKind.TRUST:
        return PolicyKind.TRUST
    return PolicyKind.RESOURCE


def _decided_by_identity(asked: _Asked, policies: Policies) -> Decision:
    """By identity, boundary and session policy, no resource's policy having a say."""
    if asked.principal is not None:
        if not asked.principal.has_identity_policies:
            return Decision(allowed=False, explicit_deny=False, statement=None, kind=PolicyKind.RESOURCE)
        if asked.principal.kind is PrincipalKind.ROOT:
            return _capped(Decision(allowed=True, explicit_deny=False, statement=None), asked, policies)
    for policy in policies.identity:
        if allowance := _first_allowance(policy, asked):
            reference = _reference(policy, allowance)
            return _capped(Decision(allowed=True, explicit_deny=False, statement=reference), asked, policies)
    return IMPLICIT_DENY


def _capped(decision: Decision, asked: _Asked, policies: Policies) -> Decision:
    """The allowance, if boundary and session policy allow too."""
    for kind, attached in (
        (PolicyKind.BOUNDARY, None if policies.boundary is None else (policies.boundary,)),
        (PolicyKind.SESSION, policies.session),
    ):
        if attached is not None and not any(_first_allowance(policy, asked) for policy in attached):
            return Decision(allowed=False, explicit_deny=False, statement=None, kind=kind)
    return decision


def _decided_with_resource(request: Request, asked: _Asked, policies: Policies) -> Decision:
    kind = _kind_of(policies.resource)
    refusal = Decision(allowed=False, explicit_deny=False, statement=None, kind=kind)
    principal = asked.principal
    if principal is None:
        return refusal
    reach, statement = _granted(asked, policies.resource, principal)
    granted = Decision(
        allowed=True,
        explicit_deny=False,
        statement=statement,
        kind=kind,
    )
    if not principal.has_identity_policies:
        return refusal if reach is Reach.NOBODY else granted
    if not _is_at_home(request, asked):
        return refusal if reach is Reach.NOBODY else _decided_by_identity(asked, policies)
    if reach is Reach.BY_ITSELF:
        return granted
    if reach is Reach.CAPPED:
        return _capped(granted, asked, policies)
    if reach is Reach.NOBODY and (policies.needs_resource_policy or kind is PolicyKind.TRUST):
        return refusal
    return _decided_by_identity(asked, policies)


def _granted(
    asked: _Asked, policy: AttachedPolicy | None, principal: Principal
) -> tuple[Reach, StatementReference | None]:
    """How far the resource's policy goes for the principal, by the first statement that goes so far."""
    furthest: tuple[Reach, StatementReference | None] = (Reach.NOBODY, None)
    if policy is None:
        return furthest
    for statement in policy.document.about(asked.action).allows:
        if statement.principals is None:
            continue
        reach = statement.principals.reach(principal)
        if reach > furthest[0] and _allows(statement, asked):
            furthest = (reach, _reference(policy, statement))
    return furthest


def _is_at_home(request: Request, asked: _Asked) -> bool:
    """Whether principal and resource are of one account, as far as anything says that they are not."""
    if asked.principal is None:
        return True
    owner = request.resource_account
    if owner is None and len(asked.fields) == ARN_FIELDS and asked.fields[4].isdigit():
        # `arn:aws:iam::aws:policy/…` is everybody's.
        owner = asked.fields[4]
    return owner is None or owner == asked.principal.account


def _first_allowance(policy: AttachedPolicy, asked: _Asked) -> Statement | None:
    resource, fields, context = asked.resource, asked.fields, asked.context
    for statement in policy.document.about(asked.action).allows:
        # Most statements are turned away here, and most requests meet many: no call is made that can be spared.
        if not statement.is_not_resource and resource not in statement.plain_resources:
            for pattern in statement.resources:
                if (
                    resource.startswith(pattern.start)
                    and ((fits := pattern.whole.fixed) is None or fits(resource))
                    and pattern.surely_covers(resource, fields, context)
                ):
                    break
            else:
                continue
        if _allows(statement, asked):
            return statement
    return None


def _allows(statement: Statement, asked: _Asked) -> bool:
    """Whether a statement about the action surely concerns the request."""
    if not _surely_concerns_resource(statement, asked):
        return False
    if statement.principals is not None and (
        asked.principal is None or statement.principals.reach(asked.principal) is Reach.NOBODY
    ):
        return False
    return not statement.conditions or all(
        condition.holds(asked.context, surely=True) for condition in statement.conditions
    )


def _surely_concerns_resource(statement: Statement, asked: _Asked) -> bool:
    resource = asked.resource
    if statement.is_not_resource:
        # A variable without value may be the very resource that was to be left out.
        return (
            all(isinstance(asked.context.get(name), str) for name in statement.variables)
            and resource not in statement.plain_resources
            and not any(pattern.may_cover(resource, asked.context) for pattern in statement.resources)
        )
    if resource in statement.plain_resources:
        return True
    for pattern in statement.resources:
        if resource.startswith(pattern.start) and pattern.surely_covers(
            resource, asked.fields, asked.context
        ):
            return True
    return False


def _denies(statement: Statement, asked: _Asked) -> bool:
    """Whether a statement about the action may concern the request."""
    if not _may_concern_resource(statement, asked):
        return False
    if (
        statement.principals is not None
        and asked.principal is not None
        and not statement.principals.concern(asked.principal, has_boundary=asked.has_boundary)
    ):
        return False
    return not statement.conditions or all(
        condition.holds(asked.context, surely=False) for condition in statement.conditions
    )


def _may_concern_resource(statement: Statement, asked: _Asked) -> bool:
    resource = asked.resource
    if statement.is_not_resource:
        return resource not in statement.plain_resources and not any(
            pattern.surely_covers(resource, asked.fields, asked.context) for pattern in statement.resources
        )
    if resource in statement.plain_resources:
        return True
    for pattern in statement.resources:
        if resource.startswith(pattern.start) and pattern.may_cover(resource, asked.context):
            return True
    return False


def _reference(policy: AttachedPolicy, statement: Statement) -> StatementReference:
    return StatementReference(policy.name, statement.index, statement.sid)
