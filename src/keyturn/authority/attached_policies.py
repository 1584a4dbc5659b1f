"""The policies of a user, group or role as the simulator takes them, and which of them a request leaves out.

A user's are their own and those of their groups. Nothing is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from keyturn.authority.authorization import compiled, default_document
from keyturn.authority.groups import find_group
from keyturn.authority.operations import Call, Parameters, Result, Target
from keyturn.authority.roles import find_role
from keyturn.authority.storage import groups as group_rows
from keyturn.authority.storage import policies as rows
from keyturn.authority.storage import roles as role_rows
from keyturn.authority.storage import users as user_rows
from keyturn.authority.storage.groups import Group
from keyturn.authority.storage.tags import ROLE_TAGS, USER_TAGS, Tag, fold
from keyturn.authority.users import find_user
from keyturn.model.principals import Role, User
from keyturn.policy.managed import MANAGED_POLICIES
from keyturn.policy.simulation import SourcePolicy
from keyturn.wire.faults import invalid_input, no_such_entity

_ENTITY: Final = re.compile(r"arn:aws:iam::([0-9]{12}):(user|group|role)/(?:[!-~]*/)?([\w+=,.@-]+)", re.ASCII)
_POLICY_ARN: Final = re.compile(r"arn:aws:iam::(?:aws|[0-9]{12}):policy/[^:]+", re.ASCII)
_LOST_BOUNDARY: Final = (
    '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "NotAction": "*", "Resource": "*"}}'
)
"""Allows nothing: a boundary is never lost by deleting it."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A policy as it is attached, with what a PolicyIdentifier may name it by."""

    source: SourcePolicy
    policy_type: str
    """`inline`, `aws-managed` or `user-managed`."""
    name: str
    """Of an inline policy; the ARN of a managed one."""
    owner_kind: str
    owner_name: str


@dataclass(frozen=True, slots=True)
class Entity:
    """The user, group or role whose policies are simulated."""

    kind: str
    arn: str
    attached: tuple[Attached, ...]
    boundary_arn: str | None


def taken_apart(arn: str) -> tuple[str, str, str]:
    """Account, kind and name."""
    found = _ENTITY.fullmatch(arn)
    if found is None:
        raise invalid_input(f"Invalid Entity Arn: {arn} does not clearly define entity type and name.")
    return found[1], found[2], found[3]


def the_entity(call: Call, parameters: Parameters) -> Target:
    """In the spelling in which it was created: a Deny on a name holds for all its spellings."""
    arn = parameters["policy_source_arn"]
    named = _ENTITY.fullmatch(arn)
    if named is None:
        return Target(arn, arn)
    kind, name = named[2], named[3]
    found: User | Group | Role | None
    tags: Sequence[Tag] = ()
    if kind == "user":
        found = user_rows.user_by_name(call.reader, call.account_id, name)
        tags = USER_TAGS.of(call.reader, found.user_id) if found else ()
    elif kind == "group":
        found = group_rows.group_by_name(call.reader, call.account_id, name)
    else:
        row = role_rows.role_by_name(call.reader, call.account_id, name)
        found = row.role if row else None
        tags = ROLE_TAGS.of(call.reader, row.role.role_id) if row else ()
    if found is None or fold(found.arn) != fold(arn):
        return Target(arn, f"{kind} {name}")
    return Target(found.arn, f"{kind} {found.name}", tuple(tags))


def entity_of(call: Call, arn: str) -> Entity:
    account_id, kind, name = taken_apart(arn)
    attached: Callable[[str, str, str], Iterator[Attached]] = partial(_attached_to, call)
    found: Entity
    if kind == "user":
        user = find_user(call, name)
        groups = group_rows.groups_of_user(call.reader, user.user_id)
        boundary = role_rows.boundary_of_user(call.reader, user.user_id)
        policies = [*attached("user", user.name, user.user_id)]
        for group in groups:
            policies += attached("group", group.name, group.group_id)
        found = Entity("user", user.arn, tuple(policies), boundary)
    elif kind == "group":
        group = find_group(call, name)
        policies = [*attached("group", group.name, group.group_id)]
        found = Entity("group", group.arn, tuple(policies), None)
    else:
        row = find_role(call, name)
        policies = [*attached("role", row.role.name, row.role.role_id)]
        found = Entity("role", row.role.arn, tuple(policies), row.boundary_arn)
    if account_id != call.account_id or fold(found.arn) != fold(arn):
        raise no_such_entity(f"The {kind} with ARN {arn} cannot be found.")
    return found


def _attached_to(call: Call, kind: str, name: str, owner_id: str) -> Iterator[Attached]:
    for policy_name, text in sorted(rows.inline_documents(call.reader, owner_id).items()):
        source = SourcePolicy(f"{kind}_{name}_{policy_name}", text, compiled(text))
        yield Attached(source, "inline", policy_name, kind, name)
    for arn in rows.attached_arns(call.reader, owner_id):
        document = default_document(call.reader, arn)
        if document is None:
            continue
        policy_type = "aws-managed" if arn in MANAGED_POLICIES else "user-managed"
        yield Attached(_managed(arn, document), policy_type, arn, kind, name)


def _managed(arn: str, document: str) -> SourcePolicy:
    return SourcePolicy(arn.rpartition("/")[2], document, compiled(document))


def attached_boundary(call: Call, entity: Entity) -> tuple[SourcePolicy, ...]:
    if entity.boundary_arn is None:
        return ()
    document = default_document(call.reader, entity.boundary_arn)
    return (_managed(entity.boundary_arn, document or _LOST_BOUNDARY),)


# Which of them are left out

Excludes = Callable[[Attached], bool]


def exclusion(identifier: Result) -> tuple[Excludes, bool]:
    """Whether a policy that is attached is left out, and whether the boundary is."""
    if len(identifier) != 1:
        raise invalid_input("A policy identifier has exactly one of its members.")
    if "PolicyType" in identifier:
        wanted = identifier["PolicyType"]
        return (lambda policy: policy.policy_type == wanted), wanted == "permission-boundary"
    if "PolicyArn" in identifier:
        arn = identifier["PolicyArn"]
        fixed, _, _ = arn.partition("/")
        if _POLICY_ARN.fullmatch(arn) is None or "*" in fixed or "?" in fixed:
            raise invalid_input(f"The policy ARN {arn} is not valid.")
        of_arn = _wildcards(arn)
        return (lambda policy: policy.policy_type != "inline" and of_arn(policy.name)), False
    inline = identifier["InlinePolicyIdentifier"]
    return (
        lambda policy: (
            policy.policy_type == "inline"
            and policy.name == inline["PolicyName"]
            and policy.owner_kind == inline["AttachmentType"]
            and fold(policy.owner_name) == fold(inline["AttachmentName"])
        )
    ), False


def _wildcards(pattern: str) -> Callable[[str], bool]:
    """At most one `*`, and any number of `?` (IAM API, PolicyIdentifier): so it is matched in linear time."""
    if pattern.count("*") > 1:
        raise invalid_input(f"{pattern} has more than one asterisk.")
    expression = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
    return lambda text: expression.fullmatch(text) is not None
