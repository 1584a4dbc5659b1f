"""`POST /-/account`: a signed call that changes what the account has set for itself.

It is signed for the credential scope `keyturn`, as calls of `/-/verify` are, by a principal that may
`keyturn:UpdateAccountSettings`. Reading the request from the wire and sending the answer is left to `app`.
"""

from __future__ import annotations

import json
import logging
from typing import Final

from keyturn.authority.account_settings import UPDATE_ACCOUNT_SETTINGS
from keyturn.authority.authentication import Refused
from keyturn.authority.authority import Authority
from keyturn.authority.guardrails import MfaRequired
from keyturn.authority.operations import RequestFacts, Result
from keyturn.http.forwarded import Source
from keyturn.model.errors import StoreUnavailableError
from keyturn.sigv4.canonical_request import SignedRequest
from keyturn.sigv4.verification import Verifier
from keyturn.wire.faults import Fault, validation_error
from keyturn.wire.json import parse_body

ACCOUNT_PATH: Final = b"/-/account"
LARGEST_CALL: Final = 1024
"""Bytes of JSON."""
_SETTING: Final = "mfa_required"
_log = logging.getLogger("keyturn.http")


class AccountDoor:
    """Belongs to the event loop's thread, as authentication does."""

    def __init__(self, authority: Authority, calls: Verifier) -> None:
        self._authority = authority
        self._calls = calls

    async def answer(
        self, request: SignedRequest, source: Source, user_agent: str, request_id: str
    ) -> tuple[int, bytes]:
        """Status and JSON."""
        try:
            changed = await self._answer(request, source, user_agent, request_id)
        except Fault as refused:
            fault = refused
        except StoreUnavailableError as unavailable:
            _log.warning("request %s answered 503: %s", request_id, unavailable)
            fault = Fault("ServiceUnavailable", "The store can't be written.", status=503)
        except Exception as failure:  # noqa: BLE001 - the last line: whatever it is, the client gets an answer
            _log.error("request %s failed: %s", request_id, type(failure).__name__)
            fault = Fault("InternalFailure", "The request could not be answered.", status=500)
        else:
            told = {_SETTING: changed["MfaRequired"], "before": changed["MfaRequiredBefore"]}
            return 200, json.dumps(told).encode()
        return fault.status, json.dumps({"code": fault.code, "message": fault.message or ""}).encode()

    async def _answer(
        self, request: SignedRequest, source: Source, user_agent: str, request_id: str
    ) -> Result:
        if request.target != ACCOUNT_PATH:
            raise validation_error("A call of /-/account has no query.")
        if len(request.body) > LARGEST_CALL:
            raise Fault("RequestTooLarge", f"A call has at most {LARGEST_CALL} bytes.", status=413)
        operation = UPDATE_ACCOUNT_SETTINGS
        now = self._authority.clock.now_ms()
        outcome = self._authority.authentication.authenticate(request, now, self._calls)
        if isinstance(outcome, Refused):
            self._authority.note_refusal(outcome, now, source.address, user_agent, lambda: operation.name)
            refusal = outcome.refusal
            raise Fault(refusal.code or "BadRequest", refusal.message or None, status=refusal.status)
        facts = RequestFacts(
            request_id=request_id,
            source_address=source.address,
            user_agent=user_agent,
            service=outcome.service,
            region=outcome.region,
            is_secure=source.scheme == "https",
        )
        self._authority.note_use(outcome.caller, facts, now, operation.name)
        return await self._authority.perform(operation, outcome.caller, facts, _wanted(request.body))


def _wanted(body: bytes) -> dict[str, str]:
    """The operation's parameters. A Fault for anything that is missing, unknown, twice there or of another type."""
    content = parse_body(body)
    value = content.get(_SETTING)
    choices = [choice.value for choice in MfaRequired]
    if content.keys() != {_SETTING} or value not in choices:
        raise validation_error(f"The body is an object with '{_SETTING}', one of {', '.join(choices)}.")
    return {_SETTING: str(value)}
