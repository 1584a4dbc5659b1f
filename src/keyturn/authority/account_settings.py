"""What an account sets for itself beyond AWS's own settings, changed by a signed call.

No operation of AWS's: it is no part of the registry, and has a door of its own. Whoever changes a setting needs
permission as for any call. To loosen one they also need a second factor: a machine's key that was taken is not enough.
"""

from __future__ import annotations

from typing import Final

from keyturn.authority import guardrails
from keyturn.authority.guardrails import MfaRequired
from keyturn.authority.operations import Call, Operation, Parameters, Result, Target, WriteCall
from keyturn.model.errors import KeyturnError
from keyturn.model.principals import UserId
from keyturn.settings import VERIFY_SERVICE
from keyturn.wire.faults import Fault, access_denied

EVENT: Final = "UpdateAccountSettings"
_STRICTNESS: Final = {MfaRequired.OFF: 0, MfaRequired.PEOPLE: 1, MfaRequired.ALL: 2}


def _the_account(call: Call, _parameters: Parameters) -> Target:
    arn = f"arn:aws:keyturn:{call.facts.region}:{call.account_id}:account"
    return Target(arn, arn)


def _update(call: WriteCall, *, mfa_required: str) -> Result:
    required = MfaRequired(mfa_required)
    before = guardrails.mfa_required(call.reader, call.account_id)
    session = call.caller.session
    has_factor = session is not None and session.mfa_at is not None
    if _STRICTNESS[required] < _STRICTNESS[before] and not has_factor:
        raise access_denied(
            f"User: {call.caller.arn} is not authorized to loosen mfa-required from {before} to {required}:"
            " that needs a session with a second factor (GetSessionToken), or a stopped server"
        )
    try:
        guardrails.set_mfa_required(call.tx, call.account_id, required, by=_who_stands_behind(call))
    except KeyturnError as locked_out:
        raise Fault("NoSecondFactor", locked_out.message, status=409) from locked_out
    call.services.authorization.policies_changed(call.tx)
    call.notes["mfaRequiredBefore"] = before.value
    return {"MfaRequired": required.value, "MfaRequiredBefore": before.value}


def _who_stands_behind(call: Call) -> UserId | None:
    """The user whose own key it is, also behind a role's session; None for a web identity."""
    session = call.caller.session
    if session is not None:
        return None if session.user_id is None else UserId(session.user_id)
    return None if call.caller.user is None else call.caller.user.user_id


UPDATE_ACCOUNT_SETTINGS: Final = Operation(VERIFY_SERVICE, EVENT, _update, _the_account, writes=True)
