"""STS: exchanging a key, a session or a web identity for temporary credentials.

What decides is the role's trust policy together with the caller's own policies; what limits is the session's
policy and time. Source: STS API; IAM user guide, "Using temporary credentials", "Session tags", "Role chaining".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from keyturn.authority.mfa import prove_code
from keyturn.authority.operations import Call, Parameters, Result, Target, WriteCall, operation
from keyturn.authority.policies import check_session_policy
from keyturn.authority.sessions import (
    LONGEST_TOKEN,
    Session,
    SessionKind,
    TemporaryCredentials,
    issue_session,
    packed_size,
)
from keyturn.authority.storage import roles as role_rows
from keyturn.authority.storage.roles import RoleRow
from keyturn.authority.storage.tags import Tag, fold
from keyturn.model.arns import federated_user_arn
from keyturn.model.principals import AssumedRole, FederatedUser, User
from keyturn.model.secrets import Secret
from keyturn.wire.faults import (
    Fault,
    access_denied,
    invalid_parameter_value,
    not_implemented,
    validation_error,
)

HOUR: Final = 3600
MOST_POLICY_ARNS: Final = 10
LONGEST_SESSION_POLICY: Final = 2048
"""Characters of the policy and of the ARNs together (STS API, AssumeRole, `Policy`)."""
_ROLE_ARN: Final = re.compile(
    r"arn:aws:iam::([0-9]{12}):role((?:/[!-~]{1,512})?/)([\w+=,.@-]{1,64})\Z", re.ASCII
)
DUPLICATE_TAGS: Final = "Duplicate tag keys found. Please note that Tag keys are case insensitive."


def the_role(_call: Call, parameters: Parameters) -> Target:
    return Target(parameters["role_arn"], parameters["role_arn"])


@operation("sts", "AssumeRole", the_role, writes=True, needs_permission=False)
def assume_role(
    call: WriteCall,
    *,
    role_arn: str,
    role_session_name: str,
    policy_arns: Sequence[Result] = (),
    policy: str | None = None,
    duration_seconds: int | None = None,
    tags: Sequence[Result] = (),
    transitive_tag_keys: Sequence[str] = (),
    external_id: str | None = None,
    serial_number: str | None = None,
    token_code: str | None = None,
    source_identity: str | None = None,
    provided_contexts: Sequence[Result] = (),
    minimum_session_token_size: int = 0,
) -> Result:
    """Permission is asked of the trust policy and of the caller's policies together, in `may_assume`."""
    if provided_contexts:
        raise not_implemented("sts", "AssumeRole with ProvidedContexts")
    caller, role = call.caller, find_role(call, role_arn)
    own_tags, transitive, inherited = _session_tags(call, tags, transitive_tag_keys)
    all_tags = (*inherited, *own_tags)
    mfa_at = _second_factor(call, serial_number, token_code)
    held_identity = caller.session.source_identity if caller.session else None
    if held_identity is not None and source_identity not in {None, held_identity}:
        raise access_denied("The source identity of a role chain can't be changed.")
    identity = source_identity or held_identity
    context: dict[str, str | tuple[str, ...]] = {"sts:rolesessionname": role_session_name}
    if external_id is not None:
        context["sts:externalid"] = external_id
    if identity is not None:
        context["sts:sourceidentity"] = identity
    if all_tags:
        context |= {f"aws:requesttag/{key.lower()}": value for key, value in all_tags}
        context["aws:tagkeys"] = tuple(key for key, _value in all_tags)
    if transitive:
        context["sts:transitivetagkeys"] = transitive
    if mfa_at is not None:
        context |= {"aws:multifactorauthpresent": "true", "aws:multifactorauthage": "0"}
    actions = ["sts:AssumeRole"]
    # What a chain hands on is set again in each of its roles, so each must permit it.
    if all_tags:
        actions.append("sts:TagSession")
    if identity is not None:
        actions.append("sts:SetSourceIdentity")
    for action in actions:
        call.services.authorization.may_assume(call, action, role_arn, role, context)
    assert role is not None, "a role that does not exist trusts nobody"
    is_chained = isinstance(caller.principal, AssumedRole)
    seconds = _duration(duration_seconds, role.max_session_seconds, is_chained=is_chained)
    arns = _check_session_policies(call, policy, policy_arns, all_tags)
    session = Session(
        kind=SessionKind.ROLE,
        issued_at=call.now,
        expires_at=call.now + seconds * 1000,
        parent_key=caller.access_key_id if caller.session is None else caller.session.parent_key,
        user_id=_root_user(call),
        role_id=role.role.role_id,
        name=role_session_name,
        policy=policy,
        policy_arns=arns,
        tags=all_tags,
        transitive=transitive,
        source_identity=identity,
        provider=caller.session.provider if caller.session else None,
    )
    credentials = issue(call, session, minimum_session_token_size)
    principal = AssumedRole(role.role, role_session_name)
    packed = {"PackedPolicySize": packed_size(policy, arns, all_tags)} if policy or arns or all_tags else {}
    source = {"SourceIdentity": session.source_identity} if session.source_identity else {}
    return {
        "Credentials": shown(credentials),
        "AssumedRoleUser": {"AssumedRoleId": principal.unique_id, "Arn": principal.arn},
        **packed,
        **source,
    }


