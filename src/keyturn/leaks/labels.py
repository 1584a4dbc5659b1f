"""What stands before a value and says what it is: a variable, a key, a column's head, a few words of prose.

Reads at most a few hundred bytes to the left, through to the view above where an encoded stretch begins.
"""

from __future__ import annotations

import re
from typing import Final

from keyturn.leaks.rules import ID, Label, label_of, words_of
from keyturn.leaks.views import View

_CONTEXT: Final = 240
_NAME: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_.$-]*|[0-9][A-Za-z0-9_-]*")
_DELIMITERS: Final = (b",", b"\t", b";", b"|")
_GENERIC: Final = frozenset(
    b"value val values string str text data content contents default new is are was the a an of to be this that here"
    b" from parameter decode encode base b bytes byte utf ascii current d u r f var let const final static env set"
    b" export name type plaintext raw literal and simple print echo output join concat format sprintf append fn"
    b" stringbuilder paste strings std".split()
)
_NO_STEM: Final = frozenset(
    b"aws amazon amz iam access key keys id ids secret secrets s3 s my the accesskeyid accesskey secretkey"
    b" secretaccesskey private sk ak user username login password passwd pass pwd export set env var const let"
    b" credentials credential creds account keyid value string".split()
)
_NO_NAMES: Final = re.compile(rb"</[A-Za-z0-9:_.-]{1,40}>|\x1b\[[0-9;]{0,12}m|%[0-9A-F]{2}")
"""Ends of elements, a terminal's colours, escapes: they look like names and are none."""
_TALK: Final = re.compile(rb"secret", re.IGNORECASE)
_TALKED: Final = 120
_VALUE: Final = re.compile(rb"[A-Za-z0-9+/]{40}")
_HEAD: Final = re.compile(rb"(?:[A-Za-z][A-Za-z0-9 _.()#/-]{0,60})?\Z")
_ITEM_ABOVE: Final = re.compile(
    rb"\n[ \t]*[-*\"'`(\[, ]*[A-Za-z0-9+/]{40}[\"'`)\], ]*\r?\n[ \t]*[-*\"'`(\[, ]*\Z"
)


def label_before(view: View, start: int) -> tuple[Label, frozenset[bytes]]:
    """What the text before a value says it is, and which words of it may tell one profile from another."""
    label, stem = _named(view, start)
    return (Label.PASSWORD if label is Label.BARE and _answers(view, start) else label), stem


def _named(view: View, start: int) -> tuple[Label, frozenset[bytes]]:
    column = _column_name(view, start)
    if column is not None:
        words = words_of(column)
        label = label_of(words)
        return (Label.BARE if label is Label.UNKNOWN else label), _stem(words)
    start = _first_item(view, start)
    text = _NO_NAMES.sub(b" ", _left_of(view, start))
    names = list(_NAME.finditer(text))
    right = len(text)
    newlines = 0
    through_generic = is_unknown = False
    unknown: list[bytes] = []
    for index in range(len(names) - 1, -1, -1):
        name = names[index]
        gap = text[name.end() : right]
        newlines += gap.count(b"\n")
        word = name.group()
        if newlines > 3 or _is_value(word):
            break
        words = words_of(word)
        if all(one in _GENERIC or len(one) == 1 for one in words):
            # A name of one letter says nothing, and nothing of what stands before it either.
            through_generic = through_generic or any(len(one) > 1 for one in words)
            right = name.start()
            continue
        label = label_of(words)
        if label is Label.UNKNOWN:
            phrase = words_of(_phrase(text, name.end()))
            label = label_of(phrase)
            if label is not Label.UNKNOWN:
                words = phrase
        if newlines and not through_generic and not is_unknown:
            is_open = any(mark in gap for mark in (b"=", b":", b">", b"|", b"("))
            if label >= Label.PASSWORD or (label is Label.OTHER and is_open):
                return label, _stem(words)
            return Label.BARE, frozenset()
        if label is not Label.UNKNOWN:
            return label, _stem(words)
        if newlines and through_generic:
            return Label.UNKNOWN, _stem(words)
        if not is_unknown and any(mark in gap for mark in _DELIMITERS):
            return Label.BARE, frozenset()
        gap = gap.strip(b" \t\"'`")
        unknown += words
        is_unknown = True
        if gap[:1] in {b"=", b":"} or len(unknown) > 6:
            break
        right = name.start()
    return (Label.UNKNOWN if is_unknown else Label.BARE), _stem(unknown)


