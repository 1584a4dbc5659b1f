"""Asks an endpoint for all keys and what is known of each, several users at a time; and the sinks for what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from keyturn.model.access_keys import AccessKeyId
from keyturn.model.errors import KeyturnError
from keyturn.rotation.endpoint import Consumer, Endpoint, NoSuchUserError, UserKey
from keyturn.rotation.reports import KeyFacts
from keyturn.rotation.sinks.interface import Sink, SinkError
from keyturn.rotation.usage import DAY, Sample, UsageHistory

_AT_ONCE: Final = 8
LOOK_BACK_MS: Final = 90 * DAY
"""CloudTrail's event history reaches so far back."""


@dataclass(frozen=True, slots=True)
class Holders:
    """Which sink holds which key."""

    shown: Mapping[AccessKeyId, tuple[str, ...]]
    silent: Mapping[str, tuple[str, ...]]
    """By user: sinks that don't show what they hold, or could not be read."""
    problems: Mapping[str, str]
    """By sink: why it could not be read."""

    def of(self, user_name: str, key: UserKey) -> tuple[str, ...]:
        """The names of those that hold it; with a question mark where the sink does not say."""
        silent = tuple(f"{name}?" for name in self.silent.get(user_name, ()))
        return self.shown.get(key.access_key_id, ()) + silent


def holders(opened: Callable[[str], Sink], users: Mapping[str, Sequence[str]]) -> Holders:
    """Read the sinks of these users, each sink once. One that can't be read is named, and stops nothing."""
    names = list(dict.fromkeys(name for sinks in users.values() for name in sinks))

    def held(name: str) -> tuple[AccessKeyId | None, str | None]:
        try:
            return opened(name).read().access_key_id, None
        except (SinkError, KeyturnError) as error:
            return None, str(error)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="inventory") as pool:
        found = dict(zip(names, pool.map(held, names), strict=True))
    shown: dict[AccessKeyId, tuple[str, ...]] = {}
    for name, (key, _problem) in found.items():
        if key is not None:
            shown[key] = (*shown.get(key, ()), name)
    silent = {user: tuple(name for name in sinks if found[name][0] is None) for user, sinks in users.items()}
    return Holders(shown, silent, {name: why for name, (_key, why) in found.items() if why is not None})


def key_facts(
    endpoint: Endpoint,
    users: Iterable[str],
    *,
    with_consumers: bool,
    must_exist: bool = False,
    sinks_of: Callable[[str, UserKey], Sequence[str]] | None = None,
    samples_of: Callable[[AccessKeyId], Iterable[Sample]] = lambda _key: (),
) -> list[KeyFacts]:
    """All keys of these users, in the users' order.

    A user who is gone meanwhile has none, unless the users were named by somebody and must exist.
    Raises EndpointError if the keys of somebody can't be listed: a list with a gap in it would look like a whole
    one.
    """
    since = endpoint.now_ms() - LOOK_BACK_MS

    def of_key(user_name: str, key: UserKey) -> KeyFacts:
        consumers = endpoint.consumers(key.access_key_id, since=since) if with_consumers else None
        return KeyFacts(
            user_name,
            key,
            endpoint.last_use(key.access_key_id),
            consumers,
            None if sinks_of is None else sinks_of(user_name, key),
            UsageHistory.of(samples_of(key.access_key_id), _uses(consumers)),
        )

    def of_user(user_name: str) -> list[KeyFacts]:
        try:
            return [of_key(user_name, key) for key in endpoint.keys(user_name)]
        except NoSuchUserError:
            if must_exist:
                raise
            return []

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="inventory") as pool:
        return [facts for found in pool.map(of_user, users) for facts in found]


def _uses(consumers: Sequence[Consumer] | None) -> list[int]:
    return [each.last_at for each in consumers or () if not each.is_refused]
