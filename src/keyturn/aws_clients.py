"""Signed clients of any AWS-compatible endpoint: how Keyturn's own tools reach one, ours or AWS's alike.

Profile, region, endpoint and CA bundle are resolved as every AWS tool resolves them, by botocore. Clients are made
once and shared by threads; none of them retries by itself, for whoever asks knows what may be asked twice.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import boto3
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient
    from types_boto3_sts import STSClient

    from keyturn.model.access_keys import AccessKeyId, AccessKeyPair
    from keyturn.model.secrets import Secret

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 20
_POOL: Final = 32
"""Connections that one client keeps: as many as a fleet has workers."""
_FALLBACK_REGION: Final = "us-east-1"
_TRAIL_OF_IAM: Final = {
    "aws": "us-east-1",
    "aws-cn": "cn-north-1",
    "aws-us-gov": "us-gov-west-1",
}
"""Where CloudTrail books the calls of the global services, by partition."""
_AWS_HOSTS: Final = (
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "api.aws",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "adc-e.uk",
    "csp.hci.ic.gov",
)
_LONGEST_DOCUMENT: Final = 16 * 1024


def iam_client(
    endpoint_url: str | None, *, region: str, access_key_id: AccessKeyId | None, secret: Secret | None
) -> IAMClient:
    """A client that signs with this key, or, without one, with what botocore finds in the environment."""
    session = boto3.Session(
        aws_access_key_id=access_key_id,
        aws_secret_access_key=None if secret is None else secret.reveal().decode("ascii"),
        region_name=region,
    )
    config = Config(
        retries={"mode": "standard", "max_attempts": 3},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
    )
    return session.client("iam", endpoint_url=endpoint_url, config=config)


def is_aws_host(url: str) -> bool:
    """Whether a URL names an endpoint of AWS's own, in any partition."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    return any(host == suffix or host.endswith("." + suffix) for suffix in _AWS_HOSTS)


@dataclass(frozen=True, slots=True)
class Reach:
    """Which endpoint, as whom, as it was said on the command line. None: as botocore finds it."""

    endpoint_url: str | None = None
    profile: str | None = None
    region: str | None = None


class AwsClients:
    """The clients of one endpoint and one signer. Threads may share it.

    Any call may raise what botocore raises when it finds no profile, region or credentials.
    """

    def __init__(
        self,
        reach: Reach,
        *,
        pair: AccessKeyPair | None = None,
        prepare: Callable[[Any], None] = lambda _client: None,
    ) -> None:
        """With a `pair`, that one signs. `prepare` is given each shared client when it is made."""
        self._reach = reach
        self._pair = pair
        self._prepare = prepare
        self._lock = threading.RLock()
        self._made: dict[tuple[str, str], Any] = {}
        self._session: boto3.Session | None = None

    def iam(self) -> IAMClient:
        client: IAMClient = self._client("iam", self.region)
        return client

    def sts(self) -> STSClient:
        client: STSClient = self._client("sts", self.region)
        return client

    def cloudtrails(self) -> list[Any]:
        """Where events stand: where IAM's calls are booked, and on AWS in the region that is worked in, too."""
        if self.url() is not None:
            return [self._client("cloudtrail", self.region)]
        with self._lock:
            partition = self._opened().get_partition_for_region(self.region)
        regions = dict.fromkeys([_TRAIL_OF_IAM.get(partition, self.region), self.region])
        return [self._client("cloudtrail", region) for region in regions]

    def sts_of(self, pair: AccessKeyPair, region: str | None) -> STSClient:
        """A client that signs with this pair, for a proof: asked once, and closed by whoever asked for it."""
        with self._lock:
            client: STSClient = self._opened().client(
                "sts",
                endpoint_url=self._reach.endpoint_url,
                region_name=region or self.region,
                aws_access_key_id=pair.access_key_id,
                aws_secret_access_key=pair.secret.reveal().decode("ascii"),
                config=_config(1),
            )
        return client

    def url(self) -> str | None:
        """The endpoint, wherever it was configured; None if it is AWS's own."""
        url: str = self.iam().meta.endpoint_url
        return None if is_aws_host(url) else url

    @property
    def region(self) -> str:
        with self._lock:
            return self._opened().region_name or _FALLBACK_REGION

    def signing_key_id(self) -> str | None:
        """The id of the key that signs: long-lived or a session's."""
        with self._lock:
            credentials = self._opened().get_credentials()
        return None if credentials is None else credentials.get_frozen_credentials().access_key

    def document(self, path: str) -> object:
        """A small JSON document at a path of the endpoint, unsigned. None if there is none. OSError: no answer.

        Never asked of AWS. The same proxies and CA bundle hold as for signed calls.
        """
        url = self.url()
        if url is None:
            return None
        with self._lock:
            bundle = self._opened()._session.get_config_variable("ca_bundle")  # noqa: SLF001 - boto3 has no door to it
        session = URLLib3Session(
            verify=bundle or True, proxies=get_environ_proxies(url), timeout=_CONNECT_SECONDS
        )
        request = AWSRequest(method="GET", url=url.rstrip("/") + path, stream_output=True).prepare()
        try:
            answer = session.send(request)
            body = answer.raw.read(_LONGEST_DOCUMENT + 1) if answer.status_code == 200 else b""
            answer.raw.close()
        except (BotoCoreError, HTTPError) as error:
            raise OSError(f"no answer: {type(error).__name__}") from error
        finally:
            session.close()
        if answer.status_code >= 500:
            raise OSError(f"no answer: HTTP {answer.status_code}")
        try:
            return json.loads(body) if 0 < len(body) <= _LONGEST_DOCUMENT else None
        except (ValueError, RecursionError):
            return None

    def close(self) -> None:
        with self._lock:
            for client in self._made.values():
                client.close()
            self._made.clear()

    def _client(self, service: str, region: str) -> Any:
        with self._lock:
            if (service, region) not in self._made:
                client = self._opened().client(  # type: ignore[call-overload]  # the service is a parameter
                    service, endpoint_url=self._reach.endpoint_url, region_name=region, config=_config(_POOL)
                )
                self._prepare(client)
                self._made[service, region] = client
            return self._made[service, region]

    def _opened(self) -> boto3.Session:
        if self._session is None:
            for name in ("boto3", "botocore", "urllib3"):
                # At DEBUG they write whole replies down, and the one to CreateAccessKey holds a secret.
                logging.getLogger(name).setLevel(logging.WARNING)
            pair = self._pair
            self._session = boto3.Session(
                profile_name=self._reach.profile,
                region_name=self._reach.region,
                aws_access_key_id=None if pair is None else pair.access_key_id,
                aws_secret_access_key=None if pair is None else pair.secret.reveal().decode("ascii"),
            )
        return self._session


def _config(connections: int) -> Config:
    return Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        max_pool_connections=connections,
    )
