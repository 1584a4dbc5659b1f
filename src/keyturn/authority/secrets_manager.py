"""AWS Secrets Manager's API: secrets with versions and stages, sealed at rest, each with a policy of its own.

Secrets belong to a region, as on AWS. Values are sealed under the authority's own master key, so KMS keys can't be
named; rotation by functions, and replicas in other regions, are left to others.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import string
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from keyturn.authority.named_principals import by_arns, by_unique_ids
from keyturn.authority.operations import ANYTHING, Call, Parameters, Result, Target, WriteCall, operation
from keyturn.authority.storage import secrets_manager as rows
from keyturn.authority.storage.secrets_manager import SecretVersion, StoredSecret
from keyturn.authority.storage.tags import Tag
from keyturn.authority.tags import tag_list
from keyturn.model.secrets import Secret
from keyturn.policy.document import DocumentKind
from keyturn.policy.elements import UnreadableError, read_elements, statements_of
from keyturn.policy.evaluation import denial_message
from keyturn.policy.validation import MalformedPolicyDocumentError, validate
from keyturn.store.sealing import Purpose
from keyturn.wire.faults import Fault, access_denied

SECRETS_PER_ACCOUNT: Final = 500_000
VERSIONS_PER_SECRET: Final = 100
"""With and without stages; the oldest without one goes first (Secrets Manager quotas)."""
STAGES_PER_VERSION: Final = 20
MOST_TAGS: Final = 50
POLICY_SIZE: Final = 20_480
DEFAULT_PAGE: Final = 100
DEFAULT_BATCH: Final = 20
SHORTEST_WINDOW: Final = 7
LONGEST_WINDOW: Final = 30
"""Days in which a deleted secret can be restored; the longest if nobody says."""
CURRENT: Final = "AWSCURRENT"
PREVIOUS: Final = "AWSPREVIOUS"
_SERVICE: Final = "secretsmanager"
_DAY_MS: Final = 86_400_000
_PURGED_AT_ONCE: Final = 20
_BEFORE_ANY_PURGE: Final = -1
"""A time at which what is purged was still there."""
_SUFFIX: Final = 6
_ANY_SUFFIX: Final = "?" * _SUFFIX
_OWN_KMS_KEY: Final = "alias/aws/secretsmanager"
_NAME: Final = re.compile(r"[A-Za-z0-9/_+=.@!-]+\Z")
_ARN: Final = re.compile(r"arn:aws:secretsmanager:([a-z0-9-]+):([0-9]{12}):secret:(.+)\Z", re.DOTALL)

T = TypeVar("T")


# Faults


def _not_found(what: str = "") -> Fault:
    return _fault(
        "ResourceNotFoundException", f"Secrets Manager can't find the specified secret{what or '.'}"
    )


def _no_version(version_id: str) -> Fault:
    return _not_found(f" value for VersionId: {version_id}")


def _no_stage(stage: str) -> Fault:
    return _not_found(f" value for staging label: {stage}")


def _invalid_parameter(message: str) -> Fault:
    return _fault("InvalidParameterException", message)


def _invalid_request(message: str) -> Fault:
    return _fault("InvalidRequestException", message)


def _fault(code: str, message: str) -> Fault:
    return Fault(code, message, status=400)


def _refuse_unsupported(**given: object) -> None:
    """What names a thing that is not here is refused: an answer that ignored it would be a lie."""
    for name, value in given.items():
        if value:
            raise _invalid_parameter(f"Keyturn does not support {name}: leave it out.")


def _refuse_kms_key(kms_key_id: str | None) -> None:
    if kms_key_id not in {None, "", _OWN_KMS_KEY}:
        raise _invalid_parameter(
            "Keyturn seals secrets under its own master key: leave KmsKeyId out, or name alias/aws/secretsmanager."
        )


# Finding secrets


def _arn_of(call: Call, name: str, suffix: str) -> str:
    return f"arn:aws:secretsmanager:{call.facts.region}:{call.account_id}:secret:{name}-{suffix}"


def _found(call: Call, secret_id: str) -> StoredSecret | None:
    """By name, by ARN, or by an ARN without its last hyphen and six characters."""
    name = secret_id
    if secret_id.startswith("arn:"):
        secret = rows.secret_by_arn(call.reader, secret_id, call.now)
        if secret is not None:
            return secret if secret.region == call.facts.region else None
        arn = _ARN.match(secret_id)
        if arn is None or arn[1] != call.facts.region or arn[2] != call.account_id:
            return None
        name = arn[3]
    return rows.secret_by_name(call.reader, call.account_id, call.facts.region, name, call.now)


def _find(call: Call, secret_id: str) -> StoredSecret:
    secret = _found(call, secret_id)
    if secret is None:
        raise _not_found()
    return secret


def _find_usable(call: Call, secret_id: str) -> StoredSecret:
    secret = _find(call, secret_id)
    if secret.purge_at is not None:
        raise _invalid_request(
            "You can't perform this operation on the secret because it was marked for deletion."
        )
    return secret


def _the_secret(call: Call, parameters: Parameters) -> Target:
    """One that does not exist has an ARN with any suffix."""
    secret_id = parameters["secret_id"]
    secret = _found(call, secret_id)
    if secret is None:
        arn = secret_id if secret_id.startswith("arn:") else _arn_of(call, secret_id, _ANY_SUFFIX)
        return Target(arn, secret_id, keys=_condition_keys(parameters, arn))
    tags = tuple(rows.tags_of_secret(call.reader, secret.arn))
    return Target(
        secret.arn,
        secret_id,
        tags,
        policy=secret.resource_policy,
        keys=_condition_keys(parameters, secret.arn)
        + tuple((f"secretsmanager:resourcetag/{key.lower()}", value) for key, value in tags),
    )


def _the_new_secret(call: Call, parameters: Parameters) -> Target:
    name = parameters["name"]
    return Target(_arn_of(call, name, _ANY_SUFFIX), name, keys=_condition_keys(parameters, None))


_KEYS_OF_PARAMETERS: Final = {
    "block_public_policy": "secretsmanager:blockpublicpolicy",
    "description": "secretsmanager:description",
    "force_delete_without_recovery": "secretsmanager:forcedeletewithoutrecovery",
    "kms_key_id": "secretsmanager:kmskeyid",
    "name": "secretsmanager:name",
    "recovery_window_in_days": "secretsmanager:recoverywindowindays",
    "version_id": "secretsmanager:versionid",
    "version_stage": "secretsmanager:versionstage",
}


def _condition_keys(parameters: Parameters, arn: str | None) -> tuple[tuple[str, str], ...]:
    """Of the Service Authorization Reference, for Secrets Manager."""
    keys = []
    for parameter, key in _KEYS_OF_PARAMETERS.items():
        value = parameters.get(parameter)
        if isinstance(value, bool):
            keys.append((key, "true" if value else "false"))
        elif value is not None:
            keys.append((key, str(value)))
    if arn is not None:
        keys.append(("secretsmanager:secretid", arn))
    return tuple(keys)


def _identified(secret: StoredSecret) -> Result:
    return {"ARN": secret.arn, "Name": secret.name}


# Values


def _value_of(secret_string: Secret | None, secret_binary: Secret | None) -> tuple[Secret, bool] | None:
    if secret_string is not None and secret_binary is not None:
        raise _invalid_parameter(
            "You can't specify both a binary secret value and a string secret value in the same secret."
        )
    if secret_string is not None:
        return secret_string, False
    return None if secret_binary is None else (secret_binary, True)


def _open(call: Call, version: SecretVersion) -> Secret:
    return call.services.sealer.unseal(
        version.sealed_value,
        purpose=Purpose.SECRETS_MANAGER,
        account_id=version.account_id,
        owner=version.arn,
        name=version.version_id,
    )


def _is_same(call: Call, version: SecretVersion, value: Secret, *, is_binary: bool) -> bool:
    return version.is_binary == is_binary and _open(call, version) == value


def _token(call: WriteCall, client_request_token: str | None) -> str:
    return client_request_token or str(uuid.UUID(bytes=call.services.random_bytes(16), version=4))


def _add_version(
    call: WriteCall,
    secret: StoredSecret,
    version_id: str,
    value: Secret,
    *,
    is_binary: bool,
    stages: Sequence[str] = (CURRENT,),
) -> None:
    """The same value under the same token is the same call once more, and changes nothing."""
    held = rows.version_of(call.reader, secret.arn, version_id)
    if held is not None:
        if _is_same(call, held, value, is_binary=is_binary):
            return
        raise _fault(
            "ResourceExistsException",
            f"You can't use ClientRequestToken {version_id} because that value is already in use for a version"
            f" of secret {secret.arn}.",
        )
    sealer = call.services.sealer
    sealed = sealer.seal(
        value,
        purpose=Purpose.SECRETS_MANAGER,
        account_id=secret.account_id,
        owner=secret.arn,
        name=version_id,
    )
    version = SecretVersion(secret.arn, version_id, secret.account_id, is_binary, sealed, call.now)
    rows.insert_version(call.tx, version, sealer.kek_id)
    attached = set(stages)
    if CURRENT not in rows.stages_of(call.reader, secret.arn):
        attached.add(CURRENT)
    for stage in sorted(attached):
        _attach(call, secret, stage, version_id)
    rows.update_secret(call.tx, replace(secret, changed_at=call.now))
    _forget_oldest(call, secret.arn)


def _attach(call: WriteCall, secret: StoredSecret, stage: str, version_id: str) -> None:
    """What was current becomes the previous one."""
    stages = rows.stages_of(call.reader, secret.arn)
    if sum(held == version_id for held in stages.values()) >= STAGES_PER_VERSION:
        raise _fault(
            "LimitExceededException",
            f"A version of a secret can have at most {STAGES_PER_VERSION} staging labels.",
        )
    current = stages.get(CURRENT)
    if stage == CURRENT and current is not None and current != version_id:
        rows.put_stage(call.tx, secret.account_id, secret.arn, PREVIOUS, current)
    rows.put_stage(call.tx, secret.account_id, secret.arn, stage, version_id)


def _forget_oldest(call: WriteCall, arn: str) -> None:
    staged = set(rows.stages_of(call.reader, arn).values())
    versions = [version_id for version_id, _ in rows.version_times(call.reader, arn)]
    surplus = len(versions) - VERSIONS_PER_SECRET
    for version_id in reversed(versions):
        if surplus <= 0:
            return
        if version_id not in staged:
            rows.delete_version(call.tx, arn, version_id)
            surplus -= 1


def _purge(call: WriteCall) -> None:
    """Take away some of what nobody sees any more. Each write does a little."""
    for arn in rows.expired_secrets(call.reader, call.now, _PURGED_AT_ONCE):
        rows.delete_secret(call.tx, arn)


@operation(_SERVICE, "CreateSecret", _the_new_secret, writes=True)
def create_secret(
    call: WriteCall,
    *,
    name: str,
    client_request_token: str | None = None,
    description: str | None = None,
    kms_key_id: str | None = None,
    secret_binary: Secret | None = None,
    secret_string: Secret | None = None,
    tags: Sequence[Result] = (),
    add_replica_regions: Sequence[Result] = (),
    force_overwrite_replica_secret: bool | None = None,
    type: str | None = None,  # noqa: A002 - the model's name
    cross_account_primary_arn: str | None = None,
) -> Result:
    """Without a value, a secret without versions. Repeated with the same token and value, the same answer."""
    _refuse_kms_key(kms_key_id)
    _refuse_unsupported(
        AddReplicaRegions=add_replica_regions,
        ForceOverwriteReplicaSecret=force_overwrite_replica_secret,
        Type=type,
        CrossAccountPrimaryARN=cross_account_primary_arn,
    )
    if _NAME.match(name) is None:
        raise _fault(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following:"
            " -/_+=.@!",
        )
    value = _value_of(secret_string, secret_binary)
    version_id = _token(call, client_request_token)
    existing = rows.secret_by_name(call.reader, call.account_id, call.facts.region, name, call.now)
    if existing is not None:
        return _created_before(call, existing, version_id, value)
    pairs = _checked_tags(tags)
    _purge(call)
    gone = rows.secret_by_name(call.reader, call.account_id, call.facts.region, name, _BEFORE_ANY_PURGE)
    if gone is not None:
        rows.delete_secret(call.tx, gone.arn)
    if rows.count_secrets(call.reader, call.account_id) >= SECRETS_PER_ACCOUNT:
        raise _fault(
            "LimitExceededException", "You've reached the maximum number of secrets in this account."
        )
    suffix = _picked(call.services.random_bytes, string.ascii_letters + string.digits, _SUFFIX)
    secret = StoredSecret(
        _arn_of(call, name, suffix),
        call.account_id,
        call.facts.region,
        name,
        description,
        None,
        call.now,
        call.now,
    )
    rows.insert_secret(call.tx, secret)
    rows.put_secret_tags(call.tx, call.account_id, secret.arn, pairs)
    if value is None:
        return _identified(secret)
    _add_version(call, secret, version_id, value[0], is_binary=value[1])
    return {**_identified(secret), "VersionId": version_id}


def _created_before(
    call: Call, existing: StoredSecret, version_id: str, value: tuple[Secret, bool] | None
) -> Result:
    if existing.purge_at is not None:
        raise _invalid_request(
            "You can't create this secret because a secret with this name is already scheduled for deletion."
        )
    held = rows.version_of(call.reader, existing.arn, version_id)
    if held is None or value is None or not _is_same(call, held, value[0], is_binary=value[1]):
        raise _fault(
            "ResourceExistsException",
            f"The operation failed because the secret {existing.name} already exists.",
        )
    return {**_identified(existing), "VersionId": version_id}


@operation(_SERVICE, "PutSecretValue", _the_secret, writes=True)
def put_secret_value(
    call: WriteCall,
    *,
    secret_id: str,
    client_request_token: str | None = None,
    secret_binary: Secret | None = None,
    secret_string: Secret | None = None,
    version_stages: Sequence[str] = (CURRENT,),
    rotation_token: Secret | None = None,
) -> Result:
    """A new version. The first of a secret is the current one, whatever its stages."""
    _refuse_unsupported(RotationToken=rotation_token is not None)
    secret = _find_usable(call, secret_id)
    value = _value_of(secret_string, secret_binary)
    if value is None:
        raise _invalid_parameter("You must provide either SecretString or SecretBinary.")
    version_id = _token(call, client_request_token)
    _add_version(call, secret, version_id, value[0], is_binary=value[1], stages=version_stages)
    stages = _stages_by_version(call, secret.arn).get(version_id)
    return {**_identified(secret), "VersionId": version_id, "VersionStages": stages}


@operation(_SERVICE, "UpdateSecret", _the_secret, writes=True)
def update_secret(
    call: WriteCall,
    *,
    secret_id: str,
    client_request_token: str | None = None,
    description: str | None = None,
    kms_key_id: str | None = None,
    secret_binary: Secret | None = None,
    secret_string: Secret | None = None,
    type: str | None = None,  # noqa: A002 - the model's name
) -> Result:
    """The description, the value, or both. A value becomes a new version, the current one."""
    _refuse_kms_key(kms_key_id)
    _refuse_unsupported(Type=type)
    secret = _find_usable(call, secret_id)
    value = _value_of(secret_string, secret_binary)
    if description is not None:
        secret = replace(secret, description=description, changed_at=call.now)
        rows.update_secret(call.tx, secret)
    if value is None:
        return _identified(secret)
    version_id = _token(call, client_request_token)
    _add_version(call, secret, version_id, value[0], is_binary=value[1])
    return {**_identified(secret), "VersionId": version_id}


@operation(_SERVICE, "GetSecretValue", _the_secret)
def get_secret_value(
    call: Call, *, secret_id: str, version_id: str | None = None, version_stage: str | None = None
) -> Result:
    return _value(call, _find_usable(call, secret_id), version_id, version_stage)


def _value(
    call: Call, secret: StoredSecret, version_id: str | None = None, version_stage: str | None = None
) -> Result:
    stages = rows.stages_of(call.reader, secret.arn)
    if version_id is None:
        stage = version_stage or CURRENT
        if stage not in stages:
            raise _no_stage(stage)
        version_id = stages[stage]
    version = rows.version_of(call.reader, secret.arn, version_id)
    if version is None:
        raise _no_version(version_id)
    if version_stage is not None and stages.get(version_stage) != version_id:
        raise _invalid_request(
            "You provided a VersionStage that is not associated to the provided VersionId."
        )
    attached = sorted(stage for stage, held in stages.items() if held == version_id)
    return {
        **_identified(secret),
        "VersionId": version_id,
        "SecretBinary" if version.is_binary else "SecretString": _open(call, version),
        "VersionStages": attached or None,
        "CreatedDate": version.created_at,
    }


@operation(_SERVICE, "BatchGetSecretValue")
def batch_get_secret_value(
    call: Call,
    *,
    secret_id_list: Sequence[str] | None = None,
    filters: Sequence[Result] | None = None,
    max_results: int | None = None,
    next_token: str | None = None,
) -> Result:
    """Each secret needs permission of its own to be read; what can't be had stands in `Errors`."""
    if (secret_id_list is None) == (filters is None):
        raise _invalid_parameter("Either SecretIdList or Filters must be provided, but not both.")
    end: Result = {}
    if secret_id_list is not None:
        if max_results is not None:
            raise _invalid_parameter("You can't use MaxResults with SecretIdList.")
        wanted = list(secret_id_list)
    else:
        _require(call, "ListSecrets", ANYTHING)
        secrets = _listed(call, filters or (), with_deleted=False)
        page, end = _page(
            call,
            next_token,
            max_results or DEFAULT_BATCH,
            secrets,
            lambda held: held[0].arn,
            descending=False,
        )
        wanted = [secret.arn for secret, _tags in page]
    values: list[Result] = []
    errors: list[Result] = []
    for secret_id in wanted:
        try:
            _require(call, "GetSecretValue", _the_secret(call, {"secret_id": secret_id}))
            values.append(_value(call, _find_usable(call, secret_id)))
        except Fault as refused:
            code = "AccessDeniedException" if refused.code == "AccessDenied" else refused.code
            errors.append({"SecretId": secret_id, "ErrorCode": code, "Message": refused.message})
    return {"SecretValues": values, "Errors": errors, **end}


