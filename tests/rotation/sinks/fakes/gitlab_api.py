"""A fake of GitLab's API for CI/CD variables of projects and groups, after its public documentation.

It is a fake. As the real service does, it checks the token, addresses places by number or by quoted path, keeps
one variable for each name and environment scope, answers 409 when the filter leaves several, refuses values that
can't be masked, keeps what a PUT leaves out, and shows null for the value of a hidden variable.
"""

from __future__ import annotations

import re
from typing import Any, Final

from rotation.sinks.fakes.loopback import Asked, FakeService, Reply

_MASKABLE: Final = re.compile(r"\S{8,}\Z")
_MASKABLE_IF_EXPANDED: Final = re.compile(r"[A-Za-z0-9+/=@:.~_-]{8,}\Z")
_KEY: Final = re.compile(r"[A-Za-z0-9_]{1,255}\Z")
_ATTRIBUTES: Final = {
    "value", "variable_type", "protected", "masked", "raw", "environment_scope", "description",
}  # fmt: skip


class GitLabFake(FakeService):
    """`state` maps a place (`projects/team/app`) to its variables."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.state: dict[str, list[dict[str, Any]]] = {}
        self.token = token
        self.knows_filter = True

    def set(self, place: str, key: str, value: str, **attributes: Any) -> None:
        """Somebody writes."""
        scope = attributes.get("environment_scope", "*")
        held = next(
            (v for v in self.state[place] if v["key"] == key and v["environment_scope"] == scope), None
        )
        if held is None:
            held = {
                "key": key,
                "variable_type": "env_var",
                "protected": False,
                "masked": False,
                "hidden": False,
                "raw": False,
                "environment_scope": scope,
                "description": None,
                "writes": 0,
            }
            self.state[place].append(held)
        held |= {**attributes, "value": value, "writes": held["writes"] + 1}

    def answer(self, asked: Asked) -> Reply:
        if asked.headers.get("private-token") != self.token:
            return Reply(401, {"message": "401 Unauthorized"})
        match asked.path:
            case ["api", "v4", kind, place, "variables", *rest] if f"{kind}/{place}" in self.state:
                return self._variables(f"{kind}/{place}", rest, asked)
        return Reply(404, {"message": "404 Project Not Found"})

    def _variables(self, place: str, rest: list[str], asked: Asked) -> Reply:
        if asked.method != "GET" and asked.headers.get("content-type") != "application/json":
            return Reply(415, {"error": "The provided content-type is not supported."})
        if asked.method == "POST" and not rest:
            return self._create(place, asked.json())
        found = [variable for variable in self.state[place] if [variable["key"]] == rest]
        scope = asked.query.get("filter[environment_scope]")
        if scope is not None and self.knows_filter:
            found = [variable for variable in found if variable["environment_scope"] == scope]
        if not found:
            return Reply(404, {"message": "404 Variable Not Found"})
        if len(found) > 1:
            return Reply(409, {"message": "There are multiple variables with provided parameters."})
        if asked.method == "PUT":
            return self._update(place, found[0], asked.json())
        return Reply(200, _shown(found[0]))

    def _create(self, place: str, body: dict[str, Any]) -> Reply:
        key, scope = body.pop("key", ""), body.get("environment_scope", "*")
        is_hidden = body.pop("masked_and_hidden", False)
        if not _KEY.match(key) or not _ATTRIBUTES.issuperset(body):
            return Reply(400, {"error": "key is invalid"})
        if any(v["key"] == key and v["environment_scope"] == scope for v in self.state[place]):
            return Reply(400, {"message": {"key": [f"({key}) has already been taken"]}})
        if not _can_be(body | ({"masked": True} if is_hidden else {})):
            return Reply(400, {"message": {"value": ["is invalid"]}})
        self.set(place, key, body.pop("value"), **{**body, "hidden": is_hidden})
        return Reply(201, _shown(self.state[place][-1]))

    def _update(self, place: str, held: dict[str, Any], body: dict[str, Any]) -> Reply:
        if not _ATTRIBUTES.issuperset(body) or not isinstance(body.get("value"), str):
            return Reply(400, {"error": "value is missing"})
        if not _can_be({**held, **body}):
            return Reply(400, {"message": {"value": ["is invalid"]}})
        del place
        held |= {**body, "writes": held["writes"] + 1}
        return Reply(200, _shown(held))


def _can_be(variable: dict[str, Any]) -> bool:
    if not variable.get("masked"):
        return True
    shape = _MASKABLE if variable.get("raw") else _MASKABLE_IF_EXPANDED
    return shape.match(variable["value"]) is not None


def _shown(variable: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in variable.items() if name != "writes"}
    return shown | ({"value": None} if variable["hidden"] else {})
