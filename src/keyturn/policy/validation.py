"""Whether an identity policy may be written, and AWS's words where it may not.

The order of the checks is AWS's own as far as its answers show it: a document with several faults gets the text
that AWS gives. Quotas are the caller's (`LimitExceeded` is another error); `size_without_whitespace` measures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from keyturn.policy.document import (
    CURRENT_VERSION,
    DOCUMENT_ELEMENTS,
    FIRST_VERSION,
    Document,
    Effect,
    Json,
    UnreadableError,
    compile_statement,
    read_elements,
    statements_of,
    text_of,
    texts_of,
)
from keyturn.policy.patterns import ARN_FIELDS, arn_fields, matcher_of, tokenize

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
_STATEMENT_ELEMENTS: Final = frozenset(
    {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_OPERATORS: Final = frozenset(
    {
        *(f"String{name}" for name in ("Equals", "NotEquals", "EqualsIgnoreCase", "NotEqualsIgnoreCase")),
        *("StringLike", "StringNotLike", "Bool", "BinaryEquals", "IpAddress", "NotIpAddress", "Null"),
        *("ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"),
        *(
            f"{kind}{name}"
            for kind in ("Numeric", "Date")
            for name in (
                *("Equals", "NotEquals"),
                *("LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"),
            )
        ),
    }
)
_SID: Final = re.compile(r"[0-9A-Za-z]*\Z")
_VENDOR: Final = re.compile(r"[a-zA-Z0-9.-]+\Z")
_ISO_8601: Final = re.compile(
    r"(?P<year>-?[0-9]{1,9})(?:-(?:0?[1-9]|1[0-2])(?:-(?:0?[1-9]|[12][0-9]|3[01]))?)?"
    r"(?:T(?:(?:[01]?[0-9]|2[0-3])(?::[0-5]?[0-9](?::[0-5]?[0-9](?:\.[0-9]{1,9})?)?)?)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3])(?::[0-5][0-9])?)?)?\Z",
    re.IGNORECASE,
)
_YEARS: Final = range(-292_275_054, 292_278_994)
_EPOCHS: Final = range(2**63)
_EPOCH: Final = re.compile(r"[0-9]{1,19}\Z")


class MalformedPolicyDocumentError(Exception):
    """The document may not be written: answer 400 `MalformedPolicyDocument` with this message, which is AWS's."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def size_without_whitespace(text: str) -> int:
    """Characters that count against a quota: "IAM does not count white space" (IAM quotas)."""
    return len(text) - sum(text.count(space) for space in " \t\n\r")


def validate(text: str, *, max_size: int = LONGEST_DOCUMENT) -> Document:
    """The document compiled, if AWS would store it as an identity policy.

    `max_size` bounds the text in characters, white space included. Conditions are read, not decided: a statement
    with one is stored and never allows. Raises MalformedPolicyDocumentError.
    """
    if len(text) > max_size:
        raise MalformedPolicyDocumentError(_SYNTAX)
    try:
        statements = _by_the_grammar(text)
    except UnreadableError as error:
        raise MalformedPolicyDocumentError(_SYNTAX) from error
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
    if any(not _values(statement, "Resource", "NotResource") for statement in statements):
        raise MalformedPolicyDocumentError(_NO_RESOURCES)
    return Document.of(
        CURRENT_VERSION,
        [
            compile_statement(index, statement, with_variables=True)
            for index, statement in enumerate(statements)
        ],
    )


def _by_the_grammar(text: str) -> list[dict[str, Json]]:
    """The statements, each an object of known elements with values of the right kind."""
    elements = read_elements(text)
    if not elements.keys() <= DOCUMENT_ELEMENTS:
        raise UnreadableError("an element that no document has")
    version = elements.get("Version", FIRST_VERSION)
    if not isinstance(version, str) or version not in {CURRENT_VERSION, FIRST_VERSION}:
        raise UnreadableError("no such version")
    if "Id" in elements:
        text_of(elements["Id"])
    statements = [_statement(statement) for statement in statements_of(elements)]
    if version != CURRENT_VERSION:
        raise MalformedPolicyDocumentError(_VERSION)
    if any(_PRINCIPAL_ELEMENTS & statement.keys() for statement in statements):
        raise MalformedPolicyDocumentError(_PRINCIPAL)
    return statements


def _statement(statement: Json) -> dict[str, Json]:
    if not isinstance(statement, dict) or not statement.keys() <= _STATEMENT_ELEMENTS | _PRINCIPAL_ELEMENTS:
        raise UnreadableError("no statement")
    if {"Action", "NotAction"} <= statement.keys() or {"Resource", "NotResource"} <= statement.keys():
        raise UnreadableError("an element and its negation")
    if text_of(statement.get("Effect")).lower() not in {"allow", "deny"}:
        raise UnreadableError("no such effect")
    if "Sid" in statement:
        text_of(statement["Sid"])
    for element in ("Action", "NotAction", "Resource", "NotResource"):
        if element in statement:
            texts_of(statement[element])
    for operator, keys in _mapping(statement.get("Condition", {})).items():
        for key, values in _mapping(keys).items():
            text_of(key)
            for value in values if isinstance(values, list) else [values]:
                if not isinstance(value, bool | int | float):
                    text_of(value)
        if keys and _operator(operator) not in _OPERATORS:
            raise UnreadableError("no such operator")
    return statement


def _mapping(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise UnreadableError("no object")
    return value


def _operator(text: str) -> str:
    """The operator without `ForAnyValue:`, `ForAllValues:` and `IfExists`."""
    for prefix in ("ForAnyValue:", "ForAllValues:"):
        if text.startswith(prefix):
            text = text.removeprefix(prefix)
            break
    return text.removesuffix("IfExists")


def _check_legacy_values(statements: Sequence[Mapping[str, Json]]) -> None:
    for statement in statements:
        if statement["Effect"] not in set(Effect) or not all(map(_is_date, _dates(statement))):
            raise MalformedPolicyDocumentError(_LEGACY)


def _dates(statement: Mapping[str, Json]) -> Iterator[Json]:
    for operator, keys in _mapping(statement.get("Condition", {})).items():
        if _operator(operator).startswith("Date"):
            for values in _mapping(keys).values():
                yield from values if isinstance(values, list) else [values]


def _is_date(value: Json) -> bool:
    """ISO 8601, whose parts may end early, or seconds since the epoch."""
    if not isinstance(value, str):
        return isinstance(value, int) and not isinstance(value, bool) and value in _EPOCHS
    if _EPOCH.match(value):
        return int(value) in _EPOCHS
    date = _ISO_8601.match(value)
    return date is not None and int(date["year"]) in _YEARS


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
