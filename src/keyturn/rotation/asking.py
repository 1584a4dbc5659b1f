"""Asking an endpoint over boto3, and what came instead of an answer as an EndpointError that says what to do next.

No cause hangs on an error that could hold a reply: the one to CreateAccessKey has a secret in it.
"""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPException
from typing import Final, TypeVar

from botocore import exceptions as botocore_errors
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from keyturn.rotation.endpoint import EndpointError, EndpointRefusedError, EndpointUnavailableError
from keyturn.rotation.throttle import TokenBucket

T = TypeVar("T")

TRIES: Final = 3
_LONGEST_WAIT: Final = 30.0
"""Seconds that a call waits for its turn."""
_LONGEST_MESSAGE: Final = 300
_THROTTLES: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "BandwidthLimitExceeded",
        "SlowDown",
    }
)
_TRY_AGAIN: Final = frozenset(
    {
        "ConcurrentModification",
        "EntityTemporarilyUnmodifiable",
        "InternalFailure",
        "PriorRequestNotComplete",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceFailure",
        "ServiceUnavailable",
    }
)
_NEEDS_SOMEONE: Final = (
    botocore_errors.ConfigNotFound,
    botocore_errors.ConfigParseError,
    botocore_errors.NoCredentialsError,
    botocore_errors.NoRegionError,
    botocore_errors.ParamValidationError,
    botocore_errors.PartialCredentialsError,
    botocore_errors.ProfileNotFound,
    botocore_errors.SSOError,
    botocore_errors.UnauthorizedSSOTokenError,
    botocore_errors.UnknownCredentialError,
)


class RefusedWithCodeError(EndpointRefusedError):
    """The endpoint itself has refused."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class NoSuchEntityError(EndpointError):
    """Something that the call names is not there."""


class LimitError(EndpointError):
    """A quota of the account's is reached."""


def asked(what: str, ask: Callable[[], T], *, tries: int = TRIES, bucket: TokenBucket | None = None) -> T:
    """The answer, or an EndpointError that says what came instead. `ask` may run `tries` times."""
    while True:
        if bucket is not None and not bucket.take(at_most_seconds=_LONGEST_WAIT):
            raise EndpointUnavailableError(f"the endpoint was not asked to {what}: too many others wait")
        tries -= 1
        try:
            answer = ask()
        except ClientError as error:
            failure, is_throttle = _told(what, error)
        except ResponseParserError:
            # Its message holds the reply, and with it a secret: it goes no further.
            failure, is_throttle = _unavailable(what, "its reply was cut short"), False
        except _NEEDS_SOMEONE as error:
            failure, is_throttle = (
                EndpointRefusedError(f"the endpoint can't {what}: {clipped(error)}"),
                False,
            )
        except (BotoCoreError, HTTPError, HTTPException, OSError) as error:
            failure, is_throttle = _unavailable(what, f"no answer ({type(error).__name__})"), False
        except (KeyError, TypeError, ValueError) as error:
            # botocore's own word for an endpoint URL that is none.
            if str(error).startswith("Invalid endpoint"):
                raise EndpointRefusedError("what was given as the endpoint is not a URL") from None
            failure, is_throttle = (
                _unavailable(what, f"its reply makes no sense ({type(error).__name__})"),
                False,
            )
        else:
            if bucket is not None:
                bucket.answered()
            return answer
        if bucket is not None and is_throttle:
            bucket.slow_down()
        if tries <= 0 or not isinstance(failure, EndpointUnavailableError):
            # Raised here, behind the handlers, so that no cause hangs on it that holds a reply.
            raise failure


def _unavailable(what: str, why: str) -> EndpointError:
    return EndpointUnavailableError(f"the endpoint did not {what}: {why}")


def _told(what: str, error: ClientError) -> tuple[EndpointError, bool]:
    """What a refusal on the wire means for the next step, and whether it is a throttle."""
    told = error.response.get("Error", {})
    code = str(told.get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = f"the endpoint did not {what}: {clipped(code)}: {clipped(told.get('Message', ''))}"
    if code in _THROTTLES or status == 429:
        return EndpointUnavailableError(message), True
    if code in _TRY_AGAIN or (status >= 500 and status != 501):
        return EndpointUnavailableError(message), False
    if code == "NoSuchEntity":
        return NoSuchEntityError(message), False
    if code == "LimitExceeded":
        return LimitError(message), False
    return RefusedWithCodeError(message, code), False


def clipped(text: object) -> str:
    """The first line: below it, AWS quotes the request that it was sent, with its session token."""
    first = str(text).strip().partition("\n")[0][:_LONGEST_MESSAGE]
    return "".join(letter if letter.isprintable() else "?" for letter in first)
