"""The options that say which IAM endpoint a verb is about, and as whom: as every AWS tool has them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from keyturn.model.errors import KeyturnError

if TYPE_CHECKING:
    from keyturn.rotation.iam_endpoint import IamEndpoint

_CALLS_A_SECOND: Final = 8.0
"""IAM's own limit is not published; this leaves room for others."""
_LOOKUPS_A_SECOND: Final = 2.0
"""CloudTrail API, LookupEvents: two requests a second in an account and region."""


def add_endpoint_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--endpoint-url", metavar="URL", help="default: $AWS_ENDPOINT_URL, the profile's, or AWS"
    )
    parser.add_argument("--profile", metavar="NAME", help="default: $AWS_PROFILE, or `default`")
    parser.add_argument("--region", metavar="REGION", help="default: $AWS_REGION, or the profile's")


@contextmanager
def told_as_sentences() -> Iterator[None]:
    """What the endpoint refuses, for the user: with the next command."""
    from keyturn.rotation.endpoint import (
        EndpointError,
        EndpointRefusedError,
        NoSuchKeyError,
        NoSuchUserError,
    )

    try:
        yield
    except (NoSuchUserError, NoSuchKeyError) as gone:
        raise KeyturnError(str(gone), "`keyturn keys` lists those that are there") from gone
    except EndpointRefusedError as refused:
        raise KeyturnError(
            str(refused), "name a profile with --profile, or see `keyturn doctor`"
        ) from refused
    except EndpointError as error:
        raise KeyturnError(str(error), "try again, or see `keyturn doctor`") from error


@contextmanager
def opened_endpoint(options: argparse.Namespace) -> Iterator[IamEndpoint]:
    """The endpoint, paced where it is not ours; what it refuses becomes a sentence for the user."""
    import os
    from threading import Event

    # boto3 itself knows AWS_DEFAULT_REGION only; other SDKs and the CLI's own documentation say AWS_REGION.
    region = options.region or os.environ.get("AWS_REGION")

    from keyturn.aws_clients import Reach
    from keyturn.model.clock import SystemClock
    from keyturn.rotation.iam_endpoint import IamEndpoint
    from keyturn.rotation.throttle import TokenBucket

    clock = SystemClock()
    with told_as_sentences():
        endpoint = IamEndpoint(Reach(options.endpoint_url, options.profile, region), clock=clock)
        try:
            if not endpoint.traits().exact_revocation:
                wait = Event().wait
                endpoint.pace(
                    TokenBucket(clock, _CALLS_A_SECOND, 16, wait),
                    TokenBucket(clock, _LOOKUPS_A_SECOND, 2, wait),
                )
            yield endpoint
        finally:
            endpoint.close()
