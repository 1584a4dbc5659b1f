"""Where services differ in how they read Signature Version 4, and nothing else.

The values for IAM, STS and S3 follow the IAM user guide ("Troubleshoot Signature Version 4 signing") and the
S3 API reference ("Authenticating Requests"). Every set here is closed: what has no member is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class PathStyle(Enum):
    """How the path on the wire becomes the canonical URI."""

    NORMALISED = "normalised"
    """Dot segments and empty segments go, then each segment of the wire is encoded once more (all but S3)."""

    AS_SENT = "as sent"
    """No segment goes, and the encoding of the wire is the encoding that was signed (S3)."""


class PayloadRule(Enum):
    """Which payload hash a request may be signed with."""

    BODY = "body"
    """The hash of the body, always. An `x-amz-content-sha256` that says anything else refuses the request."""

    DECLARED = "declared"
    """S3: `x-amz-content-sha256` must be there and be the body's hash; a presigned URL signs no payload."""


class QueryExpiry(Enum):
    """How long a presigned URL holds."""

    SKEW = "skew"
    """As long as a signed header would: `X-Amz-Expires` must be well formed and is not used (STS, IAM)."""

    DECLARED = "declared"
    """`X-Amz-Expires` seconds after `X-Amz-Date` (S3)."""


LONGEST_EXPIRY: Final = 604_800
"""Seconds: `X-Amz-Expires` may be 1 to a week (S3 API, "Authenticating Requests: Using Query Parameters")."""


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """One service's own reading. The default is that of STS and of most Query services."""

    skew_minutes: int = 15
    path: PathStyle = PathStyle.NORMALISED
    payload: PayloadRule = PayloadRule.BODY
    query_expiry: QueryExpiry = QueryExpiry.SKEW
    full_stop_after_invalid_token: bool = False
    """IAM ends the text of InvalidClientTokenId with a full stop, STS does not."""


STS: Final = ServiceRules()
IAM: Final = ServiceRules(full_stop_after_invalid_token=True)
SECRETS_MANAGER: Final = ServiceRules(skew_minutes=5, full_stop_after_invalid_token=True)
CLOUDTRAIL: Final = ServiceRules(full_stop_after_invalid_token=True)
S3: Final = ServiceRules(
    path=PathStyle.AS_SENT, payload=PayloadRule.DECLARED, query_expiry=QueryExpiry.DECLARED
)
