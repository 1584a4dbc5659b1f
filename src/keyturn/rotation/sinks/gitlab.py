"""GitLab CI/CD variables of a project or a group: two variables, changed one after the other, all else about them kept.

A hidden variable never shows its value again; then the access key id, if it is not hidden too, tells the version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    Surroundings,
    WriteContext,
)
from keyturn.rotation.sinks.pairs import (
    CREATE,
    FieldNames,
    as_fields,
    held_in,
    is_as_expected,
    is_on_the_way,
    is_same,
    write_json,
)
from keyturn.rotation.sinks.reload import ReloadHook
from keyturn.rotation.sinks.rest import Line, Rest, token_from, trust

_KEY: Final = re.compile(r"[A-Za-z0-9_]{1,255}\Z")
_KEPT: Final = ("variable_type", "protected", "masked", "raw", "environment_scope", "description")


class GitLabSink:
    def __init__(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> None:
        self._name = name
        self._names = FieldNames(settings)
        for key in (self._names.access_key_id, self._names.secret):
            if not _KEY.match(key):
                raise KeyturnError(f"sink {name}: {key} can't be the name of a variable")
        project, group = settings.get("project"), settings.get("group")
        if bool(project) == bool(group):
            raise KeyturnError(f"sink {name}: set project or group")
        kind = "projects" if project else "groups"
        self._place = f"/api/v4/{kind}/{quote(project or group or '', safe='')}/variables"
        self._scope: str = settings.get("environment_scope") or "*"
        self._is_hidden = bool(settings.get("hidden"))
        self._is_protected = bool(settings.get("protected", True))
        self._may_create = bool(settings.get("create"))
        self._where = f"gitlab {project or group} [{self._scope}]"
        variable: str = settings.get("token_env") or "GITLAB_TOKEN"

        def credentials() -> Mapping[str, Secret]:
            token = token_from(
                surroundings, variable=variable, file=settings.get("token_file"), what=self._where
            )
            return {"PRIVATE-TOKEN": token}

        self._rest = Rest(
            settings.get("url") or "https://gitlab.com",
            sink=name,
            field="url",
            service=self._where,
            credentials=credentials,
            tls=trust(settings.get("ca_file")),
        )
        self._hook = ReloadHook.of(name, settings, surroundings)

    @property
    def name(self) -> str:
        return self._name

    def describe(self) -> SinkTraits:
        shows = ReadBack.VERSION if self._is_hidden else ReadBack.PAIR
        return SinkTraits(self._where, False, shows, self._hook.is_set)

    def test(self) -> None:
        """Read both: GitLab shows variables only to those who may change them (Maintainer, Owner)."""
        self.read()
        self._hook.test()

    def read(self) -> Held:
        with self._rest.line() as line:
            return self._held(self._both(line))

    def write(self, pair: AccessKeyPair, *, expect: Held, context: WriteContext) -> None:
        halves = as_fields(pair, self._names)
        with self._rest.line() as line:
            found = self._both(line)
            now = self._held(found)
            if is_same(now.pair, pair):
                return
            if not (is_as_expected(now, expect) or self._is_ours(now, expect, pair, context)):
                raise SinkChangedError(f"{self._where}: somebody else has written it in between")
            # The id last: where the secret is hidden, the id tells that both have been written.
            for key in (self._names.secret, self._names.access_key_id):
                self._put(line, key, halves[key], found[key])

    def holds(self, pair: AccessKeyPair, *, before: Held) -> bool:  # noqa: ARG002 - the pair or its id is read back
        now = self.read()
        if self._is_hidden:
            return now.access_key_id == pair.access_key_id
        return is_same(now.pair, pair)

    def reload(self, context: WriteContext) -> None:
        self._hook.run(context)

    def _is_ours(self, now: Held, expect: Held, pair: AccessKeyPair, context: WriteContext) -> bool:
        """Whether what is there is what a write of ours leaves, whole or cut."""
        if self._is_hidden:
            return now.access_key_id == pair.access_key_id or context.is_repeat
        return is_on_the_way(now, expect, pair)

    def _both(self, line: Line) -> dict[str, Mapping[str, Any] | None]:
        return {key: self._get(line, key) for key in (self._names.access_key_id, self._names.secret)}

    def _get(self, line: Line, key: str) -> Mapping[str, Any] | None:
        answer = line.ask("GET", f"{self._place}/{key}", query=self._filter(), expected=(200, 404))
        if answer.status == 404:
            if not self._may_create:
                raise SinkRefusedError(f"{self._where}: there is no variable {key}, and `create` is not set")
            return None
        found = answer.object()
        # A server too old for the filter (groups: before 16.9) answers with any variable of that name.
        if found.get("key") != key or found.get("environment_scope") != self._scope:
            raise SinkRefusedError(f"{self._where}: the variable {key} that is shown is of another scope")
        if found.get("variable_type") != "env_var":
            raise SinkRefusedError(f"{self._where}: the variable {key} is a file")
        if found.get("hidden") and key == self._names.access_key_id:
            raise SinkRefusedError(
                f"{self._where}: the access key id in {key} is hidden, so nothing can be read back"
            )
        if found.get("hidden") and not self._is_hidden:
            raise SinkRefusedError(f"{self._where}: the variable {key} is hidden, and `hidden` is not set")
        return found

    def _put(self, line: Line, key: str, value: str, found: Mapping[str, Any] | None) -> None:
        if found is None:
            new = {
                "key": key,
                "value": value,
                "variable_type": "env_var",
                "environment_scope": self._scope,
                "masked": True,
                "protected": self._is_protected,
                "raw": True,
            }
            if self._is_hidden and key == self._names.secret:
                new["masked_and_hidden"] = True
            line.ask("POST", self._place, body=write_json(new), expected=(201,))
            return
        # Said again although GitLab keeps what is left out: a masked variable must not lose its mask on the way.
        kept = {field: found[field] for field in _KEPT if found.get(field) is not None}
        body = write_json({"value": value, **kept})
        line.ask("PUT", f"{self._place}/{key}", query=self._filter(), body=body)

    def _held(self, found: Mapping[str, Mapping[str, Any] | None]) -> Held:
        values = {key: state.get("value") for key, state in found.items() if state is not None}
        held = held_in(values, self._names, None)
        return Held(held.access_key_id, None, held.access_key_id) if self._is_hidden else held

    def _filter(self) -> dict[str, str]:
        return {"filter[environment_scope]": self._scope}


class GitLabType:
    fields = (
        Field("project", str, "The project's id or path."),
        Field("group", str, "Instead of project: the group's id or path."),
        Field("environment_scope", str, "The scope of the variables. Default: *."),
        Field("id_field", str, "The variable for the access key id. Default: AWS_ACCESS_KEY_ID."),
        Field("secret_field", str, "The variable for the secret access key. Default: AWS_SECRET_ACCESS_KEY."),
        Field(
            "hidden",
            bool,
            "The secret's variable is hidden, or shall be when created: it is never read back.",
        ),
        Field("protected", bool, "New variables are for protected branches and tags only. Default: true."),
        Field("url", str, "The server's URL. Default: https://gitlab.com."),
        Field("token_env", str, "The variable that holds the token. Default: GITLAB_TOKEN."),
        Field("token_file", str, "A file that holds the token, read anew for each call."),
        Field("ca_file", str, "Certificate authorities to trust. Default: the system's."),
        CREATE,
        *ReloadHook.fields,
    )

    def open(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> GitLabSink:
        return GitLabSink(name, settings, surroundings)


TYPE: Final = GitLabType()
