"""What a sink must do: hold a key pair for those who use it, show what it holds, take another, give it back.

Every act may run twice, is bounded in time, and carries secrets only as `Secret`. Each implementation is a file
of its own; which sinks a rotation has stands in the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair


class ReadBack(StrEnum):
    """What a sink can show of what it holds."""

    PAIR = "pair"
    """Both values: a rotation proves the key through the sink itself."""
    VERSION = "version"
    """When, or as which version, it was last written; never the value."""
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class SinkTraits:
    """What the plan tells of a sink before anything is written."""

    where: str
    """For people: `~/.aws/credentials [ci]`, `openbao secret/ci`."""
    is_atomic: bool
    """Readers see the old pair or the new pair. False: id and secret are written one after the other."""
    read_back: ReadBack
    has_reload: bool
    """A hook tells the consumers after a write."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a sink holds now."""

    access_key_id: AccessKeyId | None
    """None: nothing, or the sink does not show it."""
    pair: AccessKeyPair | None
    """None: nothing, or the sink does not show it."""
    version: str | None
    """The sink's own mark of this state, for compare-and-set; None if it has none."""


@dataclass(frozen=True, slots=True)
class WriteContext:
    """What a write carries for others to recognise it by. Never a secret."""

    rotation_id: str
    user_name: str
    idempotency_key: str
    """The same for each repeat of one write: 1 to 64 characters of `[A-Za-z0-9-]`."""
    is_repeat: bool = False
    """This write has been begun before, perhaps by a process that died: a sink that can't show what it holds
    takes a change since `expect` for its own doing."""


class SinkError(Exception):
    """A sink did not do what it was asked. The message is a sentence for the user, and holds no secret."""


class SinkUnavailableError(SinkError):
    """Try again: the sink was not reached, or was busy, or said so. Whether the write happened is not known."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds, if the sink said so."""


class SinkChangedError(SinkError):
    """Somebody else wrote in between: nothing was written. Look again and decide."""


class SinkRefusedError(SinkError):
    """Ask someone: the sink is there and does not take this (permission, shape, a path that is missing)."""


class Sink(Protocol):
    """One place that holds the key pair of one user."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    def describe(self) -> SinkTraits:
        """Answered without I/O."""

    def test(self) -> None:
        """Prove that it can be reached and written, without changing what readers see. SinkError says why not."""

    def read(self) -> Held:
        """What it holds now."""

    def write(self, pair: AccessKeyPair, *, expect: Held, context: WriteContext) -> None:
        """Hold `pair` from now on. A sink that already holds it has nothing to do.

        SinkChangedError if it holds neither what `expect` says nor `pair`. The way back is the same act with the
        old pair.
        """

    def holds(self, pair: AccessKeyPair, *, before: Held) -> bool:
        """Read back: whether it now holds `pair`; for a write-only sink, whether it changed since `before`."""

    def reload(self, context: WriteContext) -> None:
        """Run the hook that tells the consumers; nothing if there is none. May run twice."""


class SinkType(Protocol):
    """What a plugin registers under the entry point group `keyturn.sinks`, by the type's name."""

    @property
    def fields(self) -> Sequence[Field]:
        """What may and must stand in `[sinks.NAME]`."""

    def open(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> Sink:
        """A sink from settings that were checked against `fields`. No I/O."""


@dataclass(frozen=True, slots=True)
class Field:
    """One setting of a sink type, as the reference lists it."""

    name: str
    kind: type[str | int | bool | list[str]]
    help: str
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a sink is handed instead of reaching for it."""

    environment: Mapping[str, str]
    """HOME, AWS_*, VAULT_* and the variables that settings name for tokens: never a token in a file of ours."""
    endpoint_url: str | None
    """The IAM endpoint of the rotation: sinks on AWS's APIs use it unless their settings name another."""
    region: str | None
