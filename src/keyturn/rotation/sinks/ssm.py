"""AWS Systems Manager parameters: one SecureString that holds a JSON object, or two parameters, not atomic.

The service has no compare-and-set: each write returns the version it made, and a version too many shows that
somebody else wrote in between. His value is then put back, and the caller told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.aws import FIELDS, AwsService
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
    is_on_the_way,
    is_same,
    read_json,
    write_json,
)
from keyturn.rotation.sinks.reload import ReloadHook

_KEPT: Final = ("KeyId", "Description", "AllowedPattern", "Tier", "DataType")
"""What an overwrite would set back to its default."""


@dataclass(frozen=True, slots=True)
class _Parameter:
    version: int
    kind: str
    value: Secret


class _Parameters:
    """Single parameters of the service, as both shapes of this sink use them."""

    def __init__(
        self, sink: str, settings: Mapping[str, Any], surroundings: Surroundings, where: str
    ) -> None:
        self.where = where
        self._may_create = bool(settings.get("create"))
        self._key_id: str | None = settings.get("key_id")
        self._service = AwsService("ssm", settings, surroundings, sink=sink, where=where)

    def get(self, name: str) -> _Parameter | None:
        with self._service.client() as client:
            try:
                found = client.get_parameter(Name=name, WithDecryption=True)["Parameter"]
            except client.exceptions.ParameterNotFound as error:
                if self._may_create:
                    return None
                raise SinkRefusedError(
                    f"{self.where}: there is no parameter {name}, and `create` is not set"
                ) from error
        return _Parameter(int(found["Version"]), found["Type"], Secret(found["Value"].encode()))

    def put(self, name: str, value: Secret, before: _Parameter | None) -> int:
        """The version that this made."""
        with self._service.client() as client:
            if before is None:
                kept: dict[str, Any] = {"Type": "SecureString"}
                if self._key_id is not None:
                    kept["KeyId"] = self._key_id
            else:
                kept = {"Type": before.kind, "Overwrite": True, **self._kept(client, name)}
            try:
                made = client.put_parameter(Name=name, Value=value.reveal().decode(), **kept)
            except client.exceptions.ParameterAlreadyExists as error:
                raise SinkChangedError(f"{self.where}: somebody else has created {name}") from error
        return int(made["Version"])

    def version(self, name: str, number: int) -> Secret:
        """The value of an earlier version."""
        with self._service.client() as client:
            found = client.get_parameter(Name=f"{name}:{number}", WithDecryption=True)["Parameter"]
        return Secret(found["Value"].encode())

    def test(self, name: str) -> None:
        """Ask to create what exists: whoever may write is told that it exists, whoever may not is refused."""
        found = self.get(name)
        if found is None:
            return
        with self._service.client() as client:
            self._kept(client, name)
            try:
                client.put_parameter(
                    Name=name, Value=found.value.reveal().decode(), Type=found.kind, Overwrite=False
                )
            except client.exceptions.ParameterAlreadyExists:
                return
        raise SinkRefusedError(f"{self.where}: {name} was deleted during the test, and is there again")

    def _kept(self, client: Any, name: str) -> dict[str, Any]:
        # By pages: the service may answer with an empty one that is not the last.
        pages = client.get_paginator("describe_parameters").paginate(
            ParameterFilters=[{"Key": "Name", "Values": [name]}], PaginationConfig={"MaxItems": 2}
        )
        listed = [described for page in pages for described in page["Parameters"]]
        if len(listed) != 1:
            raise SinkRefusedError(f"{self.where}: what describes {name} is not shown")
        described = listed[0]
        if described.get("Policies"):
            raise SinkRefusedError(f"{self.where}: {name} has policies, which a write would drop")
        kept = {field: described[field] for field in _KEPT if described.get(field)}
        if self._key_id is not None:
            kept["KeyId"] = self._key_id
        if described.get("Type") != "SecureString":
            kept.pop("KeyId", None)
        return kept


class _Common:
    def __init__(
        self, name: str, settings: Mapping[str, Any], surroundings: Surroundings, where: str
    ) -> None:
        self._name = name
        self._names = FieldNames(settings)
        self._where = where
        self._parameters = _Parameters(name, settings, surroundings, where)
        self._hook = ReloadHook.of(name, settings, surroundings)

    @property
    def name(self) -> str:
        return self._name

    def reload(self, context: WriteContext) -> None:
        self._hook.run(context)

    def _changed(self) -> SinkChangedError:
        return SinkChangedError(f"{self._where}: somebody else has written it in between")


class OneParameterSink(_Common):
    """The pair as two fields of a JSON object in one SecureString."""

    def __init__(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> None:
        self._parameter: str = settings["parameter"]
        super().__init__(name, settings, surroundings, f"ssm {self._parameter}")

    def describe(self) -> SinkTraits:
        return SinkTraits(self._where, True, ReadBack.PAIR, self._hook.is_set)

    def test(self) -> None:
        self.read()
        self._parameters.test(self._parameter)
        self._hook.test()

    def read(self) -> Held:
        return self._held(self._parameters.get(self._parameter))

    def write(self, pair: AccessKeyPair, *, expect: Held, context: WriteContext) -> None:  # noqa: ARG002 - the service takes no mark of who writes
        found = self._parameters.get(self._parameter)
        now = self._held(found)
        if is_same(now.pair, pair):
            return
        if not is_as_expected(now, expect):
            raise self._changed()
        kept = {} if found is None else self._object(found.value)
        made = self._parameters.put(
            self._parameter, write_json({**kept, **as_fields(pair, self._names)}), found
        )
        if found is not None and made != found.version + 1:
            self._give_back(made, pair)

    def holds(self, pair: AccessKeyPair, *, before: Held) -> bool:  # noqa: ARG002 - the pair itself is read back
        return is_same(self.read().pair, pair)

    def _give_back(self, made: int, pair: AccessKeyPair) -> None:
        """Put back what was overwritten unseen, unless it was our own write, sent twice."""
        theirs = self._parameters.version(self._parameter, made - 1)
        if is_same(held_in(self._object(theirs), self._names, None).pair, pair):
            return
        found = self._parameters.get(self._parameter)
        if found is not None and found.version == made:
            self._parameters.put(self._parameter, theirs, found)
        raise self._changed()

    def _held(self, found: _Parameter | None) -> Held:
        if found is None:
            return NOTHING
        if found.kind != "SecureString":
            raise SinkRefusedError(f"{self._where}: it is a {found.kind}; a secret belongs in a SecureString")
        return held_in(self._object(found.value), self._names, str(found.version))

    def _object(self, value: Secret) -> dict[str, Any]:
        found = read_json(value)
        if not isinstance(found, dict):
            raise SinkRefusedError(f"{self._where}: the value is not a JSON object that can be kept")
        return found


class TwoParametersSink(_Common):
    """One parameter for each half: a reader can catch the new half of one with the old half of the other."""

    def __init__(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> None:
        self._id: str = settings["id_parameter"]
        self._secret: str = settings["secret_parameter"]
        super().__init__(name, settings, surroundings, f"ssm {self._id} and {self._secret}")

    def describe(self) -> SinkTraits:
        return SinkTraits(self._where, False, ReadBack.PAIR, self._hook.is_set)

    def test(self) -> None:
        self.read()
        for parameter in (self._id, self._secret):
            self._parameters.test(parameter)
        self._hook.test()

    def read(self) -> Held:
        return self._held(*self._both())

    def write(self, pair: AccessKeyPair, *, expect: Held, context: WriteContext) -> None:  # noqa: ARG002 - the service takes no mark of who writes
        before_id, before_secret = self._both()
        now = self._held(before_id, before_secret)
        if is_same(now.pair, pair):
            return
        if not is_as_expected(now, expect) and not is_on_the_way(now, expect, pair):
            raise self._changed()
        halves = as_fields(pair, self._names)
        self._parameters.put(self._secret, Secret(halves[self._names.secret].encode()), before_secret)
        self._parameters.put(self._id, Secret(halves[self._names.access_key_id].encode()), before_id)

    def holds(self, pair: AccessKeyPair, *, before: Held) -> bool:  # noqa: ARG002 - the pair itself is read back
        return is_same(self.read().pair, pair)

    def _both(self) -> tuple[_Parameter | None, _Parameter | None]:
        return self._parameters.get(self._id), self._parameters.get(self._secret)

    def _held(self, of_id: _Parameter | None, of_secret: _Parameter | None) -> Held:
        if of_secret is not None and of_secret.kind != "SecureString":
            raise SinkRefusedError(
                f"{self._where}: a secret belongs in a SecureString, not a {of_secret.kind}"
            )
        halves = {
            name: found.value.reveal().decode()
            for name, found in ((self._names.access_key_id, of_id), (self._names.secret, of_secret))
            if found is not None
        }
        version = f"{of_id.version if of_id else 0}.{of_secret.version if of_secret else 0}"
        return held_in(halves, self._names, version)


class SsmType:
    fields = (
        Field("parameter", str, "One SecureString parameter that holds a JSON object."),
        Field("id_parameter", str, "With secret_parameter: the parameter of the access key id."),
        Field("secret_parameter", str, "With id_parameter: the parameter of the secret."),
        Field("key_id", str, "The KMS key to encrypt with. Default: the parameter's own."),
        ID_FIELD,
        SECRET_FIELD,
        CREATE,
        *FIELDS,
        *ReloadHook.fields,
    )

    def open(
        self, name: str, settings: Mapping[str, Any], surroundings: Surroundings
    ) -> OneParameterSink | TwoParametersSink:
        match tuple(bool(settings.get(key)) for key in ("parameter", "id_parameter", "secret_parameter")):
            case (True, False, False):
                return OneParameterSink(name, settings, surroundings)
            case (False, True, True) if settings["id_parameter"] != settings["secret_parameter"]:
                return TwoParametersSink(name, settings, surroundings)
        raise KeyturnError(f"sink {name}: set parameter, or id_parameter and secret_parameter")


TYPE: Final = SsmType()