def _require(call: Call, name: str, target: Target) -> None:
    """Permission for a part of a call that AWS asks for by an action of its own."""
    action = f"{_SERVICE}:{name}"
    decision, _held = call.services.authorization.decide_on(call, action, target)
    if not decision.allowed:
        raise access_denied(denial_message(call.caller.arn, action, target.text, decision))


# What there is


def _stages_by_version(call: Call, arn: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for stage, version_id in rows.stages_of(call.reader, arn).items():
        found.setdefault(version_id, []).append(stage)
    return found


def _described(secret: StoredSecret, tags: Sequence[Tag]) -> Result:
    return {
        **_identified(secret),
        "Description": secret.description or None,
        "LastChangedDate": secret.changed_at,
        "DeletedDate": secret.deleted_at,
        "CreatedDate": secret.created_at,
        "Tags": tag_list(tags) or None,
    }


@operation(_SERVICE, "DescribeSecret", _the_secret)
def describe_secret(call: Call, *, secret_id: str) -> Result:
    """Also of one that is scheduled for deletion; never with a value."""
    secret = _find(call, secret_id)
    return {
        **_described(secret, rows.tags_of_secret(call.reader, secret.arn)),
        "VersionIdsToStages": _stages_by_version(call, secret.arn) or None,
    }


@operation(_SERVICE, "ListSecretVersionIds", _the_secret)
def list_secret_version_ids(
    call: Call,
    *,
    secret_id: str,
    max_results: int | None = None,
    next_token: str | None = None,
    include_deprecated: bool = False,
) -> Result:
    """Latest first; those without a stage only if they are asked for."""
    secret = _find(call, secret_id)
    stages = _stages_by_version(call, secret.arn)
    versions = [
        held
        for held in rows.version_times(call.reader, secret.arn)
        if include_deprecated or held[0] in stages
    ]
    listed, end = _page(
        call,
        next_token,
        max_results or DEFAULT_PAGE,
        versions,
        lambda held: f"{held[1]:020d} {held[0]}",
        descending=True,
    )
    return {
        **_identified(secret),
        "Versions": [
            {"VersionId": version_id, "VersionStages": stages.get(version_id), "CreatedDate": created_at}
            for version_id, created_at in listed
        ],
        **end,
    }


_Listed = tuple[StoredSecret, Sequence[Tag]]


@operation(_SERVICE, "ListSecrets")
def list_secrets(
    call: Call,
    *,
    include_planned_deletion: bool = False,
    max_results: int | None = None,
    next_token: str | None = None,
    filters: Sequence[Result] = (),
    sort_order: str = "asc",
    sort_by: str = "created-date",
) -> Result:
    def sort_key(held: _Listed) -> str:
        secret = held[0]
        match sort_by:
            case "name":
                return f"{secret.name} {secret.arn}"
            case "last-changed-date":
                return f"{secret.changed_at:020d} {secret.arn}"
            case _:
                return f"{secret.created_at:020d} {secret.arn}"

    secrets = _listed(call, filters, with_deleted=include_planned_deletion)
    listed, end = _page(
        call, next_token, max_results or DEFAULT_PAGE, secrets, sort_key, descending=sort_order == "desc"
    )
    return {
        "SecretList": [
            {
                **_described(secret, tags),
                "SecretVersionsToStages": _stages_by_version(call, secret.arn) or None,
            }
            for secret, tags in listed
        ],
        **end,
    }


def _listed(call: Call, filters: Sequence[Result], *, with_deleted: bool) -> list[_Listed]:
    """All filters must fit; a filter fits if one of its values does."""
    region = call.facts.region
    tags = rows.tags_of_region(call.reader, call.account_id, region)
    secrets = rows.secrets_of_region(
        call.reader, call.account_id, region, call.now, with_deleted=with_deleted
    )
    found: list[_Listed] = []
    for secret in secrets:
        held: _Listed = (secret, tags.get(secret.arn, ()))
        if all(
            any(_fits(held, each.get("Key", "all"), value) for value in each.get("Values", ()))
            for each in filters
        ):
            found.append(held)
    return found


def _fits(held: _Listed, key: str, value: str) -> bool:
    if value.startswith("!"):
        return not _fits(held, key, value[1:])
    secret, tags = held
    match key:
        case "name":
            return secret.name.startswith(value)
        case "description":
            return (secret.description or "").lower().startswith(value.lower())
        case "tag-key":
            return any(tag.startswith(value) for tag, _ in tags)
        case "tag-value":
            return any(text.startswith(value) for _, text in tags)
        case "all":
            attributes = [secret.name, secret.description or "", *(part for tag in tags for part in tag)]
            texts = [attribute.lower() for attribute in attributes]
            return all(any(word in text for text in texts) for word in value.lower().split())
        case _:  # no secret has a primary region or an owning service
            return False


def _page(
    call: Call,
    next_token: str | None,
    size: int,
    items: Sequence[T],
    sort_key: Callable[[T], str],
    *,
    descending: bool,
) -> tuple[list[T], Result]:
    """One page, and `NextToken` if there is more. A token holds the operation and the last sort key."""
    after = None if next_token is None else _after(call, next_token)
    ordered = sorted(items, key=sort_key, reverse=descending)
    if after is not None:
        ordered = [
            item for item in ordered if (sort_key(item) < after if descending else sort_key(item) > after)
        ]
    if len(ordered) <= size:
        return ordered, {}
    listed = ordered[:size]
    text = json.dumps([call.operation, sort_key(listed[-1])], separators=(",", ":"))
    return listed, {"NextToken": base64.urlsafe_b64encode(text.encode()).decode("ascii")}


def _after(call: Call, next_token: str) -> str:
    try:
        name, after = json.loads(base64.urlsafe_b64decode(next_token.encode("ascii")))
        if name == call.operation and isinstance(after, str):
            return after
    except (ValueError, TypeError, binascii.Error, RecursionError):
        pass
    raise _fault("InvalidNextTokenException", "The NextToken value is invalid.")


# Stages


@operation(_SERVICE, "UpdateSecretVersionStage", _the_secret, writes=True)
def update_secret_version_stage(
    call: WriteCall,
    *,
    secret_id: str,
    version_stage: str,
    remove_from_version_id: str | None = None,
    move_to_version_id: str | None = None,
) -> Result:
    """Whoever moves a stage must say from where: a stage that was moved meanwhile stays where it is."""
    secret = _find_usable(call, secret_id)
    for version_id in (remove_from_version_id, move_to_version_id):
        if version_id is not None and rows.version_of(call.reader, secret.arn, version_id) is None:
            raise _no_version(version_id)
    holder = rows.stages_of(call.reader, secret.arn).get(version_stage)
    if move_to_version_id is not None and holder == move_to_version_id:
        return _identified(secret)
    if holder is not None and remove_from_version_id is None:
        raise _invalid_parameter(
            f"The parameter RemoveFromVersionId can't be empty. Staging label {version_stage} is currently attached"
            f" to version {holder}, so you must explicitly reference that version in RemoveFromVersionId."
        )
    if remove_from_version_id is not None and holder != remove_from_version_id:
        raise _invalid_parameter(
            f"Staging label {version_stage} is not attached to version {remove_from_version_id}."
        )
    if move_to_version_id is None:
        if holder is None:
            raise _invalid_parameter("You must provide RemoveFromVersionId, MoveToVersionId, or both.")
        if version_stage == CURRENT:
            raise _invalid_parameter(
                f"You can only move staging label {CURRENT} to a different secret version."
                " It can’t be completely removed."
            )
        rows.delete_stage(call.tx, secret.arn, version_stage)
    else:
        _attach(call, secret, version_stage, move_to_version_id)
    rows.update_secret(call.tx, replace(secret, changed_at=call.now))
    return _identified(secret)


# Deletion


@operation(_SERVICE, "DeleteSecret", _the_secret, writes=True)
def delete_secret(
    call: WriteCall,
    *,
    secret_id: str,
    recovery_window_in_days: int | None = None,
    force_delete_without_recovery: bool = False,
) -> Result:
    """Within the window RestoreSecret brings it back. Forced, it is gone when this has answered."""
    _purge(call)
    if force_delete_without_recovery:
        if recovery_window_in_days is not None:
            raise _invalid_parameter(
                "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays."
            )
        # To force the deletion of what does not exist is no error on AWS either.
        secret = _found(call, secret_id)
        if secret is None:
            target = _the_secret(call, {"secret_id": secret_id})
            return {"ARN": target.arn, "Name": secret_id[:256], "DeletionDate": call.now}
        rows.delete_secret(call.tx, secret.arn)
        return {**_identified(secret), "DeletionDate": call.now}
    days = LONGEST_WINDOW if recovery_window_in_days is None else recovery_window_in_days
    if not SHORTEST_WINDOW <= days <= LONGEST_WINDOW:
        raise _invalid_parameter(
            f"The RecoveryWindowInDays value must be between {SHORTEST_WINDOW} and {LONGEST_WINDOW} days (inclusive)."
        )
    secret = _find_usable(call, secret_id)
    purge_at = call.now + days * _DAY_MS
    rows.update_secret(call.tx, replace(secret, deleted_at=call.now, purge_at=purge_at))
    return {**_identified(secret), "DeletionDate": purge_at}


@operation(_SERVICE, "RestoreSecret", _the_secret, writes=True)
def restore_secret(call: WriteCall, *, secret_id: str) -> Result:
    """Restoring what was not deleted changes nothing."""
    secret = _find(call, secret_id)
    rows.update_secret(call.tx, replace(secret, deleted_at=None, purge_at=None))
    return _identified(secret)


# Tags


def _checked_tags(tags: Sequence[Result], existing: Sequence[Tag] = ()) -> list[Tag]:
    """Keys are unique with regard to case."""
    pairs = [(tag.get("Key", ""), tag.get("Value", "")) for tag in tags]
    if not all(key for key, _ in pairs):
        raise _invalid_parameter("A tag needs a Key.")
    keys = {key for key, _ in pairs}
    if len(keys) < len(pairs):
        raise _invalid_parameter("Duplicate tag keys found.")
    if any(key.lower().startswith("aws:") for key in keys):
        raise _invalid_parameter("Tag keys that begin with aws: are reserved.")
    if len(keys | {key for key, _ in existing}) > MOST_TAGS:
        raise _invalid_parameter(f"A secret can have at most {MOST_TAGS} tags.")
    return pairs


@operation(_SERVICE, "TagResource", _the_secret, writes=True)
def tag_resource(call: WriteCall, *, secret_id: str, tags: Sequence[Result]) -> Result:
    secret = _find_usable(call, secret_id)
    pairs = _checked_tags(tags, rows.tags_of_secret(call.reader, secret.arn))
    rows.put_secret_tags(call.tx, secret.account_id, secret.arn, pairs)
    return {}


@operation(_SERVICE, "UntagResource", _the_secret, writes=True)
def untag_resource(call: WriteCall, *, secret_id: str, tag_keys: Sequence[str]) -> Result:
    secret = _find_usable(call, secret_id)
    rows.delete_secret_tags(call.tx, secret.arn, tag_keys)
    return {}


# Resource policies


def _kept_policy(call: Call, document: str) -> str:
    """A secret's policy as it is kept. Raises MalformedPolicyDocumentError in Secrets Manager's words."""
    try:
        read_elements(document)
        validate(document, kind=DocumentKind.RESOURCE, max_size=POLICY_SIZE)
        return by_unique_ids(call.reader, call.account_id, document)
    except UnreadableError as unreadable:
        raise MalformedPolicyDocumentError("This resource policy contains invalid Json.") from unreadable
    except MalformedPolicyDocumentError as malformed:
        if malformed.message.startswith("Invalid principal"):
            told = "This resource policy contains an unsupported principal."
            raise MalformedPolicyDocumentError(told) from malformed
        raise


def _is_public(document: str) -> bool:
    """Whether a statement allows everybody, on no condition."""
    return any(
        str(statement.get("Effect")) == "Allow"
        and not statement.get("Condition")
        and _names_everybody(statement.get("Principal"))
        for statement in statements_of(read_elements(document))
        if isinstance(statement, Mapping)
    )


def _names_everybody(principal: Any) -> bool:
    if isinstance(principal, Mapping):
        return any(_names_everybody(each) for each in principal.values())
    return "*" in principal if isinstance(principal, list) else principal == "*"


@operation(_SERVICE, "PutResourcePolicy", _the_secret, writes=True)
def put_resource_policy(
    call: WriteCall,
    *,
    secret_id: str,
    resource_policy: str,
    policy_name: str | None = None,
    block_public_policy: bool = False,
) -> Result:
    _refuse_unsupported(PolicyName=policy_name)
    secret = _find_usable(call, secret_id)
    try:
        kept = _kept_policy(call, resource_policy)
    except MalformedPolicyDocumentError as malformed:
        raise _fault("MalformedPolicyDocumentException", malformed.message) from malformed
    if block_public_policy and _is_public(resource_policy):
        raise _fault(
            "PublicPolicyException",
            "The BlockPublicPolicy parameter is set to true, and the resource policy did not prevent broad access"
            " to the secret.",
        )
    rows.update_secret(call.tx, replace(secret, resource_policy=kept))
    return _identified(secret)


@operation(_SERVICE, "GetResourcePolicy", _the_secret)
def get_resource_policy(call: Call, *, secret_id: str, policy_name: str | None = None) -> Result:
    _refuse_unsupported(PolicyName=policy_name)
    secret = _find_usable(call, secret_id)
    policy = secret.resource_policy
    shown = None if policy is None else by_arns(call.reader, call.account_id, policy)
    return {**_identified(secret), "ResourcePolicy": shown}


@operation(_SERVICE, "DeleteResourcePolicy", _the_secret, writes=True)
def delete_resource_policy(call: WriteCall, *, secret_id: str, policy_name: str | None = None) -> Result:
    _refuse_unsupported(PolicyName=policy_name)
    secret = _find_usable(call, secret_id)
    rows.update_secret(call.tx, replace(secret, resource_policy=None))
    return _identified(secret)


def _the_secret_if_named(call: Call, parameters: Parameters) -> Target:
    return ANYTHING if parameters.get("secret_id") is None else _the_secret(call, parameters)


@operation(_SERVICE, "ValidateResourcePolicy", _the_secret_if_named)
def validate_resource_policy(call: Call, *, resource_policy: str, secret_id: str | None = None) -> Result:
    if secret_id is not None:
        _find_usable(call, secret_id)
    errors = []
    try:
        _kept_policy(call, resource_policy)
    except MalformedPolicyDocumentError as malformed:
        errors = [{"CheckName": "Malformed policy", "ErrorMessage": malformed.message}]
    else:
        if _is_public(resource_policy):
            told = "The resource policy allows access to everybody."
            errors = [{"CheckName": "Public policy", "ErrorMessage": told}]
    return {"PolicyValidationPassed": not errors, "ValidationErrors": errors}


# Passwords


def _picked(random_bytes: Callable[[int], bytes], characters: str, count: int) -> str:
    """Each character equally likely: bytes beyond a whole number of alphabets are thrown away."""
    fair = 256 - 256 % len(characters)
    chosen: list[str] = []
    while len(chosen) < count:
        chosen += [characters[byte % len(characters)] for byte in random_bytes(2 * count) if byte < fair]
    return "".join(chosen[:count])


@operation(_SERVICE, "GetRandomPassword")
def get_random_password(
    call: Call,
    *,
    password_length: int = 32,
    exclude_characters: str = "",
    exclude_numbers: bool = False,
    exclude_punctuation: bool = False,
    exclude_uppercase: bool = False,
    exclude_lowercase: bool = False,
    include_space: bool = False,
    require_each_included_type: bool = True,
) -> Result:
    kinds = (
        ("" if exclude_lowercase else string.ascii_lowercase),
        ("" if exclude_uppercase else string.ascii_uppercase),
        ("" if exclude_numbers else string.digits),
        ("" if exclude_punctuation else string.punctuation),
        (" " if include_space else ""),
    )
    without = set(exclude_characters)
    types = [kept for kind in kinds if (kept := "".join(each for each in kind if each not in without))]
    if not types:
        raise _invalid_parameter("There are no characters left to make a password of.")
    required = types if require_each_included_type else []
    if password_length < len(required):
        raise _invalid_parameter("The password length is too short based on the required types.")
    random_bytes = call.services.random_bytes
    password = "".join(_picked(random_bytes, each, 1) for each in required)
    password += _picked(random_bytes, "".join(types), password_length - len(password))
    shuffled = sorted(password, key=lambda _character: random_bytes(8))
    return {"RandomPassword": Secret("".join(shuffled).encode())}