def _answers(view: View, start: int) -> bool:
    """Whether a value stands on a line of its own and those before it talk of a secret, as in a chat."""
    data = view.data
    return (
        start > 0
        and data[start - 1] == 10
        and data[start + 40 : start + 41] in {b"\n", b"\r", b""}
        and _TALK.search(data, max(0, start - _TALKED), start) is not None
    )


def _first_item(view: View, start: int) -> int:
    """For an item of a list of secrets, one a line, the place of the first: the list's name stands before that."""
    for _ in range(256):
        above = _ITEM_ABOVE.search(view.data[max(0, start - 120) : start])
        if above is None:
            return start
        text = above.group()
        start -= len(text) - text.index(_VALUE.search(text).group())  # type: ignore[union-attr]  # it has one
    return start


def _left_of(view: View, start: int) -> bytes:
    text = bytes(view.data[max(0, start - _CONTEXT) : start])
    at: View | None = view
    while start < _CONTEXT and at is not None and at.above is not None and not _NAME.search(text):
        position = at.position_above(0)
        at = at.above
        text = bytes(at.data[max(0, position - _CONTEXT) : position]) + text
        start = position
    return text


def _is_value(word: bytes) -> bool:
    """Whether it is another value rather than a name."""
    if ID.search(word) or word.isdigit():
        return True
    return len(word) > 24 and b"_" not in word and b"." not in word and any(48 <= c < 58 for c in word)


def _phrase(text: bytes, end: int) -> bytes:
    """Up to five words that end here, with nothing but blanks between them."""
    match = re.search(
        rb"(?:[A-Za-z][A-Za-z0-9_-]*[ \t]){0,4}[A-Za-z][A-Za-z0-9_.-]*\Z", text[max(0, end - 80) : end]
    )
    return match.group() if match else b""


def _stem(words: list[bytes]) -> frozenset[bytes]:
    return frozenset(word for word in words if word not in _NO_STEM and word not in _GENERIC)


def _column_name(view: View, start: int) -> bytes | None:
    """The head of the column, if the value stands in a table with heads."""
    data = view.data
    line_start = data.rfind(b"\n", max(0, start - 1024), start) + 1
    if not line_start:
        return None
    before = bytes(data[line_start:start])
    line_end = data.find(b"\n", start, start + 1024)
    line = bytes(data[line_start : line_end if line_end >= 0 else start + 1024])
    for delimiter in _DELIMITERS:
        count = line.count(delimiter)
        if not count or b"=" in before.replace(b"==", b"") or b"{" in before or b"(" in before:
            continue
        column = before.count(delimiter)
        if before.split(delimiter)[-1].strip(b" \t\"'`*"):
            continue
        for head in (bytes(data[: data.find(b"\n", 0, 2048) + 1]), bytes(_line_above(data, line_start))):
            cells = [cell.strip(b" \t\"'`*") for cell in head.strip(b"\r\n\xef\xbb\xbf").split(delimiter)]
            if (
                len(cells) == count + 1
                and all(_HEAD.match(cell) for cell in cells)
                and any(_names_id(cell) for cell in cells)
            ):
                return cells[column]
    return None


def _line_above(data: bytes, line_start: int) -> bytes:
    end = line_start - 1
    for _ in range(2):
        start = data.rfind(b"\n", max(0, end - 1024), end) + 1
        line = data[start:end]
        if line.strip(b"|-:+ =\t\r"):
            return bytes(line)
        end = start - 1
    return b""


def _names_id(cell: bytes) -> bool:
    words = words_of(cell)
    return (b"id" in words or b"key" in words or b"keyid" in words) and not ID.search(cell)
