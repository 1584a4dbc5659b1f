"""A `.env` file: both variables change in one step, and nothing else in the file does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from keyturn.model.errors import KeyturnError
from keyturn.rotation.sinks.dotenv_text import DotenvText
from keyturn.rotation.sinks.file_sink import FileSink
from keyturn.rotation.sinks.interface import Field, Sink, SinkType, Surroundings
from keyturn.rotation.sinks.reload import ReloadHook
from keyturn.rotation.sinks.shared_file import SharedFile, for_people, path_of

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")


class DotenvType:
    fields: Sequence[Field] = (
        Field("path", str, "The file, by an absolute path or one that starts with ~/.", is_required=True),
        Field("id_variable", str, "The variable that holds the access key id. Default: AWS_ACCESS_KEY_ID."),
        Field("secret_variable", str, "The variable that holds the secret. Default: AWS_SECRET_ACCESS_KEY."),
        *ReloadHook.fields,
    )

    def open(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> Sink:
        path = path_of(settings["path"], surroundings.environment, sink=name, field="path")
        text = DotenvText(
            settings.get("id_variable", "AWS_ACCESS_KEY_ID"),
            settings.get("secret_variable", "AWS_SECRET_ACCESS_KEY"),
        )
        for variable in (text.id_variable, text.secret_variable):
            if not _VARIABLE.match(variable):
                raise KeyturnError(f"sink {name}: {variable!r} can't be the name of a variable")
        if text.id_variable == text.secret_variable:
            raise KeyturnError(f"sink {name}: id_variable and secret_variable are the same")
        return FileSink(
            name=name,
            where=for_people(path, surroundings.environment),
            file=SharedFile(path, is_private=False),
            text=text,
            hook=ReloadHook.of(name, settings, surroundings),
        )


TYPE: Final[SinkType] = DotenvType()
