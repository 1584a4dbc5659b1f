"""Profiles of a shared credentials file (`~/.aws/credentials`), for every tool that reads one.

The profile that is named gets the pair, and so does each other one that holds the same key. Everything else in
the file stays as it is, byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from keyturn.model.errors import KeyturnError
from keyturn.rotation.sinks.credentials_text import CredentialsText
from keyturn.rotation.sinks.file_sink import FileSink
from keyturn.rotation.sinks.interface import Field, Sink, SinkType, Surroundings
from keyturn.rotation.sinks.reload import ReloadHook
from keyturn.rotation.sinks.shared_file import SharedFile, for_people, path_of

_PROFILE: Final = re.compile(r"[^\x00-\x20\x7f\[\]](?:[^\x00-\x1f\x7f\[\]]{0,126}[^\x00-\x20\x7f\[\]])?\Z")


class CredentialsFileType:
    fields: Sequence[Field] = (
        Field("profile", str, "The profile that gets the key.", is_required=True),
        Field(
            "path",
            str,
            "The file. Default: $AWS_SHARED_CREDENTIALS_FILE, or ~/.aws/credentials. In a file called config, or "
            "$AWS_CONFIG_FILE, profiles are called [profile NAME].",
        ),
        Field(
            "all_profiles",
            bool,
            "Write each other profile that holds the old key too, unless it has a session token. Default: true.",
        ),
        *ReloadHook.fields,
    )

    def open(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> Sink:
        environment = surroundings.environment
        profile = settings["profile"]
        if not _PROFILE.match(profile):
            raise KeyturnError(f"sink {name}: profile can't be the name of a profile")
        text = settings.get("path") or environment.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
        path = path_of(text, environment, sink=name, field="path")
        return FileSink(
            name=name,
            where=f"{for_people(path, environment)} [{profile}]",
            file=SharedFile(path, is_private=True, makes_directory=True),
            text=CredentialsText(
                profile,
                is_config=_is_config(path, environment),
                has_twins=settings.get("all_profiles", True),
            ),
            hook=ReloadHook.of(name, settings, surroundings),
        )


def _is_config(path: Path, environment: Mapping[str, str]) -> bool:
    return path.name == "config" or str(path) == environment.get("AWS_CONFIG_FILE")


TYPE: Final[SinkType] = CredentialsFileType()
