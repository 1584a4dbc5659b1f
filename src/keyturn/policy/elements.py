"""Reading a policy document's JSON: strict, and with AWS's rule that a list of one may be written without its list.

What the elements mean is document's to say; which of them may be written, validation's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final, NoReturn, TypeAlias

Json: TypeAlias = str | int | float | bool | list["Json"] | dict[str, "Json"] | None

# What XML cannot carry back in a message, and what UTF-8 cannot encode at all.
_UNWRITABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],]')
_AWS_PRINCIPALS: Final = [["Statement", element, "AWS"] for element in ("Principal", "NotPrincipal")]


class UnreadableError(ValueError):
    """Not a policy document by its grammar. Refuse it, or let it count for a Deny."""


def read_elements(text: str) -> dict[str, Json]:
    """The document's elements. Strict JSON: no name twice, no NaN, no text that can't be sent back.

    Raises UnreadableError.
    """
    try:
        value: Json = json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UnreadableError("not JSON") from error
    if not isinstance(value, dict):
        raise UnreadableError("a document is an object")
    return value


def _without_repetition(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    elements = dict(pairs)
    if len(elements) != len(pairs):
        raise UnreadableError("a name stands twice")
    return elements


def _no_constant(name: str) -> NoReturn:
    raise UnreadableError(f"{name} is not JSON")


def statements_of(elements: Mapping[str, Json]) -> list[Json]:
    """The statements: a list of at least one, or one on its own. Raises UnreadableError."""
    statement = elements.get("Statement")
    if isinstance(statement, dict):
        return [statement]
    if not isinstance(statement, list) or not statement:
        raise UnreadableError("a document has statements")
    return statement


def text_of(value: Json) -> str:
    """The value as a text that can be stored and sent back. Raises UnreadableError."""
    if not isinstance(value, str) or _UNWRITABLE.search(value):
        raise UnreadableError("not a text")
    return value


def texts_of(value: Json) -> list[str]:
    """One text or a list of texts. Raises UnreadableError."""
    return [text_of(item) for item in value] if isinstance(value, list) else [text_of(value)]


def scalars_of(value: Json) -> list[str]:
    """One value of a condition or a list of them; a number or a truth value becomes its text. Raises UnreadableError."""
    return [_scalar(item) for item in value] if isinstance(value, list) else [_scalar(value)]


def _scalar(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else text_of(value)


def mapping_of(value: Json) -> dict[str, Json]:
    """Raises UnreadableError for what is no object."""
    if not isinstance(value, dict):
        raise UnreadableError("no object")
    return value


def one_of(statement: Mapping[str, Json], element: str, negated: str) -> tuple[str, list[str]]:
    """The one of two elements that is there, with its texts. Raises UnreadableError, also for both or an empty list."""
    present = [name for name in (element, negated) if name in statement]
    if len(present) != 1:
        raise UnreadableError(f"a statement has either {element} or {negated}")
    texts = texts_of(statement[present[0]])
    if not texts:
        raise UnreadableError(f"{present[0]} is empty")
    return present[0], texts


def with_principals(text: str, rewritten: Callable[[str], str]) -> str:
    """The document with each AWS principal rewritten, and otherwise as it was written, white space and all.

    Of a document that `read_elements` has read. What `rewritten` raises goes through.
    """
    pieces: list[str] = []
    copied = 0
    path: list[str | None] = []
    """Of each open object the name whose value comes; None for a list."""
    comes_name = False
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in "{[":
            comes_name = mark == "{"
            path.append("" if comes_name else None)
        elif mark in "}]":
            path.pop()
        elif mark == ",":
            comes_name = path[-1] is not None
        elif comes_name:
            path[-1] = json.loads(mark)
            comes_name = False
        elif [name for name in path if name is not None] in _AWS_PRINCIPALS:
            value = json.loads(mark)
            new = rewritten(value)
            if new != value:
                pieces += text[copied : token.start()], json.dumps(new)
                copied = token.end()
    return "".join(pieces) + text[copied:]
