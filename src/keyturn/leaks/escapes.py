"""Undoes escapes within a text, character by character: URL, HTML, Unicode, JSON, quoted-printable and their like.

What encodes a whole stretch is `encoded`'s.
"""

from __future__ import annotations

import re
from typing import Final

from keyturn.leaks.views import View, rewritten

# Every branch stands behind one class of characters, for which an expression is searched many times faster.
_ESCAPE: Final = re.compile(
    rb"[\\%&U\x1b](?:"
    rb"(?<=\\)\\?u\{0{0,4}(?P<a>[0-9a-fA-F]{2})\}|(?<=\\)\\{0,3}u00(?P<b>[0-9a-fA-F]{2})"
    rb"|(?<=\\)\\?x(?P<c>[0-9a-fA-F]{2})|(?<=%)(?P<d>[0-9a-fA-F]{2})"
    rb"|(?<=&)#0{0,4}(?P<e>[0-9]{2,3});|(?<=&)#[xX]0{0,4}(?P<f>[0-9a-fA-F]{2});"
    rb"|(?<=&)(?P<g>quot|amp|lt|gt|apos|sol|plus|nbsp|equals|NewLine);|(?<=\\)\\{0,2}(?P<h>[/\"'])"
    rb"|(?<=\\)(?P<i>[nrt])|(?<=\\)0?(?P<j>[01][0-7]{2})"
    rb"|(?<=U)\+00(?P<k>[0-9a-fA-F]{2}) ?|(?<=\x1b)(?P<l>\[[0-9;]{0,12}m))"
)
_NAMED: Final = {
    b"quot": b'"', b"amp": b"&", b"lt": b"<", b"gt": b">", b"apos": b"'", b"sol": b"/", b"plus": b"+",
    b"nbsp": b" ", b"equals": b"=", b"NewLine": b"\n", b"n": b"\n", b"r": b"\r", b"t": b"\t",
}  # fmt: skip
_CALLED: Final = {
    "a": "unicode-escape", "b": "unicode-escape", "c": "hex-escape", "d": "url", "e": "html", "f": "html", "g": "html",
    "h": "backslash", "i": "backslash", "j": "octal-escape", "k": "unicode-escape", "l": "colour",
}  # fmt: skip
_QUOTED_PRINTABLE: Final = re.compile(rb"=(?:(?P<a>[0-9A-F]{2})|(?P<soft>[ \t]*\r?\n(?:>[> ]{0,8})?))")
_LOOKS_QUOTED_PRINTABLE: Final = re.compile(rb"=3D|=[ \t]*\r?\n|=41=4B|=41=53")
_PATCH: Final = re.compile(rb"^(?:@@ -|diff --git |[+-]{3} )", re.MULTILINE)
_MARK: Final = re.compile(rb"(?<=\n)[+-](?![+-]{2} )")

_CONTROL: Final = re.compile(rb"[\\{}](?:(?<=\\)[a-z]{1,32}-?[0-9]{0,10} ?)?")
_ENDS_LINE: Final = re.compile(rb"\\(?:par|line|row|cell)\b")


def unescaped(view: View) -> View | None:
    """The text with its escapes undone: URL, HTML, JSON, Unicode, octal, terminal colours."""
    return rewritten(view, _ESCAPE, _character)


def _character(match: re.Match[bytes]) -> tuple[bytes, str] | None:
    kind = match.lastgroup
    assert kind is not None
    value = match[kind]
    if kind == "l":
        return b"", _CALLED[kind]
    if kind in "gi":
        return _NAMED[value], _CALLED[kind]
    if kind == "h":
        return value, _CALLED[kind]
    code = int(value, {"e": 10, "j": 8}.get(kind, 16))
    return (bytes([code]), _CALLED[kind]) if code < 128 else None


def unquoted(view: View) -> View | None:
    """The text with quoted-printable undone, if it looks like that."""
    if not _LOOKS_QUOTED_PRINTABLE.search(view.data):
        return None
    return rewritten(view, _QUOTED_PRINTABLE, _printable)


def _printable(match: re.Match[bytes]) -> tuple[bytes, str]:
    return (b"" if match["soft"] else bytes([int(match["a"], 16)])), "quoted-printable"


def unmarked(view: View) -> View | None:
    """The text of a patch without the marks before its lines, so that what goes over lines reads on."""
    if not _PATCH.search(view.data):
        return None
    return rewritten(view, _MARK, lambda _match: (b"", "patch"))


def without_controls(view: View) -> View | None:
    """The text of an RTF file without groups and control words, which stand in the midst of words."""
    root = view
    while root.above is not None:
        root = root.above
    if not root.data[:64].lstrip().startswith(b"{\\rtf"):
        return None
    return rewritten(view, _CONTROL, lambda match: (b"\n" if _ENDS_LINE.match(match[0]) else b"", "rtf"))
