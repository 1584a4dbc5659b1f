"""Clients of AWS's own services for sinks: quick to give up, silent about what they carry, told in a sink's errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from keyturn.rotation.sinks.interface import (
    Field,
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
    Surroundings,
)

if TYPE_CHECKING:  # botocore is loaded by those who call out, not by those who list settings
    from botocore.exceptions import ClientError
    from botocore.loaders import Loader
    from botocore.session import Session

FIELDS: Final = (
    Field("endpoint_url", str, "The service's address. Default: the rotation's endpoint."),
    Field("region", str, "The region. Default: the rotation's."),
    Field("profile", str, "The profile whose credentials write. Default: the usual resolution."),
)

_BUSY: Final = frozenset(
    {
        "InternalFailure",
        "InternalServiceError",
        "InternalServerError",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "TooManyUpdates",
    }
)


class AwsService:
    """One service as one sink reaches it. `where` is what errors call the place."""

    def __init__(
        self,
        service: str,
        settings: Mapping[str, Any],
        surroundings: Surroundings,
        *,
        sink: str,
        where: str,
    ) -> None:
        self._service = service
        self._endpoint_url: str | None = settings.get("endpoint_url") or surroundings.endpoint_url
        if self._endpoint_url is not None:
            from keyturn.rotation.sinks.bounded_call import checked_door

            checked_door(self._endpoint_url, sink=sink, field="endpoint_url")
        self._region: str | None = settings.get("region") or surroundings.region
        self._profile: str | None = settings.get("profile")
        self._environment = surroundings.environment
        self.where = where

    @contextmanager
    def client(self) -> Iterator[Any]:
        """A client for one act. What botocore raises inside leaves as a SinkError.

        Errors that mean something to the sink it catches itself, inside.
        """
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
        from botocore.exceptions import ConnectionError as NoConnection

        config = Config(
            connect_timeout=5,
            read_timeout=10,
            retries={"mode": "standard", "total_max_attempts": 2},
            user_agent_extra="keyturn-rotation",
        )
        try:
            made: Any = self._session().create_client(
                self._service,
                endpoint_url=self._endpoint_url,
                region_name=self._region,
                config=config,
            )
            with closing(made):
                yield made
        except ClientError as error:
            raise self._meaning(error) from error
        except (NoConnection, HTTPClientError) as error:
            raise SinkUnavailableError(f"{self.where}: no answer ({type(error).__name__})") from error
        except BotoCoreError as error:
            # Not chained: a parameter that botocore finds wrong stands in its message as it is.
            raise SinkRefusedError(
                f"{self.where}: the call could not be made ({type(error).__name__})"
            ) from None

    def _session(self) -> Session:
        import botocore.session
        from botocore.credentials import EnvProvider

        # At DEBUG botocore writes parameters and answers, secrets with them.
        logging.getLogger("botocore").setLevel(logging.WARNING)
        session = botocore.session.Session(profile=self._profile or self._environment.get("AWS_PROFILE"))
        for variable, name, usual in (
            ("credentials_file", "AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            ("config_file", "AWS_CONFIG_FILE", "config"),
        ):
            if name in self._environment:
                session.set_config_variable(variable, self._environment[name])
            elif "HOME" in self._environment:
                session.set_config_variable(variable, f"{self._environment['HOME']}/.aws/{usual}")
        session.register_component("data_loader", _models())
        resolver = session.get_component("credential_provider")
        resolver.remove("env")
        if self._profile is None:  # a profile that was named goes before variables, as on the command line
            resolver.providers.insert(0, EnvProvider(dict(self._environment)))
        return session

    def _meaning(self, error: ClientError) -> SinkError:
        code = code_of(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _BUSY or status >= 500:
            return SinkUnavailableError(f"{self.where}: the service is busy or down ({code})")
        return SinkRefusedError(f"{self.where}: {error.operation_name} was refused ({code})")


@lru_cache(maxsize=1)
def _models() -> Loader:
    """The service models, read once. Credentials are resolved anew for each client: they are what we rotate."""
    from botocore.loaders import create_loader

    return create_loader()


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
