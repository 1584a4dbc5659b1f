"""A sink that is a file: what stands in it is a `PairText`'s affair, how it is replaced is `shared_file`'s."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.interface import (
    Held,
    ReadBack,
    SinkChangedError,
    SinkRefusedError,
    SinkTraits,
    WriteContext,
)
from keyturn.rotation.sinks.pairs import is_as_expected, is_same
from keyturn.rotation.sinks.reload import ReloadHook
from keyturn.rotation.sinks.shared_file import SharedFile


class PairText(Protocol):
    """How a pair stands in a text. Pure; SinkRefusedError, naming the line, for a text that can't take one."""

    def held(self, text: Secret) -> Held: ...

    def check(self, text: Secret) -> None:
        """Refuse now what `with_pair` would refuse later."""

    def with_pair(
        self, text: Secret, pair: AccessKeyPair, *, replaced: AccessKeyId | None, context: WriteContext
    ) -> Secret:
        """The text with the pair, and without the id `replaced`."""

    def is_rid_of(self, text: Secret, access_key_id: AccessKeyId) -> bool:
        """Whether the id stands nowhere else where it should have been replaced."""


@dataclass(frozen=True, slots=True)
class FileSink:
    """One pair in one file. Readers see the old file or the new one."""

    name: str
    where: str
    file: SharedFile
    text: PairText
    hook: ReloadHook

    def describe(self) -> SinkTraits:
        return SinkTraits(self.where, is_atomic=True, read_back=ReadBack.PAIR, has_reload=self.hook.is_set)

    def test(self) -> None:
        self.file.test()
        with self._named_in_errors():
            self.text.check(self.file.read().content)
        self.hook.test()

    def read(self) -> Held:
        return self._held(self.file.read().content)

    def write(self, pair: AccessKeyPair, *, expect: Held, context: WriteContext) -> None:
        with self.file.locked():
            seen = self.file.read()
            held = self._held(seen.content)
            if not is_same(held.pair, pair) and not is_as_expected(held, expect):
                raise SinkChangedError(f"{self.where} holds another key than expected")
            if is_same(held.pair, pair) and self._is_rid_of(seen.content, expect, pair):
                return
            with self._named_in_errors():
                content = self.text.with_pair(
                    seen.content, pair, replaced=expect.access_key_id, context=context
                )
            if content == seen.content:
                return
            if not is_same(self._held(content).pair, pair):
                raise SinkRefusedError(f"{self.where} has lines that would hide the new key")
            self.file.replace(content, seen=seen)

    def holds(self, pair: AccessKeyPair, *, before: Held) -> bool:
        content = self.file.read().content
        return is_same(self._held(content).pair, pair) and self._is_rid_of(content, before, pair)

    def reload(self, context: WriteContext) -> None:
        self.hook.run(context)

    def _held(self, content: Secret) -> Held:
        with self._named_in_errors():
            return self.text.held(content)

    def _is_rid_of(self, content: Secret, before: Held, pair: AccessKeyPair) -> bool:
        old = before.access_key_id
        return old is None or old == pair.access_key_id or self.text.is_rid_of(content, old)

    @contextmanager
    def _named_in_errors(self) -> Iterator[None]:
        try:
            yield
        except SinkRefusedError as error:
            raise SinkRefusedError(f"{self.where}: {error}") from error
