"""The policy simulator: what policies would decide, asked without acting (IAM API, SimulateCustomPolicy and its kin).

Gathers the policies and the circumstances; `policy.simulation` decides as requests are decided. Nothing is filled
in that the caller did not give: a key that a policy asks for and that is not given comes back as missing. The
account's own guardrails are no policies and take no part.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keyturn.authority.attached_policies import (
    attached_boundary,
    entity_of,
    exclusion,
    taken_apart,
    the_entity,
)
from keyturn.authority.operations import DEFAULT_PAGE, Call, Result, operation, page
from keyturn.authority.storage import users as user_rows
from keyturn.authority.storage.tags import fold
from keyturn.policy import principals as named
from keyturn.policy.context import Context, Value
from keyturn.policy.document import Document, DocumentKind
from keyturn.policy.simulation import (
    EvalDecision,
    EvaluationResult,
    MatchedStatement,
    Position,
    ResourceResult,
    Simulation,
    SourcePolicy,
    context_keys,
)
from keyturn.policy.validation import LONGEST_DOCUMENT, MalformedPolicyDocumentError, validate
from keyturn.wire.faults import Fault, invalid_input, not_implemented

EVALUATIONS_PER_PAGE: Final = 2000
"""Actions times resources. A page ends sooner than MaxItems rather than cost more: "IAM might return fewer"."""
CHARACTERS_PER_PAGE: Final = 16_000_000
"""Evaluations times the length of all policies: what is read while others wait, well under a second."""
RESOURCES: Final = 1000

_ACTION: Final = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9]+", re.ASCII)
_RESOURCE: Final = re.compile(r"arn:[\w-]+:[\w-]+:[^:]*:[^:]*:.+", re.ASCII | re.DOTALL)
_ACCOUNT: Final = re.compile(r"(?:arn:aws:iam::)?([0-9]{12})(?::root)?", re.ASCII)
_NEEDED_RESOURCES: Final[Mapping[str, frozenset[str]]] = {
    "EC2-VPC-InstanceStore": frozenset({"instance", "image", "security-group", "network-interface"}),
    "EC2-VPC-InstanceStore-Subnet": frozenset(
        {"instance", "image", "security-group", "network-interface", "subnet"}
    ),
    "EC2-VPC-EBS": frozenset({"instance", "image", "security-group", "network-interface", "volume"}),
    "EC2-VPC-EBS-Subnet": frozenset(
        {"instance", "image", "security-group", "network-interface", "subnet", "volume"}
    ),
}
"""By ResourceHandlingOption (IAM API, SimulateCustomPolicy)."""


# What is given


def _document(text: str, kind: DocumentKind = DocumentKind.IDENTITY) -> Document:
    try:
        return validate(text, kind=kind)
    except MalformedPolicyDocumentError as malformed:
        raise invalid_input(str(malformed)) from malformed


def _check_length(texts: Sequence[str]) -> None:
    """Together no longer than the longest document (IAM API, `policyDocumentType`): all are compiled at once."""
    if sum(map(len, texts)) > LONGEST_DOCUMENT:
        raise invalid_input(f"The policies are longer than {LONGEST_DOCUMENT} characters together.")


def _given(list_name: str, texts: Sequence[str]) -> list[SourcePolicy]:
    _check_length(texts)
    return [
        SourcePolicy(f"{list_name}.{number}", text, _document(text))
        for number, text in enumerate(texts, start=1)
    ]


def _given_boundary(texts: Sequence[str]) -> list[SourcePolicy]:
    if len(texts) > 1:
        raise invalid_input("Only one permissions boundary policy can be simulated.")
    return _given("PermissionsBoundaryPolicyInputList", texts)


def _context(entries: Sequence[Result]) -> Context:
    values: dict[str, Value] = {}
    for entry in entries:
        name, given = entry.get("ContextKeyName"), tuple(entry.get("ContextKeyValues", ()))
        kind = entry.get("ContextKeyType", "string")
        if name is None:
            raise invalid_input("A context entry has no name.")
        single = kind.removesuffix("List")
        if single == kind and len(given) > 1:
            raise invalid_input(f"The context key {name} is of type {kind} and takes one value.")
        if not all(_FITS.get(single, _anything_fits)(value) for value in given):
            raise invalid_input(f"A value of the context key {name} is not of type {kind}.")
        values[name] = given[0] if single == kind and given else given
    try:
        return Context.of(values)
    except ValueError as twice:
        raise invalid_input("A context key is given twice.") from twice


def _anything_fits(_value: str) -> bool:
    return True


def _is_number(value: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]{1,38}(?:\.[0-9]{1,38})?", value, re.ASCII) is not None


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_interface(value)
    except ValueError:
        return False
    return True


_FITS: Final[Mapping[str, Callable[[str], bool]]] = {
    "numeric": _is_number,
    "boolean": lambda value: value.lower() in {"true", "false"},
    "ip": _is_address,
}


def _owner_account(resource_owner: str | None) -> str | None:
    """An account's id, or the ARN of its root: AWS documents the one and takes the other."""
    if resource_owner is None:
        return None
    found = _ACCOUNT.fullmatch(resource_owner)
    if found is None:
        raise invalid_input(f"'{resource_owner}' is not a valid as a Resource Owner.")
    return found[1]


