"""What a request claims about its own signature, from the Authorization header or from the query string.

Parsing only: a `Claim` is somebody's word. What it may not leave open (a second credential, a repeated
parameter, a header outside the signature) is refused here; whether it is true is left to `verification`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Final, NamedTuple

from keyturn.model.access_keys import AccessKeyId
from keyturn.sigv4 import refusals
from keyturn.sigv4.canonical_request import Pair, SignedHeaders, decoded
from keyturn.sigv4.refusals import Fault

ALGORITHM: Final = b"AWS4-HMAC-SHA256"
TERMINATOR: Final = b"aws4_request"

SINGLE_HEADERS: Final = (
    b"authorization",
    b"host",
    b"date",
    b"x-amz-date",
    b"x-amz-security-token",
    b"x-amz-content-sha256",
)
"""Headers that say who asks, where and when. Others may repeat and are joined."""

_HEADER_PARAMETERS: Final = (b"Credential", b"SignedHeaders", b"Signature")
_QUERY_PARAMETERS: Final = (
    b"X-Amz-Algorithm",
    b"X-Amz-Credential",
    b"X-Amz-Signature",
    b"X-Amz-SignedHeaders",
    b"X-Amz-Date",
    b"X-Amz-Expires",
)
_AUTHENTICATING: Final = frozenset(name.lower() for name in (*_QUERY_PARAMETERS, b"X-Amz-Security-Token"))

_access_key_id: Final = re.compile(rb"[A-Za-z0-9_]{1,128}\Z").match
_header_name: Final = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]+\Z").match
_usual_header: Final = re.compile(
    rb"AWS4-HMAC-SHA256 Credential=([^,]+), SignedHeaders=([^,]+), Signature=([^,]+)\Z"
).match
_basic_date: Final = re.compile(rb"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z\Z").match
_http_date: Final = re.compile(
    rb"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT\Z"
).match
_MONTHS: Final = tuple(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())


class Form(Enum):
    """Where a request carries its signature."""

    HEADER = "header"
    QUERY = "query"


class Claim(NamedTuple):
    """The parameters of one signature, as sent, decoded once if they came in the query string."""

    form: Form
    credential: bytes
    signed_headers: bytes
    signature: bytes
    date: bytes
    """In ISO-8601 basic format once `epoch_seconds` has read it."""
    expires: bytes | None
    """Seconds, in the query form only."""
    token: bytes | None


class Credential(NamedTuple):
    """`keyid/date/region/service/aws4_request`, taken apart and not yet believed."""

    access_key_id: AccessKeyId | None
    """None if it has not even the characters of an id."""
    date: bytes
    region: str
    service: str
    terminator: bytes
    scope: bytes
    """Everything after the id: the credential scope of the string to sign."""


def read_claim(headers: Mapping[bytes, bytes], pairs: Sequence[Pair]) -> Claim | Fault:
    """The one signature that a request carries. `pairs` are the canonical pairs of its query string."""
    authorization = headers.get(b"authorization")
    if authorization is not None and not pairs:
        return _read_header(authorization, headers)
    ours = [(name, value) for name, value in pairs if name[:6].lower() == b"x-amz-"]
    if authorization is not None:
        if any(name.lower() in _AUTHENTICATING for name, _ in ours):
            return refusals.SIGNED_TWICE
        return _repeated(ours) or _read_header(authorization, headers)
    if not any(name == b"X-Amz-Algorithm" for name, _ in ours):
        return refusals.MISSING_AUTHENTICATION_TOKEN
    return _repeated(ours) or _read_query(dict(ours), headers)


def repeated_header(headers: Sequence[Pair]) -> Fault | None:
    """A fault if a header of which there must be one comes twice."""
    names = [name for name, _ in headers]
    for name in SINGLE_HEADERS:
        if names.count(name) > 1:
            # RFC 9112, 3.2: a second Host is answered 400, whatever else the request says.
            return (
                refusals.BARE_BAD_REQUEST
                if name == b"host"
                else refusals.duplicate(f"its '{name.decode()}' header")
            )
    return None


def _repeated(pairs: Iterable[Pair]) -> Fault | None:
    names = [name.lower() for name, _ in pairs]
    if len(set(names)) == len(names):
        return None
    return refusals.duplicate("an X-Amz- query parameter, in any letter case")


def _read_header(authorization: bytes, headers: Mapping[bytes, bytes]) -> Claim | Fault:
    usual = _usual_header(authorization)
    if usual is not None:
        credential, signed_headers, signature = usual.groups()
    else:
        parameters = _header_parameters(authorization)
        if isinstance(parameters, Fault):
            return parameters
        credential, signed_headers, signature = [parameters.get(name, b"") for name in _HEADER_PARAMETERS]
    date = headers.get(b"x-amz-date")
    if date is None and b"date" in headers:
        date = _basic_from_http(headers[b"date"].strip())
    if not credential or not signed_headers or not signature or date is None:
        return refusals.header_parts_missing(
            credential=not credential,
            signature=not signature,
            signed_headers=not signed_headers,
            date=date is None,
        )
    token = headers.get(b"x-amz-security-token")
    return Claim(Form.HEADER, credential, signed_headers, signature, date.strip(), None, token)


def _header_parameters(authorization: bytes) -> dict[bytes, bytes] | Fault:
    """The parameters in any order and spacing. Names that AWS does not know say nothing."""
    algorithm, _, rest = authorization.strip().partition(b" ")
    if algorithm != ALGORITHM:
        return refusals.unsupported_algorithm(algorithm)
    parameters: dict[bytes, bytes] = {}
    pairs = rest.split(b",")
    for pair in pairs:
        name, equals, value = pair.strip().partition(b"=")
        if not equals:
            return refusals.no_key_value_pair()
        parameters[name] = value
    if len({name.lower() for name in parameters}) < len(pairs):
        return refusals.duplicate("a parameter of its Authorization header")
    return parameters


def _read_query(parameters: Mapping[bytes, bytes], headers: Mapping[bytes, bytes]) -> Claim | Fault:
    missing = [name.decode() for name in _QUERY_PARAMETERS if not parameters.get(name)]
    if missing:
        return refusals.query_parts_missing(missing)
    algorithm, credential, signature, signed_headers, date, expires = (
        decoded(parameters[name]) for name in _QUERY_PARAMETERS
    )
    if algorithm != ALGORITHM:
        return refusals.unsupported_algorithm(algorithm)
    token = headers.get(b"x-amz-security-token")
    if b"X-Amz-Security-Token" in parameters:
        if token is not None:
            return refusals.duplicate("its security token")
        token = decoded(parameters[b"X-Amz-Security-Token"])
    return Claim(Form.QUERY, credential, signed_headers, signature, date, expires, token)


def _basic_from_http(date: bytes) -> bytes:
    """An HTTP date (RFC 9110, 5.6.7, IMF-fixdate) in basic format; anything else as it is."""
    match = _http_date(date)
    if match is None or match[2] not in _MONTHS:
        return date
    month = _MONTHS.index(match[2]) + 1
    return b"%s%02d%sT%s%s%sZ" % (match[3], month, match[1], match[4], match[5], match[6])


def epoch_seconds(date: bytes) -> int | None:
    """Seconds since the epoch of `20150830T123600Z`, or None if it is no such date."""
    match = _basic_date(date)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError:
        return None


def parse_credential(credential: bytes) -> Credential | Fault:
    parts = credential.split(b"/", 5)
    if len(parts) != 5:
        return refusals.credential_not_five_parts(credential)
    claimed, date, region, service, terminator = parts
    return Credential(
        AccessKeyId(claimed.decode()) if _access_key_id(claimed) else None,
        date,
        refusals.printable(region),
        refusals.printable(service),
        terminator,
        credential[len(claimed) + 1 :],
    )


def read_signed_headers(signed_headers: bytes, present: Iterable[bytes]) -> SignedHeaders | Fault:
    """The list, or what stands against believing it. `present` are all header names of the request.

    Every `x-amz-*` header must be signed, for handlers act on them (they could be added on the way). So must
    the Date header where it is the date. Content-Type may stay unsigned: curl and the SDK for PHP leave it
    out, and AWS does not ask for it.
    """
    signed = tuple(signed_headers.split(b";"))
    names = frozenset(present)
    bound = frozenset(signed)
    if b"host" not in bound:
        return refusals.HOST_UNSIGNED
    if list(signed) != sorted(bound):
        return refusals.signed_headers_not_canonical()
    for name in names:
        if not _header_name(name) or _poses_as_another(name):
            return refusals.BARE_BAD_REQUEST
    for name in sorted(names - bound):
        if name.startswith(b"x-amz-") or (name == b"date" and _is_dated_by_it(names)):
            return refusals.unsigned_header(name)
    return SignedHeaders(signed) if bound <= names else refusals.SIGNATURE_DOES_NOT_MATCH


def _poses_as_another(name: bytes) -> bool:
    """`x_amz_date` and its like: behind a gateway that writes `_` for `-` it would be the real one."""
    if b"_" not in name:
        return False
    twin = name.replace(b"_", b"-")
    return twin.startswith(b"x-amz-") or twin in SINGLE_HEADERS


def _is_dated_by_it(names: frozenset[bytes]) -> bool:
    return b"authorization" in names and b"x-amz-date" not in names
