"""What GitHub knows of an alert of secret scanning: its secret, and the halves of key pairs that stand near it.

GitHub reports an id and a secret as two alerts. Which belong together it does not say: the nearest in the same file
are tried first. Read only, bounded in calls, size and time, never redirected. (GitHub REST API, secret scanning.)
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

from keyturn.leaks.alerts import GitHubAlert, secret_in
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, parse_access_key_id
from keyturn.model.secrets import Secret

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection

API_VERSION: Final = "2022-11-28"
MOST_CANDIDATES: Final = 64
"""Pairs that one alert may make us try."""
_MOST_PAGES: Final = 10
_PER_PAGE: Final = 100
_MOST_LOCATED: Final = 20
"""Alerts whose places are asked for, to try the nearest first."""
_FEW: Final = 4
"""So few candidates are tried without asking where they stand."""
_LARGEST: Final = 4 * 1024 * 1024
_SECONDS: Final = 5.0
_SECONDS_IN_ALL: Final = 30.0
_TYPES: Final = "aws_access_key_id,aws_secret_access_key"
_LONGEST: Final = 300

_Ask = Callable[[str, dict[str, str]], Any]
"""A path below the API and a query: the JSON of the answer."""


class GitHubError(Exception):
    """GitHub did not tell. The message is a sentence, and holds nothing that it sent."""


class GitHubUnavailableError(GitHubError):
    """Try again."""


@dataclass(frozen=True, slots=True)
class _Alert:
    """One half of a pair, as REST tells it."""

    number: int
    place: str
    access_key_id: AccessKeyId | None
    secret: Secret | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Location:
    commit: str
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class GitHubAlerts:
    """One GitHub at one address: github.com's API, or `https://HOST/api/v3` of an Enterprise Server."""

    base_url: str
    token: Callable[[], Secret]
    """Read anew for each alert: tokens in files are replaced while we run. It may raise KeyturnError."""
    tls: Callable[[], ssl.SSLContext] = ssl.create_default_context

    def halves(
        self, alert: GitHubAlert, is_ours: Callable[[AccessKeyId], bool]
    ) -> Iterator[tuple[AccessKeyId, str] | tuple[AccessKeyPair, str]]:
        """The id of the alert, if it is one, then pairs to try, likeliest first. Stop taking when one is proved.

        Ids of other accounts are told, and put together with nothing.
        """
        with self._line() as ask:
            asked = _read(ask(f"/repos/{alert.repository}/secret-scanning/alerts/{alert.number}", {}))
            if asked is None:
                raise GitHubError("GitHub's answer is no alert")
            if asked.access_key_id is not None:
                yield asked.access_key_id, asked.place
            if (asked.access_key_id is None and asked.secret is None) or (
                asked.access_key_id is not None and not is_ours(asked.access_key_id)
            ):
                return  # no key of ours has anything to do with it
            tried = 0
            for page in self._pages(ask, alert):
                others: Sequence[_Alert] = [other for other in page if _makes_a_pair(asked, other, is_ours)]
                if len(others) > _FEW:
                    others = _nearest_first(ask, alert.repository, asked, others)
                for other in others[: MOST_CANDIDATES - tried]:
                    tried += 1
                    yield _pair(asked, other), asked.place
                if tried >= MOST_CANDIDATES:
                    return

    def _pages(self, ask: _Ask, alert: GitHubAlert) -> Iterator[Sequence[_Alert]]:
        """Alerts of both types, the newest first, at most `_MOST_PAGES` times `_PER_PAGE`."""
        for number in range(1, _MOST_PAGES + 1):
            query = {"secret_type": _TYPES, "per_page": str(_PER_PAGE), "page": str(number)}
            listed = ask(f"/repos/{alert.repository}/secret-scanning/alerts", query)
            if not isinstance(listed, list):
                raise GitHubError("GitHub's answer is no list of alerts")
            yield [found for found in map(_read, listed[:_PER_PAGE]) if found is not None]
            if len(listed) < _PER_PAGE:
                return

    @contextlib.contextmanager
    def _line(self) -> Iterator[_Ask]:
        """One connection for all calls about one alert, shut when their time is over."""
        from urllib3.connection import HTTPConnection, HTTPSConnection

        parts = urlsplit(self.base_url)
        connection: HTTPConnection
        if parts.scheme == "https":
            connection = HTTPSConnection(
                parts.hostname or "", parts.port, timeout=_SECONDS, ssl_context=self.tls()
            )
        else:
            connection = HTTPConnection(parts.hostname or "", parts.port, timeout=_SECONDS)
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": "Bearer " + self.token().reveal().decode("ascii"),
            "User-Agent": "keyturn-leaks",
            "X-GitHub-Api-Version": API_VERSION,
        }

        def ask(path: str, query: dict[str, str]) -> Any:
            target = parts.path.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
            return _asked(connection, target, headers)

        def shut() -> None:
            held = connection.sock
            if held is not None:
                with contextlib.suppress(OSError):
                    held.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(_SECONDS_IN_ALL, shut)
        timer.daemon = True
        timer.start()
        try:
            yield ask
        finally:
            timer.cancel()
            timer.join()
            connection.close()


