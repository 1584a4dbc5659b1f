"""What somebody may choose, and where things lie: flag, then KEYTURN_* variable, then keyturn.toml, then default.

Paths follow the XDG base directory specification. A service without a home has its data in /var/lib and its
key in /etc. Reading files here means reading keyturn.toml; everything else is only named.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from keyturn.model.access_keys import AccountId, parse_account_id
from keyturn.model.directories import config_directory, data_directory, state_directory
from keyturn.model.errors import KeyturnError

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 4590
OFFERED_SERVICES: Final = ("iam", "sts", "secretsmanager", "cloudtrail")
VERIFY_SERVICE: Final = "keyturn"
"""The scope that calls of `POST /-/verify` and `POST /-/account` are signed for."""
_MOST_SERVICES: Final = 100
_service_name: Final = re.compile(r"[a-z0-9-]{1,64}\Z").match


@dataclass(frozen=True, slots=True)
class KeyFile:
    """Where the master key is looked for. A path that somebody named is never created."""

    path: Path
    is_explicit: bool


@dataclass(frozen=True, slots=True)
class Locations:
    """The directories of one installation."""

    config: Path
    data: Path
    state: Path
    system: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Locations:
        return cls(
            config=Path(config_directory(environment)),
            data=Path(data_directory(environment)),
            state=Path(state_directory(environment)),
            system=Path("/etc/keyturn"),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """One data directory and the files that belong to it."""

    data_dir: Path
    locations: Locations
    named_key_file: Path | None
    named_mark_file: Path | None
    credentials_directory: Path | None
    """systemd's `$CREDENTIALS_DIRECTORY`."""

    @property
    def database(self) -> Path:
        return self.data_dir / "authority.sqlite"

    @property
    def usage_database(self) -> Path:
        return self.data_dir / "usage.sqlite"

    @property
    def lock(self) -> Path:
        return self.data_dir / "serve.lock"

    @property
    def endpoint_file(self) -> Path:
        """Where the last `serve` listened: one line, a URL."""
        return self.data_dir / "endpoint"

    def credentials_file(self, instance_id: str) -> Path:
        return self.locations.config / f"{instance_id}.credentials"

    def mark_file(self, instance_id: str) -> Path:
        return self.named_mark_file or self.locations.state / f"{instance_id}.mark"

    def key_file(self, instance_id: str) -> KeyFile:
        if self.named_key_file is not None:
            return KeyFile(self.named_key_file, is_explicit=True)
        if self.credentials_directory is not None:
            loaded = self.credentials_directory / "keyturn.key"
            if loaded.exists():
                return KeyFile(loaded, is_explicit=True)
        name = f"{instance_id}.key"
        of_system = self.locations.system / name
        if of_system.exists():
            return KeyFile(of_system, is_explicit=False)
        return KeyFile(self.locations.config / name, is_explicit=False)


@dataclass(frozen=True, slots=True)
class ServeSettings:
    place: Place
    host: str
    port: int
    account_id: AccountId | None
    services: tuple[str, ...]
    regions: tuple[str, ...]
    """Empty: every region of the partition."""
    tls_cert: Path | None
    tls_key: Path | None
    behind_proxy: tuple[str, ...]
    accept_rollback: bool
    file: ConfigurationFile | None = None
    """keyturn.toml, for the rooms that have tables of their own in it."""
    own_services: tuple[str, ...] = ()
    """A team's own services: scopes in which requests are verified for others, and never answered here."""


class Choices:
    """Looks a setting up by its name, in the order of who speaks last."""

    def __init__(self, flags: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._flags = flags
        self._environment = environment
        self._file, self._table = _read_toml(flags, environment)

    def text(self, name: str) -> str | None:
        value = self._flags.get(name)
        if value is not None:
            return str(value)
        value = self._environment.get(f"KEYTURN_{name.upper()}")
        if value:
            return value
        value = self._table.get(name)
        return None if value is None else ",".join(value) if isinstance(value, list) else str(value)

    def path(self, name: str) -> Path | None:
        text = self.text(name)
        return None if text is None else Path(text).expanduser().absolute()

    def parsed(self, name: str, parse: Callable[[str], Any], wanted: str) -> Any:
        text = self.text(name)
        if text is None:
            return None
        value = parse(text)
        if value is None:
            raise KeyturnError(f"{name.replace('_', '-')} is {wanted}, not '{text}'", self._where(name))
        return value

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in (self.text(name) or "").split(",") if word.strip())

    def _where(self, name: str) -> str:
        if self._flags.get(name) is not None:
            return f"it was given as --{name.replace('_', '-')}"
        if self._environment.get(f"KEYTURN_{name.upper()}"):
            return f"it was given in the environment as KEYTURN_{name.upper()}"
        return f"it stands in {self._file}"


_SERVE_KEYS: Final = {
    "data_dir",
    "key_file",
    "mark_file",
    "host",
    "port",
    "account_id",
    "services",
    "regions",
    "tls_cert",
    "tls_key",
    "behind_proxy",
}


