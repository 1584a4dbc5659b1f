"""Where the files of one installation lie, by the XDG base directory specification. Names only, as plain text.

`settings` makes paths of them; `status` asks here, for it must answer before anything else could be loaded.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def config_directory(environment: Mapping[str, str]) -> str:
    return _base(environment, "XDG_CONFIG_HOME", ".config", "/etc/keyturn")


def data_directory(environment: Mapping[str, str]) -> str:
    return _base(environment, "XDG_DATA_HOME", ".local/share", "/var/lib/keyturn")


def state_directory(environment: Mapping[str, str]) -> str:
    return _base(environment, "XDG_STATE_HOME", ".local/state", "/var/lib/keyturn-mark")


def cache_directory(environment: Mapping[str, str]) -> str:
    """Empty without a home: then nothing is kept."""
    return _base(environment, "XDG_CACHE_HOME", ".cache", "")


def _base(environment: Mapping[str, str], variable: str, below_home: str, without_home: str) -> str:
    """A service without a home has its data in /var/lib and its key in /etc."""
    value = environment.get(variable, "")
    if value.startswith("/"):
        return f"{value.rstrip('/')}/keyturn"
    home = environment.get("HOME", "")
    has_home = home.startswith("/") and home not in {"/", "/nonexistent"}
    return f"{home.rstrip('/')}/{below_home}/keyturn" if has_home else without_home
