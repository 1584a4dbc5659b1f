"""The text of a `.env` file, read as python-dotenv reads it, and changed in nothing but two values.

What is written is read the same by python-dotenv and a POSIX shell; a value that they would read apart, or that is
made of other variables, is refused. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, parse_access_key_id
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.interface import Held, SinkRefusedError, WriteContext
from keyturn.rotation.sinks.text_edits import NEWLINE, Edit, after_line, edited, ends_open, newline_of

_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = re.compile(rb"\s*")
_BLANK: Final = re.compile(rb"[^\S\r\n]*")
_EXPORT: Final = re.compile(rb"(?:export[^\S\r\n]+)?")
_KEY: Final = re.compile(rb"'([^']+)'|([^=#\s]+)")
_SINGLE: Final = re.compile(rb"'((?:\\.|[^'\\])*)'", re.DOTALL)
_DOUBLE: Final = re.compile(rb'"((?:\\.|[^"\\])*)"', re.DOTALL)
_LINE: Final = re.compile(rb"[^\r\n]*")
_COMMENT: Final = re.compile(rb"\s#")
_END: Final = re.compile(rb"[^\S\r\n]*(?:#[^\r\n]*)?(?:\r\n|\n|\r|\Z)")
_REST: Final = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)?")

_BARE: Final = re.compile(rb"[A-Za-z0-9/+=%@:,._-]*\Z")
"""What stands without quotes and means itself."""
_QUOTED: Final = re.compile(rb"[ -!#%&(-\[\]-_a-~]*\Z")
"""What stands between quotes of either kind and means itself: no quote, `$`, backquote or backslash."""
_WRITTEN: Final = re.compile(rb"[!-~]{1,256}")
_TOKEN: Final = b"AWS_SESSION_TOKEN"


@dataclass(frozen=True, slots=True)
class _Binding:
    name: bytes
    line: int
    """Where its line begins, after blanks and empty lines."""
    start: int
    """Of the value, inside its quotes."""
    end: int
    line_end: int
    quote: bytes
    number: int
    prefix: bytes
    """`export ` or nothing."""
    has_value: bool


@dataclass(frozen=True, slots=True)
class DotenvText:
    """Two variables of a text. Of one that stands twice, the last is read, and all are written."""

    id_variable: str
    secret_variable: str

    def held(self, text: Secret) -> Held:
        content = text.reveal()
        values = {
            binding.name: content[binding.start : binding.end]
            for binding in self._bindings(content)
            if binding.has_value
        }
        text_of_id = values.get(self.id_variable.encode(), b"")
        access_key_id = parse_access_key_id(text_of_id.decode("latin-1"))
        secret = values.get(self.secret_variable.encode())
        if access_key_id is None or not secret:
            return Held(access_key_id, None, None)
        return Held(access_key_id, AccessKeyPair(access_key_id, Secret(secret)), None)

    def check(self, text: Secret) -> None:
        content = text.reveal()
        for binding in self._bindings(content):
            self._refuse_unwritable(content, binding)

    def with_pair(
        self,
        text: Secret,
        pair: AccessKeyPair,
        *,
        replaced: AccessKeyId | None,  # noqa: ARG002 - there are no other places
        context: WriteContext,  # noqa: ARG002 - no place for it
    ) -> Secret:
        content = text.reveal()
        new = {
            self.id_variable.encode(): pair.access_key_id.encode(),
            self.secret_variable.encode(): pair.secret.reveal(),
        }
        if not all(_WRITTEN.fullmatch(value) and _QUOTED.match(value) for value in new.values()):
            raise SinkRefusedError("the secret has characters that a shell and python-dotenv read apart")
        edits: list[Edit] = []
        found: dict[bytes, _Binding] = {}
        for binding in self._bindings(content):
            self._refuse_unwritable(content, binding)
            if binding.name in new:
                found[binding.name] = binding
                value = new[binding.name]
                edits.append((binding.start, binding.end, value if binding.quote else _styled(value)))
        newline = newline_of(content)
        if len(found) == 1:
            ((name, neighbour),) = found.items()
            (missing,) = set(new) - {name}
            line = neighbour.prefix + missing + b"=" + _styled(new[missing])
            edits.append(after_line(content, neighbour.line_end, line + newline, newline))
        elif not found:
            lines = b"".join(name + b"=" + _styled(value) + newline for name, value in new.items())
            before = newline if ends_open(content) and content != _BOM else b""
            edits.append((len(content), len(content), before + lines))
        return Secret(edited(content, edits))

    def is_rid_of(self, text: Secret, access_key_id: AccessKeyId) -> bool:  # noqa: ARG002 - no other places
        return True

    def _refuse_unwritable(self, content: bytes, binding: _Binding) -> None:
        value = content[binding.start : binding.end]
        if binding.name == _TOKEN and value and self.id_variable == "AWS_ACCESS_KEY_ID":
            raise SinkRefusedError(
                f"line {binding.number}: a session token: these credentials are temporary, and not a user's key"
            )
        if binding.name not in {self.id_variable.encode(), self.secret_variable.encode()}:
            return
        if not binding.has_value:
            raise SinkRefusedError(f"line {binding.number}: the variable is named without a value")
        if not (_QUOTED if binding.quote else _BARE).match(value):
            raise SinkRefusedError(
                f"line {binding.number}: the value is no plain text: it may be made of other variables, or go on"
            )

    def _bindings(self, content: bytes) -> Iterator[_Binding]:
        """Every `NAME=value` in order, by python-dotenv's grammar (its `parser.py`).

        A line outside of the grammar is passed over as it does, unless it seems to set one of ours.
        """
        names = (re.escape(self.id_variable.encode()), re.escape(self.secret_variable.encode()))
        ours = re.compile(rb"(?:\A|[\s;&|])(?:%s|%s)\s*=" % names)
        at = len(_BOM) if content.startswith(_BOM) else 0
        number, counted = 1, 0
        while (at := _end(_SPACE, content, at)) < len(content):
            number, counted = number + len(NEWLINE.findall(content, counted, at)), at
            is_comment = content[at : at + 1] == b"#"
            binding = None if is_comment else _binding(content, at, number)
            if isinstance(binding, _Binding):
                yield binding
                at = binding.line_end
                continue
            line_end = _end(_REST, content, at if binding is None else binding)
            if not is_comment and ours.search(content[at:line_end]):
                raise SinkRefusedError(f"line {number}: this can't be read as NAME=value")
            at = line_end


def _styled(value: bytes) -> bytes:
    return value if _BARE.match(value) else b"'" + value + b"'"


def _binding(content: bytes, line: int, number: int) -> _Binding | int:
    """What stands there, or how far it could be read: the rest of that line is passed over."""
    after_export = _end(_EXPORT, content, line)
    key = _KEY.match(content, after_export)
    if key is None:
        return after_export
    name = key[1] or key[2]
    at = _end(_BLANK, content, key.end())
    start = end = at
    quote = b""
    has_value = content[at : at + 1] == b"="
    if has_value:
        start = end = _end(_BLANK, content, at + 1)
        quote = content[start : start + 1]
        if quote in {b"'", b'"'}:
            quoted = (_SINGLE if quote == b"'" else _DOUBLE).match(content, start)
            if quoted is None:
                return start
            start, end, at = quoted.start(1), quoted.end(1), quoted.end()
        else:
            start, end, at = _unquoted(content, at + 1, start)
            quote = b""
    line_end = _END.match(content, at)
    if line_end is None:
        return at
    return _Binding(
        name, line, start, end, line_end.end(), quote, number, content[line:after_export], has_value
    )


def _unquoted(content: bytes, after_equals: int, start: int) -> tuple[int, int, int]:
    """Where a value without quotes stands, and where its line ends. `KEY= # text` is empty, `KEY=#text` is not."""
    line_end = _end(_LINE, content, start)
    if start > after_equals and content[start : start + 1] == b"#":
        return after_equals, after_equals, line_end
    comment = _COMMENT.search(content, start, line_end)
    value = content[start : line_end if comment is None else comment.start()].rstrip()
    if not value:
        return after_equals, after_equals, line_end  # a shell allows no blank before the value
    return start, start + len(value), line_end


def _end(pattern: re.Pattern[bytes], content: bytes, at: int) -> int:
    match = pattern.match(content, at)
    return at if match is None else match.end()
