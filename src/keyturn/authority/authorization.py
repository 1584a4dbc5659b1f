"""May this caller do that? Gathers the policies that apply and asks `policy.evaluation`.

Deny by default. No cache outlives a change: compiled documents are kept by their very text, a user's
set of them only until the next change of any policy, attachment or membership has committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from keyturn.authority.operations import Call, Operation, Parameters
from keyturn.authority.storage import policies as rows
from keyturn.model.principals import UserId
from keyturn.policy.actions import resource_types
from keyturn.policy.document import Document, compile_document
from keyturn.policy.evaluation import AttachedPolicy, Decision, Request, decide, denial_message
from keyturn.policy.managed import MANAGED_POLICIES
from keyturn.store.interface import Reader, Transaction
from keyturn.wire.faults import access_denied

_MOST_USERS: Final = 10_000


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Document:
    return compile_document(text)


class Authorization:
    def __init__(self) -> None:
        self._policies: dict[UserId, tuple[AttachedPolicy, ...]] = {}

    def authorize(self, call: Call, operation: Operation, parameters: Parameters, *, writing: bool) -> None:
        """Return if the caller may; raise AccessDenied in AWS's words if not."""
        if not operation.needs_permission:
            return
        user = call.caller.user
        policies = (
            _policies_of(call.reader, user.user_id) if writing else self._cached(call.reader, user.user_id)
        )
        for target_of in (operation.target, operation.further_target):
            if target_of is None:
                continue
            target = target_of(call, parameters)
            decision = _decided(operation, target.arn, {"aws:username": user.name}, policies)
            if not decision.allowed:
                if operation.denial is not None:
                    raise operation.denial(call, parameters)
                raise access_denied(denial_message(user.arn, operation.action, target.text, decision))

    def policies_changed(self, tx: Transaction) -> None:
        """To be called by every change of a policy, an attachment or a membership."""
        tx.after_commit(self._policies.clear)

    def _cached(self, reader: Reader, user_id: UserId) -> tuple[AttachedPolicy, ...]:
        policies = self._policies.get(user_id)
        if policies is None:
            policies = _policies_of(reader, user_id)
            if len(self._policies) >= _MOST_USERS:
                self._policies.clear()
            self._policies[user_id] = policies
        return policies


def _decided(
    operation: Operation, arn: str, context: Mapping[str, str], policies: Sequence[AttachedPolicy]
) -> Decision:
    """Where the action table names no resource type, only `Resource: "*"` allows (Service Authorization Reference).

    A Deny on the ARN that AWS's own denials name counts all the same.
    """
    if resource_types(operation.service, operation.name):
        return decide(Request(operation.action, arn, context), policies)
    decision = decide(Request(operation.action, "*", context), policies)
    if decision.allowed and arn != "*":
        on_arn = decide(Request(operation.action, arn, context), policies)
        if on_arn.explicit_deny:
            return on_arn
    return decision


def _policies_of(reader: Reader, user_id: UserId) -> tuple[AttachedPolicy, ...]:
    attached = []
    for kind, name, document in rows.documents_of_user(reader, user_id):
        if kind == "managed" and document is None:
            managed = MANAGED_POLICIES.get(name)
            if managed is not None:
                attached.append(AttachedPolicy(name, _compiled(managed.document)))
        elif document is not None:
            attached.append(AttachedPolicy(name, _compiled(document)))
    return tuple(attached)
