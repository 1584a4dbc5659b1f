"""Asks an endpoint for all keys and what is known of each, several users at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from keyturn.rotation.endpoint import Endpoint, NoSuchUserError, UserKey
from keyturn.rotation.reports import KeyFacts
from keyturn.rotation.usage import DAY, UsageHistory

_AT_ONCE: Final = 8
LOOK_BACK_MS: Final = 90 * DAY
"""CloudTrail's event history reaches so far back."""


def key_facts(
    endpoint: Endpoint,
    users: Iterable[str],
    *,
    with_consumers: bool,
    must_exist: bool = False,
    sinks_of: Mapping[str, Sequence[str]] | None = None,
    histories: Mapping[str, UsageHistory] | None = None,
) -> list[KeyFacts]:
    """All keys of these users, in the users' order.

    A user who is gone meanwhile has none, unless the users were named by somebody and must exist.
    `histories` is by access key id. Raises EndpointError if the keys of somebody can't be listed: a list with a
    gap in it would look like a whole one.
    """
    since = endpoint.now_ms() - LOOK_BACK_MS

    def of_key(user_name: str, key: UserKey) -> KeyFacts:
        return KeyFacts(
            user_name,
            key,
            endpoint.last_use(key.access_key_id),
            endpoint.consumers(key.access_key_id, since=since) if with_consumers else None,
            None if sinks_of is None else sinks_of.get(user_name, ()),
            (histories or {}).get(key.access_key_id, UsageHistory()),
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
