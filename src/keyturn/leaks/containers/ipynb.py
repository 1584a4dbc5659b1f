"""Jupyter notebooks: source and outputs are lists of lines in JSON, so what belongs together stands apart in the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from keyturn.leaks.containers.interface import DamagedError, Format, Job, Member, Stream

_MOST: Final = 16 << 20


def recognises(head: bytes, _tail: bytes) -> bool:
    start = head[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    return start.startswith(b"{") and (b'"cells"' in head or b'"nbformat"' in head)


def members(content: Stream, job: Job) -> Iterator[Member]:
    data = content.whole()
    # Parsed JSON takes ten times its size in Python and more: one without a trace of a key is not parsed, nor a
    # very large one.
    if len(data) > _MOST:
        raise DamagedError(f"a notebook of more than {_MOST >> 20} MiB: searched as it stands")
    if not job.may_hold(data):
        return
    try:
        notebook = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise DamagedError("it is no whole notebook: searched as it stands") from error
    yield Member("", Stream(_texts(notebook)), is_reading=True)


def _texts(notebook: object) -> Iterator[bytes]:
    """Every string, and lists of strings joined as Jupyter joins them; nesting is what `json` let through."""
    left = [notebook]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += reversed([each for item in value.items() for each in item])
        elif isinstance(value, list):
            if value and all(isinstance(line, str) for line in value):
                yield "".join(value).encode("utf-8", "replace") + b"\n\n"
            else:
                left += reversed(value)
        elif isinstance(value, str):
            yield value.encode("utf-8", "replace") + b"\n"


FORMAT: Final = Format("notebook", recognises, members, needs_whole=True)
