"""Undoes what a program does to its strings: joins them, builds them of characters, keeps pieces in variables.

No language is parsed: what joins strings in one of forty languages is taken out where it stands between quotes.
"""

from __future__ import annotations

import re
from typing import Final

from keyturn.leaks.views import View, rewritten

_JOINED: Final = "concatenation"
_WRAPPED: Final = "wrapped"

_BLANK: Final = rb"(?:[ \t\r\n]|\\\r?\n|_\r?\n|/\*[^*\n]{0,80}\*/|(?://|#|--)[^\"'\n]{0,80}\n){0,40}"
_CALL: Final = rb"(?:(?:[A-Za-z_][A-Za-z0-9_]{0,30}(?:::|\.)){0,3}[A-Za-z_][A-Za-z0-9_]{0,30}!?\()"
# Every branch stands behind one class of characters, for which an expression is searched many times faster.
_JOIN: Final = re.compile(
    rb"[\"'`\\\r\n](?:"
    rb"(?<=[\"'`])[)\]]?"
    + _BLANK
    + rb"(?:(?:\+\+?|\.\.?|&|~|\|\||<>|\^|<<|\*)"
    + _BLANK
    + _CALL
    + rb"?)?[(\[]?"
    rb"(?:(?<=[ \t\n+.&~|>^<*(])[fFuUrRbBL@$]{1,2})?[\"'`]"
    rb"|(?<=[\"'`])[ \t]*\)?[; \t\r\n]{0,40}(?:[A-Za-z_$][A-Za-z0-9_]{0,40}(?=\.|->))?(?:\.|->)?[ \t]*"
    rb"(?:(?:append|concat|plus|add|write|push_str|Append|Concat|WriteString)\(|strn?cat\([ \t]*[A-Za-z_][A-Za-z0-9_]{0,40},"
    rb"|stringByAppendingString:)[ \t]*@?[\"'`]"
    rb"|(?<=[\"'`])[);]{0,2}[ \t]*[;\r\n]"
    + _BLANK
    + rb"\$?([A-Za-z_][A-Za-z0-9_]{0,40})[ \t]*(?:\+=|\.=|&=|~=)[ \t]*[\"'`]"
    rb"|(?<=[\"'`]);?[ \t]*[;\r\n]"
    + _BLANK
    + rb"\$?([A-Za-z_][A-Za-z0-9_]{0,40})[ \t]*:?=[ \t]*\$?\2[ \t]*(?:\+|\.|&|\.\.)[ \t]*[\"'`]"
    rb"|(?<=[\"'`])[ \t]*\}[$#]?\{[ \t]*[\"'`]"
    rb"|(?<=[A-Za-z0-9+/]{4}[\"'])(?=[A-Za-z0-9+/]{2})"
    rb"|(?<=\\)\r?\n[ \t]*"
    rb"|(?<=[\r\n])[ \t]*[A-Za-z_][A-Za-z0-9_]{0,40}\+=[\"'`]?"
    rb"|(?:(?<=[\"'`])(?:\r?\n|;)|(?<=\r)\n|(?<=\n))[ \t]*(?:export )?([A-Za-z_][A-Za-z0-9_]{0,40})=[\"'`]?\$\{?\3\}?[\"'`]*"
    rb")"
)
_NEXT: Final = rb"[ \t\r\n]{0,40}(?:,[ \t\r\n]{0,40}[@bBuUrRLfF$]{0,2}|\n[ \t]{0,40}-[ \t]{1,4})"
_LIST: Final = re.compile(
    rb"[\"'`]([A-Za-z0-9+/]{1,39})[\"'`](?:" + _NEXT + rb"[\"'`][A-Za-z0-9+/]{1,39}[\"'`]){1,60}"
    rb"|(?:%w|qw)[ \t]?[\[({/|!](?P<words>[A-Za-z0-9+/]{1,39}(?:[ \t\r\n]{1,40}[A-Za-z0-9+/]{1,39}){1,60})[\])}/|!]"
)
_PIECE: Final = re.compile(rb"[\"'`]([A-Za-z0-9+/]{1,39})[\"'`]")
_JOINS_LIST: Final = re.compile(
    rb"join|concat|append|paste|format|printf|reduce|implode|\.\.\.|cat\b|str\b|str_c|%s|-f[ \t]|(?:secret|key)[a-z_]{0,12}(?:part|piece|chunk|segment|half)",
    re.IGNORECASE,
)


def joined(view: View) -> View | None:
    """The text with the ends of strings taken out where a program joins them, and lines that go on."""
    return rewritten(
        view,
        _JOIN,
        lambda match: (b"", _WRAPPED if match[0][:1] in b"\\\r\n" and b"=" not in match[0] else _JOINED),
    )


def listed(view: View) -> View | None:
    """The text with lists of strings joined, where the program says so or every string is one character."""

    def join(match: re.Match[bytes]) -> tuple[bytes, str] | None:
        words = match["words"]
        pieces: list[bytes] = words.split() if words else _PIECE.findall(match.group())
        if sum(map(len, pieces)) < 20:
            return None
        around = (
            view.data[max(0, match.start() - 64) : match.start()]
            + b"\n"
            + view.data[match.end() : match.end() + 48]
        )
        if _JOINS_LIST.search(around) or max(map(len, pieces)) == 1:
            return b'"' + b"".join(pieces) + b'"', _JOINED
        return None

    return rewritten(view, _LIST, join)


