"""A private file for those who ask `keyturn creds --profile P`, and the answer that AWS's SDKs expect from it.

A running SDK asks again by itself, so it takes up a new key without a restart. The secret lies in the file as it
would in ~/.aws/credentials: whoever may run the command gets it anyway, and needs no key of Keyturn's to do so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair
from keyturn.model.clock import iso8601
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.file_sink import FileSink
from keyturn.rotation.sinks.interface import (
    Field,
    Held,
    Sink,
    SinkRefusedError,
    SinkType,
    Surroundings,
    WriteContext,
)
from keyturn.rotation.sinks.pairs import NOTHING, pair_of, read_json
from keyturn.rotation.sinks.reload import ReloadHook
from keyturn.rotation.sinks.shared_file import SharedFile, path_of
from keyturn.settings import Locations
from keyturn.store.private_files import read_private_file

ADVISORY_SECONDS: Final = 15 * 60
"""botocore asks again when credentials have less than this left (`RefreshableCredentials`), and goes on with the old
ones if that fails; with less than ten minutes it can't go on. So an answer lives this long beyond `refresh`."""
SHORTEST_REFRESH: Final = 60
LONGEST_REFRESH: Final = 12 * 3600
DEFAULT_REFRESH: Final = 300

_FORMAT: Final = 1
_LARGEST: Final = 16 * 1024
_PROFILE: Final = re.compile(r"[A-Za-z0-9_@+=,-][A-Za-z0-9_.@+=,-]{0,127}\Z")


@dataclass(frozen=True, slots=True)
class Stored:
    """What the file of a profile holds."""

    pair: AccessKeyPair
    refresh: int
    """Seconds after which a running boto3 asks again."""


def store_path(profile: str, environment: Mapping[str, str]) -> Path:
    """Where the file of a profile lies, unless `path` says otherwise. KeyturnError for a name that is no file's."""
    if not _PROFILE.match(profile):
        raise KeyturnError(f"{profile!r} can't be a profile of keyturn creds")
    return Locations.of(environment).state / "credentials" / f"{profile}.json"


def read_stored(path: Path) -> Stored:
    """KeyturnError, with what to do, if nothing is there or others may read it."""
    try:
        stored = _parsed(read_private_file(path, limit=_LARGEST))
    except KeyturnError as error:
        raise KeyturnError(
            f"there is no key to hand out: {error.message}",
            error.hint or "a rotation writes it: keyturn apply",
        ) from error
    if stored is None:
        raise KeyturnError(f"{path} is not a file of keyturn creds", hint="move it away and rotate the key")
    return stored


def answer(stored: Stored, *, now_ms: int) -> Secret:
    """What a `credential_process` prints (AWS SDKs and Tools Reference, "Process credential provider")."""
    said = {
        "Version": 1,
        "AccessKeyId": stored.pair.access_key_id,
        "SecretAccessKey": stored.pair.secret.reveal().decode(),
        "Expiration": iso8601(now_ms + 1000 * (ADVISORY_SECONDS + stored.refresh)),
    }
    return Secret(json.dumps(said).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class _StoreText:
    """The whole file is ours: a JSON object."""

    profile: str
    refresh: int

    def held(self, text: Secret) -> Held:
        if text == _EMPTY:
            return NOTHING
        stored = _parsed(text)
        if stored is None:
            raise SinkRefusedError("this is not a file of keyturn creds")
        return Held(stored.pair.access_key_id, stored.pair, None)

    def check(self, text: Secret) -> None:
        self.held(text)

    def with_pair(
        self,
        text: Secret,  # noqa: ARG002 - nothing of it stays
        pair: AccessKeyPair,
        *,
        replaced: AccessKeyId | None,  # noqa: ARG002 - one place holds the pair
        context: WriteContext,
    ) -> Secret:
        secret = pair.secret.reveal()
        if not re.fullmatch(rb"[!-~]{1,256}", secret):
            raise SinkRefusedError("the secret has characters that no secret has")
        held = {
            "keyturn_credentials": _FORMAT,
            "profile": self.profile,
            "user_name": context.user_name,
            "rotation_id": context.rotation_id,
            "refresh": self.refresh,
            "access_key_id": pair.access_key_id,
            "secret_access_key": secret.decode(),
        }
        return Secret(json.dumps(held, indent=1).encode() + b"\n")

    def is_rid_of(self, text: Secret, access_key_id: AccessKeyId) -> bool:  # noqa: ARG002 - one place
        return True


_EMPTY: Final = Secret(b"")


def _parsed(text: Secret) -> Stored | None:
    held = read_json(text)
    if not isinstance(held, dict) or held.get("keyturn_credentials") != _FORMAT:
        return None
    pair = pair_of(held.get("access_key_id"), held.get("secret_access_key"))
    refresh = held.get("refresh")
    if pair is None or type(refresh) is not int or not 0 <= refresh <= LONGEST_REFRESH:
        return None
    return Stored(pair, refresh)


class CredentialProcessType:
    fields: Sequence[Field] = (
        Field("profile", str, "The name that keyturn creds --profile is asked for.", is_required=True),
        Field("path", str, "The private file. Default: credentials/PROFILE.json in the state directory."),
        Field(
            "refresh",
            int,
            "Seconds after which a running boto3 asks again, 60 to 43200; other SDKs do so within 15 minutes more. "
            "Default: 300.",
        ),
        *ReloadHook.fields,
    )

    def open(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> Sink:
        environment = surroundings.environment
        profile, refresh = settings["profile"], settings.get("refresh", DEFAULT_REFRESH)
        if not SHORTEST_REFRESH <= refresh <= LONGEST_REFRESH:
            raise KeyturnError(
                f"sink {name}: refresh must be {SHORTEST_REFRESH} to {LONGEST_REFRESH} seconds, not {refresh}"
            )
        default = store_path(profile, environment)
        text = settings.get("path")
        path = path_of(text, environment, sink=name, field="path") if text else default
        return FileSink(
            name=name,
            where=f"keyturn creds --profile {profile}",
            file=SharedFile(path, is_private=True, makes_directory=True),
            text=_StoreText(profile, refresh),
            hook=ReloadHook.of(name, settings, surroundings),
        )


TYPE: Final[SinkType] = CredentialProcessType()
