"""The condition keys of a call: who, from where, when, with which second factor, about what.

Source: IAM user guide, "AWS global condition context keys"; Service Authorization Reference for `iam:` and `sts:`.
"""

from __future__ import annotations

from typing import Final

from keyturn.authority.operations import Call, Parameters, Target
from keyturn.authority.sessions import SessionKind
from keyturn.authority.storage.tags import Tag
from keyturn.model.clock import iso8601
from keyturn.model.principals import AssumedRole, FederatedUser, User, WebIdentityUser

Values = dict[str, str | tuple[str, ...]]
_PRINCIPAL_TYPES: Final = {
    User: "User",
    AssumedRole: "AssumedRole",
    FederatedUser: "FederatedUser",
}


def context_of(call: Call, parameters: Parameters, target: Target, principal_tags: tuple[Tag, ...]) -> Values:
    """Keys in lower case. A key whose value is not known is absent."""
    values = _of_request(call)
    values |= _of_principal(call, principal_tags)
    values |= _of_session(call)
    if target.boundary is not None:
        values["iam:permissionsboundary"] = target.boundary
    values |= _of_key(call, principal_tags)
    values |= _of_parameters(parameters)
    values |= {f"aws:resourcetag/{key.lower()}": value for key, value in target.tags}
    values |= {f"iam:resourcetag/{key.lower()}": value for key, value in target.tags}
    values |= dict(target.keys)
    return values


def _of_request(call: Call) -> Values:
    facts = call.facts
    values: Values = {
        "aws:currenttime": iso8601(call.now),
        "aws:epochtime": str(call.now // 1000),
        "aws:securetransport": "true" if facts.is_secure else "false",
        "aws:requestedregion": facts.region,
    }
    if facts.source_address:
        values["aws:sourceip"] = facts.source_address
    if facts.user_agent:
        values["aws:useragent"] = facts.user_agent
    return values


def _of_principal(call: Call, tags: tuple[Tag, ...]) -> Values:
    """A web identity is no principal of this account: a trust in the account's own must not fit it."""
    principal = call.caller.principal
    if isinstance(principal, WebIdentityUser):
        return {}
    values: Values = {
        "aws:userid": call.caller.unique_id,
        "aws:principalaccount": call.caller.account_id,
        "aws:principaltype": _PRINCIPAL_TYPES[type(principal)],
        # Of a role session, the role's own ARN: policies are written for roles.
        "aws:principalarn": principal.role.arn if isinstance(principal, AssumedRole) else principal.arn,
    }
    if isinstance(principal, User):
        values["aws:username"] = principal.name
    session_tags = call.caller.session.tags if call.caller.session else ()
    values |= {f"aws:principaltag/{key.lower()}": value for key, value in (*tags, *session_tags)}
    return values


def _of_session(call: Call) -> Values:
    """A call with a long-lived key has none of these keys: `BoolIfExists` is there for that."""
    session = call.caller.session
    if session is None:
        return {}
    values: Values = {"aws:tokenissuetime": iso8601(session.issued_at)}
    if session.kind in {SessionKind.USER, SessionKind.ROLE}:
        values["aws:multifactorauthpresent"] = "false" if session.mfa_at is None else "true"
    if session.mfa_at is not None:
        values["aws:multifactorauthage"] = str((call.now - session.mfa_at) // 1000)
    if session.source_identity is not None:
        values["aws:sourceidentity"] = session.source_identity
    if session.kind is SessionKind.WEB_IDENTITY and session.provider is not None:
        values["aws:federatedprovider"] = session.provider
    values |= dict(session.claims)
    return values


def _of_key(call: Call, tags: tuple[Tag, ...]) -> Values:
    """Our own keys, about the access key of the call: of a session, the key that obtained it."""
    caller = call.caller
    if caller.key_created_at is None:
        return {}
    values: Values = {"keys:age": str(max(0, call.now - caller.key_created_at) // 1000)}
    if caller.user is not None:
        # Where AWS's console keeps what a key was made for: in a tag of the user, named as the key.
        made_for = next((value for key, value in tags if key == caller.booked_on), None)
        if made_for is not None:
            values["keys:usecase"] = made_for
    return values


def _of_parameters(parameters: Parameters) -> Values:
    values: Values = {}
    tags = parameters.get("tags")
    if tags:
        # Some models require neither of a tag's members.
        values |= {f"aws:requesttag/{tag.get('Key', '').lower()}": tag.get("Value", "") for tag in tags}
        values["aws:tagkeys"] = tuple(tag.get("Key", "") for tag in tags)
    elif parameters.get("tag_keys"):
        values["aws:tagkeys"] = tuple(parameters["tag_keys"])
    if parameters.get("permissions_boundary"):
        values["iam:permissionsboundary"] = parameters["permissions_boundary"]
    if parameters.get("policy_arn"):
        values["iam:policyarn"] = parameters["policy_arn"]
    return values
