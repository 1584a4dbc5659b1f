"""Sink types by name: loaded when asked for, settings checked, plugins found by their entry point."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyturn.model.errors import KeyturnError
from keyturn.rotation.sinks.registry import BUILT_IN, all_types, open_sink, sink_type, type_names
from rotation.sinks.sink_conformance import surroundings


def opened(**settings: Any) -> object:
    return open_sink("x", settings, surroundings({"HOME": "/home/x"}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "sink x: type must be one of command, credential_process"),
        ({"type": 3}, "sink x: type must be one of"),
        ({"type": "dotnev", "path": "/x"}, "sink x: there is no sink type 'dotnev': is dotenv meant?"),
        ({"type": "../x"}, "sink x: there is no sink type"),
        ({"type": "dotenv"}, "sink x: a dotenv needs the field path"),
        ({"type": "dotenv", "path": ""}, "sink x: path is empty"),
        ({"type": "dotenv", "path": 1}, "sink x: path must be a text"),
        ({"type": "dotenv", "path": "relative/.env"}, "sink x: path must be an absolute path"),
        ({"type": "dotenv", "path": "/x", "pth": "/y"}, "a dotenv has no field 'pth': is path meant?"),
        ({"type": "dotenv", "path": "/x", "zzzzzz": 1}, "no field 'zzzzzz': there are id_variable, path"),
        ({"type": "dotenv", "path": "/x\0"}, "sink x: path is too long, or has characters"),
        ({"type": "dotenv", "path": "/" * 5000}, "sink x: path is too long"),
        ({"type": "dotenv", "path": "/x", "reload": "true"}, "sink x: reload must be a list of texts"),
        ({"type": "dotenv", "path": "/x", "reload": ["a", 1]}, "sink x: reload must be a list of texts"),
        ({"type": "dotenv", "path": "/x", "reload": [""]}, "sink x: reload is empty"),
        ({"type": "dotenv", "path": "/x", "reload_timeout": True}, "reload_timeout must be a whole number"),
        ({"type": "dotenv", "path": "/x", "id_variable": "a=b"}, "sink x: 'a=b' can't be the name"),
        ({"type": "credentials_file", "profile": "a]b"}, "sink x: profile can't be the name of a profile"),
        (
            {"type": "credentials_file", "profile": "a", "all_profiles": 1},
            "all_profiles must be true or false",
        ),
        ({"type": "command", "command": []}, "sink x: command is empty"),
        ({"type": "webhook", "url": "https://example.org"}, "set key_variable or key_file"),
    ],
)
def test_wrong_settings_name_the_sink_the_field_and_what_is_allowed(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(KeyturnError) as caught:
        opened(**settings)
    assert message in caught.value.message


def test_the_registry_alone_loads_no_sink() -> None:
    program = (
        "import sys, keyturn.rotation.sinks.registry as r; r.type_names(); "
        "print([m for m in sys.modules if m.startswith(('keyturn.rotation.sinks.', 'urllib3', 'boto'))])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    assert told.stdout.decode().strip() == (
        "['keyturn.rotation.sinks.interface', 'keyturn.rotation.sinks.registry']"
    )


def test_every_type_that_is_there_has_fields_with_a_help_for_the_reference() -> None:
    for name in BUILT_IN:
        fields = sink_type(name).fields
        assert fields, name
        assert len({field.name for field in fields}) == len(fields), name
        assert all(field.help.endswith(".") for field in fields), name
        assert not {"type", "users", "expected_interval"} & {field.name for field in fields}, name
    assert sorted(all_types()) == type_names()


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "made_up_sink.py").write_text(
        "class Made:\n fields = ()\n def open(self, name, settings, surroundings): return (name, dict(settings))\n"
        "TYPE = Made()\n"
    )
    metadata = tmp_path / "made_up-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[keyturn.sinks]\nmade_up = made_up_sink:TYPE\nbroken = made_up_sink:MISSING\ndotenv = made_up_sink:TYPE\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("made_up_sink", None)


@pytest.mark.usefixtures("plugins")
def test_a_plugin_is_found_by_its_entry_point_and_never_in_place_of_ours() -> None:
    assert opened(type="made_up") == ("x", {})
    assert "made_up" in type_names()
    assert sink_type("dotenv").fields
    with pytest.raises(KeyturnError, match=r"sink x: the plugin made_up_sink:MISSING .* does not load"):
        opened(type="broken")
