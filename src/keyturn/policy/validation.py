"""Whether a policy document may be written, and AWS's words where it may not.

The order of the checks is AWS's own as far as its answers show it: a document with several faults gets the text
that AWS gives. Quotas are the caller's (`LimitExceeded` is another error); `size_without_whitespace` measures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from keyturn.policy.condition_keys import is_known
from keyturn.policy.conditions import is_date, operator_of
from keyturn.policy.document import (
    CURRENT_VERSION,
    DOCUMENT_ELEMENTS,
    FIRST_VERSION,
    Document,
    DocumentKind,
    Effect,
    compile_statement,
)
from keyturn.policy.elements import (
    Json,
    UnreadableError,
    mapping_of,
    read_elements,
    scalars_of,
    statements_of,
    text_of,
    texts_of,
)
from keyturn.policy.patterns import ARN_FIELDS, arn_fields, matcher_of, tokenize
from keyturn.policy.principals import InvalidPrincipalError, compile_principals

LONGEST_DOCUMENT: Final = 131_072
"""Characters of text, white space and all (IAM API, `policyDocumentType`)."""

_SYNTAX: Final = "Syntax errors in policy."
_LEGACY: Final = "The policy failed legacy parsing"
_VERSION: Final = "Policy document must be version 2012-10-17 or greater."
_PRINCIPAL: Final = "Policy document should not specify a principal."
_SID_TWICE: Final = "Statement IDs (SID) in a single policy must be unique."
_SID_SHAPE: Final = (
    "Statement IDs (SID) must be alpha-numeric. "
    "Check that your input satisfies the regular expression [0-9A-Za-z]*"
)
_NO_ACTIONS: Final = "Policy statement must contain actions."
_NO_RESOURCES: Final = "Policy statement must contain resources."
_NO_VENDOR: Final = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
_COLONS: Final = "Actions/Condition can contain only one colon."
_NO_PRINCIPAL: Final = "Missing required field Principal"
_PROHIBITED_RESOURCE: Final = "Has prohibited field Resource"
_TRUSTED_ACTIONS: Final = "AssumeRole policy may only specify STS AssumeRole actions."
_ALLOW_NOT_PRINCIPAL: Final = "Allow with NotPrincipal is not allowed."
_NO_SUCH_KEY: Final = "The condition key {} does not exist. Use a valid condition key."
"""As AWS's own check of policies words it (IAM user guide, "Access Analyzer policy check reference")."""
_RESOURCE_VENDOR: Final = "Resource vendor must be fully qualified and cannot contain regexes."

_IAM_PATHS: Final = (
    "user/",
    "federated-user/",
    "role/",
    "group/",
    "instance-profile/",
    "mfa/",
    "server-certificate/",
    "policy/",
    "sms-mfa/",
    "saml-provider/",
    "oidc-provider/",
    "report/",
    "access-report/",
)
_IAM_PATH: Final = f'IAM resource path must either be "*", root, or start with {", ".join(_IAM_PATHS)}.'
_HAS_REGION: Final = {
    "iam": "IAM resource {} cannot contain region information.",
    "s3": "Resource {} can not contain region information.",
}

_PRINCIPAL_ELEMENTS: Final = frozenset({"Principal", "NotPrincipal"})
_RESOURCE_ELEMENTS: Final = frozenset({"Resource", "NotResource"})
_STATEMENT_ELEMENTS: Final = frozenset(
    {"Sid", "Effect", "Action", "NotAction", "Condition", *_RESOURCE_ELEMENTS, *_PRINCIPAL_ELEMENTS}
)
_ASSUME_ROLE_ACTIONS: Final = (
    *("assumerole", "assumerolewithsaml", "assumerolewithwebidentity"),
    *("setcontext", "setsourceidentity", "tagsession"),
)
_SID: Final = re.compile(r"[0-9A-Za-z]*\Z")
_VENDOR: Final = re.compile(r"[a-zA-Z0-9.-]+\Z")


