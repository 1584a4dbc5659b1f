"""May this caller do that? Gathers the policies that have a say and asks `policy.evaluation`.

Deny by default. No cache outlives a change: compiled documents are kept by their very text, what is attached
to a user or role only until the next change of a policy, attachment, membership, boundary or tag has committed;
for the writer, only until that change is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from keyturn.authority import guardrails
from keyturn.authority.authentication import Caller
from keyturn.authority.context import Values, context_of
from keyturn.authority.operations import Call, Operation, Parameters, Target, WriteCall
from keyturn.authority.sessions import Session, SessionKind
from keyturn.authority.storage import login_profiles as login_rows
from keyturn.authority.storage import policies as rows
from keyturn.authority.storage import roles as role_rows
from keyturn.authority.storage.password_policy import password_policy as password_policy_row
from keyturn.authority.storage.roles import RoleRow
from keyturn.authority.storage.tags import ROLE_TAGS, USER_TAGS, Tag
from keyturn.model.principals import AssumedRole, FederatedUser, User, WebIdentityUser
from keyturn.policy import principals as named
from keyturn.policy.actions import resource_types
from keyturn.policy.context import Context
from keyturn.policy.document import Document, DocumentKind, compile_document
from keyturn.policy.evaluation import (
    AttachedPolicy,
    Decision,
    Policies,
    Request,
    decide,
    denial_message,
)
from keyturn.policy.managed import MANAGED_POLICIES
from keyturn.settings import VERIFY_SERVICE
from keyturn.store.interface import Reader, Transaction
from keyturn.wire.faults import Fault, access_denied

_MOST_OWNERS: Final = 10_000
_ALWAYS_FOR_SESSIONS: Final = frozenset({"sts:GetCallerIdentity"})


@lru_cache(maxsize=4096)
def compiled(text: str, kind: DocumentKind = DocumentKind.IDENTITY) -> Document:
    return compile_document(text, kind)


_OWN_PASSWORD: Final = AttachedPolicy(
    "account password policy",
    compile_document(
        json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "AllowOwnPassword",
                        "Effect": "Allow",
                        "Action": "iam:ChangePassword",
                        "Resource": [
                            "arn:aws:iam::*:user/${aws:username}",
                            "arn:aws:iam::*:user/*/${aws:username}",
                        ],
                    },
                    {"Effect": "Allow", "Action": "iam:GetAccountPasswordPolicy", "Resource": "*"},
                ],
            }
        )
    ),
)
"""What AllowUsersToChangePassword permits every user, with nothing attached to them (IAM user guide, "Permitting
IAM users to change their own passwords"). Boundaries and denials count all the same."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is attached to a user or a role."""

    identity: tuple[AttachedPolicy, ...]
    boundary: AttachedPolicy | None
    tags: tuple[Tag, ...]
    guardrails: tuple[AttachedPolicy, ...]


_NOTHING_HELD: Final = Held((), None, (), (guardrails.FREEING_GUARDRAIL,))


class Authorization:
    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        # The writer's own, for it decides ahead of the event loop: as committed, and never of a group that has
        # changed something, for a group can be lost.
        self._held_by_writer: dict[str, Held] = {}
        self._changed_group: object = None

    def authorize(self, call: Call, operation: Operation, parameters: Parameters, *, writing: bool) -> None:
        """Return if the caller may; raise AccessDenied in AWS's words if not."""
        check_session(call.caller, operation.action)
        if not operation.needs_permission:
            return
        held = self.held(call, writing=writing)
        for target_of in (operation.target, operation.further_target):
            if target_of is None:
                continue
            target = target_of(call, parameters)
            context = context_of(call, parameters, target, held.tags)
            decision = self._decided(call, operation, target, context, held)
            if not decision.allowed:
                if operation.denial is not None:
                    raise operation.denial(call, parameters)
                raise access_denied(denial_message(call.caller.arn, operation.action, target.text, decision))
        if operation.passes is not None:
            role, service = operation.passes(call, parameters)
            context = context_of(call, {}, role, held.tags) | {"iam:passedtoservice": service}
            decision = self._asked(call, "iam:PassRole", role.arn, context, held, None)
            if not decision.allowed:
                raise access_denied(denial_message(call.caller.arn, "iam:PassRole", role.arn, decision))

    def may_assume(
        self,
        call: Call,
        action: str,
        role_arn: str,
        role: RoleRow | None,
        more: Mapping[str, str | tuple[str, ...]],
    ) -> None:
        """Trust policy and the caller's own policies together decide who may become a role.

        Where nothing denies it, AWS does not say what is missing: a role that does not exist sounds the same.
        """
        held = self.held(call, writing=True)
        tags = tuple(ROLE_TAGS.of(call.reader, role.role.role_id)) if role else ()
        target = Target(role_arn, role_arn, tags)
        context = context_of(call, {}, target, held.tags) | dict(more)
        trust = None if role is None else trust_of(role)
        decision = self._asked(call, action, role_arn, context, held, trust)
        if role is None or not decision.allowed:
            if isinstance(call.caller.principal, WebIdentityUser):
                raise access_denied(f"Not authorized to perform {action}")
            message = denial_message(call.caller.arn, action, role_arn, decision)
            raise access_denied(message if decision.explicit_deny else message.partition(" because ")[0])

    def decide_on(self, call: Call, action: str, target: Target) -> tuple[Decision, Held]:
        """What the caller's own policies say of any action on any ARN, also of another service's. Raises a Fault
        for what a session's token can't do at all.
        """
        check_session(call.caller, action)
        held = self.held(call, writing=False)
        context = context_of(call, {}, target, held.tags)
        return self._asked(call, action, target.arn, context, held, resource_policy_of(target)), held

    def policies_changed(self, tx: Transaction) -> None:
        """To be called by every change of a policy, an attachment, a membership, a boundary or a tag."""
        self._changed_group = tx.group
        self._held_by_writer.clear()
        tx.after_commit(self._held.clear)

    def is_policy(self, reader: Reader, arn: str) -> bool:
        return arn in MANAGED_POLICIES or rows.policy_by_arn(reader, arn) is not None

    def held(self, call: Call, *, writing: bool) -> Held:
        """What is attached to the caller's user or role.

        A write in whose group of commits anything of it was changed reads it afresh, in its own transaction.
        """
        principal = call.caller.principal
        if isinstance(principal, WebIdentityUser):
            return _NOTHING_HELD
        owner: User | RoleOwner
        if isinstance(principal, AssumedRole):
            owner = RoleOwner(principal.role.role_id)
            key = str(principal.role.role_id)
        else:
            owner = principal.user if isinstance(principal, FederatedUser) else principal
            key = owner.user_id
        if isinstance(call, WriteCall) and call.tx.group is self._changed_group:
            return _held_by(call.reader, owner)
        kept = self._held_by_writer if writing else self._held
        held = kept.get(key)
        if held is None:
            held = _held_by(call.reader, owner)
            if len(kept) >= _MOST_OWNERS:
                kept.clear()
            kept[key] = held
        return held

    def _decided(
        self, call: Call, operation: Operation, target: Target, context: Values, held: Held
    ) -> Decision:
        """Where the action table names no resource type, only `Resource: "*"` allows (Service Authorization Reference).

        A Deny on the ARN that AWS's own denials name counts all the same.
        """
        arn = target.arn
        if operation.service == VERIFY_SERVICE or resource_types(operation.service, operation.name):
            return self._asked(call, operation.action, arn, context, held, resource_policy_of(target))
        decision = self._asked(call, operation.action, "*", context, held, None)
        if decision.allowed and arn != "*":
            on_arn = self._asked(call, operation.action, arn, context, held, None)
            if on_arn.explicit_deny:
                return on_arn
        return decision

    @staticmethod
    def _asked(
        call: Call, action: str, arn: str, context: Values, held: Held, resource: AttachedPolicy | None
    ) -> Decision:
        request = Request(
            action,
            arn,
            Context(context),
            principal_named(call.caller),
            resource_account=call.account_id,
        )
        session = call.caller.session
        return decide(
            request,
            Policies(
                identity=held.identity,
                boundary=held.boundary,
                session=None if session is None else _session_policies(call.reader, session),
                resource=resource,
                needs_resource_policy=resource is not None and resource.document.kind is DocumentKind.TRUST,
                guardrails=held.guardrails,
            ),
        )


@dataclass(frozen=True, slots=True)
class RoleOwner:
    role_id: str


def principal_named(caller: Caller) -> named.Principal:
    """The caller, as Principal elements name them."""
    principal = caller.principal
    if isinstance(principal, AssumedRole):
        return named.role_session(principal.arn, principal.role.arn, principal.role.role_id)
    if isinstance(principal, FederatedUser):
        return named.federated_user(principal.arn, principal.user.arn, principal.user.user_id)
    if isinstance(principal, WebIdentityUser):
        return named.federated(principal.provider_arn)
    return named.user(principal.arn, principal.user_id)


def trust_of(role: RoleRow) -> AttachedPolicy:
    return AttachedPolicy(role.role.arn, compiled(role.trust_policy, DocumentKind.TRUST))


def resource_policy_of(target: Target) -> AttachedPolicy | None:
    if target.policy is None:
        return None
    return AttachedPolicy(target.arn, compiled(target.policy, DocumentKind.RESOURCE))


def check_session(caller: Caller, action: str) -> None:
    """What AWS leaves to temporary credentials (IAM user guide, "Comparing the AWS STS API operations")."""
    session = caller.session
    if session is None or action in _ALWAYS_FOR_SESSIONS:
        return
    service = action.partition(":")[0]
    if session.kind is SessionKind.FEDERATION and service in {"iam", "sts"}:
        raise _not_with_this_token()
    if session.kind is SessionKind.USER:
        if service == "iam" and session.mfa_at is None:
            raise _not_with_this_token()
        if service == "sts" and action != "sts:AssumeRole":
            raise access_denied(f"Cannot call {action.partition(':')[2]} with session credentials")


def _not_with_this_token() -> Fault:
    """What AWS answers to a call that a token can't make, in place of AccessDenied."""
    return Fault("InvalidClientTokenId", "The security token included in the request is invalid.", status=403)


def _held_by(reader: Reader, owner: User | RoleOwner) -> Held:
    if isinstance(owner, RoleOwner):
        row = role_rows.role_by_id(reader, owner.role_id)
        boundary = None if row is None else row.boundary_arn
        return Held(
            policies_of(reader, owner.role_id),
            boundary_named(reader, boundary),
            tuple(ROLE_TAGS.of(reader, owner.role_id)),
            (guardrails.FREEING_GUARDRAIL,),
        )
    tags = tuple(USER_TAGS.of(reader, owner.user_id))
    is_guarded = guardrails.applies(
        guardrails.mfa_required(reader, owner.account_id),
        has_login_profile=login_rows.login_profile(reader, owner.user_id) is not None,
        tags=tags,
    )
    identity = policies_of(reader, owner.user_id)
    password_policy = password_policy_row(reader, owner.account_id)
    if password_policy is not None and password_policy.users_may_change:
        identity = (*identity, _OWN_PASSWORD)
    return Held(
        identity,
        boundary_named(reader, role_rows.boundary_of_user(reader, owner.user_id)),
        tags,
        (guardrails.FREEING_GUARDRAIL, *((guardrails.MFA_GUARDRAIL,) if is_guarded else ())),
    )


def policies_of(reader: Reader, owner_id: str) -> tuple[AttachedPolicy, ...]:
    """Inline and managed, of the user and their groups, or of the role."""
    attached = []
    for kind, name, document in rows.documents_of_owner(reader, owner_id):
        if kind == "managed" and document is None:
            managed = MANAGED_POLICIES.get(name)
            if managed is not None:
                attached.append(AttachedPolicy(name, compiled(managed.document)))
        elif document is not None:
            attached.append(AttachedPolicy(name, compiled(document)))
    return tuple(attached)


def boundary_named(reader: Reader, arn: str | None) -> AttachedPolicy | None:
    """The policy that bounds. One that is gone allows nothing: a boundary is never lost by deleting it."""
    if arn is None:
        return None
    document = default_document(reader, arn)
    return AttachedPolicy(arn, compiled(document or '{"Version": "2012-10-17", "Statement": []}'))


def default_document(reader: Reader, arn: str) -> str | None:
    """Of a managed policy, AWS's own or ours; None if there is none."""
    if arn in MANAGED_POLICIES:
        return MANAGED_POLICIES[arn].document
    policy = rows.policy_by_arn(reader, arn)
    if policy is None:
        return None
    versions = rows.policy_versions(reader, policy.policy_id)
    return next(version.document for version in versions if version.version == policy.default_version)


def _session_policies(reader: Reader, session: Session) -> tuple[AttachedPolicy, ...] | None:
    """The policies that were passed with the session; None where none was, an empty tuple where one was needed."""
    policies = []
    if session.policy is not None:
        policies.append(AttachedPolicy("session policy", compiled(session.policy)))
    for arn in session.policy_arns:
        bounded = boundary_named(reader, arn)
        if bounded is not None:
            policies.append(bounded)
    if policies or session.kind is SessionKind.FEDERATION:
        return tuple(policies)
    return None
