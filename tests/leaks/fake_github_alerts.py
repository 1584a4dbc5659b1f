"""A fake of GitHub's REST API for secret scanning alerts, after its public OpenAPI description.

It is a fake. As the real service does, it checks the bearer token, the API version, the media type and the user
agent, hides a repository from who may not see it behind 404, lists the newest first in pages of at most 100, and
tells places apart from alerts. It never says which id and which secret belong together.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from rotation.sinks.fakes.loopback import Asked, FakeService, Reply

_VERSIONS: Final = {"2022-11-28"}
_KNOWN_QUERY: Final = {"secret_type", "state", "per_page", "page"}


@dataclass
class StoredAlert:
    number: int
    secret_type: str
    secret: str
    path: str
    line: int
    commit: str


class GitHubAlertsFake(FakeService):
    """`state` maps `owner/name` to its alerts, the oldest first."""

    def __init__(self, token: str, prefix: str = "") -> None:
        super().__init__()
        self.state: dict[str, list[StoredAlert]] = {}
        self.token = token
        self._prefix = tuple(part for part in prefix.split("/") if part)

    def found(
        self,
        repository: str,
        secret_type: str,
        secret: str,
        path: str = "a.env",
        line: int = 1,
        commit: str = "1",
    ) -> int:
        """GitHub finds something: the number of the alert."""
        held = self.state.setdefault(repository, [])
        held.append(StoredAlert(len(held) + 1, secret_type, secret, path, line, commit))
        return len(held)

    def webhook(self, repository: str, number: int, action: str = "created") -> bytes:
        """The body that is delivered: the secret is not in it."""
        shown = self._shown(repository, self.state[repository][number - 1])
        del shown["secret"]
        return json.dumps(
            {
                "action": action,
                "alert": shown,
                "repository": {"full_name": repository},
                "sender": {"login": "o"},
            }
        ).encode()

    def answer(self, asked: Asked) -> Reply:
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            return _message(401, "Bad credentials")
        if not asked.headers.get("user-agent"):
            return _message(403, "Request forbidden by administrative rules.")
        if asked.headers.get("x-github-api-version") not in _VERSIONS:
            return _message(400, "Unsupported API version")
        if "application/vnd.github+json" not in asked.headers.get("accept", ""):
            return _message(415, "Unsupported 'Accept' header")
        if asked.method != "GET" or asked.path[: len(self._prefix)] != self._prefix:
            return _message(404, "Not Found")
        match asked.path[len(self._prefix) :]:
            case ["repos", owner, name, "secret-scanning", "alerts", *rest]:
                repository = f"{owner}/{name}"
                if repository in self.state:
                    return self._alerts(repository, rest, asked)
        return _message(404, "Not Found")

    def _alerts(self, repository: str, rest: list[str], asked: Asked) -> Reply:
        held = self.state[repository]
        if not asked.query.keys() <= _KNOWN_QUERY:
            return _message(422, "Validation Failed")
        size, page = int(asked.query.get("per_page", 30)), int(asked.query.get("page", 1))
        if not 0 < size <= 100:
            return _message(422, "Validation Failed")
        match rest:
            case []:
                types = asked.query.get("secret_type", "").split(",")
                chosen = [each for each in reversed(held) if each.secret_type in types or types == [""]]
                listed = [self._shown(repository, each) for each in chosen[size * (page - 1) : size * page]]
                return Reply(200, listed)
            case [number] if number.isdecimal() and 0 < int(number) <= len(held):
                return Reply(200, self._shown(repository, held[int(number) - 1]))
            case [number, "locations"] if number.isdecimal() and 0 < int(number) <= len(held):
                each = held[int(number) - 1]
                details = {
                    "path": each.path, "start_line": each.line, "end_line": each.line, "start_column": 1,
                    "end_column": 40, "blob_sha": "0" * 40, "commit_sha": each.commit,
                }  # fmt: skip
                return Reply(200, [{"type": "commit", "details": details}])
        return _message(404, "Not Found")

    def _shown(self, repository: str, alert: StoredAlert) -> dict[str, Any]:
        return {
            "number": alert.number,
            "state": "open",
            "resolution": None,
            "secret_type": alert.secret_type,
            "secret_type_display_name": alert.secret_type,
            "secret": alert.secret,
            "html_url": f"https://github.example/{repository}/security/secret-scanning/{alert.number}",
            "publicly_leaked": False,
        }


def _message(status: int, text: str) -> Reply:
    return Reply(status, {"message": text, "documentation_url": "https://docs.github.com/rest"})
