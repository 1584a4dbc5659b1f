"""The authority as one thing: what a verified call goes through, from permission to audit record.

Calls that read run on the event loop over one snapshot. Calls that change something run whole in the
writer's transaction: the caller's key is looked at again, permission is asked, the change is made and
its record appended, or, if it is refused, only the record.
"""

from __future__ import annotations

from collections.abc import Callable

from keyturn.authority.audit import AuditTrail
from keyturn.authority.authentication import Authentication, Caller, Refused, still_holds
from keyturn.authority.operations import (
    OPERATIONS,
    Call,
    Operation,
    Parameters,
    RequestFacts,
    Result,
    WriteCall,
)
from keyturn.authority.refused_identities import RefusedIdentities
from keyturn.authority.services import Services
from keyturn.authority.web_identity import WebIdentity
from keyturn.model.clock import Clock, iso8601
from keyturn.model.principals import WebIdentityUser
from keyturn.sigv4.refusals import SIGNATURE_DOES_NOT_MATCH, Refusal
from keyturn.store.interface import Store, Transaction
from keyturn.wire.faults import Fault


class Authority:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        authentication: Authentication,
        services: Services,
        audit: AuditTrail,
    ) -> None:
        self.store = store
        self.clock = clock
        self.authentication = authentication
        self.services = services
        self._audit = audit
        self._refused_identities = RefusedIdentities()

    @staticmethod
    def offered(service: str, name: str) -> Operation | None:
        return OPERATIONS.get((service, name))

    def note_use(self, caller: Caller, facts: RequestFacts, now: int, action: str) -> None:
        """The signature has matched: a use, whatever comes of the call."""
        self.services.repeats.note_used(caller.access_key_id)
        self.services.entity_uses.record(
            caller.principal, at=now, service=facts.service, region=facts.region, action=action
        )
        if caller.booked_on is not None:
            self.services.usage.record_use(
                caller.booked_on,
                at=now,
                source=facts.source_address,
                user_agent=facts.user_agent,
                service=facts.service,
                region=facts.region,
                action=action,
                is_session=caller.session is not None,
            )

    def note_refusal(
        self, refused: Refused, now: int, source: str, user_agent: str, action: Callable[[], str]
    ) -> None:
        """A refused attempt, if it was with a key of ours. `action` is asked only of a proved one."""
        refusal, access_key_id = refused.refusal, refused.booked_on
        if access_key_id is None:
            return
        if refusal.proved:
            self.services.usage.record_proved_refusal(
                access_key_id,
                at=now,
                source=source,
                user_agent=user_agent,
                service=refusal.service or "-",
                action=action(),
            )
        elif _is_unproved(refusal) and self.authentication.was_issued(access_key_id):
            self.services.usage.record_unproved_refusal(access_key_id, at=now, source=source)

    async def tell_of_refused_identities(self, *, is_last: bool = False) -> None:
        """One record for the refusals that got none of their own; nothing while their minute lasts."""
        now = self.clock.now_ms()
        folded = self._refused_identities.due(now, is_last=is_last)
        if folded is None:
            return
        await self.store.write(
            lambda tx: self._audit.append_event(
                tx,
                "RefusedWebIdentities",
                now,
                self.services.random_bytes,
                count=str(folded.count),
                firstAt=iso8601(folded.first_at),
                lastAt=iso8601(folded.last_at),
            )
        )
        self._refused_identities.settled(folded)

    async def perform(
        self,
        operation: Operation,
        caller: Caller,
        facts: RequestFacts,
        parameters: Parameters,
        web_identity: WebIdentity | None = None,
    ) -> Result:
        """The result of the call; raises the Fault that refuses it, or StoreUnavailableError."""
        if not operation.writes:
            return self.read(operation, caller, facts, parameters)
        return await self.write(operation, caller, facts, parameters, web_identity)

    async def write(
        self,
        operation: Operation,
        caller: Caller,
        facts: RequestFacts,
        parameters: Parameters,
        web_identity: WebIdentity | None = None,
    ) -> Result:
        """As `perform`, of an operation that changes something."""
        outcome = await self.store.write(
            lambda tx: self._write(tx, operation, caller, facts, parameters, web_identity),
            urgent=operation.is_urgent(parameters),
        )
        if isinstance(outcome, Fault):
            raise outcome
        return outcome

    def read(
        self, operation: Operation, caller: Caller, facts: RequestFacts, parameters: Parameters
    ) -> Result:
        """As `perform`, of an operation that only reads: nothing has to be waited for."""
        with self.store.read() as reader:
            call = Call(operation.name, caller, self.clock.now_ms(), facts, self.services, reader)
            self.services.authorization.authorize(call, operation, parameters, writing=False)
            return operation.act(call, **parameters)

    def _write(
        self,
        tx: Transaction,
        operation: Operation,
        caller: Caller,
        facts: RequestFacts,
        parameters: Parameters,
        web_identity: WebIdentity | None,
    ) -> Result | Fault:
        """A refusal is a value here, so that its audit record is kept while the change is undone."""
        now = self.clock.now_ms()
        try:
            caller = still_holds(tx, caller, now)
        except Fault as revoked:
            return revoked
        call = WriteCall(operation.name, caller, now, facts, self.services, tx, web_identity, tx=tx)
        outcome: Result | Fault
        try:
            with tx.savepoint():
                self.services.authorization.authorize(call, operation, parameters, writing=True)
                outcome = operation.act(call, **parameters)
        except Fault as refused:
            outcome = refused
            for act in call.even_if_refused:
                act(tx)
        if isinstance(outcome, Fault) and self.store.is_low_on_space:
            # The reserve is for revocations that happen, not for the record of those that do not.
            return outcome
        if (
            isinstance(outcome, Fault)
            and isinstance(caller.principal, WebIdentityUser)
            and not self._refused_identities.may_be_recorded(caller.unique_id, now)
        ):
            return outcome
        self._audit.append_call(call, operation, parameters, outcome)
        return outcome


def _is_unproved(refusal: Refusal) -> bool:
    """A wrong signature or a deleted key, and not a wrong clock or scope."""
    return refusal.code == "InvalidClientTokenId" or (refusal.code, refusal.message) == (
        SIGNATURE_DOES_NOT_MATCH.code,
        SIGNATURE_DOES_NOT_MATCH.message,
    )
