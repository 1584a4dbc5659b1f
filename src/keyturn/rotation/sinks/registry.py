"""The sink types by name, each loaded when it is asked for, and those of plugins.

Settings are checked here against the fields of the type, so that a sink may take them as they are. Which file and
line they stand in is known to the caller.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Collection, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from keyturn.model.errors import KeyturnError
from keyturn.rotation.sinks.interface import Field, Sink, SinkType, Surroundings

GROUP: Final = "keyturn.sinks"
"""The entry point group of plugins."""

BUILT_IN: Final = (
    "command",
    "credential_process",
    "credentials_file",
    "dotenv",
    "github",
    "gitlab",
    "kubernetes",
    "secretsmanager",
    "ssm",
    "vault",
    "webhook",
)
"""Each is a module beside this one, with its `TYPE`."""

_LONGEST_TEXT: Final = 4096
_LONGEST_LIST: Final = 100
_KINDS: Final[Mapping[object, str]] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list of texts",
}


def type_names() -> list[str]:
    """All names, those of plugins too. Nothing is loaded."""
    return sorted({*BUILT_IN, *(plugin.name for plugin in entry_points(group=GROUP))})


def sink_type(name: str) -> SinkType:
    """KeyturnError if there is none, or if a plugin does not load."""
    if name in BUILT_IN:
        found: SinkType = importlib.import_module(f"keyturn.rotation.sinks.{name}").TYPE
        return found
    for plugin in entry_points(group=GROUP, name=name):
        return _load(plugin)
    raise KeyturnError(f"there is no sink type {name!r}{_perhaps(name, type_names())}")


def all_types() -> Mapping[str, SinkType]:
    """Every type by its name, loaded: for the reference."""
    return {name: sink_type(name) for name in type_names()}


def open_sink(name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> Sink:
    """The sink of a table `[sinks.NAME]` with its `type`. No I/O.

    KeyturnError names sink and field, and says what is allowed. Fields that are the room's own and not the
    type's are the caller's to take out before.
    """
    kind = settings.get("type")
    if not isinstance(kind, str):
        raise KeyturnError(f"sink {name}: type must be one of {', '.join(type_names())}")
    try:
        found = sink_type(kind)
    except KeyturnError as error:
        raise KeyturnError(f"sink {name}: {error.message}", error.hint) from error
    given = {field: value for field, value in settings.items() if field != "type"}
    fields = {field.name: field for field in found.fields}
    for field_name, value in given.items():
        field = fields.get(field_name)
        if field is None:
            raise KeyturnError(
                f"sink {name}: a {kind} has no field {field_name!r}{_perhaps(field_name, fields)}"
            )
        _check(name, field, value)
    for field in fields.values():
        if field.is_required and field.name not in given:
            raise KeyturnError(f"sink {name}: a {kind} needs the field {field.name}", hint=field.help)
    return found.open(name, given, surroundings)


def _check(sink: str, field: Field, value: object) -> None:
    # A `list[str]` is as good as a `list`: only what it is made of tells them apart.
    kind = getattr(field.kind, "__origin__", field.kind)
    if type(value) is not kind or (isinstance(value, list) and not all(type(item) is str for item in value)):
        raise KeyturnError(f"sink {sink}: {field.name} must be {_KINDS[kind]}", hint=field.help)
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    if len(texts) > _LONGEST_LIST or any(len(text) > _LONGEST_TEXT or "\0" in text for text in texts):
        raise KeyturnError(f"sink {sink}: {field.name} is too long, or has characters that no text has")
    if (field.is_required and value in ("", [])) or (isinstance(value, list) and value[:1] == [""]):
        raise KeyturnError(f"sink {sink}: {field.name} is empty", hint=field.help)


def _load(plugin: EntryPoint) -> SinkType:
    try:
        found: SinkType = plugin.load()
    except Exception as error:
        raise KeyturnError(
            f"the plugin {plugin.value} of the sink type {plugin.name} does not load: {type(error).__name__}"
        ) from error
    return found


def _perhaps(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f": is {close[0]} meant?" if close else f": there are {', '.join(sorted(known))}"