_LINE_BREAK: Final = re.compile(
    rb"(?<=[A-Za-z0-9+/])[ \t]*\r?\n[ \t>#*|]*(?=[A-Za-z0-9+/]{1,40}[\"']?[ \t]*(?:\r?\n|\Z))"
)


_ASSIGNED: Final = re.compile(
    rb"(?<![A-Za-z0-9_])([A-Za-z_][A-Za-z0-9_]{0,40})[\"']?[ \t]*(?::[ \t]*[A-Za-z]{1,12}[ \t]*)?(?::=|=>|=|:|<-)[ \t]*"
    rb"[\"'`]([A-Za-z0-9+/]{1,39})[\"'`]"
    rb"|(?:define|const|set)[ \t]+([A-Za-z_][A-Za-z0-9_]{0,40})[ \t]+[\"']([A-Za-z0-9+/]{1,39})[\"']"
    rb"|(?<![A-Za-z0-9_])([A-Za-z_][A-Za-z0-9_]{0,40}(?:=|[ \t]{0,8}[:?]=[ \t]{0,8}))([A-Za-z0-9+/]{1,39})(?=\r?\n|;|\Z)"
)
_SEVERAL: Final = re.compile(
    rb"(?<![A-Za-z0-9_$])(\$?[A-Za-z_][A-Za-z0-9_]{0,40}(?:,[ \t]{0,8}\$?[A-Za-z_][A-Za-z0-9_]{0,40}){1,8})[ \t]{0,8}:?=[ \t]{0,8}"
    rb"([\"'`][A-Za-z0-9+/]{1,39}[\"'`](?:,[ \t]{0,8}[\"'`][A-Za-z0-9+/]{1,39}[\"'`]){1,8})"
)
_ARRAY: Final = re.compile(
    rb"(?<![A-Za-z0-9_])([A-Za-z_][A-Za-z0-9_]{0,40})(?:\[\])?[ \t]*:?=[ \t]*(?:[A-Za-z0-9_. \[\]<>]{0,40})[\[{(][ \t\r\n]*"
    rb"([\"'`][A-Za-z0-9+/]{1,39}[\"'`](?:[ \t\r\n]{0,40},[ \t\r\n]{0,40}[\"'`][A-Za-z0-9+/]{1,39}[\"'`]){1,60})"
)
_REFERENCE: Final = re.compile(
    rb"[$#%]?\{\{?[ \t]*(?:(?:var|local|locals|self|this|env)\.)?([A-Za-z_][A-Za-z0-9_]{0,40})[ \t]*\}?\}"
    rb"|[\\$]\(([A-Za-z_][A-Za-z0-9_]{0,40})\)"
    rb"|(?<=[\"'`$A-Za-z0-9_/+])\$([A-Za-z_][A-Za-z0-9_]{0,40})|%([A-Za-z_][A-Za-z0-9_]{0,40})%"
    rb"|(?<![A-Za-z0-9_\"'`/+$])\$?[A-Za-z_][A-Za-z0-9_.]{0,40}\[[\"']([A-Za-z_][A-Za-z0-9_]{0,40})[\"']\]"
    rb"|(?<![A-Za-z0-9_\"'`/+])\$?(?:(?:var|local|locals|self|this|env)\.)?([A-Za-z_][A-Za-z0-9_]{0,40}(?:\[[0-9]{1,2}\])?)"
    rb"(?![A-Za-z0-9_/]|[\"']?[ \t]*(?:[+.&~|]?=[^=]|:|<-|\())"
)
_MAX_NAMES: Final = 500


def substituted(view: View) -> View | None:
    """The text with variables, and elements of arrays, replaced by the short strings that were assigned to them."""
    values: dict[bytes, bytes] = {}
    for match in _SEVERAL.finditer(view.data):
        for name, piece in zip(match[1].split(b","), _PIECE.findall(match[2]), strict=False):
            if len(values) < _MAX_NAMES:
                values.setdefault(name.strip(b" \t$"), piece)
    for match in _ASSIGNED.finditer(view.data):
        if len(values) < _MAX_NAMES:
            name = match[1] or match[3] or match[5].rstrip(b"=:? \t")
            values.setdefault(name, match[2] or match[4] or match[6])
    for match in _ARRAY.finditer(view.data):
        for index, piece in enumerate(_PIECE.findall(match[2])):
            if len(values) < _MAX_NAMES:
                values.setdefault(match[1] + b"[%d]" % index, piece)
    if not values:
        return None

    def value_of(match: re.Match[bytes]) -> tuple[bytes, str] | None:
        value = values.get(match[match.lastindex or 0])
        if value is None:
            return None
        return (value if (match.lastindex or 0) < 5 else b'"' + value + b'"'), _JOINED

    return rewritten(view, _REFERENCE, value_of)


_CODE: Final = re.compile(
    rb"(?:[cC][hH][rR]|[cC][hH][aA][rR]|CHAR|[cC]hr[wW]|unichr)\$?\([ \t]{0,4}([0-9]{2,3})[ \t]{0,4}\)"
)


def spelled_out(view: View) -> View | None:
    """The text with calls like `chr(65)` as the character in quotes."""

    def character(match: re.Match[bytes]) -> tuple[bytes, str] | None:
        code = int(match[1])
        return (b'"%c"' % code, "decimal") if 32 < code < 127 else None

    return rewritten(view, _CODE, character)


def unwrapped(view: View) -> View | None:
    """The text with lines joined where the next is nothing but characters of a key."""
    return rewritten(view, _LINE_BREAK, lambda _match: (b"", _WRAPPED))
