"""A fake of GitHub's REST API for Actions secrets and workflow runs, after its public OpenAPI description.

It is a fake. As the real service does, it checks the bearer token, the API version and the user agent, refuses a
`key_id` that is not its current key's and a body of another shape with 422, opens each sealed box with its private
key, wants `visibility` for an organisation's secret, counts `updated_at` in whole seconds, and shows no value ever.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

from keyturn.model.secrets import Secret
from rotation.sinks.fakes.loopback import Asked, FakeService, Reply

_VERSIONS: Final = {"2022-11-28"}
_PUT_FIELDS: Final = {"encrypted_value", "key_id", "visibility", "selected_repository_ids"}


@dataclass
class StoredSecret:
    value: Secret
    created_at: str
    updated_at: str
    visibility: str | None = None
    selected: list[int] = field(default_factory=list)


class GitHubFake(FakeService):
    """`state` maps a place (`repos/o/r`, `repos/o/r/environments/e`, `orgs/o`) to its secrets by name."""

    def __init__(self, token: str, prefix: str = "") -> None:
        super().__init__()
        self.state: dict[str, dict[str, StoredSecret]] = {}
        self.places: set[str] = set()
        self.token = token
        self._prefix = tuple(part for part in prefix.split("/") if part)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.runs: list[dict[str, Any]] = []
        self.new_key()

    def new_key(self) -> None:
        self.private_key = PrivateKey.generate()
        self.key_id = str(int.from_bytes(bytes(self.private_key.public_key)[:7], "big"))

    def put(self, place: str, name: str, value: Secret, visibility: str | None = None, **more: Any) -> None:
        """Somebody writes, and time goes on."""
        self.now += timedelta(seconds=1)
        now = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        held = self.state.setdefault(place, {}).get(name)
        self.state[place][name] = StoredSecret(
            value, held.created_at if held else now, now, visibility, list(more.get("selected", ()))
        )

    def snapshot(self) -> dict[str, dict[str, StoredSecret]]:
        return {place: dict(secrets) for place, secrets in self.state.items()}

    def answer(self, asked: Asked) -> Reply:
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            return _message(401, "Bad credentials")
        if not asked.headers.get("user-agent"):
            return _message(
                403,
                "Request forbidden by administrative rules. Please make sure your request has a User-Agent",
            )
        if asked.headers.get("x-github-api-version") not in _VERSIONS:
            return _message(400, "Unsupported API version")
        if "application/vnd.github+json" not in asked.headers.get("accept", ""):
            return _message(415, "Unsupported 'Accept' header")
        if asked.path[: len(self._prefix)] != self._prefix:
            return _message(404, "Not Found")
        match asked.path[len(self._prefix) :]:
            case ["repos", owner, name, "actions", "runs"]:
                return self._runs(f"repos/{owner}/{name}", asked)
            case ["repos", owner, name, "actions", "secrets", *rest]:
                return self._secrets(f"repos/{owner}/{name}", rest, asked)
            case ["repos", owner, name, "environments", environment, "secrets", *rest]:
                return self._secrets(f"repos/{owner}/{name}/environments/{environment}", rest, asked)
            case ["orgs", organization, "actions", "secrets", *rest]:
                return self._secrets(f"orgs/{organization}", rest, asked)
        return _message(404, "Not Found")

    def _secrets(self, place: str, rest: list[str], asked: Asked) -> Reply:
        if place not in self.places:
            return _message(404, "Not Found")
        held = self.state.setdefault(place, {})
        match asked.method, rest:
            case "GET", ["public-key"]:
                key = base64.b64encode(bytes(self.private_key.public_key)).decode()
                return Reply(200, {"key_id": self.key_id, "key": key})
            case "GET", [name] if name in held:
                found = held[name]
                shown: dict[str, Any] = {
                    "name": name,
                    "created_at": found.created_at,
                    "updated_at": found.updated_at,
                }
                if found.visibility:
                    shown["visibility"] = found.visibility
                return Reply(200, shown)
            case "GET", [name, "repositories"] if name in held and held[name].visibility == "selected":
                size, page = int(asked.query.get("per_page", 30)), int(asked.query.get("page", 1))
                selected = held[name].selected
                chosen = selected[size * (page - 1) : size * page]
                listed = [{"id": number, "name": f"r{number}"} for number in chosen]
                return Reply(200, {"total_count": len(selected), "repositories": listed})
            case "PUT", [name]:
                return self._put(place, name, asked)
        return _message(404, "Not Found")

    def _put(self, place: str, name: str, asked: Asked) -> Reply:
        if asked.headers.get("content-type") != "application/json":
            return _message(415, "Unsupported Media Type")
        body = asked.json()
        if not isinstance(body, dict) or not _PUT_FIELDS.issuperset(body):
            return _message(422, "Invalid request.")
        if body.get("key_id") != self.key_id:
            return _message(422, "The key_id is not the current one")
        try:
            sealed = base64.b64decode(body.get("encrypted_value", ""), validate=True)
            value = SealedBox(self.private_key).decrypt(sealed)
        except (binascii.Error, CryptoError, TypeError, ValueError):
            return _message(422, "Bad encrypted value")
        is_organization = place.startswith("orgs/")
        visibility, selected = body.get("visibility"), body.get("selected_repository_ids", [])
        if is_organization != (visibility in {"all", "private", "selected"}) or (
            selected and visibility != "selected"
        ):
            return _message(422, "Invalid visibility")
        is_new = name not in self.state[place]
        self.put(place, name, Secret(value), visibility, selected=selected)
        return Reply(201, {}) if is_new else Reply(204)

    def _runs(self, place: str, asked: Asked) -> Reply:
        if place not in self.places:
            return _message(404, "Not Found")
        size, page = int(asked.query.get("per_page", 30)), int(asked.query.get("page", 1))
        chosen = [run for run in self.runs if asked.query.get("status") in {None, run["status"]}]
        return Reply(
            200, {"total_count": len(chosen), "workflow_runs": chosen[size * (page - 1) : size * page]}
        )


def _message(status: int, text: str) -> Reply:
    return Reply(status, {"message": text, "documentation_url": "https://docs.github.com/rest"})
