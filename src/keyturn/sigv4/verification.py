"""Is this request signed by the key that it names? The one place that says yes.

A `Verifier` decides and holds only what matching signatures have proved; keys are looked up through a
function, the time is an argument, and every refusal is a value. Parsing is left to `authorization`; what the
key's holder may do is left to the caller.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from keyturn.model.access_keys import TEMPORARY, AccessKeyId
from keyturn.model.secrets import Secret
from keyturn.sigv4 import refusals
from keyturn.sigv4.authorization import (
    TERMINATOR,
    Claim,
    Credential,
    Form,
    epoch_seconds,
    parse_credential,
    read_claim,
    read_signed_headers,
    repeated_header,
)
from keyturn.sigv4.canonical_request import (
    SignedHeaders,
    SignedRequest,
    canonical_pairs,
    canonical_path,
    canonical_query,
    canonical_request,
    gather_headers,
    split_target,
)
from keyturn.sigv4.proven import Bounded, ProvenCredential, ProvenCredentials
from keyturn.sigv4.refusals import Fault, Refusal
from keyturn.sigv4.rules import LONGEST_EXPIRY, STS, PayloadRule, QueryExpiry, ServiceRules
from keyturn.sigv4.signature import KeyedHmac, basic_format, derive_signing_key, sha256_hex, string_to_sign

UNSIGNED_PAYLOAD: Final = b"UNSIGNED-PAYLOAD"

_SIGNATURE_DIGITS: Final = 64
_ROOT: Final = (b"/", b"")
"""The target of nearly every call of a Query or JSON protocol: there is nothing to take apart in it."""
_region: Final = re.compile(r"[a-z0-9-]{1,32}\Z").match
_service: Final = re.compile(r"[a-z0-9-]{1,64}\Z").match
_sha256: Final = re.compile(rb"[0-9a-f]{64}\Z").match
_expires: Final = re.compile(rb"[0-9]{1,6}\Z").match


class KeyRecord(Protocol):
    """What verification needs to know of a key that exists and has a secret."""

    @property
    def is_active(self) -> bool:
        """Read once, at the moment of decision: a record that follows the store is exact on any thread."""

    @property
    def secret(self) -> Callable[[], Secret]:
        """Opens the 40 characters. Called only when no signing key is kept."""

    @property
    def session_token(self) -> Secret | None:
        """The token that must come with a temporary key; None for a long-lived key, which comes without."""

    @property
    def is_expired(self) -> bool:
        """True for a temporary key after its time."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key record as a plain value."""

    access_key_id: AccessKeyId
    is_active: bool
    secret: Callable[[], Secret]
    session_token: Secret | None = None
    is_expired: bool = False


class Verified(NamedTuple):
    """Proof that the holder of an active key signed this request for this service and region.

    A tuple, for one is made per request and a frozen dataclass takes a tenth of the time of verifying.
    """

    access_key_id: AccessKeyId
    region: str
    service: str
    signed_at_ms: int
    """X-Amz-Date as epoch milliseconds."""
    form: Form
    signed_headers: tuple[bytes, ...]
    """What else may be believed: other headers could have been added on the way."""
    signed_payload: bool = True
    """False for a URL that S3's rules let sign no payload."""


class _Reading(NamedTuple):
    """What an Authorization header says before its signature, beside these header names and without a session token.

    Nothing but how the bytes read: whether the credential still holds is asked each time. Kept where a signature
    matched, so that a client's next request need not be taken apart again.
    """

    names: tuple[bytes, ...]
    credential: bytes
    signed_headers: bytes
    signed: SignedHeaders

    def claim(self, headers: Mapping[bytes, bytes]) -> Claim | None:
        """None where the other headers, or the signature's form, call for reading it all."""
        signature = headers[b"authorization"][-_SIGNATURE_DIGITS:]
        if tuple(headers) != self.names or _sha256(signature) is None:
            return None
        date = headers[b"x-amz-date"].strip()
        return Claim(Form.HEADER, self.credential, self.signed_headers, signature, date, None, None)


