"""GitHub Actions secrets of a repository, an environment or an organisation: two sealed boxes, put back to back.

The values are never shown again: when each was last updated is all that can be read, and there is no
compare-and-set. Jobs that started before the write keep the old pair until they end.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
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
    SinkUnavailableError,
    Surroundings,
    WriteContext,
)
from keyturn.rotation.sinks.pairs import CREATE, FieldNames, as_fields, write_json
from keyturn.rotation.sinks.reload import ReloadHook
from keyturn.rotation.sinks.rest import Answer, Line, Rest, refusal, token_from, trust, wait_of

_API: Final = "https://api.github.com"
_API_VERSION: Final = "2022-11-28"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}\Z")
_SECRET_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}\Z")
_MISSING: Final = "-"
_LONGEST_WAIT: Final = 3600.0
_SECONDARY_WAIT: Final = 60.0
"""What GitHub asks for where it names no time ("Rate limits for the REST API")."""
_MOST_PAGES: Final = 20
_PER_PAGE: Final = 50


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A workflow run that may hold the pair it started with."""

    name: str
    url: str
    started_at: str
    """ISO 8601, as GitHub writes it."""


@dataclass(frozen=True, slots=True)
class _PublicKey:
    key_id: str
    key: bytes


class GitHubSink:
    def __init__(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> None:
        self._name = name
        self._names = FieldNames(settings)
        for key in (self._names.access_key_id, self._names.secret):
            if not _SECRET_NAME.match(key):
                raise KeyturnError(f"sink {name}: {key} can't be the name of a secret")
        self._may_create = bool(settings.get("create"))
        self._repository: str | None = settings.get("repository") or None
        self._organization: str | None = settings.get("organization") or None
        self._place, self._where = _place_of(name, settings)
        variable: str = settings.get("token_env") or "GITHUB_TOKEN"

        def credentials() -> Mapping[str, Secret]:
            token = token_from(
                surroundings,
                variable=variable,
                file=settings.get("token_file"),
                what=self._where,
                prefix=b"Bearer ",
            )
            return {"Authorization": token}

        self._rest = Rest(
            settings.get("api_url") or _API,
            sink=name,
            field="api_url",
            service=self._where,
            credentials=credentials,
            headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": _API_VERSION},
            tls=trust(settings.get("ca_file")),
        )
        self._hook = ReloadHook.of(name, settings, surroundings)
        self._begun: str | None = None
        """The write that this process has begun: what changed since may be its own doing."""

    @property
    def name(self) -> str:
        return self._name

    def describe(self) -> SinkTraits:
        return SinkTraits(self._where, False, ReadBack.VERSION, self._hook.is_set)

    def test(self) -> None:
        """Read the key that seals and what is there. That the token may write shows only in writing."""
        with self._rest.line() as line:
            self._public_key(line)
            self._states(line)
        self._hook.test()

    def read(self) -> Held:
        with self._rest.line() as line:
            return self._held(self._states(line))

    def write(self, pair: AccessKeyPair, *, expect: Held, context: WriteContext) -> None:
        halves = as_fields(pair, self._names)
        with self._rest.line() as line:
            states = self._states(line)
            is_repeat = context.is_repeat or context.idempotency_key == self._begun
            if self._held(states).version != expect.version and not is_repeat:
                raise SinkChangedError(f"{self._where}: somebody else has written it in between")
            # All that can be known is found out before the first of the two goes out.
            key = self._public_key(line)
            bodies = {name: self._visibility(line, name, states[name]) for name in halves}
            self._begun = context.idempotency_key
            for name in (self._names.secret, self._names.access_key_id):
                self._put(line, name, _seal(Secret(halves[name].encode()), key), key, bodies[name])

    def holds(self, pair: AccessKeyPair, *, before: Held) -> bool:  # noqa: ARG002 - the value is never shown
        now, then = (held.version or "" for held in (self.read(), before))
        return all(
            new not in {old, _MISSING} for new, old in zip(now.split(" "), then.split(" "), strict=False)
        )

    def reload(self, context: WriteContext) -> None:
        self._hook.run(context)

    def jobs_running(self) -> Sequence[RunningJob] | None:
        """The repository's workflow runs in progress; None for an organisation, which does not list them."""
        if self._repository is None:
            return None
        path = f"/repos/{self._repository}/actions/runs"
        found: list[RunningJob] = []
        with self._rest.line() as line:
            for page in range(1, _MOST_PAGES + 1):
                query = {"status": "in_progress", "per_page": str(_PER_PAGE), "page": str(page)}
                runs = self._ask(line, "GET", path, query=query).object().get("workflow_runs")
                if not isinstance(runs, list):
                    raise self._strange()
                found += [_job(run) for run in runs if isinstance(run, dict)]
                if len(runs) < _PER_PAGE:
                    break
        return found

    def _states(self, line: Line) -> dict[str, Mapping[str, Any] | None]:
        """What GitHub tells of the two secrets."""
        found: dict[str, Mapping[str, Any] | None] = {}
        for name in (self._names.access_key_id, self._names.secret):
            answer = self._ask(line, "GET", f"{self._place}/secrets/{name}", expected=(200, 404))
            state = answer.object() if answer.status == 200 else None
            if state is None and not self._may_create:
                raise SinkRefusedError(f"{self._where}: there is no secret {name}, and `create` is not set")
            if state is not None and not _is_time(state.get("updated_at")):
                raise self._strange()
            found[name] = state
        return found

    def _held(self, states: Mapping[str, Mapping[str, Any] | None]) -> Held:
        times = [_MISSING if state is None else str(state["updated_at"]) for state in states.values()]
        return Held(None, None, " ".join(times))

    def _public_key(self, line: Line) -> _PublicKey:
        answer = self._ask(line, "GET", f"{self._place}/secrets/public-key").object()
        key_id, text = answer.get("key_id"), answer.get("key")
        try:
            key = base64.b64decode(text if isinstance(text, str) else "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise self._strange() from error
        if not isinstance(key_id, str) or len(key) != 32:
            raise self._strange()
        return _PublicKey(key_id, key)

    def _visibility(self, line: Line, name: str, state: Mapping[str, Any] | None) -> dict[str, Any]:
        """Which repositories of an organisation see the secret: said anew with each PUT, so it is kept by us."""
        if self._organization is None:
            return {}
        visibility = "private" if state is None else state.get("visibility")
        if visibility not in {"all", "private", "selected"}:
            raise self._strange()
        if visibility != "selected":
            return {"visibility": visibility}
        path, chosen = f"{self._place}/secrets/{name}/repositories", []
        for page in range(1, _MOST_PAGES + 1):
            query = {"per_page": str(_PER_PAGE), "page": str(page)}
            listed = self._ask(line, "GET", path, query=query).object().get("repositories")
            if not isinstance(listed, list):
                raise self._strange()
            chosen += [repository.get("id") for repository in listed if isinstance(repository, dict)]
            if len(listed) < _PER_PAGE:
                return {"visibility": visibility, "selected_repository_ids": chosen}
        raise SinkRefusedError(f"{self._where}: more repositories see {name} than can be kept")

    def _put(self, line: Line, name: str, sealed: str, key: _PublicKey, more: Mapping[str, Any]) -> None:
        body = write_json({"encrypted_value": sealed, "key_id": key.key_id, **more})
        answer = self._ask(line, "PUT", f"{self._place}/secrets/{name}", body=body, expected=(201, 204, 422))
        if answer.status != 422:
            return
        if self._public_key(line) != key:
            raise SinkUnavailableError(f"{self._where}: the key that seals was changed during the write")
        raise refusal(self._where, "PUT", answer)

    def _ask(
        self, line: Line, method: str, path: str, *, expected: tuple[int, ...] = (200,), **options: Any
    ) -> Answer:
        answer = line.ask(method, path, expected=(*expected, 403, 429), **options)
        if answer.status in {403, 429}:
            seconds = _limited(answer)
            if seconds is not None:
                raise SinkUnavailableError(f"{self._where}: the rate limit is used up", retry_after=seconds)
            raise refusal(self._where, method, answer)
        return answer

    def _strange(self) -> SinkRefusedError:
        return SinkRefusedError(f"{self._where}: what answers there does not speak GitHub's API")


def _place_of(name: str, settings: Mapping[str, Any]) -> tuple[str, str]:
    """The path of the Actions secrets, and what people call the place."""
    repository, organization = settings.get("repository"), settings.get("organization")
    environment = settings.get("environment")
    if bool(repository) == bool(organization) or (environment and not repository):
        raise KeyturnError(f"sink {name}: set repository (with or without environment), or organization")
    if organization:
        if not _NAME.match(organization):
            raise KeyturnError(f"sink {name}: organization is not a name")
        return f"/orgs/{organization}/actions", f"github {organization}"
    owner, _, short = str(repository).partition("/")
    if not _NAME.match(owner) or not _NAME.match(short) or {owner, short} & {".", ".."}:
        raise KeyturnError(f"sink {name}: repository must be OWNER/NAME")
    if environment:
        return (
            f"/repos/{owner}/{short}/environments/{quote(environment, safe='')}",
            f"github {owner}/{short} environment {environment}",
        )
    return f"/repos/{owner}/{short}/actions", f"github {owner}/{short}"


def _seal(value: Secret, key: _PublicKey) -> str:
    """A libsodium sealed box, base64: only GitHub's private key opens it."""
    from nacl.public import PublicKey, SealedBox

    return base64.b64encode(SealedBox(PublicKey(key.key)).encrypt(value.reveal())).decode("ascii")


def _limited(answer: Answer) -> float | None:
    """The seconds to wait if this is a rate limit, else None: a 403 can be either.

    The reset is a time of GitHub's clock, so it is held against the `Date` of the same answer.
    """
    wait = wait_of(answer)
    if wait is not None:
        return wait
    reset = answer.headers.get("x-ratelimit-reset", "")
    if answer.headers.get("x-ratelimit-remaining") == "0" and reset.isascii() and reset.isdigit():
        try:
            now = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except ValueError:
            return _SECONDARY_WAIT
        return min(max(float(reset[:12]) - now, 1.0), _LONGEST_WAIT)
    message = answer.object().get("message")
    is_secondary = isinstance(message, str) and "rate limit" in message.lower()
    return _SECONDARY_WAIT if answer.status == 429 or is_secondary else None


def _job(run: Mapping[str, Any]) -> RunningJob:
    name, url, started = (run.get(key) for key in ("name", "html_url", "run_started_at"))
    return RunningJob(str(name or "")[:200], str(url or "")[:500], str(started or "")[:40])


def _is_time(value: object) -> bool:
    if not isinstance(value, str) or " " in value:
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


class GitHubType:
    fields = (
        Field("repository", str, "OWNER/NAME."),
        Field("environment", str, "With repository: the deployment environment whose secrets they are."),
        Field(
            "organization",
            str,
            "Instead of repository: the organisation. New secrets are for its private ones.",
        ),
        Field("id_field", str, "The secret for the access key id. Default: AWS_ACCESS_KEY_ID."),
        Field("secret_field", str, "The secret for the secret access key. Default: AWS_SECRET_ACCESS_KEY."),
        Field("api_url", str, "The API's URL: https://HOST/api/v3 for GitHub Enterprise Server."),
        Field("token_env", str, "The variable that holds the token. Default: GITHUB_TOKEN."),
        Field("token_file", str, "A file that holds the token, read anew for each call."),
        Field("ca_file", str, "Certificate authorities to trust. Default: the system's."),
        CREATE,
        *ReloadHook.fields,
    )

    def open(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> GitHubSink:
        return GitHubSink(name, settings, surroundings)


TYPE: Final = GitHubType()