@operation("sts", "GetSessionToken", writes=True, needs_permission=False)
def get_session_token(
    call: WriteCall,
    *,
    duration_seconds: int = 43_200,
    serial_number: str | None = None,
    token_code: str | None = None,
    minimum_session_token_size: int = 0,
) -> Result:
    """Needs no permission and can't be controlled by policy (STS API, GetSessionToken)."""
    user = _long_lived_user(call, "GetSessionToken")
    mfa_at = _second_factor(call, serial_number, token_code)
    session = Session(
        kind=SessionKind.USER,
        issued_at=call.now,
        expires_at=call.now + duration_seconds * 1000,
        parent_key=call.caller.access_key_id,
        user_id=user.user_id,
        name=user.name,
        mfa_at=mfa_at,
    )
    return {"Credentials": shown(issue(call, session, minimum_session_token_size))}


def _the_federated_user(call: Call, parameters: Parameters) -> Target:
    arn = federated_user_arn(call.account_id, parameters["name"])
    return Target(arn, arn)


@operation("sts", "GetFederationToken", _the_federated_user, writes=True)
def get_federation_token(
    call: WriteCall,
    *,
    name: str,
    policy: str | None = None,
    policy_arns: Sequence[Result] = (),
    duration_seconds: int = 43_200,
    tags: Sequence[Result] = (),
    minimum_session_token_size: int = 0,
) -> Result:
    """What the session may is what its user may and its policy names: without a policy, nothing."""
    user = _long_lived_user(call, "GetFederationToken")
    pairs, _transitive, _inherited = _session_tags(call, tags, ())
    arns = _check_session_policies(call, policy, policy_arns, pairs)
    session = Session(
        kind=SessionKind.FEDERATION,
        issued_at=call.now,
        expires_at=call.now + duration_seconds * 1000,
        parent_key=call.caller.access_key_id,
        user_id=user.user_id,
        name=name,
        policy=policy,
        policy_arns=arns,
        tags=pairs,
    )
    federated = FederatedUser(user, name)
    has_packed = policy or arns or pairs
    return {
        "Credentials": shown(issue(call, session, minimum_session_token_size)),
        "FederatedUser": {"FederatedUserId": federated.unique_id, "Arn": federated.arn},
        "PackedPolicySize": packed_size(policy, arns, pairs) if has_packed else 0,
    }


@operation("sts", "AssumeRoleWithWebIdentity", the_role, writes=True, needs_permission=False)
def assume_role_with_web_identity(
    call: WriteCall,
    *,
    role_arn: str,
    role_session_name: str,
    web_identity_token: Secret,
    provider_id: str | None = None,
    policy_arns: Sequence[Result] = (),
    policy: str | None = None,
    duration_seconds: int | None = None,
    minimum_session_token_size: int = 0,
) -> Result:
    """The token has been verified before; the trust policy decides over its claims."""
    del web_identity_token
    identity = call.web_identity
    if identity is None:
        raise validation_error("AssumeRoleWithWebIdentity is called with a token and without a signature.")
    if provider_id is not None:
        raise validation_error("ProviderId is for OAuth 2.0 access tokens, which are not accepted here.")
    role = find_role(call, role_arn)
    context = dict(identity.claims) | {
        "sts:rolesessionname": role_session_name,
        "aws:federatedprovider": identity.provider.arn,
    }
    call.services.authorization.may_assume(call, "sts:AssumeRoleWithWebIdentity", role_arn, role, context)
    assert role is not None, "a role that does not exist trusts nobody"
    seconds = _duration(duration_seconds, role.max_session_seconds, is_chained=False)
    arns = _check_session_policies(call, policy, policy_arns, ())
    session = Session(
        kind=SessionKind.WEB_IDENTITY,
        issued_at=call.now,
        expires_at=call.now + seconds * 1000,
        role_id=role.role.role_id,
        name=role_session_name,
        policy=policy,
        policy_arns=arns,
        provider=identity.provider.arn,
        claims=tuple((key, value) for key, value in identity.claims.items() if isinstance(value, str)),
    )
    principal = AssumedRole(role.role, role_session_name)
    packed = {"PackedPolicySize": packed_size(policy, arns, ())} if policy or arns else {}
    return {
        "Credentials": shown(issue(call, session, minimum_session_token_size)),
        "SubjectFromWebIdentityToken": identity.subject,
        "AssumedRoleUser": {"AssumedRoleId": principal.unique_id, "Arn": principal.arn},
        "Provider": identity.provider.arn,
        "Audience": identity.audience,
        **packed,
    }