LookUpTemporary = Callable[[AccessKeyId, bytes], KeyRecord | None]


def _decoy() -> Secret:
    return Secret(b"an unknown key's requests cost the same.")


class Verifier:
    """Verifies requests for the given services, in every region or in those named. One thread at a time.

    A key's secret never changes under its id: if it could, `forget` would have to be called.
    `max_keys` bounds the access keys whose signing keys are kept. `decoy` opens a secret that stands in for
    keys that are unknown, so that they cost what a known one costs: hand in one that is sealed as real ones
    are. Its signatures open nothing.
    """

    def __init__(
        self,
        *,
        services: Mapping[str, ServiceRules],
        regions: frozenset[str] | None = None,
        max_keys: int = 8192,
        decoy: Callable[[], Secret] = _decoy,
    ) -> None:
        self._services = dict(services)
        self._regions = regions
        self._decoy = decoy
        self._credentials = ProvenCredentials(max_keys)
        self._header_lists: Bounded[tuple[tuple[bytes, ...], bytes], SignedHeaders] = Bounded(512)
        self._dates: Bounded[bytes, int] = Bounded(2048)
        self._read: Bounded[bytes, _Reading] = Bounded(2048)

    def forget(self, access_key_id: AccessKeyId) -> None:
        """Drop the signing keys of a key. A deleted or inactive key is refused with or without this."""
        self._credentials.forget(access_key_id)

    def verify(
        self,
        request: SignedRequest,
        *,
        now_ms: int,
        look_up: Callable[[AccessKeyId], KeyRecord | None],
        look_up_temporary: LookUpTemporary | None = None,
    ) -> Verified | Refusal:
        """The key that signed, or why not. `now_ms` is epoch milliseconds.

        `look_up_temporary` gets a temporary key's id (ASIA) with the session token that came along; without it,
        no temporary key is known.

        The checks stand in the order in which AWS answers them. Those before the look-up depend on the request
        alone; from there on every request costs the same, whether its key is known, inactive or made up.
        """
        # What is on the wire.
        split = _ROOT if request.target == b"/" else split_target(request.target)
        if split is None or not (request.method.isalpha() and request.method.isupper()):
            return _refusal(refusals.BARE_BAD_REQUEST)
        raw_path, query = split
        pairs = canonical_pairs(query) if query else []
        if pairs is None:
            return _refusal(refusals.MALFORMED_QUERY_STRING)
        headers = dict(request.headers)
        if len(headers) < len(request.headers):
            headers = gather_headers(request.headers)
            repeated = repeated_header(request.headers)
            if repeated is not None:
                return _refusal(repeated)

        # What it claims.
        read = self._read.get(headers.get(b"authorization", b"")[:-_SIGNATURE_DIGITS])
        known_claim = None if read is None or split is not _ROOT else read.claim(headers)
        claim = known_claim or read_claim(headers, pairs)
        if isinstance(claim, Fault):
            return _refusal(claim)
        # A temporary key's signing keys are kept under its token too: an id alone says nothing about it. Hashed,
        # for tokens are long and whoever may make sessions can make many.
        kept_as = (
            claim.credential if claim.token is None else claim.credential + b" " + sha256_hex(claim.token)
        )
        proven = self._credentials.get(kept_as)
        credential = proven.credential if proven else parse_credential(claim.credential)
        service = "" if isinstance(credential, Fault) else credential.service
        rules = self._services.get(service, STS)

        header_list: tuple[tuple[bytes, ...], bytes] | None = None
        proven_list: SignedHeaders | None = None
        signed: SignedHeaders | Fault
        if known_claim is None or read is None:
            header_list = (tuple(headers), claim.signed_headers)
            proven_list = self._header_lists.get(header_list)
            signed = proven_list or read_signed_headers(claim.signed_headers, headers)
        else:
            signed = read.signed
        if isinstance(signed, Fault):
            return _refusal(signed, credential)
        proven_date = self._dates.get(claim.date)
        signed_at = proven_date or epoch_seconds(claim.date)
        if signed_at is None:
            return _refusal(refusals.date_not_basic(claim.date), credential)
        stale = _freshness(claim, signed_at, now_ms // 1000, rules)
        if stale is not None:
            return _refusal(stale, credential)
        if isinstance(credential, Fault):
            return _refusal(credential)
        if proven is None or credential.date != claim.date[:8]:
            badly_scoped = self._scope_faults(credential, claim.date)
            if badly_scoped:
                return _refusal(refusals.badly_scoped(badly_scoped), credential)

        # What was signed.
        path = raw_path if split is _ROOT else canonical_path(raw_path, rules.path)
        lines = signed.lines(headers)
        if path is None or lines is None:
            return _refusal(refusals.BARE_BAD_REQUEST, credential)
        payload_hash = _payload_hash(request, headers.get(b"x-amz-content-sha256"), claim, rules)
        if isinstance(payload_hash, Fault):
            return _refusal(payload_hash, credential)
        if claim.form is Form.QUERY:
            pairs = [pair for pair in pairs if pair[0] != b"X-Amz-Signature"]
        message = string_to_sign(
            claim.date,
            credential.scope,
            canonical_request(
                request.method,
                path,
                canonical_query(pairs) if pairs else b"",
                lines,
                claim.signed_headers,
                payload_hash,
            ),
        )

        # Who signed it.
        claimed = credential.access_key_id
        record: KeyRecord | None = None
        if claimed is not None and claimed.startswith(TEMPORARY):
            if look_up_temporary is not None and claim.token is not None:
                record = look_up_temporary(claimed, claim.token)
        elif claimed is not None:
            record = look_up(claimed)
        if record is None or proven is None:
            secret = self._decoy() if record is None else record.secret()
            key = _signing_key(secret, credential)
        else:
            key = proven.key
        matches = hmac.compare_digest(key.signature(message), claim.signature)
        if not matches and record is not None and proven is not None:
            # A key that is in use must not answer faster to a stranger than one that is not.
            _signing_key(self._decoy(), credential)
            if known_claim is not None:
                read_claim(headers, pairs)

        if claimed is None or record is None or not _carries(claim.token, record.session_token):
            return _refusal(_invalid(rules), credential)
        if record.is_expired:
            return _refusal(refusals.EXPIRED_TOKEN, credential)
        if matches:
            if proven is None:
                self._credentials.put(kept_as, ProvenCredential(credential, key))
            if header_list is not None:
                if proven_list is None:
                    self._header_lists.put(header_list, signed)
                self._remember_reading(headers, claim, signed)
            if proven_date is None:
                self._dates.put(claim.date, signed_at)
        if not record.is_active:
            return _refusal(_invalid(rules), credential, proved=matches)
        if not matches:
            return _refusal(refusals.SIGNATURE_DOES_NOT_MATCH, credential)
        return Verified(
            claimed,
            credential.region,
            service,
            signed_at * 1000,
            claim.form,
            signed.names,
            payload_hash != UNSIGNED_PAYLOAD,
        )

    def _remember_reading(self, headers: Mapping[bytes, bytes], claim: Claim, signed: SignedHeaders) -> None:
        if claim.form is Form.HEADER and claim.token is None and b"x-amz-date" in headers:
            authorization = headers[b"authorization"]
            start, signature = authorization[:-_SIGNATURE_DIGITS], authorization[-_SIGNATURE_DIGITS:]
            if signature == claim.signature and start.endswith(b", Signature="):
                reading = _Reading(tuple(headers), claim.credential, claim.signed_headers, signed)
                self._read.put(start, reading)

    def _scope_faults(self, credential: Credential, date: bytes) -> list[str]:
        """AWS's sentences for each part of the scope that is not ours. The date is that of X-Amz-Date."""
        faults = []
        region, service = credential.region, credential.service
        is_ours = region in self._regions if self._regions is not None else _region(region) is not None
        if not is_ours:
            faults.append(f"Credential should be scoped to a valid region, not '{region}'.")
        if service not in self._services:
            ours = "', '".join(sorted(self._services))
            faults.append(f"Credential should be scoped to correct service: '{ours}'.")
        if credential.terminator != TERMINATOR:
            terminator = refusals.printable(credential.terminator)
            faults.append(
                f"Credential should be scoped with a valid terminator: 'aws4_request', not '{terminator}'."
            )
        if credential.date != date[:8]:
            scoped, dated = refusals.printable(credential.date), date.decode()
            faults.append(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{scoped}' != '{dated[:8]}', from '{dated}'."
            )
        return faults


def _freshness(claim: Claim, signed_at: int, now: int, rules: ServiceRules) -> Fault | None:
    """Seconds. A signature holds for the skew on both sides of now; a presigned one of S3 for its own time."""
    skew = rules.skew_minutes * 60
    longest = skew
    if claim.expires is not None:
        declared = int(claim.expires) if _expires(claim.expires) else 0
        if not 1 <= declared <= LONGEST_EXPIRY:
            return refusals.expires_not_valid(s3=rules.query_expiry is QueryExpiry.DECLARED)
        if rules.query_expiry is QueryExpiry.DECLARED:
            longest = declared
            if now - signed_at > declared:
                return refusals.REQUEST_HAS_EXPIRED
    if now - signed_at > longest:
        oldest = basic_format(now - skew)
        return refusals.expired(claim.date.decode(), oldest, basic_format(now), rules.skew_minutes)
    if signed_at - now > skew:
        newest = basic_format(now + skew)
        return refusals.not_yet_current(claim.date.decode(), newest, basic_format(now), rules.skew_minutes)
    return None


def _payload_hash(
    request: SignedRequest, declared: bytes | None, claim: Claim, rules: ServiceRules
) -> bytes | Fault:
    """The payload's line of the canonical request.

    A closed set: the body's own hash, or UNSIGNED-PAYLOAD in a URL that S3 presigned. Streaming payloads are
    not offered, so their words are as wrong as any other.
    """
    payload_hash = sha256_hex(request.body) if request.body_sha256 is None else request.body_sha256
    if request.body_sha256 is not None and (request.body or not _sha256(request.body_sha256)):
        # Anything but a hash, UNSIGNED-PAYLOAD first of all, would be taken into the canonical request as it is.
        return refusals.SIGNATURE_DOES_NOT_MATCH
    presigned = claim.form is Form.QUERY
    if declared is None and rules.payload is PayloadRule.DECLARED:
        return UNSIGNED_PAYLOAD if presigned else refusals.CONTENT_SHA256_MISSING
    if declared is None or declared.strip() == payload_hash:
        return payload_hash
    if rules.payload is PayloadRule.DECLARED:
        return refusals.CONTENT_SHA256_MISMATCH
    return refusals.SIGNATURE_DOES_NOT_MATCH


def _signing_key(secret: Secret, credential: Credential) -> KeyedHmac:
    return derive_signing_key(
        secret, credential.date, credential.region.encode(), credential.service.encode()
    )


def _carries(token: bytes | None, expected: Secret | None) -> bool:
    """A long-lived key comes without a token, a temporary one with exactly its own."""
    if token is None or expected is None:
        return token is None and expected is None
    return Secret(token) == expected


def _invalid(rules: ServiceRules) -> Fault:
    return refusals.invalid_client_token_id(full_stop=rules.full_stop_after_invalid_token)


def _refusal(fault: Fault, credential: Credential | Fault | None = None, *, proved: bool = False) -> Refusal:
    if credential is None or isinstance(credential, Fault):
        return Refusal(fault.code, fault.status, fault.message)
    return Refusal(
        fault.code,
        fault.status,
        fault.message,
        credential.access_key_id,
        proved,
        credential.service if _service(credential.service) else None,
        credential.region if _region(credential.region) else None,
    )