def _read_toml(flags: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[Path, Mapping[str, Any]]:
    file = configuration_file(flags, environment)
    keys = file.tables.get("serve", {})
    for key, value in keys.items():
        if key not in _SERVE_KEYS:
            raise KeyturnError(
                f"{file.where('serve', key)}: [serve] has no setting '{key}'",
                f"the settings are {', '.join(sorted(_SERVE_KEYS))}",
            )
        words = value if isinstance(value, list) else []
        if (
            not isinstance(value, str | int | list)
            or isinstance(value, bool)
            or not all(isinstance(word, str) for word in words)
        ):
            raise KeyturnError(f"{file.where('serve', key)}: '{key}' is a text, a number or a list of texts")
    return file.path, keys


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """keyturn.toml as it was read. What stands in a room's tables is for the room to check."""

    path: Path
    tables: Mapping[str, Mapping[str, Any]]
    _text: str = ""
    lists: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """The tables that may stand there many times, by their name."""

    def where(self, *words: str) -> str:
        """`PATH, line N` of the last of these words, each looked for below the one before."""
        lines = self._text.splitlines()
        found = 0
        for word in words:
            begins = re.compile(rf"""\s*\[?[\["'\s\w.-]*?\b{re.escape(word)}["'\s]*[\]=.]""")
            found = next((n for n in range(found, len(lines)) if begins.match(lines[n])), found)
        return f"{self.path}, line {found + 1}"

    def where_in(self, name: str, number: int, word: str = "") -> str:
        """The same of the `[[name]]` with this number, from 0, and of a word in it."""
        lines = self._text.splitlines()
        heads = [n for n, line in enumerate(lines) if re.match(rf"\s*\[\[\s*{re.escape(name)}\s*\]\]", line)]
        if number >= len(heads):  # written as one array: its own line is the nearest
            return self.where(name)
        first = heads[number]
        last = heads[number + 1] if number + 1 < len(heads) else len(lines)
        begins = re.compile(rf"""\s*["']?{re.escape(word)}["']?\s*=""")
        found = next((n for n in range(first + 1, last) if word and begins.match(lines[n])), first)
        return f"{self.path}, line {found + 1}"


_TABLES: Final = ("serve", "rotation", "sinks", "users", "schedule", "leaks")
_LISTS: Final = ("exemptions",)
"""Tables that may stand there many times: `[[exemptions]]`."""


def configuration_file(
    flags: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> ConfigurationFile:
    """The file that was named, or keyturn.toml if there is one. KeyturnError if it can't be read."""
    environment = os.environ if environment is None else environment
    named = flags.get("config") or environment.get("KEYTURN_CONFIG")
    path = Path(named) if named else Locations.of(environment).config / "keyturn.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if named:
            raise KeyturnError(f"there is no configuration file {path}") from None
        return ConfigurationFile(path, {})
    except (OSError, UnicodeDecodeError) as error:
        raise KeyturnError(f"can't read the configuration file {path}: {error}") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise KeyturnError(f"{path} is not TOML: {error}") from error
    lists = {name: content.pop(name) for name in _LISTS if name in content}
    file = ConfigurationFile(path, content, text, lists)
    for table, keys in content.items():
        if table not in _TABLES or not isinstance(keys, dict):
            raise KeyturnError(
                f"{file.where(table)}: there is no table or key '{table}' here",
                f"the tables are {', '.join((*_TABLES, *_LISTS))}",
            )
    for name, entries in lists.items():
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise KeyturnError(f"{file.where(name)}: '{name}' is a list of tables", f"write [[{name}]]")
    return file


def place(flags: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Place:
    """Where the data of this command lies."""
    environment = os.environ if environment is None else environment
    return _place(Choices(flags, environment), environment)


def _place(choices: Choices, environment: Mapping[str, str]) -> Place:
    locations = Locations.of(environment)
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    data_dir = choices.path("data_dir") or locations.data
    mark_file = choices.path("mark_file")
    if mark_file is not None and data_dir in mark_file.parents:
        raise KeyturnError(
            f"the mark file {mark_file} lies inside the data directory: it would be restored with it",
            "name a path outside it",
        )
    return Place(
        data_dir=data_dir,
        locations=locations,
        named_key_file=choices.path("key_file"),
        named_mark_file=mark_file,
        credentials_directory=Path(credentials) if credentials else None,
    )


def serve_settings(flags: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> ServeSettings:
    """All that `keyturn serve` needs. KeyturnError names the setting that is wrong and where it stands."""
    environment = os.environ if environment is None else environment
    choices = Choices(flags, environment)
    named = tuple(dict.fromkeys(choices.words("services")))
    _check_services(named)
    tls_cert, tls_key = choices.path("tls_cert"), choices.path("tls_key")
    if (tls_cert is None) != (tls_key is None):
        raise KeyturnError("TLS needs both a certificate and its key", "give --tls-cert and --tls-key")
    port = choices.parsed("port", _port, "a number from 0 to 65535")
    return ServeSettings(
        place=_place(choices, environment),
        host=choices.text("host") or DEFAULT_HOST,
        port=DEFAULT_PORT if port is None else port,
        account_id=choices.parsed("account_id", parse_account_id, "12 digits, not all of them 0"),
        services=tuple(name for name in named if name in OFFERED_SERVICES) or OFFERED_SERVICES,
        own_services=tuple(name for name in named if name not in OFFERED_SERVICES),
        regions=choices.words("regions"),
        tls_cert=tls_cert,
        tls_key=tls_key,
        behind_proxy=choices.words("behind_proxy"),
        accept_rollback=bool(flags.get("accept_rollback")),
        file=configuration_file(flags, environment),
    )


def _port(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65536 else None


def _check_services(names: Sequence[str]) -> None:
    """Beside those that are offered, any name that a credential scope can hold is a service of the team's own."""
    for name in names:
        if not _service_name(name):
            raise KeyturnError(
                f"'{name}' can't be the name of a service",
                "a name has at most 64 lower-case letters, digits and hyphens",
            )
        if name == VERIFY_SERVICE:
            raise KeyturnError(
                f"the service '{name}' is the authority's own",
                f"choose of {', '.join(OFFERED_SERVICES)}, and name your own services",
            )
    if len(names) > _MOST_SERVICES:
        raise KeyturnError(f"{len(names)} services are named, and {_MOST_SERVICES} is the most")
