"""AWS Secrets Manager: the pair as two fields of one JSON value, the other fields kept.

The new value is put first without being current; then AWSCURRENT moves to it, from the version that was read. The
service refuses that move if the stage has moved meanwhile, which makes it a compare-and-set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.aws import FIELDS, AwsService, code_of
from keyturn.rotation.sinks.interface import (
    Field,
    Held,
    ReadBack,
    SinkChangedError,
    SinkRefusedError,
    SinkTraits,
    Surroundings,
    WriteContext,
)
from keyturn.rotation.sinks.pairs import (
    CREATE,
    ID_FIELD,
    NOTHING,
    SECRET_FIELD,
    FieldNames,
    as_fields,
    held_in,
    is_as_expected,
    is_same,
    read_json,
    write_json,
)
from keyturn.rotation.sinks.reload import ReloadHook

_CURRENT: Final = "AWSCURRENT"
_WRITTEN: Final = "KEYTURN"
"""The stage of the version that Keyturn wrote last: without any stage it could be forgotten before it is current."""
_TRIED: Final = "KEYTURNTEST"


@dataclass(frozen=True, slots=True)
class _Version:
    version_id: str
    text: Secret


class SecretsManagerSink:
    def __init__(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> None:
        self._name = name
        self._secret_id: str = settings["secret_id"]
        self._names = FieldNames(settings)
        self._may_create = bool(settings.get("create"))
        self._service = AwsService(
            "secretsmanager", settings, surroundings, sink=name, where=f"secretsmanager {self._secret_id}"
        )
        self._hook = ReloadHook.of(name, settings, surroundings)

    @property
    def name(self) -> str:
        return self._name

    def describe(self) -> SinkTraits:
        return SinkTraits(self._service.where, True, ReadBack.PAIR, self._hook.is_set)

    def test(self) -> None:
        """Put the current value once more, as a version that nobody reads, and take its stage away again."""
        self._hook.test()
        with self._service.client() as client:
            found = self._current(client)
            if found is None:
                return
            self._object(found)
            if client.describe_secret(SecretId=self._secret_id).get("RotationEnabled"):
                raise SinkRefusedError(f"{self._service.where}: the service rotates this secret itself")
            token = _token("test", found.version_id)
            client.put_secret_value(
                SecretId=self._secret_id,
                ClientRequestToken=token,
                SecretString=found.text.reveal().decode(),
                VersionStages=[_TRIED],
            )
            stages = client.describe_secret(SecretId=self._secret_id)["VersionIdsToStages"]
            if _TRIED in stages.get(token, ()):
                client.update_secret_version_stage(
                    SecretId=self._secret_id, VersionStage=_TRIED, RemoveFromVersionId=token
                )

    def read(self) -> Held:
        with self._service.client() as client:
            return self._held(self._current(client))

    def write(self, pair: AccessKeyPair, *, expect: Held, context: WriteContext) -> None:
        with self._service.client() as client:
            found = self._current(client)
            now = self._held(found)
            if is_same(now.pair, pair):
                return
            if not is_as_expected(now, expect):
                raise self._changed()
            if found is None:
                self._create(client, pair, context)
            else:
                self._replace(client, found, pair, context)

    def holds(self, pair: AccessKeyPair, *, before: Held) -> bool:  # noqa: ARG002 - the pair itself is read back
        return is_same(self.read().pair, pair)

    def reload(self, context: WriteContext) -> None:
        self._hook.run(context)

    def _current(self, client: Any) -> _Version | None:
        try:
            found = client.get_secret_value(SecretId=self._secret_id, VersionStage=_CURRENT)
        except client.exceptions.ResourceNotFoundException as error:
            if self._may_create:
                return None
            raise SinkRefusedError(
                f"{self._service.where}: there is no such secret, and `create` is not set"
            ) from error
        if "SecretString" not in found:
            raise SinkRefusedError(f"{self._service.where}: the value is binary, not JSON")
        return _Version(found["VersionId"], Secret(found["SecretString"].encode()))

    def _object(self, version: _Version) -> dict[str, Any]:
        found = read_json(version.text)
        if not isinstance(found, dict):
            raise SinkRefusedError(f"{self._service.where}: the value is not a JSON object that can be kept")
        return found

    def _held(self, version: _Version | None) -> Held:
        return NOTHING if version is None else held_in(self._object(version), self._names, version.version_id)

    def _create(self, client: Any, pair: AccessKeyPair, context: WriteContext) -> None:
        text = write_json(as_fields(pair, self._names))
        try:
            client.create_secret(
                Name=self._secret_id,
                ClientRequestToken=_token(context.idempotency_key, pair.access_key_id),
                SecretString=text.reveal().decode(),
            )
        except client.exceptions.ResourceExistsException as error:
            raise self._changed() from error

    def _replace(self, client: Any, found: _Version, pair: AccessKeyPair, context: WriteContext) -> None:
        from botocore.exceptions import ClientError

        # From the version that was read, too: the same token with another value would be refused.
        token = _token(context.idempotency_key, found.version_id, pair.access_key_id)
        text = write_json({**self._object(found), **as_fields(pair, self._names)})
        client.put_secret_value(
            SecretId=self._secret_id,
            ClientRequestToken=token,
            SecretString=text.reveal().decode(),
            VersionStages=[_WRITTEN],
        )
        try:
            client.update_secret_version_stage(
                SecretId=self._secret_id,
                VersionStage=_CURRENT,
                MoveToVersionId=token,
                RemoveFromVersionId=found.version_id,
            )
        except ClientError as error:
            if code_of(error) not in {"InvalidParameterException", "InvalidRequestException"}:
                raise
            now = self._current(client)
            if now is None or now.version_id == found.version_id:
                raise
            if now.version_id != token:
                raise self._changed() from error

    def _changed(self) -> SinkChangedError:
        return SinkChangedError(f"{self._service.where}: somebody else has written it in between")


def _token(*parts: str) -> str:
    """A ClientRequestToken (32 to 64 characters): the same for each repeat of one write."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class SecretsManagerType:
    fields = (
        Field("secret_id", str, "The secret's name or ARN.", is_required=True),
        ID_FIELD,
        SECRET_FIELD,
        CREATE,
        *FIELDS,
        *ReloadHook.fields,
    )

    def open(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> SecretsManagerSink:
        return SecretsManagerSink(name, settings, surroundings)


TYPE: Final = SecretsManagerType()
