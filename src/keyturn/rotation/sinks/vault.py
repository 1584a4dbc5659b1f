"""HashiCorp Vault and OpenBao: two fields of a KV version 2 secret, written by check-and-set, the other fields kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.interface import (
    Field,
    Held,
    ReadBack,
    SinkChangedError,
    SinkRefusedError,
    SinkTraits,
    SinkUnavailableError,
    Surroundings,
    WriteContext,
)
from keyturn.rotation.sinks.pairs import (
    CREATE,
    ID_FIELD,
    SECRET_FIELD,
    FieldNames,
    as_fields,
    held_in,
    is_as_expected,
    is_same,
    write_json,
)
from keyturn.rotation.sinks.reload import ReloadHook
from keyturn.rotation.sinks.rest import Answer, Rest, refusal, token_from, trust

_STANDBY: Final = frozenset({307, 412, 472, 473})
"""A standby that does not forward, and one that has not caught up yet: another moment, another answer."""
_CAS_REFUSED: Final = "check-and-set parameter"
_MAY_WRITE: Final = frozenset({"create", "update", "root"})


@dataclass(frozen=True, slots=True)
class _Version:
    number: int
    """0: the secret was never written, or its history is gone."""
    data: Mapping[str, Any] | None
    """None: nothing there, or the newest version is deleted."""


class VaultSink:
    def __init__(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> None:
        self._name = name
        self._names = FieldNames(settings)
        self._may_create = bool(settings.get("create"))
        environment = surroundings.environment
        address = settings.get("address") or environment.get("VAULT_ADDR") or environment.get("BAO_ADDR")
        if not address:
            raise KeyturnError(f"sink {name}: set address, or the variable VAULT_ADDR")
        self._mount = str(settings.get("mount") or "secret").strip("/")
        self._path = str(settings["path"]).strip("/")
        for field, value in (("mount", self._mount), ("path", self._path)):
            if any(part in {"", ".", ".."} for part in value.split("/")):
                raise KeyturnError(f"sink {name}: {field} is not a path of names")
        self._where = f"vault {self._mount}/{self._path}"
        namespace = settings.get("namespace") or environment.get("VAULT_NAMESPACE") or ""
        headers = {"X-Vault-Request": "true"}
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        variable: str = settings.get("token_env") or "VAULT_TOKEN"
        file: str | None = settings.get("token_file")
        if file is None and not environment.get(variable) and "HOME" in environment:
            file = f"{environment['HOME']}/.vault-token"

        def credentials() -> Mapping[str, Secret]:
            return {"X-Vault-Token": token_from(surroundings, variable=variable, file=file, what=self._where)}

        self._rest = Rest(
            address,
            sink=name,
            field="address",
            service=self._where,
            credentials=credentials,
            headers=headers,
            tls=trust(settings.get("ca_file") or environment.get("VAULT_CACERT")),
        )
        self._hook = ReloadHook.of(name, settings, surroundings)

    @property
    def name(self) -> str:
        return self._name

    def describe(self) -> SinkTraits:
        return SinkTraits(self._where, True, ReadBack.PAIR, self._hook.is_set)

    def test(self) -> None:
        """Ask the server what this token may do there; nothing is written."""
        found = self._newest()
        path = f"{self._mount}/data/{self._path}"
        answer = self._ask("POST", "/v1/sys/capabilities-self", body=write_json({"paths": [path]}))
        granted = answer.object().get("data", {}).get(path)
        if not isinstance(granted, list) or not _MAY_WRITE & set(granted):
            raise SinkRefusedError(f"{self._where}: the token may read it but not write it")
        if found.number == 0 and "create" not in granted and "root" not in granted:
            raise SinkRefusedError(f"{self._where}: the token may change it but not create it")
        self._hook.test()

    def read(self) -> Held:
        return self._held(self._newest())

    def write(self, pair: AccessKeyPair, *, expect: Held, context: WriteContext) -> None:  # noqa: ARG002 - the check-and-set tells a repeat apart
        found = self._newest()
        now = self._held(found)
        if is_same(now.pair, pair):
            return
        if not is_as_expected(now, expect):
            raise self._changed()
        data = {**(found.data or {}), **as_fields(pair, self._names)}
        body = write_json({"options": {"cas": found.number}, "data": data})
        answer = self._ask("POST", self._data_path(), body=body, expected=(200, 204, 400))
        if answer.status == 400:
            said = answer.object().get("errors")
            if isinstance(said, list) and any(isinstance(s, str) and _CAS_REFUSED in s for s in said):
                raise self._changed()
            raise refusal(self._where, "POST", answer)

    def holds(self, pair: AccessKeyPair, *, before: Held) -> bool:  # noqa: ARG002 - the pair itself is read back
        return is_same(self.read().pair, pair)

    def reload(self, context: WriteContext) -> None:
        self._hook.run(context)

    def _newest(self) -> _Version:
        answer = self._ask("GET", self._data_path(), expected=(200, 404))
        outer = answer.object().get("data")
        if isinstance(outer, dict):
            metadata, data = outer.get("metadata"), outer.get("data")
            number = metadata.get("version") if isinstance(metadata, dict) else None
            if isinstance(number, int) and isinstance(data, dict | None):
                return self._checked(_Version(number, data))
        elif answer.status == 404:
            return self._checked(_Version(0, None))
        raise SinkRefusedError(
            f"{self._where}: no KV version 2 answers there, or it holds what can't be kept"
        )

    def _checked(self, found: _Version) -> _Version:
        if found.data is None and not self._may_create:
            raise SinkRefusedError(f"{self._where}: there is no such secret, and `create` is not set")
        return found

    def _held(self, found: _Version) -> Held:
        return held_in(found.data or {}, self._names, str(found.number))

    def _data_path(self) -> str:
        return f"/v1/{quote(self._mount)}/data/{quote(self._path)}"

    def _ask(self, method: str, path: str, *, expected: tuple[int, ...] = (200,), **options: Any) -> Answer:
        answer = self._rest.ask(method, path, expected=(*expected, *_STANDBY, 503), **options)
        if answer.status == 503:
            raise SinkUnavailableError(f"{self._where}: the server is sealed or down")
        if answer.status in _STANDBY:
            raise SinkUnavailableError(f"{self._where}: this server is a standby ({answer.status})")
        return answer

    def _changed(self) -> SinkChangedError:
        return SinkChangedError(f"{self._where}: somebody else has written it in between")


class VaultType:
    fields = (
        Field("path", str, "The secret's path below the mount.", is_required=True),
        Field("mount", str, "Where the KV version 2 engine is mounted. Default: secret."),
        Field("address", str, "The server's URL. Default: the variable VAULT_ADDR."),
        Field("namespace", str, "The namespace. Default: the variable VAULT_NAMESPACE."),
        Field("token_env", str, "The variable that holds the token. Default: VAULT_TOKEN."),
        Field(
            "token_file",
            str,
            "A file that holds the token, read anew for each call. Default: ~/.vault-token.",
        ),
        Field("ca_file", str, "Certificate authorities to trust. Default: VAULT_CACERT, else the system's."),
        ID_FIELD,
        SECRET_FIELD,
        CREATE,
        *ReloadHook.fields,
    )

    def open(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> VaultSink:
        return VaultSink(name, settings, surroundings)


TYPE: Final = VaultType()