class MalformedPolicyDocumentError(Exception):
    """The document may not be written: answer 400 `MalformedPolicyDocument` with this message, which is AWS's."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def size_without_whitespace(text: str) -> int:
    """Characters that count against a quota: "IAM does not count white space" (IAM quotas)."""
    return len(text) - sum(text.count(space) for space in " \t\n\r")


def validate(
    text: str, *, kind: DocumentKind = DocumentKind.IDENTITY, max_size: int = LONGEST_DOCUMENT
) -> Document:
    """The document compiled, if AWS would store it as what `kind` says.

    `max_size` bounds the text in characters, white space included. Whether the principals exist that it names is
    the caller's to check. Raises MalformedPolicyDocumentError.
    """
    if len(text) > max_size:
        raise MalformedPolicyDocumentError(_SYNTAX)
    try:
        version, statements = _by_the_grammar(text, kind)
    except UnreadableError as error:
        raise MalformedPolicyDocumentError(_SYNTAX) from error
    if kind is not DocumentKind.IDENTITY:
        for statement in statements:
            _check_principals(statement)
    if kind is DocumentKind.TRUST and any(_RESOURCE_ELEMENTS & statement.keys() for statement in statements):
        raise MalformedPolicyDocumentError(_PROHIBITED_RESOURCE)
    _check_legacy_values(statements)
    resource_fault = _first_resource_fault(statements)
    _check_sids(statements)
    if any(not _values(statement, "Action", "NotAction") for statement in statements):
        raise MalformedPolicyDocumentError(_NO_ACTIONS)
    if resource_fault is not None:
        raise MalformedPolicyDocumentError(resource_fault)
    for statement in statements:
        for action in _values(statement, "Action", "NotAction"):
            _check_action(action)
    if kind is DocumentKind.TRUST:
        _check_trusted_actions(statements)
    elif any(not _values(statement, "Resource", "NotResource") for statement in statements):
        raise MalformedPolicyDocumentError(_NO_RESOURCES)
    _check_condition_keys(statements)
    return Document(
        kind,
        version,
        tuple(
            compile_statement(index, statement, kind=kind, with_variables=version == CURRENT_VERSION)
            for index, statement in enumerate(statements)
        ),
    )


def _by_the_grammar(text: str, kind: DocumentKind) -> tuple[str, list[dict[str, Json]]]:
    """The version, and the statements: each an object of known elements with values of the right kind."""
    elements = read_elements(text)
    if not elements.keys() <= DOCUMENT_ELEMENTS:
        raise UnreadableError("an element that no document has")
    version = elements.get("Version", FIRST_VERSION)
    if not isinstance(version, str) or version not in {CURRENT_VERSION, FIRST_VERSION}:
        raise UnreadableError("no such version")
    if "Id" in elements:
        text_of(elements["Id"])
    statements = [_statement(statement) for statement in statements_of(elements)]
    if kind is DocumentKind.IDENTITY:
        if version != CURRENT_VERSION:
            raise MalformedPolicyDocumentError(_VERSION)
        if any(_PRINCIPAL_ELEMENTS & statement.keys() for statement in statements):
            raise MalformedPolicyDocumentError(_PRINCIPAL)
    return version, statements


def _statement(statement: Json) -> dict[str, Json]:
    if not isinstance(statement, dict) or not statement.keys() <= _STATEMENT_ELEMENTS:
        raise UnreadableError("no statement")
    for element in ("Action", "Resource", "Principal"):
        if {element, f"Not{element}"} <= statement.keys():
            raise UnreadableError("an element and its negation")
    if text_of(statement.get("Effect")).lower() not in {"allow", "deny"}:
        raise UnreadableError("no such effect")
    if "Sid" in statement:
        text_of(statement["Sid"])
    for element in ("Action", "NotAction", "Resource", "NotResource"):
        if element in statement:
            texts_of(statement[element])
    for operator, keys in mapping_of(statement.get("Condition", {})).items():
        for key, values in mapping_of(keys).items():
            text_of(key)
            scalars_of(values)
        if keys and operator_of(operator) is None:
            raise UnreadableError("no such operator")
    return statement


def _check_principals(statement: Mapping[str, Json]) -> None:
    if not _PRINCIPAL_ELEMENTS & statement.keys():
        raise MalformedPolicyDocumentError(_NO_PRINCIPAL)
    try:
        principals = compile_principals(statement)
    except InvalidPrincipalError as error:
        raise MalformedPolicyDocumentError(
            f'Invalid principal in policy: "{error.kind}":"{error.text}"'
        ) from error
    except UnreadableError as error:
        raise MalformedPolicyDocumentError(_SYNTAX) from error
    if principals.is_negated and statement["Effect"] == Effect.ALLOW:
        raise MalformedPolicyDocumentError(_ALLOW_NOT_PRINCIPAL)


def _check_trusted_actions(statements: Sequence[Mapping[str, Json]]) -> None:
    for statement in statements:
        for action in _values(statement, "Action", "NotAction"):
            vendor, _, name = action.lower().partition(":")
            matches = matcher_of(tokenize(name, with_variables=False))
            if vendor != "sts" or not any(map(matches, _ASSUME_ROLE_ACTIONS)):
                raise MalformedPolicyDocumentError(_TRUSTED_ACTIONS)


def _check_condition_keys(statements: Sequence[Mapping[str, Json]]) -> None:
    for statement in statements:
        for keys in mapping_of(statement.get("Condition", {})).values():
            for key in mapping_of(keys):
                if not is_known(key):
                    raise MalformedPolicyDocumentError(_NO_SUCH_KEY.format(key))


def _check_legacy_values(statements: Sequence[Mapping[str, Json]]) -> None:
    for statement in statements:
        if statement["Effect"] not in set(Effect) or not all(map(_is_date, _dates(statement))):
            raise MalformedPolicyDocumentError(_LEGACY)


def _dates(statement: Mapping[str, Json]) -> Iterator[Json]:
    for text, keys in mapping_of(statement.get("Condition", {})).items():
        operator = operator_of(text)
        if operator is not None and operator.name.startswith("Date"):
            for values in mapping_of(keys).values():
                yield from values if isinstance(values, list) else [values]


def _is_date(value: Json) -> bool:
    if isinstance(value, str):
        return is_date(value)
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0 and is_date(str(value))


def _first_resource_fault(statements: Sequence[Mapping[str, Json]]) -> str | None:
    """The text for the first resource with a fault. Raises at once where the fault is one of legacy parsing."""
    for statement in statements:
        for resource in _values(statement, "Resource", "NotResource"):
            fault = _resource_fault(resource)
            if fault == _LEGACY:
                raise MalformedPolicyDocumentError(fault)
            if fault is not None:
                return fault
    return None


def _resource_fault(resource: str) -> str | None:
    if resource == "*":
        return None
    written = arn_fields(resource)
    fields = [*written, *["*"] * (ARN_FIELDS - len(written))]
    _, partition, service, region, _, path = fields
    not_an_arn = f'Resource {resource} must be in ARN format or "*".'
    if len(written) == 1:
        return not_an_arn
    if not matcher_of(tokenize(partition, with_variables=False))("aws"):
        return f'Partition "{partition}" is not valid for resource "arn:{":".join(fields[1:])}".'
    if fields[0] != "arn":
        return not_an_arn
    if "*" in service or "?" in service:
        return _RESOURCE_VENDOR
    if not service or (len(written) < ARN_FIELDS and "::" in resource and not resource.endswith("*")):
        return _LEGACY
    if region.strip("*") and service in _HAS_REGION:
        return _HAS_REGION[service].format(resource)
    if service == "iam" and path not in {"*", "root"} and not path.startswith(_IAM_PATHS):
        return _IAM_PATH
    return None


def _check_sids(statements: Sequence[Mapping[str, Json]]) -> None:
    seen: set[str] = set()
    for statement in statements:
        sid = text_of(statement.get("Sid", ""))
        if not _SID.match(sid):
            raise MalformedPolicyDocumentError(_SID_SHAPE)
        if sid and sid in seen:
            raise MalformedPolicyDocumentError(_SID_TWICE)
        seen.add(sid)


def _check_action(action: str) -> None:
    if action == "*":
        return
    vendor, *names = action.split(":")
    if not names:
        raise MalformedPolicyDocumentError(_NO_VENDOR)
    if len(names) > 1:
        raise MalformedPolicyDocumentError(_COLONS)
    if vendor != "*" and not _VENDOR.match(vendor):
        raise MalformedPolicyDocumentError(f"Vendor {vendor} is not valid")


def _values(statement: Mapping[str, Json], element: str, negated: str) -> list[str]:
    value = statement.get(element, statement.get(negated, []))
    return texts_of(value)
