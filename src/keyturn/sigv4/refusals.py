"""Why a request is refused: AWS's codes, statuses and texts, as values.

The texts are those that IAM and STS answer; where AWS has none, because AWS chooses where this code refuses
(duplicates), a sentence of our own stands. No text holds the Authorization header or a signature, and what
is echoed of a client's value is printable and short.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from keyturn.model.access_keys import AccessKeyId

_LONGEST_ECHO: Final = 64
_AWS_ALGORITHM: Final = re.compile(rb"AWS[A-Z0-9-]{0,32}\Z")
_CREDENTIAL_SAFE_TO_ECHO: Final = re.compile(r"[A-Z0-9]{1,32}(?:/[a-z0-9_-]{0,32}){0,8}\Z")


class Fault(NamedTuple):
    """A code, an HTTP status and a text. An empty code asks for the bare status, without a body."""

    code: str
    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that is not verified.

    `code` and `message` are for the wire (both empty: a bare HTTP status without a body). The rest is what the
    request claimed, for the record: nothing of it is proved unless `proved` says so.
    """

    code: str
    status: int
    message: str
    access_key_id: AccessKeyId | None = None
    proved: bool = False
    """True only if the signature matched and the key is inactive: its holder tried to use it."""
    service: str | None = None
    region: str | None = None


BARE_BAD_REQUEST: Final = Fault("", 400, "")
"""What AWS answers to a target that is no absolute path, climbs above the root or has a broken escape."""

MALFORMED_QUERY_STRING: Final = Fault(
    "MalformedQueryString", 400, "The query string contains a syntax error."
)
MISSING_AUTHENTICATION_TOKEN: Final = Fault(
    "MissingAuthenticationToken", 403, "Request is missing Authentication Token"
)
SIGNED_TWICE: Final = Fault("SignatureDoesNotMatch", 403, "")
"""Credentials in the header and in the query string: AWS gives no text."""

SIGNATURE_DOES_NOT_MATCH: Final = Fault(
    "SignatureDoesNotMatch",
    403,
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
    "Access Key and signing method. Consult the service documentation for details.",
)
HOST_UNSIGNED: Final = Fault(
    "SignatureDoesNotMatch",
    403,
    "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
)
CONTENT_SHA256_MISSING: Final = Fault(
    "InvalidRequest", 400, "Missing required header for this request: x-amz-content-sha256"
)
CONTENT_SHA256_MISMATCH: Final = Fault(
    "XAmzContentSHA256Mismatch",
    400,
    "The provided 'x-amz-content-sha256' header does not match what was computed.",
)
REQUEST_HAS_EXPIRED: Final = Fault("AccessDenied", 403, "Request has expired")


EXPIRED_TOKEN: Final = Fault("ExpiredToken", 403, "The security token included in the request is expired")


def printable(value: bytes) -> str:
    """A client's value as it may be echoed: printable ASCII, at most 64 characters."""
    text = value[: _LONGEST_ECHO + 1].decode("ascii", "replace")
    text = "".join(c if " " <= c <= "~" else "?" for c in text)
    return text if len(text) <= _LONGEST_ECHO else text[:_LONGEST_ECHO] + "..."


def incomplete(message: str) -> Fault:
    return Fault("IncompleteSignature", 400, message)


def duplicate(what: str) -> Fault:
    """AWS takes the first or the last. Two parties that choose differently are an attack (CVE-2022-2385)."""
    return incomplete(f"The request must not repeat {what}.")


def unsupported_algorithm(algorithm: bytes) -> Fault:
    """Only what looks like one of AWS's is echoed: anything else may be a credential, or the whole header."""
    named = algorithm.decode() if _AWS_ALGORITHM.match(algorithm) else "..."
    return incomplete(f"Unsupported AWS 'algorithm': '{named}'.")


def no_key_value_pair() -> Fault:
    """AWS echoes the pair and the header. Either may hold the signature, so neither is shown here."""
    return incomplete("'...' not a valid key=value pair (missing equal-sign) in Authorization header: '...'.")


def header_parts_missing(*, credential: bool, signature: bool, signed_headers: bool, date: bool) -> Fault:
    """What is missing, in AWS's order. AWS ends with the header itself; here its algorithm stands for it."""
    missing = {"Credential": credential, "Signature": signature, "SignedHeaders": signed_headers}
    sentences = [
        f"Authorization header requires '{name}' parameter." for name, lacks in missing.items() if lacks
    ]
    if date:
        sentences.append(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    return incomplete(" ".join([*sentences, "Authorization=AWS4-HMAC-SHA256"]))


def query_parts_missing(parameters: Iterable[str]) -> Fault:
    sentences = [f"AWS query-string parameters must include '{name}'." for name in parameters]
    return incomplete(" ".join([*sentences, "Re-examine the query-string parameters."]))


def unsigned_header(name: bytes) -> Fault:
    text = f"'{printable(name)}' must be a 'SignedHeader' in the AWS Authorization."
    return Fault("SignatureDoesNotMatch", 403, text)


def signed_headers_not_canonical() -> Fault:
    return incomplete("'SignedHeaders' must be lower-case header names, sorted, once each, joined by ';'.")


def date_not_basic(date: bytes) -> Fault:
    return incomplete(
        f"Date must be in ISO-8601 'basic format'. Got '{printable(date)}'. "
        "See http://en.wikipedia.org/wiki/ISO_8601"
    )


def expires_not_valid(*, s3: bool) -> Fault:
    text = "X-Amz-Expires must be a number of seconds from 1 to 604800."
    return Fault("AuthorizationQueryParametersError", 400, text) if s3 else incomplete(text)


def expired(signed: str, oldest: str, now: str, skew_minutes: int) -> Fault:
    text = f"Signature expired: {signed} is now earlier than {oldest} ({now} - {skew_minutes} min.)"
    return Fault("SignatureDoesNotMatch", 403, text)


def not_yet_current(signed: str, newest: str, now: str, skew_minutes: int) -> Fault:
    text = f"Signature not yet current: {signed} is still later than {newest} ({now} + {skew_minutes} min.)"
    return Fault("SignatureDoesNotMatch", 403, text)


def credential_not_five_parts(credential: bytes) -> Fault:
    """The echo is for ids: a secret put here by mistake does not look like one and stays out."""
    text = printable(credential)
    shown = text if _CREDENTIAL_SAFE_TO_ECHO.match(text) else "..."
    return incomplete(
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
        f"got '{shown}'"
    )


def badly_scoped(sentences: Iterable[str]) -> Fault:
    """All the faults of a credential scope in one text, as AWS joins them."""
    return Fault("SignatureDoesNotMatch", 403, " ".join(sentences))


def invalid_client_token_id(*, full_stop: bool) -> Fault:
    text = "The security token included in the request is invalid"
    return Fault("InvalidClientTokenId", 403, f"{text}." if full_stop else text)