def _asked(connection: HTTPConnection, target: str, headers: dict[str, str]) -> Any:
    """One GET. Only 200 is an answer. What comes back is never shown: it may hold secrets."""
    from urllib3.exceptions import HTTPError

    body = b""
    try:
        connection.request("GET", target, headers=headers, preload_content=False, decode_content=False)
        response = connection.getresponse()
        with contextlib.closing(response):
            while len(body) <= _LARGEST and (part := response.read1(65_536)):
                body += part
    except ssl.SSLCertVerificationError as error:
        raise GitHubError(f"GitHub's API does not prove its name: {error.verify_message}") from None
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        raise GitHubUnavailableError(f"GitHub's API gave no answer ({type(error).__name__})") from None
    status = response.status
    if status == 429 or status >= 500 or (status == 403 and response.headers.get("retry-after")):
        raise GitHubUnavailableError(f"GitHub's API is busy or down: status {status}")
    if status != 200:
        raise GitHubError(f"GitHub's API does not tell with this token: status {status}")
    if len(body) > _LARGEST:
        raise GitHubError(f"GitHub's API answers with more than {_LARGEST} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise GitHubUnavailableError("GitHub's answer is no JSON, or was cut") from None


def _read(value: object) -> _Alert | None:
    """One alert of a reply; None for what is none."""
    if not isinstance(value, dict) or type(value.get("number")) is not int:
        return None
    text, url = value.get("secret"), value.get("html_url")
    shown = (
        "".join(char if char.isprintable() else "?" for char in url[:_LONGEST])
        if isinstance(url, str)
        else ""
    )
    return _Alert(
        value["number"],
        shown or "an alert of GitHub's",
        parse_access_key_id(text) if isinstance(text, str) else None,
        secret_in(text),
    )


def _makes_a_pair(asked: _Alert, other: _Alert, is_ours: Callable[[AccessKeyId], bool]) -> bool:
    if asked.access_key_id is not None:
        return other.secret is not None
    return other.access_key_id is not None and is_ours(other.access_key_id)


def _pair(asked: _Alert, other: _Alert) -> AccessKeyPair:
    key = asked.access_key_id or other.access_key_id
    secret = other.secret if asked.secret is None else asked.secret
    assert key is not None
    assert secret is not None
    return AccessKeyPair(key, secret)


def _nearest_first(ask: _Ask, repository: str, asked: _Alert, others: Sequence[_Alert]) -> Sequence[_Alert]:
    """Same commit and file, by lines; then the same file; then as GitHub told them, the newest first."""
    here = _locations(ask, repository, asked.number)

    def distance(other: _Alert) -> tuple[int, int]:
        best = (3, 0)
        for there in _locations(ask, repository, other.number):
            for mine in here:
                if mine.path == there.path:
                    is_same = mine.commit == there.commit
                    best = min(best, (0 if is_same else 1, abs(mine.line - there.line)))
        return best

    near = sorted(others[:_MOST_LOCATED], key=distance)
    return [*near, *others[_MOST_LOCATED:]]


def _locations(ask: _Ask, repository: str, number: int) -> Sequence[_Location]:
    path_of = f"/repos/{repository}/secret-scanning/alerts/{number}/locations"
    try:
        listed = ask(path_of, {"per_page": str(_PER_PAGE)})
    except GitHubUnavailableError:
        raise
    except GitHubError:
        return []  # a place that is not told costs the order, and nothing else
    found = []
    for each in listed if isinstance(listed, list) else []:
        details = each.get("details") if isinstance(each, dict) else None
        if not isinstance(details, dict):
            continue
        line, path, commit = details.get("start_line"), details.get("path"), details.get("commit_sha")
        if type(line) is int and isinstance(path, str) and isinstance(commit, str):
            found.append(_Location(commit, path, line))
    return found
