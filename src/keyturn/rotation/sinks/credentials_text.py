"""The text of a shared credentials file, read as SDKs read it, and changed in nothing but the values.

Lines, indents and comments are Python's configparser's, which boto3 and `aws` use: an indented line belongs to the
line before it, and `#` and `;` begin a comment only at the beginning of a line. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, parse_access_key_id
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.interface import Held, SinkRefusedError, WriteContext
from keyturn.rotation.sinks.text_edits import Edit, after_line, edited, ends_open, newline_of

_BOM: Final = b"\xef\xbb\xbf"
_LINE: Final = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_HEADER: Final = re.compile(rb"\[(.+)\]")
_DELIMITER: Final = re.compile(rb"[=:]")
_TRAILING_COMMENT: Final = re.compile(rb"\s[#;]")
_ID: Final = b"aws_access_key_id"
_SECRET: Final = b"aws_secret_access_key"
_TOKENS: Final = frozenset({b"aws_session_token", b"aws_security_token"})
_LONGEST_HEADER: Final = 1024
"""A profile's name has at most 128 characters, however it is quoted."""
_WRITTEN: Final = re.compile(rb"[!-~]{1,256}")


@dataclass(slots=True)
class _Value:
    """Where a value stands: `text[start:end]`, in the line that begins at `line`."""

    line: int
    start: int
    end: int
    line_end: int
    """After the line's newline."""
    number: int
    is_continued: bool = False


@dataclass(slots=True)
class _Section:
    header: bytes
    start: int
    end: int
    """After the header line's newline."""
    ids: list[_Value] = field(default_factory=list)
    secrets: list[_Value] = field(default_factory=list)
    has_token: bool = False


@dataclass(frozen=True, slots=True)
class CredentialsText:
    """A profile in a text: `[x]`, or `[profile x]` in the file that AWS calls config."""

    profile: str
    is_config: bool
    has_twins: bool
    """Other profiles that hold the same key get the new one too."""

    def held(self, text: Secret) -> Held:
        """Of a value that stands twice, the last one."""
        content = text.reveal()
        named = [section for section in _sections(content) if self._is_named(section)]
        ids = [content[value.start : value.end] for section in named for value in section.ids]
        secrets = [content[value.start : value.end] for section in named for value in section.secrets]
        access_key_id = parse_access_key_id(ids[-1].decode("latin-1")) if ids else None
        is_continued = any(
            value.is_continued for section in named for value in (*section.ids, *section.secrets)
        )
        if access_key_id is None or not secrets or not secrets[-1] or is_continued:
            return Held(access_key_id, None, None)
        return Held(access_key_id, AccessKeyPair(access_key_id, Secret(secrets[-1])), None)

    def check(self, text: Secret) -> None:
        for section in _sections(text.reveal()):
            if self._is_named(section):
                self._refuse_unwritable(section)

    def with_pair(
        self,
        text: Secret,
        pair: AccessKeyPair,
        *,
        replaced: AccessKeyId | None,
        context: WriteContext,  # noqa: ARG002 - no place for it
    ) -> Secret:
        """A profile that is missing is added at the end."""
        content = text.reveal()
        new_id, new_secret = pair.access_key_id.encode(), pair.secret.reveal()
        if not _WRITTEN.fullmatch(new_secret):
            raise SinkRefusedError("the secret has characters that do not stand in such a file")
        newline = newline_of(content)
        id_line = _ID + b" = " + new_id + newline
        secret_line = _SECRET + b" = " + new_secret + newline
        named, others = [], []
        for section in _sections(content):
            if self._is_named(section):
                self._refuse_unwritable(section)
                named.append(section)
            elif replaced is not None and self._is_twin(content, section, replaced):
                _refuse_continued(section)
                others.append(section)
        edits: list[Edit] = []
        for section in (*named, *others):
            edits += [(value.start, value.end, new_id) for value in section.ids]
            edits += [(value.start, value.end, new_secret) for value in section.secrets]
        for section in others:
            if not section.secrets:
                last = section.ids[-1]
                line = _indent_of(content, last) + secret_line
                edits.append(after_line(content, last.line_end, line, newline))
        ids = [value for section in named for value in section.ids]
        secrets = [value for section in named for value in section.secrets]
        if not named:
            edits.append(self._new_profile(content, newline, id_line + secret_line))
        elif not ids and not secrets:
            indent = _indent_after(content, named[0].end)
            lines = indent + id_line + indent + secret_line
            edits.append(after_line(content, named[0].end, lines, newline))
        elif not secrets:
            line = _indent_of(content, ids[0]) + secret_line
            edits.append(after_line(content, ids[0].line_end, line, newline))
        elif not ids:
            edits.append((secrets[0].line, secrets[0].line, _indent_of(content, secrets[0]) + id_line))
        return Secret(edited(content, edits))

    def is_rid_of(self, text: Secret, access_key_id: AccessKeyId) -> bool:
        content = text.reveal()
        return not any(self._is_twin(content, section, access_key_id) for section in _sections(content))

    def _is_named(self, section: _Section) -> bool:
        text = section.header.strip().decode("utf-8", "surrogateescape")
        if not self.is_config or (self.profile == text == "default"):
            return text == self.profile
        if not text.startswith("profile") or len(text) > _LONGEST_HEADER:
            return False
        try:
            return shlex.split(text) == ["profile", self.profile]
        except ValueError:
            return False

    def _is_twin(self, content: bytes, section: _Section, access_key_id: AccessKeyId) -> bool:
        return (
            self.has_twins
            and not section.has_token
            and any(content[value.start : value.end] == access_key_id.encode() for value in section.ids)
        )

    def _new_profile(self, content: bytes, newline: bytes, lines: bytes) -> Edit:
        is_bare = not self.is_config or self.profile == "default"
        header = f"[{self.profile}]" if is_bare else f"[profile {shlex.quote(self.profile)}]"
        before = b"" if content in {b"", _BOM} else newline * (2 if ends_open(content) else 1)
        return len(content), len(content), before + header.encode() + newline + lines

    def _refuse_unwritable(self, section: _Section) -> None:
        _refuse_continued(section)
        if section.has_token:
            raise SinkRefusedError(
                f"the profile {self.profile} has a session token: "
                "its credentials are temporary, and not a user's key"
            )