def _caller(call: Call, caller_arn: str | None) -> named.Principal | None:
    """Who the resource's policy sees. Only users: a role's session has another ARN, and a group is no principal."""
    if caller_arn is None:
        return None
    account_id, kind, name = taken_apart(caller_arn)
    if kind != "user":
        return None
    user = user_rows.user_by_name(call.reader, call.account_id, name)
    is_ours = user is not None and account_id == call.account_id and fold(user.arn) == fold(caller_arn)
    return named.user(caller_arn, user.user_id if user is not None and is_ours else None)


def _check_asked(actions: Sequence[str], resources: Sequence[str], option: str | None) -> None:
    if not actions:
        raise invalid_input("At least one action name must be given.")
    for action in actions:
        if _ACTION.fullmatch(action) is None:
            raise invalid_input(f"Invalid action name: {action}")
    if len(resources) > RESOURCES:
        raise invalid_input(f"No more than {RESOURCES} resources can be simulated at once.")
    for resource in resources:
        if resource != "*" and _RESOURCE.fullmatch(resource) is None:
            raise invalid_input(f"ResourceNames are not in a valid ARN format: {resource}.")
    if option is None:
        return
    if option not in _NEEDED_RESOURCES:
        raise invalid_input(f"{option} is not a valid resource handling option.")
    given = {resource.split(":", 5)[5].partition("/")[0] for resource in resources if resource != "*"}
    if missing := sorted(_NEEDED_RESOURCES[option] - given):
        raise invalid_input(
            f"The resource handling option {option} needs resources of: {', '.join(missing)}."
        )


