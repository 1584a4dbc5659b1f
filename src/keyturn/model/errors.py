"""What can go wrong, told to the person at the terminal: a sentence and, where there is one, the next command."""

from __future__ import annotations


class KeyturnError(Exception):
    """Give up and tell the user. `hint` is the next thing to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InUseError(KeyturnError):
    """Somebody else is at this very thing now, and nothing was done: let them, or try again."""


class StoreUnavailableError(Exception):
    """The store can't take this write now (its disk is full, or it is closing): try again later.

    On the wire this is 503 `ServiceUnavailable`; nothing of the write has happened.
    """