def _indent_after(content: bytes, at: int) -> bytes:
    """The indent of the next line that counts: less, and that line would belong to the one put before it."""
    while at < len(content):
        match = _LINE.match(content, at)
        assert match is not None
        text = match[0].strip()
        if text and not text.startswith((b"#", b";")):
            return match[0][: len(match[0]) - len(match[0].lstrip())]
        at = match.end()
    return b""


def _indent_of(content: bytes, value: _Value) -> bytes:
    line = content[value.line : value.start]
    return line[: len(line) - len(line.lstrip())]


def _refuse_continued(section: _Section) -> None:
    for value in (*section.ids, *section.secrets):
        if value.is_continued:
            raise SinkRefusedError(f"line {value.number}: the value goes on in the next line")


def _sections(content: bytes) -> Iterator[_Section]:
    """The sections in order, with the places of the values; as `configparser.RawConfigParser._read` finds them."""
    section: _Section | None = None
    last: _Value | None = None
    has_option, indent_level = False, 0
    at = len(_BOM) if content.startswith(_BOM) else 0
    number = 0
    while at < len(content):
        match = _LINE.match(content, at)
        assert match is not None
        line, line_start, at, number = match[0], at, match.end(), number + 1
        text = line.strip()
        if not text or text.startswith((b"#", b";")):
            continue
        indent = len(line) - len(line.lstrip())
        if section is not None and has_option and indent > indent_level:
            if last is not None:
                last.is_continued = True
            continue
        indent_level, last = indent, None
        header = _HEADER.match(text)
        if header is not None:
            if section is not None:
                yield section
            section, has_option = _Section(header[1], line_start, at), False
            continue
        delimiter = _DELIMITER.search(text)
        if section is None or delimiter is None:
            continue
        has_option = True
        name = text[: delimiter.start()].strip().lower()
        start, end = _value_in(
            content, line_start + indent + delimiter.end(), line_start + indent + len(text)
        )
        if name in _TOKENS:
            section.has_token |= start < end
        elif name in {_ID, _SECRET}:
            last = _Value(line_start, start, end, at, number)
            (section.ids if name == _ID else section.secrets).append(last)
    if section is not None:
        yield section


def _value_in(content: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the value proper stands: without blanks, a comment behind it (Go, Java and Rust allow one), quotes."""
    raw = content[start:end]
    comment = _TRAILING_COMMENT.search(raw)
    if comment is not None:
        raw = raw[: comment.start()]
    value = raw.strip()
    if not value:
        return end, end
    start += raw.index(value)
    if len(value) > 1 and value[:1] == value[-1:] and value[:1] in {b'"', b"'"}:
        return start + 1, start + len(value) - 1
    return start, start + len(value)
