"""A service of your own that takes keys: one signed POST over https for a write, one signed GET to ask what it holds.

The signature is HMAC-SHA256 over `TIMESTAMP.BODY` with a key that both sides know: the service checks it, and that
the timestamp is fresh, before it believes a word. Bodies that come back are never shown.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from keyturn.model.access_keys import AccessKeyPair, parse_access_key_id
from keyturn.model.clock import Clock, SystemClock
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.bounded_call import Answer, Door, call, checked_door
from keyturn.rotation.sinks.interface import (
    Field,
    Held,
    ReadBack,
    Sink,
    SinkChangedError,
    SinkRefusedError,
    SinkTraits,
    SinkType,
    SinkUnavailableError,
    Surroundings,
    WriteContext,
)
from keyturn.rotation.sinks.pairs import NOTHING, read_json
from keyturn.rotation.sinks.reload import ReloadHook
from keyturn.rotation.sinks.shared_file import path_of
from keyturn.store.private_files import read_private_file

_DEFAULT_SECONDS: Final = 20
_MOST_SECONDS: Final = 120
_SHORTEST_KEY: Final = 16
_LARGEST_KEY: Final = 4096
_LONGEST_VERSION: Final = 128


@dataclass(frozen=True, slots=True)
class Webhook:
    name: str
    door: Door
    status_door: Door | None
    key_variable: str | None
    key_file: Path | None
    seconds: int
    environment: Mapping[str, str] = field(repr=False)
    """It may hold tokens."""
    clock: Clock
    hook: ReloadHook

    def describe(self) -> SinkTraits:
        return SinkTraits(
            f"webhook {self.door.where}",
            is_atomic=True,
            read_back=ReadBack.NOTHING if self.status_door is None else ReadBack.VERSION,
            has_reload=self.hook.is_set,
        )

    def test(self) -> None:
        self._key()
        self.read()
        self.hook.test()

    def read(self) -> Held:
        """The id and a version, as the service tells. A service that was never written answers 404, or {}."""
        status = self._status()
        access_key_id = status.get("access_key_id")
        shown = parse_access_key_id(access_key_id) if isinstance(access_key_id, str) else None
        version = status.get("fingerprint") or status.get("version")
        is_version = isinstance(version, str) and len(version) <= _LONGEST_VERSION
        return Held(shown, None, version if is_version else None) if status else NOTHING

    def write(self, pair: AccessKeyPair, *, expect: Held, context: WriteContext) -> None:
        if self.status_door is not None:
            status = self._status()
            if status.get("fingerprint") == pair.fingerprint:
                return
            if _is_somebody_elses(status, pair, expect, is_repeat=context.is_repeat):
                raise SinkChangedError(f"{self.door.where} holds another key than expected")
        body = _handed_over(pair, None if self.status_door is None else expect, context)
        answer = self._call(self.door, "POST", body, {"Idempotency-Key": context.idempotency_key})
        if answer.status in {409, 412}:
            raise SinkChangedError(f"{self.door.where} holds another key than expected")
        self._refuse_failure(self.door, answer)

    def holds(self, pair: AccessKeyPair, *, before: Held) -> bool:
        """By the fingerprint of the pair if the service tells it; else by the id; else by a version that changed."""
        if self.status_door is None:
            return True
        status = self._status()
        if "fingerprint" in status:
            return bool(status["fingerprint"] == pair.fingerprint)
        if "access_key_id" in status:
            return bool(status["access_key_id"] == pair.access_key_id)
        return status.get("version") not in {None, before.version}

    def reload(self, context: WriteContext) -> None:
        self.hook.run(context)

    def _status(self) -> dict[str, Any]:
        if self.status_door is None:
            return {}
        answer = self._call(self.status_door, "GET", None, {})
        if answer.status == 404:
            return {}
        self._refuse_failure(self.status_door, answer)
        status = read_json(answer.body)
        if not isinstance(status, dict) or any(isinstance(value, dict | list) for value in status.values()):
            raise SinkRefusedError(f"{self.status_door.where} does not answer with one flat JSON object")
        return status

    def _call(self, door: Door, method: str, body: Secret | None, headers: Mapping[str, str]) -> Answer:
        timestamp = str(self.clock.now_ms() // 1000)
        signed = {
            **headers,
            "Accept": "application/json",
            "Keyturn-Timestamp": timestamp,
            "Keyturn-Signature": signature(self._key(), timestamp, body),
        }
        if body is not None:
            signed["Content-Type"] = "application/json"
        return call(door, method, headers=signed, body=body, seconds=self.seconds)

    def _key(self) -> Secret:
        if self.key_file is not None:
            try:
                value = read_private_file(self.key_file, limit=_LARGEST_KEY).reveal().strip()
            except KeyturnError as error:
                raise SinkRefusedError(error.message) from error
        else:
            value = self.environment.get(self.key_variable or "", "").encode()
        if not _SHORTEST_KEY <= len(value) <= _LARGEST_KEY:
            raise SinkRefusedError(
                f"the key in {self.key_file or self.key_variable} is missing, or shorter than {_SHORTEST_KEY} bytes"
            )
        return Secret(value)

    def _refuse_failure(self, door: Door, answer: Answer) -> None:
        status = answer.status
        if 200 <= status < 300:
            return
        if status in {408, 425, 429} or status >= 500:
            raise SinkUnavailableError(f"{door.where} answers {status}", retry_after=answer.retry_after)
        if 300 <= status < 400:
            raise SinkRefusedError(
                f"{door.where} answers {status}: a key is not carried to where a redirect points"
            )
        raise SinkRefusedError(f"{door.where} answers {status}")


def _is_somebody_elses(
    status: Mapping[str, Any], pair: AccessKeyPair, expect: Held, *, is_repeat: bool
) -> bool:
    """Whether the service holds neither what was expected nor what this write may have left already."""
    if status.get("access_key_id") not in {expect.access_key_id, pair.access_key_id}:
        return True
    if expect.version is None:
        return False
    if "fingerprint" in status:
        return bool(status["fingerprint"] != expect.version)
    # A bare version can't tell whose the change was: a repeat takes it for its own.
    return "access_key_id" not in status and status.get("version") != expect.version and not is_repeat


def signature(key: Secret, timestamp: str, body: Secret | None) -> str:
    """`v1=` and 64 hex digits. `timestamp` is in epoch seconds; a GET signs an empty body."""
    signed = timestamp.encode() + b"." + (b"" if body is None else body.reveal())
    return "v1=" + hmac.new(key.reveal(), signed, hashlib.sha256).hexdigest()


def _handed_over(pair: AccessKeyPair, expect: Held | None, context: WriteContext) -> Secret:
    """`expected_access_key_id` is null for a service that held nothing, and missing if that was not asked."""
    said: dict[str, str | None] = {
        "type": "access_key",
        "rotation_id": context.rotation_id,
        "user_name": context.user_name,
        "access_key_id": pair.access_key_id,
        "secret_access_key": pair.secret.reveal().decode("latin-1"),
    }
    if expect is not None:
        said["expected_access_key_id"] = expect.access_key_id
    return Secret(json.dumps(said).encode())


class WebhookType:
    fields: Sequence[Field] = (
        Field("url", str, "Where keys are POSTed: https, or http on this machine.", is_required=True),
        Field("status_url", str, "Where a GET tells what is held: fingerprint, access_key_id, version."),
        Field("key_variable", str, "The environment variable with the key of the signature."),
        Field("key_file", str, "The private file with the key of the signature, instead of key_variable."),
        Field("ca_file", str, "Certificates to trust instead of the system's."),
        Field("timeout", int, "Seconds that a call may take, 1 to 120. Default: 20."),
        *ReloadHook.fields,
    )

    def open(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> Sink:
        environment = surroundings.environment
        key_variable, key_file = settings.get("key_variable"), settings.get("key_file")
        if bool(key_variable) == bool(key_file):
            raise KeyturnError(f"sink {name}: the signature needs a key: set key_variable or key_file")
        seconds = settings.get("timeout", _DEFAULT_SECONDS)
        if not 1 <= seconds <= _MOST_SECONDS:
            raise KeyturnError(f"sink {name}: timeout must be 1 to {_MOST_SECONDS} seconds")
        ca_text, status_url = settings.get("ca_file"), settings.get("status_url")
        ca_file = path_of(ca_text, environment, sink=name, field="ca_file") if ca_text else None
        return Webhook(
            name=name,
            door=checked_door(settings["url"], sink=name, field="url", ca_file=ca_file),
            status_door=checked_door(status_url, sink=name, field="status_url", ca_file=ca_file)
            if status_url
            else None,
            key_variable=key_variable or None,
            key_file=path_of(key_file, environment, sink=name, field="key_file") if key_file else None,
            seconds=seconds,
            environment=environment,
            clock=SystemClock(),
            hook=ReloadHook.of(name, settings, surroundings),
        )


TYPE: Final[SinkType] = WebhookType()