# What they share


def find_role(call: Call, role_arn: str) -> RoleRow | None:
    """The role of an ARN, if there is one in this account. A text that is no role's ARN is a fault."""
    match = _ROLE_ARN.match(role_arn)
    if match is None:
        raise validation_error(f"{role_arn} is invalid")
    row = role_rows.role_by_name(call.reader, call.account_id, match[3])
    return row if row is not None and row.role.arn == role_arn else None


def issue(call: WriteCall, session: Session, least_size: int) -> TemporaryCredentials:
    services = call.services
    credentials = issue_session(
        services.sealer, services.account_id, session, services.random_bytes, least_size
    )
    if credentials.size > LONGEST_TOKEN:
        raise Fault("PackedPolicyTooLarge", "The session token is too large to be sent.", status=400)
    call.notes["issuedAccessKeyId"] = credentials.key.access_key_id
    return credentials


def shown(credentials: TemporaryCredentials) -> Result:
    return {
        "AccessKeyId": credentials.key.access_key_id,
        "SecretAccessKey": credentials.key.secret,
        "SessionToken": credentials.token.reveal().decode("ascii"),
        "Expiration": credentials.expires_at,
    }


def _long_lived_user(call: Call, name: str) -> User:
    user = call.caller.user
    if call.caller.session is not None or user is None:
        raise access_denied(f"Cannot call {name} with session credentials")
    return user


def _root_user(call: Call) -> str | None:
    session = call.caller.session
    if session is not None:
        return session.user_id
    return call.caller.user.user_id if call.caller.user else None


def _second_factor(call: WriteCall, serial_number: str | None, token_code: str | None) -> int | None:
    """When the factor was proved, or None if none was offered."""
    if serial_number is None and token_code is None:
        return None
    user = call.caller.user
    if user is None or call.caller.session is not None or serial_number is None or token_code is None:
        raise access_denied(
            "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code."
        )
    prove_code(call, user, serial_number, token_code)
    return call.now


def _duration(wanted: int | None, longest: int, *, is_chained: bool) -> int:
    seconds = HOUR if wanted is None else wanted
    if is_chained and seconds > HOUR:
        raise validation_error(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        )
    if seconds > longest:
        raise validation_error(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )
    return seconds


def _session_tags(
    call: Call, tags: Sequence[Result], transitive_keys: Sequence[str]
) -> tuple[tuple[Tag, ...], tuple[str, ...], tuple[Tag, ...]]:
    """The tags of this call, the names of all that go on, and the tags that came along."""
    own = tuple((tag["Key"], tag["Value"]) for tag in tags)
    folded = {fold(key) for key, _value in own}
    if len(folded) < len(own):
        raise invalid_parameter_value(DUPLICATE_TAGS)
    if not {fold(key) for key in transitive_keys} <= folded:
        raise invalid_parameter_value(
            "The specified transitive tag key must be included in the requested tags."
        )
    session = call.caller.session
    inherited: tuple[Tag, ...] = ()
    transitive = tuple(transitive_keys)
    if session is not None and session.transitive:
        going_on = {fold(key) for key in session.transitive}
        inherited = tuple((key, value) for key, value in session.tags if fold(key) in going_on)
        if going_on & folded:
            raise invalid_parameter_value(
                "One of the specified transitive tag keys can't be set because it conflicts with a transitive"
                " tag key from the calling session."
            )
        transitive = (*session.transitive, *transitive)
    return own, transitive, inherited


def _check_session_policies(
    call: Call, policy: str | None, policy_arns: Sequence[Result], tags: tuple[Tag, ...]
) -> tuple[str, ...]:
    """The ARNs of the policies, if all can be a session's."""
    arns = tuple(entry["arn"] for entry in policy_arns if "arn" in entry)
    if len(arns) > MOST_POLICY_ARNS:
        raise validation_error(
            "1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have"
            f" length less than or equal to {MOST_POLICY_ARNS}"
        )
    if len(policy or "") + sum(map(len, arns)) > LONGEST_SESSION_POLICY:
        raise validation_error(
            "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length"
            f" less than or equal to {LONGEST_SESSION_POLICY}"
        )
    if policy is not None:
        check_session_policy(policy)
    for arn in arns:
        if not call.services.authorization.is_policy(call.reader, arn):
            raise Fault(
                "InvalidParameterValue", f"Policy {arn} does not exist or is not attachable.", status=400
            )
    size = packed_size(policy, arns, tags)
    if size > 100:
        told = (
            f"Packed policy consumes {size}% of allotted space, please use smaller policy."
            if policy or arns
            else f"Packed size of session tags consumes {size}% of allotted space."
        )
        raise Fault("PackedPolicyTooLarge", told, status=400)
    return arns
