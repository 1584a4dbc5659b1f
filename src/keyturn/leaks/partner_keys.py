"""The public keys with which GitHub signs what it tells its partners: fetched, kept, and asked for again rarely.

A key id that is not known makes us ask once more; strangers can make us do that, so at most every half minute.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from keyturn.model.clock import Clock

_ASKED_AGAIN_SECONDS: Final = 30.0
_KEPT_SECONDS: Final = 24 * 3600.0
_MOST_KEYS: Final = 100


class PartnerKeys:
    """Threads may share it."""

    def __init__(self, url: str, fetch: Callable[[str], bytes], clock: Clock) -> None:
        """`fetch` returns the body of an https URL; OSError for all that goes wrong."""
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: Mapping[str, ec.EllipticCurvePublicKey] = {}
        self._asked_at: float | None = None
        self._fetched_at = 0.0

    def known(self, key_id: str) -> ec.EllipticCurvePublicKey | None:
        """Without asking anybody."""
        if self._clock.monotonic() - self._fetched_at > _KEPT_SECONDS:
            return None
        return self._keys.get(key_id)

    def may_ask(self) -> bool:
        """Whether `asked` may know more than `known`: by a question of its own, or by one that is under way."""
        if self._lock.locked():
            return True
        return self._is_time()

    def _is_time(self) -> bool:
        asked = self._asked_at
        return asked is None or self._clock.monotonic() - asked > _ASKED_AGAIN_SECONDS

    def asked(self, key_id: str) -> ec.EllipticCurvePublicKey | None:
        """The key, fetched if that may be done now; blocks. None: there is none of this id, or nobody answers."""
        with self._lock:
            if self.known(key_id) is None and self._is_time():
                self._asked_at = self._clock.monotonic()
                try:
                    keys = read_keys(self._fetch(self._url))
                except (OSError, ValueError):
                    return self.known(key_id)
                self._keys, self._fetched_at = keys, self._clock.monotonic()
            return self.known(key_id)


def read_keys(document: bytes) -> Mapping[str, ec.EllipticCurvePublicKey]:
    """`{"public_keys": [{"key_identifier", "key", "is_current"}]}`. ValueError if it is not that.

    Keys that are no longer current have signed what is still under way; a key on another curve is left out.
    """
    try:
        listed: Any = json.loads(document)["public_keys"]
        found = {}
        for each in listed[:_MOST_KEYS]:
            key = load_pem_public_key(each["key"].encode("ascii"))
            if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
                found[str(each["key_identifier"]).lower()] = key
    except (KeyError, TypeError, AttributeError, RecursionError, UnicodeError) as error:
        raise ValueError("not a list of public keys") from error
    return found
