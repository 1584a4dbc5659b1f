"""A secret that can't be shown by accident.

`Secret` has no useful `repr`, does not format, serialise, pickle or compare carelessly, and opens
only by `reveal()`: every call of it is listed in docs/explanation/secrets.md, and a test knows each.
"""

from __future__ import annotations

import hmac
from typing import Final, NoReturn, final

HIDDEN: Final = "Secret(hidden)"


@final
class Secret:
    """Bytes that leave only through `reveal()`."""

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]  # a secret is no dictionary key

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The bytes themselves. Each caller is a door, listed in docs/explanation/secrets.md."""
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    def __bool__(self) -> NoReturn:
        raise TypeError("a secret has no truth value: ask whether it is None")

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, _spec: str) -> NoReturn:
        raise TypeError("a secret does not format: log the access key id instead")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret does not pickle or copy: seal it instead")

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a secret does not pickle or copy: seal it instead")
