"""The table [leaks] of keyturn.toml: from whom alerts are taken, and by what they are known.

A secret stands in an environment variable or a file that the table names, never in the table.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.settings import ConfigurationFile

TABLE: Final = "leaks"
GITHUB_API: Final = "https://api.github.com"
PARTNER_KEYS: Final = "https://api.github.com/meta/public_keys/secret_scanning"
FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "github_secret_variable": ("text", "the environment variable with the secret of the GitHub webhook"),
    "github_secret_file": ("text", "or the file that holds it"),
    "github_token_variable": ("text", "the environment variable with a token that may read secret scanning"),
    "github_token_file": ("text", "or the file that holds it; it is read anew for each alert"),
    "github_api_url": ("text", "the REST API; default: " + GITHUB_API),
    "webhook_secret_variable": ("text", "the environment variable with the key of signed alerts"),
    "webhook_secret_file": ("text", "or the file that holds it"),
    "partner": ("flag", "take what GitHub tells its partners; default: false"),
    "partner_keys_url": (
        "text",
        "where GitHub publishes the keys it signs that with; default: " + PARTNER_KEYS,
    ),
    "alerts_per_minute": ("number", "genuine alerts that are taken in a minute; default: 600"),
    "alerts_at_once": ("number", "alerts that are worked on at once; default: 4"),
}
_WANTED: Final = {"text": "a text", "flag": "true or false", "number": "a whole number from 1 to 100000"}
_SHORTEST_SECRET: Final = 16
_LARGEST_SECRET: Final = 16 * 1024
_PRINTABLE: Final = re.compile(rb"[\x21-\x7e]+\Z")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Held:
    """A secret that lies somewhere: in a variable or in a file."""

    field: str
    variable: str | None
    file: Path | None
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    shortest: int = 1

    def read(self) -> Secret:
        """KeyturnError if there is none, or if it can't be one. The message never holds it."""
        if self.file is not None:
            where = f"the file of {self.field}"
            try:
                with self.file.open("rb") as opened:
                    found = opened.read(_LARGEST_SECRET + 1)
            except OSError as error:
                raise KeyturnError(f"{where} can't be read: {error.strerror}") from error
        else:
            where = f"the variable {self.variable} of {self.field}"
            found = os.fsencode(self.environment.get(self.variable or "", ""))
        found = found.strip()
        if not found:
            raise KeyturnError(f"{where} holds nothing")
        if len(found) < self.shortest:
            raise KeyturnError(f"{where} holds less than {self.shortest} characters", "openssl rand -hex 32")
        if len(found) > _LARGEST_SECRET or not _PRINTABLE.match(found):
            raise KeyturnError(f"what stands in {where} is no secret: it is one line of printable ASCII")
        return Secret(found)


@dataclass(frozen=True, slots=True)
class AlertSettings:
    github_secret: Held | None = None
    github_token: Held | None = None
    github_api_url: str = GITHUB_API
    webhook_secret: Held | None = None
    partner_keys_url: str | None = None
    """None: the partner programme is off."""
    alerts_per_minute: int = 600
    alerts_at_once: int = 4

    @property
    def takes_any(self) -> bool:
        return any(
            each is not None for each in (self.github_secret, self.webhook_secret, self.partner_keys_url)
        )


def read_alert_settings(file: ConfigurationFile, environment: Mapping[str, str]) -> AlertSettings:
    """KeyturnError names the line. Nothing is read from variables or files yet."""
    table = file.tables.get(TABLE, {})
    for name, value in table.items():
        if name not in FIELDS:
            raise KeyturnError(
                f"{file.where(TABLE, name)}: [{TABLE}] has no setting '{name}'",
                f"the settings are {', '.join(FIELDS)}",
            )
        if not _fits(FIELDS[name][0], value):
            raise KeyturnError(f"{file.where(TABLE, name)}: '{name}' is {_WANTED[FIELDS[name][0]]}")

    def held(name: str, shortest: int = 1) -> Held | None:
        variable, path = table.get(f"{name}_variable"), table.get(f"{name}_file")
        if variable is not None and path is not None:
            raise KeyturnError(
                f"{file.where(TABLE, f'{name}_file')}: {name}_variable stands there already", "leave one out"
            )
        if variable is None and path is None:
            return None
        said = f"{name}_{'variable' if path is None else 'file'}"
        where = None if path is None else Path(path).expanduser().absolute()
        return Held(said, variable, where, environment, shortest)

    settings = AlertSettings(
        github_secret=held("github_secret", _SHORTEST_SECRET),
        github_token=held("github_token"),
        github_api_url=_url(file, table, "github_api_url", GITHUB_API, may_be_plain=True),
        webhook_secret=held("webhook_secret", _SHORTEST_SECRET),
        partner_keys_url=_url(file, table, "partner_keys_url", PARTNER_KEYS)
        if table.get("partner")
        else None,
        alerts_per_minute=table.get("alerts_per_minute", 600),
        alerts_at_once=table.get("alerts_at_once", 4),
    )
    if settings.github_secret is not None and settings.github_token is None:
        raise KeyturnError(
            f"{file.where(TABLE, settings.github_secret.field)}: an alert of GitHub's does not hold the secret,"
            " and without a token it can't be read",
            "write github_token_variable or github_token_file beside it",
        )
    return settings


def _fits(kind: str, value: Any) -> bool:
    if kind == "flag":
        return isinstance(value, bool)
    if kind == "number":
        return type(value) is int and 0 < value <= 100_000
    return isinstance(value, str) and bool(value)


def _url(
    file: ConfigurationFile, table: Mapping[str, Any], name: str, default: str, *, may_be_plain: bool = False
) -> str:
    text: str = table.get(name, default)
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    is_plain = parts.scheme == "http" and may_be_plain and host in _LOOPBACK
    if not host or parts.username or parts.password or parts.query or parts.fragment:
        wrong = True
    else:
        wrong = parts.scheme != "https" and not is_plain
    if wrong:
        plain = ", or http on this machine" if may_be_plain else ""
        raise KeyturnError(f"{file.where(TABLE, name)}: '{name}' is an https URL{plain}, without credentials")
    return text.rstrip("/")