# Asking


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What both operations are given in the same way."""

    action_names: Sequence[str]
    resource_arns: Sequence[str]
    resource_policy: str | None
    resource_owner: str | None
    caller_arn: str | None
    context_entries: Sequence[Result]
    resource_handling_option: str | None
    marker: str | None
    max_items: int | None


def _simulated(
    call: Call,
    given: Circumstances,
    policies: Sequence[SourcePolicy],
    boundaries: Sequence[SourcePolicy],
) -> Result:
    resources = given.resource_arns or ("*",)
    _check_asked(given.action_names, resources, given.resource_handling_option)
    account = _owner_account(given.resource_owner)
    caller = _caller(call, given.caller_arn)
    resource_policy = None
    if given.resource_policy is not None:
        if caller is None:
            raise invalid_input("CallerArn must be the ARN of a user when a resource policy is simulated.")
        document = _document(given.resource_policy, DocumentKind.RESOURCE)
        resource_policy = SourcePolicy("ResourcePolicy", given.resource_policy, document)
    simulation = Simulation(
        policies=policies,
        boundaries=boundaries,
        resource_policy=resource_policy,
        caller=caller if resource_policy is not None else None,
        context=_context(given.context_entries),
        resource_account=account,
    )
    length = sum(
        len(source.text) for source in (*policies, *boundaries, resource_policy) if source is not None
    )
    actions, end = page(
        call,
        given.marker,
        min(given.max_items or DEFAULT_PAGE, _most_actions(len(resources), length)),
        lambda after, limit: _actions_behind(given.action_names, after, limit),
        lambda numbered: f"{numbered[0]:06}",
    )
    results = [_result(simulation.evaluate(action, resources), resources) for _number, action in actions]
    return {"EvaluationResults": results, **end}


def _most_actions(resources: int, length: int) -> int:
    """On a page. The length is that of all policies, in characters."""
    if resources * length > CHARACTERS_PER_PAGE:
        raise invalid_input(
            "The policies are too long to be simulated with so many resources. Ask for fewer resources at a time."
        )
    return min(EVALUATIONS_PER_PAGE // resources, CHARACTERS_PER_PAGE // (resources * max(length, 1)))


def _actions_behind(names: Sequence[str], after: str, limit: int) -> list[tuple[int, str]]:
    """Numbered, for they are answered in the order in which they were asked."""
    start = int(after) + 1 if after.isascii() and after.isdigit() and len(after) <= 6 else 0
    return list(enumerate(names))[start:][:limit]


def _result(result: EvaluationResult, resources: Sequence[str]) -> Result:
    is_specific = any(resource != "*" for resource in resources)
    return {
        "EvalActionName": result.action,
        "EvalResourceName": result.resource,
        "EvalDecision": result.decision.value,
        "MatchedStatements": _statements(result.matched_statements),
        "MissingContextValues": list(result.missing_context_values),
        **_boundary_detail(allowed=result.allowed_by_permissions_boundary),
        **({"EvalDecisionDetails": _most_restrictive(result.resources)} if is_specific else {}),
        **(
            {"ResourceSpecificResults": [_on_resource(one) for one in result.resources]}
            if is_specific
            else {}
        ),
    }


def _on_resource(result: ResourceResult) -> Result:
    details = {source: decision.value for source, decision in result.decision_details.items()}
    return {
        "EvalResourceName": result.resource,
        "EvalResourceDecision": result.decision.value,
        "MatchedStatements": _statements(result.matched_statements),
        "MissingContextValues": list(result.missing_context_values),
        **({"EvalDecisionDetails": details} if details else {}),
        **_boundary_detail(allowed=result.allowed_by_permissions_boundary),
    }


_BY_RESTRICTION: Final = (EvalDecision.ALLOWED, EvalDecision.IMPLICIT_DENY, EvalDecision.EXPLICIT_DENY)


def _most_restrictive(results: Sequence[ResourceResult]) -> dict[str, str]:
    """By type of policy over all resources; there and empty within one account (IAM API, EvaluationResult)."""
    worst: dict[str, EvalDecision] = {}
    for result in results:
        for source, decision in result.decision_details.items():
            worst[source] = max(worst.get(source, decision), decision, key=_BY_RESTRICTION.index)
    return {source: decision.value for source, decision in worst.items()}


def _boundary_detail(*, allowed: bool | None) -> Result:
    if allowed is None:
        return {}
    return {"PermissionsBoundaryDecisionDetail": {"AllowedByPermissionsBoundary": allowed}}


def _statements(matched: Sequence[MatchedStatement]) -> list[Result]:
    return [
        {
            "SourcePolicyId": statement.source_policy_id,
            "SourcePolicyType": statement.source_policy_type.value,
            "StartPosition": _position(statement.span.start),
            "EndPosition": _position(statement.span.end),
        }
        for statement in matched
    ]


def _position(position: Position) -> Result:
    return {"Line": position.line, "Column": position.column}


# The operations


@operation("iam", "SimulateCustomPolicy")
def simulate_custom_policy(
    call: Call,
    *,
    policy_input_list: Sequence[str],
    action_names: Sequence[str],
    permissions_boundary_policy_input_list: Sequence[str] = (),
    ordered_organization_policy_input_list: Sequence[Result] = (),
    resource_arns: Sequence[str] = (),
    resource_policy: str | None = None,
    resource_owner: str | None = None,
    caller_arn: str | None = None,
    context_entries: Sequence[Result] = (),
    resource_handling_option: str | None = None,
    max_items: int | None = None,
    marker: str | None = None,
) -> Result:
    if ordered_organization_policy_input_list:
        raise not_implemented("iam", "SimulateCustomPolicy with OrderedOrganizationPolicyInputList")
    given = Circumstances(
        action_names,
        resource_arns,
        resource_policy,
        resource_owner,
        caller_arn,
        context_entries,
        resource_handling_option,
        marker,
        max_items,
    )
    policies = _given("PolicyInputList", policy_input_list)
    return _simulated(call, given, policies, _given_boundary(permissions_boundary_policy_input_list))


@operation("iam", "SimulatePrincipalPolicy", the_entity)
def simulate_principal_policy(
    call: Call,
    *,
    policy_source_arn: str,
    action_names: Sequence[str],
    policy_input_list: Sequence[str] = (),
    permissions_boundary_policy_input_list: Sequence[str] = (),
    policy_exclusion_list: Sequence[Result] = (),
    resource_arns: Sequence[str] = (),
    resource_policy: str | None = None,
    resource_owner: str | None = None,
    caller_arn: str | None = None,
    context_entries: Sequence[Result] = (),
    resource_handling_option: str | None = None,
    max_items: int | None = None,
    marker: str | None = None,
) -> Result:
    """A boundary that is given stands in for the one that is attached."""
    entity = entity_of(call, policy_source_arn)
    if resource_policy is not None and entity.kind == "role":
        raise _no_resource_policy_for_roles()
    exclusions = [exclusion(identifier) for identifier in policy_exclusion_list]
    policies = [
        policy.source
        for policy in entity.attached
        if not any(excludes(policy) for excludes, _with_boundary in exclusions)
    ]
    boundaries = _given_boundary(permissions_boundary_policy_input_list)
    if not boundaries and not any(with_boundary for _excludes, with_boundary in exclusions):
        boundaries = [*attached_boundary(call, entity)]
    given = Circumstances(
        action_names,
        resource_arns,
        resource_policy,
        resource_owner,
        caller_arn or entity.arn,
        context_entries,
        resource_handling_option,
        marker,
        max_items,
    )
    return _simulated(call, given, [*policies, *_given("PolicyInputList", policy_input_list)], boundaries)


def _no_resource_policy_for_roles() -> Fault:
    return invalid_input("Simulation of resource-based policies is not supported for roles.")


@operation("iam", "GetContextKeysForCustomPolicy")
def get_context_keys_for_custom_policy(_call: Call, *, policy_input_list: Sequence[str]) -> Result:
    _check_length(policy_input_list)
    return {"ContextKeyNames": list(context_keys(_document(text) for text in policy_input_list))}


@operation("iam", "GetContextKeysForPrincipalPolicy", the_entity)
def get_context_keys_for_principal_policy(
    call: Call, *, policy_source_arn: str, policy_input_list: Sequence[str] = ()
) -> Result:
    entity = entity_of(call, policy_source_arn)
    documents = [policy.source.document for policy in entity.attached]
    _check_length(policy_input_list)
    documents += [_document(text) for text in policy_input_list]
    return {"ContextKeyNames": list(context_keys(documents))}
