"""Any program that can hold a key: it gets the pair as JSON on its stdin, and its exit code says how it went.

0: done. 75 (EX_TEMPFAIL): try again. Anything else: refused. What it prints is shown only if no part of a secret
is in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.bounded_process import (
    LARGEST_OUTPUT,
    Finished,
    environment_for,
    find_program,
    run_bounded,
)
from keyturn.rotation.sinks.interface import (
    Field,
    Held,
    ReadBack,
    Sink,
    SinkChangedError,
    SinkRefusedError,
    SinkTraits,
    SinkType,
    SinkUnavailableError,
    Surroundings,
    WriteContext,
)
from keyturn.rotation.sinks.pairs import NOTHING, is_as_expected, is_same, pair_of, read_json
from keyturn.rotation.sinks.reload import TRY_AGAIN, ReloadHook

_NOT_HELD: Final = 1
_DEFAULT_SECONDS: Final = 60
_MOST_SECONDS: Final = 900
_SHOWN: Final = 200
_PART: Final = 8
"""So many characters of a secret in a row are no chance."""


@dataclass(frozen=True, slots=True)
class CommandSink:
    name: str
    write_argv: tuple[str, ...]
    verify_argv: tuple[str, ...]
    read_argv: tuple[str, ...]
    seconds: int
    is_atomic: bool
    named: frozenset[str]
    """Variables that the programs get beside the few that every one needs."""
    environment: Mapping[str, str] = field(repr=False)
    """It may hold tokens."""
    hook: ReloadHook

    def describe(self) -> SinkTraits:
        read_back = (
            ReadBack.PAIR if self.read_argv else ReadBack.VERSION if self.verify_argv else ReadBack.NOTHING
        )
        return SinkTraits(
            f"command {self.write_argv[0]}", self.is_atomic, read_back, has_reload=self.hook.is_set
        )

    def test(self) -> None:
        for argv in (self.write_argv, self.verify_argv, self.read_argv):
            if argv:
                find_program(argv, self._environment(None))
        if self.read_argv:
            self.read()
        self.hook.test()

    def read(self) -> Held:
        if not self.read_argv:
            return NOTHING
        finished = self._run(self.read_argv, None, None)
        self._refuse_failure(self.read_argv, finished, ())
        held = read_json(finished.stdout)
        if not isinstance(held, dict) or len(finished.stdout.reveal()) >= LARGEST_OUTPUT:
            raise SinkRefusedError(f"the program {self.read_argv[0]} does not print one JSON object")
        version = held.get("version")
        pair = pair_of(held.get("access_key_id"), held.get("secret_access_key"))
        if pair is None and held.get("access_key_id") not in {None, ""}:
            raise SinkRefusedError(f"the program {self.read_argv[0]} prints no key pair")
        access_key_id = None if pair is None else pair.access_key_id
        return Held(access_key_id, pair, version if isinstance(version, str) else None)

    def write(self, pair: AccessKeyPair, *, expect: Held, context: WriteContext) -> None:
        if self.read_argv:
            held = self.read()
            if is_same(held.pair, pair):
                return
            if not is_as_expected(held, expect):
                raise SinkChangedError(f"the sink {self.name} holds another key than expected")
        elif self.verify_argv and self._verifies(pair, context):
            return
        finished = self._run(self.write_argv, pair, context)
        known = (pair.secret,) if expect.pair is None else (pair.secret, expect.pair.secret)
        self._refuse_failure(self.write_argv, finished, known)

    def holds(self, pair: AccessKeyPair, *, before: Held) -> bool:  # noqa: ARG002 - the programs say it, or nobody
        if self.verify_argv and not self._verifies(pair, None):
            return False
        return not self.read_argv or is_same(self.read().pair, pair)

    def reload(self, context: WriteContext) -> None:
        self.hook.run(context)

    def _verifies(self, pair: AccessKeyPair, context: WriteContext | None) -> bool:
        finished = self._run(self.verify_argv, pair, context)
        if finished.code == _NOT_HELD:
            return False
        self._refuse_failure(self.verify_argv, finished, (pair.secret,))
        return True

    def _run(
        self, argv: tuple[str, ...], pair: AccessKeyPair | None, context: WriteContext | None
    ) -> Finished:
        return run_bounded(
            argv,
            stdin=None if pair is None else _handed_over(pair, context),
            environment=self._environment(context),
            seconds=self.seconds,
        )

    def _environment(self, context: WriteContext | None) -> Mapping[str, str]:
        return environment_for(self.environment, named=self.named, context=context)

    def _refuse_failure(self, argv: tuple[str, ...], finished: Finished, secrets: Sequence[Secret]) -> None:
        if finished.code == 0:
            return
        said = _last_line(finished.stderr, secrets)
        if finished.code == TRY_AGAIN:
            raise SinkUnavailableError(f"the program {argv[0]} asks to be run again later{said}")
        ended = (
            f"ended with {finished.code}" if finished.code > 0 else f"was killed by signal {-finished.code}"
        )
        raise SinkRefusedError(f"the program {argv[0]} {ended}{said}")


def _handed_over(pair: AccessKeyPair, context: WriteContext | None) -> Secret:
    said = {
        "access_key_id": pair.access_key_id,
        "secret_access_key": pair.secret.reveal().decode("latin-1"),
        "rotation_id": None if context is None else context.rotation_id,
        "user_name": None if context is None else context.user_name,
    }
    return Secret(json.dumps(said).encode() + b"\n")


def _last_line(output: Secret, secrets: Sequence[Secret]) -> str:
    """What a program said last, for people; withheld if any part of a secret is in any of what it said.

    Without a secret to look for (a program that reads) nothing is shown: what it holds is not known.
    """
    content = output.reveal()
    if not content.strip():
        return ""
    if not secrets or any(_is_in(secret, content) for secret in secrets):
        return " (what it said is withheld)"
    line = content.strip().splitlines()[-1].decode("utf-8", "replace")
    return f": {''.join(character for character in line if character.isprintable())[:_SHOWN]}"


def _is_in(secret: Secret, content: bytes) -> bool:
    """Whether the content has a part of the secret, as it is, or in hex, base64, or percent-encoded."""
    value = secret.reveal()
    # Blanks and newlines may stand in the middle of what a program wraps or spells out; case differs in hex.
    folded = b"".join(content.split()).lower()
    encoded = [value, value.hex().encode(), b"".join(b"%%%02x" % byte for byte in value)]
    for offset in range(3):
        text = base64.b64encode(bytes(offset) + value)[4 if offset else 0 : -4]
        encoded += [text, text.replace(b"+", b"-").replace(b"/", b"_")]
    plain = {b"/": (b"%2f", b"\\/"), b"+": (b"%2b",), b"=": (b"%3d",), b"%": (b"%25",)}
    for character, spellings in plain.items():
        for spelling in spellings:
            folded_back = folded.replace(spelling, character)
            if _shares_a_part(value.lower(), folded_back):
                return True
    return any(_shares_a_part(form.lower(), folded) for form in encoded)


def _shares_a_part(form: bytes, content: bytes) -> bool:
    size = min(_PART, len(form))
    return any(form[at : at + size] in content for at in range(len(form) - size + 1))


class CommandType:
    fields: Sequence[Field] = (
        Field(
            "command", list, "Program and arguments that take the pair as JSON on stdin.", is_required=True
        ),
        Field(
            "verify", list, "Program and arguments that get the same and end with 0 if it is held, 1 if not."
        ),
        Field("read", list, "Program and arguments that print what is held, as the same JSON, or {}."),
        Field("timeout", int, "Seconds that each may take, 1 to 900. Default: 60."),
        Field("environment", list, "Names of further variables that the programs get."),
        Field("atomic", bool, "Whether readers never see one half of the pair. Default: false."),
        *ReloadHook.fields,
    )

    def open(self, name: str, settings: Mapping[str, Any], surroundings: Surroundings) -> Sink:
        seconds = settings.get("timeout", _DEFAULT_SECONDS)
        if not 1 <= seconds <= _MOST_SECONDS:
            raise KeyturnError(f"sink {name}: timeout must be 1 to {_MOST_SECONDS} seconds")
        if not settings["command"]:
            raise KeyturnError(f"sink {name}: command names no program")
        return CommandSink(
            name=name,
            write_argv=tuple(settings["command"]),
            verify_argv=tuple(settings.get("verify", ())),
            read_argv=tuple(settings.get("read", ())),
            seconds=seconds,
            is_atomic=settings.get("atomic", False),
            named=frozenset(settings.get("environment", ())),
            environment=surroundings.environment,
            hook=ReloadHook.of(name, settings, surroundings),
        )


TYPE: Final[SinkType] = CommandType()
