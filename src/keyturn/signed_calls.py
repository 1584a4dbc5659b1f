"""Calls that no stock client can say, at paths of an authority of ours, signed as its users sign theirs.

Endpoint and credentials are handed in; where CA bundles stand, botocore finds. What is refused, and that nobody
answers, is told as a sentence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import URLLib3Session
from botocore.session import Session

from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret

_CONFIG: Final = Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=5, read_timeout=20)


@contextmanager
def told_by_endpoint() -> Iterator[None]:
    """What an endpoint refuses, and that it does not answer, as a KeyturnError for whoever typed the command."""
    try:
        yield
    except ClientError as error:
        raise KeyturnError(
            f"{error.response['Error']['Code']}: {error.response['Error']['Message']}"
        ) from error
    except BotoCoreError as error:
        raise KeyturnError(f"the authority did not answer: {error}", "is `keyturn serve` running?") from error


class Signer:
    """Somebody's key at an authority of ours, for what no stock client can say: a call at a path of its own."""

    def __init__(
        self,
        endpoint_url: str,
        access_key_id: str,
        secret: Secret,
        token: Secret | None = None,
        *,
        region: str = "us-east-1",
    ) -> None:
        self._endpoint_url = endpoint_url
        self._region = region
        self._session = Session()
        self._session.set_credentials(
            access_key_id,
            secret.reveal().decode("ascii"),
            None if token is None else token.reveal().decode("ascii"),
        )

    def own_device(self) -> str | None:
        """Serial number of an MFA device of the key's own user."""
        devices = self._client("iam").list_mfa_devices()["MFADevices"]
        return devices[0]["SerialNumber"] if devices else None

    def with_second_factor(self, serial_number: str, code: str) -> Signer:
        """The same user in a session of GetSessionToken."""
        answer = self._client("sts").get_session_token(SerialNumber=serial_number, TokenCode=code)
        given = answer["Credentials"]
        secret, token = Secret(given["SecretAccessKey"].encode()), Secret(given["SessionToken"].encode())
        return Signer(self._endpoint_url, given["AccessKeyId"], secret, token, region=self._region)

    def post_json(self, path: str, service: str, content: Mapping[str, str]) -> Mapping[str, Any]:
        """The answer to a call signed for `service`. KeyturnError, in the endpoint's own words, if it refuses."""
        request = AWSRequest(
            "POST",
            self._endpoint_url + path,
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        credentials = self._session.get_credentials()
        assert credentials is not None, "they were set"
        SigV4Auth(credentials, service, self._region).add_auth(request)
        verify = self._session.get_config_variable("ca_bundle") or True
        answer = URLLib3Session(verify=verify, timeout=20).send(request.prepare())
        try:
            told = json.loads(answer.content)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise KeyturnError(
                f"{self._endpoint_url} answered {answer.status_code} with something else than JSON"
            )
        if answer.status_code != 200:
            raise KeyturnError(f"{told.get('code')}: {told.get('message')}")
        return told

    def _client(self, service: str) -> Any:
        return self._session.create_client(
            service, region_name=self._region, endpoint_url=self._endpoint_url, config=_CONFIG
        )
